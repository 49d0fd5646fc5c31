//! Servers of echo: `hub-edge` on an engine, and the floor. Each on the first core, as a process of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::floor::Order;
use crate::load::Speech;

/// The edges to compare.
#[derive(Args)]
pub struct Edges {
    /// The program `hub-edge`.
    #[arg(long)]
    pub edge: PathBuf,
    /// A keys folder; `hub-services config keys DIR` makes one.
    #[arg(long)]
    pub keys: PathBuf,
    /// Engines of the edge.
    #[arg(long, value_delimiter = ',', default_value = "io_uring,epoll")]
    pub engines: Vec<String>,
}

/// A server under measurement; killed when dropped.
pub struct Server {
    /// As tables call it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub speech: Speech,
    /// The operators' port, if it has one.
    admin: Option<SocketAddr>,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a command, behind the words of `wrapper`, and waits until it listens.
    fn start(
        name: &str,
        speech: Speech,
        wrapper: &[String],
        program: &Path,
        complete: impl FnOnce(&mut Command, SocketAddr) -> Result<()>,
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = if let [first, rest @ ..] = wrapper {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        } else {
            Command::new(program)
        };
        complete(&mut command, address)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let server = Self {
            name: name.to_owned(),
            child,
            address,
            speech,
            admin: None,
        };
        for _ in 0..2400 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        bail!("{name} does not listen");
    }

    /// The floor; it pins itself.
    pub fn floor(order: Order, wrapper: &[String]) -> Result<Self> {
        let name = match order {
            Order::AtOnce => "floor",
            Order::InTurns => "floor, turns",
        };
        let program = std::env::current_exe()?;
        Self::start(name, Speech::Raw, wrapper, &program, |command, address| {
            command.args(["floor", "--listen", &address.to_string(), "--order"]);
            let order = order.to_possible_value().context("has a name")?;
            command.arg(order.get_name());
            Ok(())
        })
    }

    /// The edge with one shard, which pins itself, and no limits of rates.
    pub fn edge(edges: &Edges, engine: &str, tls: Option<&Path>, wrapper: &[String]) -> Result<Self> {
        let speech = Speech::WebSocket("/echo");
        let admin = free_address()?;
        let mut server = Self::start(engine, speech, wrapper, &edges.edge, |command, address| {
            command.args(["--echo", "--shards", "1", "--listen", &address.to_string()]);
            command.args(["--admin", &admin.to_string()]);
            command.args(["--redis", "redis://127.0.0.1:1/"]);
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
            Ok(())
        })?;
        server.admin = Some(admin);
        Ok(server)
    }

    /// What `/metrics` says of a gauge or counter of its first shard.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.admin.context("the floor counts nothing")?)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .with_context(|| format!("no {name}"))?
            .parse()
            .context("no number")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for that.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(self.child.wait()?)
    }
}

/// An address that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
