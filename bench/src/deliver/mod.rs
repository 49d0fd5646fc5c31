//! Deliveries: one event, or a burst of them, for many receivers. Server and receivers are processes of their own, so
//! that each has the descriptors of a process to itself: the server on the first core, the sink on the second.
//!
//! ```text
//! parent                     server                              sink
//!   starts it           ──>  says `ready PORT THREAD`
//!   starts it           ──────────────────────────────────────>  connects every receiver
//!                            says `open`                         says `open`
//!   `await BYTES`       ──────────────────────────────────────>  reads
//!   `deliver BURST`     ──>  sends to every receiver             says `done` once the bytes are there
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`child`] | a process that is spoken with in lines |
//! | [`server`] | the server's end of the table above: the floor, or a shard |
//! | [`shard`] | a shard with open sessions, and a thread that plays the backbone |
//! | [`sink`] | the receivers |

pub mod child;
pub mod server;
pub mod shard;
pub mod sink;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::cpu;
use child::Child;
use server::ServerOptions;
use sink::SinkOptions;

/// Longer than a turn takes behind its last send: by then the server sleeps, and the scheduler has booked all it ran.
const REST: Duration = Duration::from_millis(5);

/// What serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// A loop that sends the encoded frame to one socket after the other.
    Floor,
    /// A shard on io_uring.
    #[value(name = "io_uring")]
    IoUring,
    /// A shard on epoll.
    Epoll,
}

impl Kind {
    /// As it is called on command lines and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A server and its receivers, all connected.
pub struct Pair {
    /// The server's process.
    pub server: Child,
    /// The sink's process.
    pub sink: Child,
    /// The thread that serves.
    thread: u32,
    receivers: usize,
    frame_bytes: usize,
}

impl Pair {
    /// Starts both and connects them. `wrapper` is a command that runs the server, or nothing.
    pub fn open(wrapper: &[String], server: &ServerOptions, sink: &SinkOptions) -> Result<Self> {
        let receivers = sink.receivers;
        let mut child = Child::start(wrapper, "deliver-server", &server.to_args())?;
        let ready = child.expect("ready")?;
        let (port, thread) = ready.split_once(' ').context("`ready PORT THREAD` is expected")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
        let mut sink = Child::start(&[], "deliver-sink", &sink.to_args(address))?;
        sink.expect("open")?;
        child.expect("open")?;
        Ok(Self {
            server: child,
            sink,
            thread: thread.parse()?,
            receivers,
            frame_bytes: server.frame_bytes(),
        })
    }

    /// Delivers a burst to every receiver and waits until all of it has come; nanoseconds of CPU time of the serving
    /// thread.
    pub fn deliver(&mut self, burst: usize) -> Result<u64> {
        let before = cpu::of_task(self.server.id(), self.thread)?;
        self.sink
            .say(&format!("await {}", self.frame_bytes * burst * self.receivers))?;
        self.server.say(&format!("deliver {burst}"))?;
        self.sink.expect("done")?;
        std::thread::sleep(REST);
        Ok(cpu::of_task(self.server.id(), self.thread)? - before)
    }
}
