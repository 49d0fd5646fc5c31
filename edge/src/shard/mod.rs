//! Steps 4 to 7 and 13 to 16: one pinned core with its connections, its data ring and its state.
//!
//! [`Shard`] is the handle that accept and HTTP tasks of the same thread use; [`Shard::run`] is the loop. Everything
//! happens in turns: mailbox, completions, receive, parse, act, encode, one send per touched connection, submit.
//!
//! | module | holds |
//! |---|---|
//! | `core` | the turn: the ring and everything that it moves |
//! | `world` | what a shard knows: table, uplink, counters; queues frames, opens and closes |
//! | `inbound` | bytes of clients → requests, echo, control frames |
//! | `downlink` | the backbone's items → frames and answers |
//! | `rooms`, `attach` | who takes the events of large rooms; pure, and with calls and frames |
//! | `fanout` | a frame is encoded once for all its receivers |
//! | `tls` | ciphertext of a connection on the ring |
//! | `timers`, `drain` | deadlines, pings, sweeps; the orderly end |
//! | `meter` | what turns cost |
//! | `memory` | who goes when the process is above its memory ceiling |
//! | `table`, `call` | rows |

mod attach;
#[cfg(test)]
mod budget;
mod call;
mod core;
mod downlink;
mod drain;
mod fanout;
mod inbound;
mod memory;
mod meter;
mod presence;
mod rooms;
mod table;
mod timers;
mod tls;
mod world;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hub_protocol::seal::Sealer;
use hub_ring::{SetupError, WakeHandle};
use hub_ws::Deflate;
use monoio::net::TcpStream;
use thiserror::Error;

use crate::admission::Ticket;
use crate::auth::{Caller, Verifier};
use crate::bucket::Rate;
use crate::counters::SharedCounters;
use crate::mailbox::MailboxEnd;
use crate::memory::Memory;
use crate::tls::Session;
use crate::uplink::UplinkLimits;
use crate::wheel::TICK_MS;
use core::Core;

pub use call::Answer;

/// Turns in a row before the runtime may do its other work.
const TURNS_MAX: usize = 64;

/// What a shard is told by its node.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Its number on the node.
    pub index: u16,
    /// Sizes of the data ring.
    pub ring: hub_ring::Config,
    /// Bounds of the uplink.
    pub uplink: UplinkLimits,
    /// One message of a client, bytes.
    pub message_bytes_max: usize,
    /// Bytes that may wait for one connection.
    pub outbound_bytes_max: usize,
    /// Bytes that may wait for all of them.
    pub outbound_shard_bytes_max: usize,
    /// Compression of what is sent.
    pub deflate: DeflateSettings,
    /// How many messages a connection may send.
    pub rate: Rate,
    /// And how many bytes.
    pub byte_rate: Rate,
    /// The memory ceiling of the process.
    pub memory: Arc<Memory>,
    /// Deadline of a message from its first byte; zero is off.
    pub message: Duration,
    /// Deadline of `session.open`.
    pub session_open: Duration,
    /// Silence after which a connection is pinged.
    pub ping: Duration,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// How long a call over HTTP waits.
    pub call_wait: Duration,
    /// The window that clients are given to move when the node drains.
    pub drain: Duration,
}

/// When and how hard frames are compressed, for clients that negotiated it.
#[derive(Clone, Copy, Debug)]
pub struct DeflateSettings {
    /// Whether permessage-deflate is negotiated.
    pub enabled: bool,
    /// 2 is fast, 9 is small.
    pub level: u32,
    /// Shorter messages are sent as they are.
    pub bytes_min: usize,
}

/// What a connection is for, and what was agreed on in its handshake.
#[derive(Debug)]
pub struct Agreed {
    /// What it is for.
    pub mode: Mode,
    /// Compression.
    pub deflate: Option<Deflate>,
    /// The keys, if it is encrypted.
    pub tls: Option<Box<Session>>,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The client protocol.
    Chat,
    /// Every message comes back.
    Echo,
}

/// A shard cannot start, or cannot go on.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The data ring cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The kernel refused what it must not refuse.
    #[error("data ring: {0}")]
    Io(#[from] io::Error),
}

/// A socket was not taken over; it is closed.
#[derive(Debug, Error)]
pub enum Refused {
    /// Every slot of the table is in use.
    #[error("the shard is full")]
    Full,
    /// The shard or the node drains.
    #[error("the shard drains")]
    Draining,
    /// The kernel refused.
    #[error("cannot take the socket over: {0}")]
    Attach(#[from] hub_ring::AttachError),
}

/// One reading of both clocks, taken once per turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For measuring.
    pub(crate) at: Instant,
    /// Milliseconds since the shard's start; never goes back.
    pub(crate) ms: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) wall_us: i64,
}

impl Now {
    /// Seconds since the Unix epoch.
    pub(crate) fn wall_s(self) -> u64 {
        u64::try_from(self.wall_us / 1_000_000).unwrap_or(0)
    }

    /// Minutes since the Unix epoch, for sealing.
    pub(crate) fn minute(self) -> u32 {
        u32::try_from(self.wall_s() / 60).unwrap_or(u32::MAX)
    }
}

/// A shard, for tasks of its own thread.
#[derive(Clone)]
pub struct Shard {
    core: Rc<RefCell<Core>>,
    /// An eventfd is no socket; the stream is only used to wait until it is readable. It is opened before clients are
    /// let in, who may take the last descriptor.
    event: Rc<TcpStream>,
    wake: WakeHandle,
    start: Instant,
}

impl Shard {
    /// Makes the shard and its data ring on the calling thread.
    pub fn new(
        settings: ShardSettings,
        verifier: Arc<Verifier>,
        sealer: Arc<Sealer>,
        mailbox: MailboxEnd,
        shared: Arc<SharedCounters>,
    ) -> Result<Self, ShardError> {
        let core = Core::new(settings, verifier, sealer, mailbox, shared)?;
        let wake = core.wake_handle();
        let event = TcpStream::from_std(StdStream::from(core.event_fd()?))?;
        Ok(Self {
            event: Rc::new(event),
            core: Rc::new(RefCell::new(core)),
            wake,
            start: Instant::now(),
        })
    }

    /// Takes an upgraded socket over. `early` are bytes that came behind the request head; `caller` is who the
    /// upgrade's `Authorization` header named.
    pub fn adopt(
        &self,
        socket: OwnedFd,
        early: &[u8],
        caller: Option<Caller>,
        agreed: Agreed,
        ticket: Ticket,
    ) -> Result<(), Refused> {
        let result = self
            .core
            .borrow_mut()
            .adopt(socket, early, caller, (agreed, ticket), self.now());
        self.wake.wake();
        result
    }

    /// Makes a call for an HTTP client at a network address and waits for its answer.
    ///
    /// # Cancel safety
    /// Safe to drop: the outcome is then unknown to the client, as without an answer.
    pub async fn call(&self, caller: Option<Caller>, address: IpAddr, body: Vec<u8>) -> Answer {
        let started = self
            .core
            .borrow_mut()
            .start_call(caller, address, &body, self.now());
        self.wake.wake();
        match started {
            Ok(call) => call.wait().await,
            Err(answer) => answer,
        }
    }

    /// Connections and calls in the table.
    pub fn connections(&self) -> u32 {
        self.core.borrow().connections()
    }

    /// True while every slot of the table is in use.
    pub fn is_full(&self) -> bool {
        self.core.borrow().is_full()
    }

    /// True while no connection is taken.
    pub fn is_draining(&self) -> bool {
        self.core.borrow().is_draining()
    }

    /// True once the node ends: no connection is taken any more.
    pub fn is_ending(&self) -> bool {
        self.core.borrow().is_ending()
    }

    /// Runs the shard until it is drained.
    ///
    /// # Cancel safety
    /// Not to be dropped before it returns: it waits on a kernel operation.
    pub async fn run(&self) -> Result<(), ShardError> {
        let ticker = self.clone();
        monoio::spawn(async move { ticker.tick().await });
        loop {
            if self.turns()? {
                // More than one helping: let accept and HTTP tasks have theirs.
                self.wake.wake();
            }
            if self.core.borrow().is_drained() {
                return Ok(());
            }
            self.event.readable(false).await?;
        }
    }

    /// Turns until there is nothing to do; true if there still is after [`TURNS_MAX`].
    fn turns(&self) -> Result<bool, ShardError> {
        let mut core = self.core.borrow_mut();
        core.clear_wake();
        let mut now = self.now();
        for _ in 0..TURNS_MAX {
            let has_more = core.turn(now)?;
            let end = self.now();
            core.measure(now, end);
            now = end;
            if !has_more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn tick(&self) {
        while !self.core.borrow().is_drained() {
            monoio::time::sleep(Duration::from_millis(TICK_MS)).await;
            self.wake.wake();
        }
    }

    fn now(&self) -> Now {
        let at = Instant::now();
        let ms = u64::try_from((at - self.start).as_millis()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            at,
            ms,
            wall_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}
