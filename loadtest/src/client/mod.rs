//! One client of the public protocol, whole and correct: what the harness proves, it proves about this one.
//!
//! Pure: time, randomness and the connection are arguments. [`Client`] is told what happens (a connection opened, a
//! text came, a timer rang) and answers with texts to send, timers to set and notes for the oracle, all of them in
//! [`Context`].
//!
//! ```text
//! Offline ─connected─> Opening ─session.open answered─> Open ─connection lost─> Offline
//! ```

mod catch_up;
mod outbox;
mod room;
mod rule;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use hub_protocol::Op;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::oracle::Recorder;
use crate::stats::Stats;
use crate::units::MS;
use crate::wheel::Wheel;
use crate::world::World;

pub use rule::{Need, Rule, Seen};
pub use session::{Client, Phase};
pub use wire::TEXT_BYTES_MIN;

/// What a timer is for. A room is named by its place in the client's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The connection is to be made, or should have opened its session by now.
    Connect,
    /// Nothing was heard for too long.
    Silence,
    /// The token is to be renewed.
    Token,
    /// `session.open` is to be tried again.
    Open,
    /// A sync is to be started, or its answer is overdue.
    Sync,
    /// A room has a hole that did not close by itself, or its range is overdue.
    Range(u16),
    /// A room's send is to be tried again.
    Outbox(u16),
}

/// A timer of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The client, by its row.
    pub client: u32,
    /// What for.
    pub timer: Timer,
}

/// What a client wants from whoever owns its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Close the connection and make another one after a pause.
    Reconnect,
    /// A new access token; the connection stays as it is.
    Renew,
}

/// Everything that a client touches beside itself.
pub struct Context<'a> {
    /// The time.
    pub now: u64,
    /// Whose turn it is: the client's row.
    pub client: u32,
    /// Users and rooms.
    pub world: &'a World,
    /// Jitter and ops.
    pub rng: &'a mut SmallRng,
    /// Timers.
    pub wheel: &'a mut Wheel<Alarm>,
    /// Notes for the oracle.
    pub recorder: &'a mut Recorder,
    /// Counters and latencies.
    pub stats: &'a mut Stats,
    /// Texts to send on the client's connection, in this order.
    pub texts: &'a mut Vec<String>,
    /// What the client wants beside that.
    pub wishes: &'a mut Vec<Wish>,
}

impl Context<'_> {
    fn set(&mut self, due: u64, timer: Timer) {
        let client = self.client;
        self.wheel.set(due, Alarm { client, timer });
    }

    /// A random part of `span`.
    fn part_of(&mut self, span: u64) -> u64 {
        self.rng.random_range(0..=span)
    }

    /// A pause before the try after `tries` failed ones: exponential, capped, with full jitter above a floor.
    fn pause(&mut self, tries: u32, base_ms: u64, cap_ms: u64) -> u64 {
        let span = base_ms.saturating_mul(1 << tries.min(16)).min(cap_ms) * MS;
        base_ms * MS / 4 + self.part_of(span)
    }

    /// A new op (`UUIDv7`): wall clock for its order, randomness for its uniqueness.
    fn op(&mut self) -> Op {
        let millis = self.world.wall_ms(self.now);
        Op(uuid::Builder::from_unix_timestamp_millis(millis, &self.rng.random()).into_uuid())
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
