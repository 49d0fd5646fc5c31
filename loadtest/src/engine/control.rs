//! What engine threads share with the rest of the run: commands in, a snapshot of their state out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hub_ring::WakeHandle;

use crate::stats::{Counts, Latency};
use crate::units::at;

/// Something that one engine thread has to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// A send is offered.
    Offer {
        /// The sender's row.
        client: u32,
        /// The room's index.
        room: u32,
        /// When it is meant to happen.
        intended: u64,
    },
    /// A token was renewed.
    Token {
        /// The client's row.
        client: u32,
        /// The new token; `None` if the hub refused to renew it.
        token: Option<Arc<str>>,
    },
}

/// What a thread last said about itself.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts since the start.
    pub counts: Counts,
    /// Clients with an open session.
    pub connected: u64,
    /// Clients that were shown everything that they know to exist.
    pub ready: u64,
    /// Clients that still have something to send.
    pub busy: u64,
    /// Ack latencies since they were last taken.
    pub ack_recent: Latency,
}

/// The outside of one engine thread.
#[derive(Debug, Default)]
pub struct Desk {
    // Bound: the pacer's arrivals; they are offered whether or not anything moves, which is what an open loop is.
    commands: Mutex<Vec<Command>>,
    wake: OnceLock<WakeHandle>,
    snapshot: Mutex<Snapshot>,
    unacked: AtomicU64,
    is_stopping: AtomicBool,
}

impl Desk {
    /// Hands commands over and wakes the thread once.
    pub fn give(&self, commands: &mut Vec<Command>) {
        if !commands.is_empty() {
            lock(&self.commands).append(commands);
            self.wake();
        }
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// True if the thread is to end.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Sends that were offered and neither acknowledged nor refused for good.
    pub fn unacked(&self) -> u64 {
        self.unacked.load(Ordering::Relaxed)
    }

    /// The last snapshot, without its latencies.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = lock(&self.snapshot);
        Snapshot {
            ack_recent: Latency::default(),
            ..*snapshot
        }
    }

    /// Takes the latencies since the last call.
    pub fn take_ack_recent(&self) -> Latency {
        std::mem::take(&mut lock(&self.snapshot).ack_recent)
    }

    pub(super) fn set_wake(&self, wake: WakeHandle) {
        // Set once, by the thread itself.
        let _ = self.wake.set(wake);
    }

    pub(super) fn take_commands(&self, into: &mut Vec<Command>) {
        std::mem::swap(&mut *lock(&self.commands), into);
    }

    pub(super) fn set_unacked(&self, unacked: u64) {
        self.unacked.store(unacked, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, mut next: Snapshot) {
        let mut snapshot = lock(&self.snapshot);
        next.ack_recent.merge(&snapshot.ack_recent);
        *snapshot = next;
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The desks of all threads, and which user sits where: user `i` of thread `i % threads`.
#[derive(Clone, Debug)]
pub struct Desks(Arc<[Arc<Desk>]>);

impl Desks {
    /// That many desks.
    pub fn new(threads: u32) -> Self {
        Self((0..threads.max(1)).map(|_| Arc::default()).collect())
    }

    /// How many.
    pub fn threads(&self) -> u32 {
        crate::units::index(self.0.len())
    }

    /// One desk.
    pub fn desk(&self, thread: u32) -> &Arc<Desk> {
        &self.0[at(thread)]
    }

    /// The thread and row of a user.
    pub fn seat(&self, user: u32) -> (u32, u32) {
        (user % self.threads(), user / self.threads())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Desk>> {
        self.0.iter()
    }

    /// Unacknowledged sends of all threads.
    pub fn unacked(&self) -> u64 {
        self.iter().map(|desk| desk.unacked()).sum()
    }

    /// The sum of all snapshots.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for desk in self.iter() {
            let part = desk.snapshot();
            sum.counts.merge(&part.counts);
            sum.connected += part.connected;
            sum.ready += part.ready;
            sum.busy += part.busy;
        }
        sum
    }
}
