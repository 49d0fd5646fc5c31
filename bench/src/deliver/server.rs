//! The server's end: it listens, takes its receivers, and then does what its input says, line by line.
//!
//! | line | does |
//! |---|---|
//! | `deliver BURST` | sends so many events to every receiver |
//! | `stamped` | sends one event that begins with the time on the monotonic clock, [`STAMP_BYTES`] digits |
//! | `counters` | says `counters WAITING SHED CLOSED`: bytes that wait, bumps instead of events, slow ones closed |

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use hub_ring::Engine;
use hub_ws::frame::{Header, Opcode};
use rustix::thread::ClockId;
use rustix::time::clock_gettime;
use socket2::SockRef;

use super::Kind;
use super::shard::OneShard;
use crate::cpu;

/// Digits of the time in a stamped event: nanoseconds of the monotonic clock, which all processes share.
pub const STAMP_BYTES: usize = 20;

/// What a server is to be.
#[derive(Args, Clone, Debug)]
pub struct ServerOptions {
    /// What serves.
    pub kind: Kind,
    /// Receivers that will connect.
    #[arg(long)]
    pub receivers: usize,
    /// Bytes of an event.
    #[arg(long)]
    pub bytes: usize,
    /// So many receivers, the first, get the smallest send buffer of the kernel.
    #[arg(long, default_value_t = 0)]
    pub narrow: usize,
    /// Bytes that may wait for one receiver of a shard; 0 is the default of the product.
    #[arg(long, default_value_t = 0)]
    pub outbound_bytes_max: usize,
}

impl ServerOptions {
    /// The same as arguments.
    pub fn to_args(&self) -> Vec<String> {
        vec![
            self.kind.name().to_owned(),
            format!("--receivers={}", self.receivers),
            format!("--bytes={}", self.bytes),
            format!("--narrow={}", self.narrow),
            format!("--outbound-bytes-max={}", self.outbound_bytes_max),
        ]
    }

    /// Bytes of an event on the wire.
    pub fn frame_bytes(&self) -> usize {
        Header::server(Opcode::Text, self.bytes).as_slice().len() + self.bytes
    }
}

/// The monotonic clock, nanoseconds.
pub fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now)
        .ok()
        .and_then(|now| u64::try_from(now.as_nanos()).ok())
        .expect("a monotonic clock is not negative")
}

/// What can be told to a server.
trait Server {
    /// Sends these events to every receiver.
    fn deliver(&mut self, body: &[u8], burst: usize) -> Result<()>;

    /// Bytes that wait, bumps instead of events, slow ones closed.
    fn counters(&self) -> [u64; 3];
}

/// Serves until its input ends.
pub fn run(options: &ServerOptions) -> Result<()> {
    cpu::pin(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let accept = |number: usize| {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        if number < options.narrow {
            SockRef::from(&socket).set_send_buffer_size(1)?;
        }
        Ok(socket)
    };
    let say_ready = |thread| say(&format!("ready {port} {thread}"));
    let engine = match options.kind {
        Kind::Floor => {
            say_ready(cpu::this_thread())?;
            let sockets = (0..options.receivers).map(accept).collect::<Result<_>>()?;
            return obey(options, &mut Floor { sockets });
        }
        Kind::IoUring => Engine::IoUring,
        Kind::Epoll => Engine::Epoll,
    };
    let mut shard = OneShard::start(engine, options.receivers, options.outbound_bytes_max)?;
    say_ready(shard.thread())?;
    for number in 0..options.receivers {
        shard.open(accept(number)?)?;
    }
    obey(options, &mut shard)
}

fn obey(options: &ServerOptions, server: &mut impl Server) -> Result<()> {
    say("open")?;
    let mut body = vec![b'y'; options.bytes];
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("deliver", burst) => server.deliver(&body, burst.parse()?)?,
            ("stamped", "") => {
                let stamp = format!("{:0STAMP_BYTES$}", clock());
                body.get_mut(..STAMP_BYTES)
                    .context("an event is too short for a stamp")?
                    .copy_from_slice(stamp.as_bytes());
                server.deliver(&body, 1)?;
            }
            ("counters", "") => {
                let [waiting, shed, closed] = server.counters();
                say(&format!("counters {waiting} {shed} {closed}"))?;
            }
            _ => bail!("cannot {line:?}"),
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

/// The floor: no queues, no bounds, blocking where a receiver is slow.
struct Floor {
    sockets: Vec<TcpStream>,
}

impl Server for Floor {
    fn deliver(&mut self, body: &[u8], burst: usize) -> Result<()> {
        let header = Header::server(Opcode::Text, body.len());
        let frames = [header.as_slice(), body].concat().repeat(burst);
        for socket in &mut self.sockets {
            socket.write_all(&frames)?;
        }
        Ok(())
    }

    fn counters(&self) -> [u64; 3] {
        [0; 3]
    }
}

impl Server for OneShard {
    fn deliver(&mut self, body: &[u8], burst: usize) -> Result<()> {
        OneShard::deliver(self, body, burst)
    }

    fn counters(&self) -> [u64; 3] {
        [
            "hub_edge_outbound_bytes",
            "hub_edge_shed_bump_total",
            "hub_edge_closed_slow_total",
        ]
        .map(|name| self.counter(name))
    }
}
