//! `hub-compare`: the edge beside the floor, in turns, in one run.
//!
//! ```text
//! hub-compare echo --edge target/release/hub-edge --keys DIR [--rounds 15] [--seconds 1]
//! hub-compare deliver [--receivers 1000] [--rounds 15]
//! hub-compare memory --edge target/release/hub-edge --keys DIR [--tls DIR]
//! hub-compare floor --listen 127.0.0.1:9000
//! ```
//!
//! Servers run on the first core, the load on the second. Each round runs every server once; what is compared is the
//! server's CPU time per message, as a ratio to the floor's of the same round; the medians of the ratios are printed.

#![expect(clippy::print_stdout, reason = "the table is the program's result")]
#![expect(clippy::cast_precision_loss, reason = "bytes of one machine, for people")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use hub_bench::deliver::{Deliverer, Floor, OneShard, Sink};
use hub_bench::load::{Idle, Load, Shape, Speech};
use hub_bench::{cpu, floor};

/// Connections that a shard is made for by default.
const CAPACITY: f64 = 16_384.0;

#[derive(Parser)]
#[command(about = "Compares the edge with the least that any server pays")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU time per echoed message.
    Echo(Echo),
    /// CPU time per delivery of one event to many receivers.
    Deliver {
        /// Receivers.
        #[arg(long, default_value_t = 1_000)]
        receivers: usize,
        /// Rounds of each case.
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// Bytes of an event.
        #[arg(long, default_value_t = 128)]
        bytes: usize,
    },
    /// Memory per idle connection.
    Memory(Memory),
    /// The floor by itself.
    Floor {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// The edges to compare.
#[derive(Args)]
struct Edges {
    /// The program `hub-edge`.
    #[arg(long)]
    edge: PathBuf,
    /// A keys folder; `hub-services config keys DIR` makes one.
    #[arg(long)]
    keys: PathBuf,
    /// Engines of the edge.
    #[arg(long, value_delimiter = ',', default_value = "io_uring,epoll")]
    engines: Vec<String>,
}

#[derive(Args)]
struct Echo {
    #[command(flatten)]
    edges: Edges,
    /// Rounds of each case.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

#[derive(Args)]
struct Memory {
    #[command(flatten)]
    edges: Edges,
    /// A folder with dev.crt and dev.key for localhost: measure TLS, too.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Connections at the first and at the second look.
    #[arg(long, num_args = 2, default_values_t = [1_000, 15_000])]
    connections: Vec<usize>,
}

/// A server under measurement; killed when dropped.
struct Server {
    name: String,
    child: Child,
    address: SocketAddr,
    speech: Speech,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(
        name: &str,
        speech: Speech,
        command: impl FnOnce(SocketAddr) -> Result<Command>,
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = command(address)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let server = Self {
            name: name.to_owned(),
            child,
            address,
            speech,
        };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        bail!("{name} does not listen");
    }

    fn floor() -> Result<Self> {
        Self::start("floor", Speech::Raw, |address| {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(std::env::current_exe()?);
            command.args(["floor", "--listen", &address.to_string()]);
            Ok(command)
        })
    }

    fn edge(edges: &Edges, engine: &str, tls: Option<&Path>) -> Result<Self> {
        Self::start(engine, Speech::WebSocket("/echo"), |address| {
            let mut command = Command::new(&edges.edge);
            command.args(["--echo", "--shards", "1", "--listen", &address.to_string()]);
            command.args([
                "--admin",
                &free_address()?.to_string(),
                "--redis",
                "redis://127.0.0.1:1/",
            ]);
            command.arg("--keys").arg(&edges.keys);
            if let Some(tls) = tls {
                command.arg("--tls").arg(tls);
            }
            for (name, value) in [
                ("RING__ENGINE", engine),
                ("LIMITS__MESSAGES_PER_SECOND", "0"),
                ("LIMITS__BYTES_PER_SECOND", "0"),
                ("LIMITS__HANDSHAKES_PER_SECOND", "0"),
                ("LIMITS__PING_MS", "600000"),
                ("LIMITS__IDLE_MS", "1200000"),
                ("LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
                ("DEFLATE__ENABLED", "false"),
            ] {
                command.env(format!("HUB_EDGE__{name}"), value);
            }
            Ok(command)
        })
    }

    /// Nanoseconds of CPU time per message.
    fn measure(&self, load: &mut Load, length: Duration) -> Result<f64> {
        let before = cpu::of_process(self.child.id())?;
        let messages = load.run(length)?;
        let spent = cpu::of_process(self.child.id())? - before;
        let messages = f64::from(u32::try_from(messages)?);
        Ok(Duration::from_nanos(spent).as_secs_f64() * 1e9 / messages)
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Floor { listen } => floor::echo(listen),
        What::Echo(options) => compare(&options),
        What::Deliver {
            receivers,
            rounds,
            bytes,
        } => deliver(receivers, rounds, bytes),
        What::Memory(options) => memory(&options),
    }
}

fn compare(options: &Echo) -> Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(1) {
        core_affinity::set_for_current(*core);
    }
    let mut servers = vec![Server::floor()?];
    for engine in &options.edges.engines {
        servers.push(Server::edge(&options.edges, engine, None)?);
    }
    let length = Duration::from_secs_f64(options.seconds);
    println!(
        "{} connections, {} bytes, {} rounds of {:?}",
        options.connections, options.bytes, options.rounds, length
    );
    println!(
        "{:<12} {:>9} {:>16} {:>14} {:>20}",
        "server", "in flight", "CPU µs/message", "ratio", "(lowest, highest)"
    );
    for in_flight in [1, 16] {
        let shape = Shape {
            connections: options.connections,
            in_flight,
            bytes: options.bytes,
        };
        let mut loads = servers
            .iter()
            .map(|server| Load::open(server.address, server.speech, shape))
            .collect::<Result<Vec<_>>>()?;
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); servers.len()];
        for round in 0..options.rounds {
            for place in 0..servers.len() {
                // Another one begins each round.
                let at = (place + round) % servers.len();
                costs[at].push(servers[at].measure(&mut loads[at], length)?);
            }
        }
        for (server, cost) in servers.iter().zip(&costs) {
            let ratios: Vec<f64> = cost
                .iter()
                .zip(&costs[0])
                .map(|(own, floor)| own / floor)
                .collect();
            let (low, middle, high) = spread(&ratios);
            println!(
                "{:<12} {in_flight:>9} {:>16.3} {middle:>14.3} {:>20}",
                server.name,
                spread(cost).1 / 1_000.0,
                format!("({low:.2}, {high:.2})"),
            );
        }
    }
    Ok(())
}

/// A shard in this process beside a loop of sends.
fn deliver(receivers: usize, rounds: usize, bytes: usize) -> Result<()> {
    println!("{receivers} receivers, {bytes} bytes, {rounds} rounds");
    println!(
        "{:<8} {:>6} {:>17} {:>8} {:>20}",
        "server", "burst", "CPU µs/delivery", "ratio", "(lowest, highest)"
    );
    let sink = Sink::start()?;
    for burst in [1, 16] {
        let mut servers: [(&str, Box<dyn Deliverer>); 2] = [
            ("floor", Box::new(Floor::open(&sink, receivers, burst, bytes)?)),
            ("edge", Box::new(OneShard::open(&sink, receivers, burst, bytes)?)),
        ];
        let mut costs = [Vec::new(), Vec::new()];
        let deliveries = f64::from(u32::try_from(receivers * burst)?);
        for round in 0..=rounds {
            for place in 0..servers.len() {
                let at = (place + round) % servers.len();
                let spent = servers[at].1.deliver(&sink)? as f64 / deliveries;
                // The first round warms up.
                if round > 0 {
                    costs[at].push(spent);
                }
            }
        }
        for ((name, _), cost) in servers.iter().zip(&costs) {
            let ratios: Vec<f64> = cost
                .iter()
                .zip(&costs[0])
                .map(|(own, floor)| own / floor)
                .collect();
            let (low, middle, high) = spread(&ratios);
            let micros = spread(cost).1 / 1_000.0;
            println!(
                "{name:<8} {burst:>6} {micros:>17.3} {middle:>8.3} {:>20}",
                format!("({low:.2}, {high:.2})")
            );
        }
    }
    Ok(())
}

/// What the process and the kernel hold more of, per connection, between two numbers of idle connections.
fn memory(options: &Memory) -> Result<()> {
    let (few, many) = (options.connections[0], options.connections[1]);
    let between = f64::from(u32::try_from(many - few)?);
    println!("{few} and {many} idle connections; bytes per connection");
    println!(
        "{:<10} {:<6} {:>10} {:>24} {:>22}",
        "engine", "TLS", "RSS slope", "RSS with few / capacity", "slab, tables, stacks"
    );
    for tls in [None, options.tls.as_deref()]
        .into_iter()
        .take(1 + usize::from(options.tls.is_some()))
    {
        for engine in &options.edges.engines {
            let server = Server::edge(&options.edges, engine, tls)?;
            let mut idle = Idle::new(server.address, "/echo", tls)?;
            let mut looks = Vec::new();
            // The first connections of a process make its allocator take more than it keeps.
            idle.grow(few)?;
            idle.drop_all();
            for connections in [few, many] {
                std::thread::sleep(Duration::from_secs(2));
                idle.grow(connections)?;
                std::thread::sleep(Duration::from_secs(3));
                looks.push((cpu::resident(server.child.id())?, cpu::kernel()?));
            }
            let slope = |from: u64, to: u64| (to as f64 - from as f64) / between;
            println!(
                "{engine:<10} {:<6} {:>10.0} {:>24.0} {:>22.0}",
                if tls.is_some() { "yes" } else { "no" },
                slope(looks[0].0, looks[1].0),
                looks[0].0 as f64 / CAPACITY,
                slope(looks[0].1, looks[1].1),
            );
        }
    }
    Ok(())
}

/// Lowest, median, highest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}
