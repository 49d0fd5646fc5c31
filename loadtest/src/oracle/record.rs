//! What one thread's clients did and saw. Bound: memory grows with messages, never with deliveries.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hub_protocol::Op;

use super::findings::{Findings, Kind};
use crate::units::{at, index};

/// A time that has not come, a place that is not known.
pub const UNKNOWN: u64 = u64::MAX;

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not answered (yet): stored or not.
    Open,
    /// Stored, says the hub.
    Acked,
    /// Not stored and never will be, says the hub.
    Refused,
    /// Given up after retryable refusals: stored or not.
    GivenUp,
}

/// One offered send.
#[derive(Clone, Copy, Debug)]
pub struct SendRecord {
    /// Its name.
    pub op: Op,
    /// The room's index.
    pub room: u32,
    /// The user's index.
    pub sender: u32,
    /// When it was meant to be sent.
    pub intended: u64,
    /// A moment before its first byte was written, or [`UNKNOWN`].
    pub sent: u64,
    /// A moment after its first answer was read, or [`UNKNOWN`].
    pub acked: u64,
    /// The place that the answer named, or [`UNKNOWN`].
    pub seq: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Names a receiver of one recorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverId(u32);

/// One member on one client.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    /// The user's index.
    pub user: u32,
    /// The room's index.
    pub room: u32,
    /// The last place before the run.
    pub start: u64,
    /// The last place that was shown.
    pub last: u64,
}

/// An event as a client shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The op of the change.
    pub op: Op,
    /// True if its text says that this run wrote it.
    pub is_ours: bool,
}

type Log = HashMap<u64, Shown, FixedState>;

/// The record of one thread.
#[derive(Debug, Default)]
pub struct Recorder {
    pub(super) sends: Vec<SendRecord>,
    pub(super) receivers: Vec<Receiver>,
    /// What was shown at each place, by room; every receiver of the thread is compared with it.
    pub(super) logs: Vec<Log>,
    /// Ranges that a receiver was told to count as seen.
    pub(super) hidden: Vec<(ReceiverId, u64, u64)>,
    pub(super) findings: Findings,
    by_op: HashMap<Op, u32, FixedState>,
}

impl Recorder {
    /// An empty record for that many rooms.
    pub fn new(rooms: usize) -> Self {
        Self {
            logs: vec![Log::default(); rooms],
            ..Self::default()
        }
    }

    /// The sends of this thread.
    pub fn sends(&self) -> &[SendRecord] {
        &self.sends
    }

    /// A send by its index.
    pub fn send(&self, send: u32) -> &SendRecord {
        &self.sends[at(send)]
    }

    /// A send was offered; returns its index.
    pub fn offer(&mut self, room: u32, sender: u32, intended: u64, op: Op) -> u32 {
        let send = index(self.sends.len());
        self.sends.push(SendRecord {
            op,
            room,
            sender,
            intended,
            sent: UNKNOWN,
            acked: UNKNOWN,
            seq: UNKNOWN,
            outcome: Outcome::Open,
        });
        self.by_op.insert(op, send);
        send
    }

    /// It is about to be written. Call before the write.
    pub fn sent(&mut self, send: u32, now: u64) {
        let record = &mut self.sends[at(send)];
        record.sent = record.sent.min(now);
    }

    /// It was answered with its place. Call after the read.
    pub fn acked(&mut self, send: u32, seq: u64, now: u64) {
        let record = &mut self.sends[at(send)];
        if record.seq == UNKNOWN {
            record.seq = seq;
            record.acked = now;
            record.outcome = Outcome::Acked;
        } else if record.seq != seq {
            let record = *record;
            self.findings.add(Kind::AckMoved, || {
                format!(
                    "{} in room {}: answered with {} and with {seq}",
                    record.op, record.room, record.seq
                )
            });
        }
    }

    /// Another answer came for something that had been answered before.
    pub fn acked_again(&mut self, op: Op, seq: u64, now: u64) {
        if let Some(&send) = self.by_op.get(&op) {
            self.acked(send, seq, now);
        }
    }

    /// It was refused for good.
    pub fn refused(&mut self, send: u32) {
        self.sends[at(send)].outcome = Outcome::Refused;
    }

    /// It will not be tried again, and nobody knows.
    pub fn given_up(&mut self, send: u32) {
        self.sends[at(send)].outcome = Outcome::GivenUp;
    }

    /// A receiver starts behind `start`.
    pub fn join(&mut self, user: u32, room: u32, start: u64) -> ReceiverId {
        let id = ReceiverId(index(self.receivers.len()));
        self.receivers.push(Receiver {
            user,
            room,
            start,
            last: start,
        });
        id
    }

    /// A receiver shows an event.
    pub fn shown(&mut self, receiver: ReceiverId, seq: u64, shown: Shown) {
        self.advance(receiver, seq, seq);
        let Receiver { user, room, .. } = self.receivers[at(receiver.0)];
        let known = *self.logs[at(room)].entry(seq).or_insert(shown);
        if known.op != shown.op {
            self.findings.add(Kind::Diverged, || {
                format!(
                    "room {room} at {seq}: user {user} saw {}, another {}",
                    shown.op, known.op
                )
            });
        }
    }

    /// A receiver counts a range as seen that it was not shown.
    pub fn hidden(&mut self, receiver: ReceiverId, from: u64, to: u64) {
        self.advance(receiver, from, to);
        self.hidden.push((receiver, from, to));
    }

    /// A text of this run came back changed.
    pub fn corrupt(&mut self, room: u32, seq: u64, op: Op) {
        self.findings.add(Kind::Corrupt, || {
            format!("room {room} at {seq}: the text of {op}")
        });
    }

    fn advance(&mut self, receiver: ReceiverId, from: u64, to: u64) {
        let receiver = &mut self.receivers[at(receiver.0)];
        let Receiver { user, room, last, .. } = *receiver;
        receiver.last = last.max(to);
        if from <= last {
            self.findings.add(Kind::ShownTwice, || {
                format!("room {room}, user {user}: {from} after {last}")
            });
        } else if from > last + 1 {
            self.findings.add(Kind::Gap, || {
                format!("room {room}, user {user}: {from} after {last}")
            });
        }
    }
}

impl ReceiverId {
    pub(super) fn at(self) -> usize {
        at(self.0)
    }

    /// The same receiver in a list with so many others in front.
    pub(super) fn shifted(self, by: usize) -> Self {
        Self(self.0 + index(by))
    }
}
