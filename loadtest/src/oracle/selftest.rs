//! An oracle that finds nothing proves nothing: a clean history, one broken in every way, and each must be found.

use hub_protocol::Op;
use uuid::Uuid;

use super::findings::{Findings, Kind};
use super::judge::{Expect, Stored, StoredRoom, judge};
use super::record::{ReceiverId, Recorder, Shown};
use crate::units::{at, index};

const ROOMS: u32 = 3;
const USERS: u32 = 4;
const MESSAGES: u64 = 20;
/// Where the rooms stand before the run.
const START: u64 = 5;
/// The message that is tampered with: its place, and the one behind it.
const VICTIM: u64 = START + 10;
const THREADS: usize = 2;

/// One seeded violation, or none.
#[derive(Debug)]
pub struct Trial {
    /// What was seeded; `None` is the clean history.
    pub seeded: Option<Kind>,
    /// What the oracle said.
    pub findings: Findings,
}

impl Trial {
    /// True if the oracle said what it should: the seeded kind, or nothing about the clean history.
    pub fn is_passed(&self) -> bool {
        match self.seeded {
            None => self.findings.is_clean(),
            Some(kind) => self.findings.count(kind) > 0,
        }
    }
}

/// Runs the clean history and every violation.
pub fn self_test() -> Vec<Trial> {
    let kinds = Kind::ALL.iter().map(|kind| Some(*kind));
    std::iter::once(None)
        .chain(kinds)
        .map(|seeded| Trial {
            seeded,
            findings: Story::new(seeded).tell(),
        })
        .collect()
}

/// A run in which, room by room and message by message, users in turn send, all are shown, and the sender is
/// answered. `seeded` changes one thing in room 0.
struct Story {
    seeded: Option<Kind>,
    threads: Vec<Recorder>,
    /// By room and user.
    receivers: Vec<Vec<ReceiverId>>,
    stored: Stored,
    clock: u64,
    quiet_reconnects: u64,
}

impl Story {
    fn new(seeded: Option<Kind>) -> Self {
        let mut threads: Vec<Recorder> = (0..THREADS).map(|_| Recorder::new(at(ROOMS))).collect();
        let receivers = (0..ROOMS).map(|room| {
            (0..USERS)
                .map(|user| threads[thread(user)].join(user, room, START))
                .collect()
        });
        let receivers = receivers.collect();
        let room = StoredRoom {
            head: START,
            events: START,
            last: START,
            log: Vec::new(),
        };
        let stored = Stored {
            rooms: vec![room; at(ROOMS)],
        };
        Self {
            seeded,
            threads,
            receivers,
            stored,
            clock: 1,
            quiet_reconnects: 0,
        }
    }

    fn tell(mut self) -> Findings {
        if self.seeded != Some(Kind::NothingProven) {
            for room in 0..ROOMS {
                let mut seq = START + 1;
                while seq <= START + MESSAGES {
                    if self.seeded == Some(Kind::SenderOrder) && room == 0 && seq == VICTIM + 1 {
                        self.swapped(room, seq);
                        seq += 2;
                    } else {
                        self.message(room, seq);
                        seq += 1;
                    }
                }
            }
        }
        self.tamper_with_stored();
        match self.seeded {
            Some(Kind::TooFewAcked) => {
                for _ in 0..5 {
                    self.offer(1, 0);
                }
            }
            Some(Kind::QuietReconnect) => self.quiet_reconnects = 1,
            Some(Kind::RefusedStored) => {
                let op = self.stored.rooms[0].log[3].1;
                let send = index(
                    self.threads[0]
                        .sends
                        .iter()
                        .position(|send| send.op == op)
                        .unwrap_or(0),
                );
                self.threads[0].refused(send);
            }
            _ => {}
        }
        let expect = Expect {
            acked_share_min: 0.95,
            quiet_reconnects: self.quiet_reconnects,
        };
        judge(self.threads, Some(&self.stored), expect)
    }

    fn offer(&mut self, room: u32, user: u32) -> (u32, Op) {
        self.clock += 10;
        let op = Op(Uuid::from_u128((u128::from(room) << 64) | u128::from(self.clock)));
        (self.threads[thread(user)].offer(room, user, self.clock, op), op)
    }

    /// The message at `seq`, whole: offered, sent, stored, shown to all, acknowledged.
    fn message(&mut self, room: u32, seq: u64) {
        let user = u32::from(seq.is_multiple_of(5));
        let (send, op) = self.offer(room, user);
        self.place(room, user, send, op, seq);
    }

    /// Two messages that one sender has under way at once, in the other order.
    fn swapped(&mut self, room: u32, seq: u64) {
        let first = self.offer(room, 0);
        let second = self.offer(room, 0);
        self.threads[0].sent(first.0, self.clock);
        self.place(room, 0, second.0, second.1, seq);
        self.place(room, 0, first.0, first.1, seq + 1);
    }

    fn place(&mut self, room: u32, user: u32, send: u32, op: Op, seq: u64) {
        let is_victim = room == 0 && seq == VICTIM;
        let seeded = self.seeded.filter(|_| is_victim);
        let sent = if seeded == Some(Kind::RealTimeOrder) {
            self.clock + 10_000
        } else {
            self.clock
        };
        self.threads[thread(user)].sent(send, sent);
        self.clock += 10;
        let stored = &mut self.stored.rooms[at(room)];
        stored.log.push((seq, op));
        stored.head = seq;
        stored.last = seq;
        stored.events = seq;
        for receiver in 0..USERS {
            self.show(room, receiver, seq, op, seeded);
        }
        self.clock += 10;
        let (now, recorder) = (self.clock, &mut self.threads[thread(user)]);
        match seeded {
            Some(Kind::AckMoved) => recorder.acked(send, seq + 1, now),
            Some(Kind::Phantom) => {
                // As if it had never been sent.
                recorder.acked(send, seq, now);
                recorder.sends[at(send)].op = Op(Uuid::from_u128(1));
            }
            _ => recorder.acked(send, seq, now),
        }
    }

    fn show(&mut self, room: u32, user: u32, seq: u64, op: Op, seeded: Option<Kind>) {
        let id = self.receivers[at(room)][at(user)];
        let recorder = &mut self.threads[thread(user)];
        let shown = Shown { op, is_ours: true };
        let is_witness = user == USERS - 1;
        match seeded.filter(|_| is_witness) {
            Some(Kind::Unseen) => recorder.hidden(id, seq, seq),
            Some(Kind::Gap) => {}
            Some(Kind::ShownTwice) => {
                recorder.shown(id, seq, shown);
                recorder.shown(id, seq, shown);
            }
            Some(Kind::Diverged) => {
                recorder.shown(
                    id,
                    seq,
                    Shown {
                        op: Op(Uuid::from_u128(2)),
                        is_ours: false,
                    },
                );
            }
            Some(Kind::Corrupt) => {
                recorder.corrupt(room, seq, op);
                recorder.shown(id, seq, shown);
            }
            _ => {
                let is_last = room == 0 && seq == START + MESSAGES;
                if !(self.seeded == Some(Kind::HeadMissing) && is_last && is_witness) {
                    let op = if seeded == Some(Kind::OpTwice) {
                        self.stored.rooms[0].log[0].1
                    } else {
                        op
                    };
                    recorder.shown(id, seq, Shown { op, is_ours: true });
                }
            }
        }
    }

    fn tamper_with_stored(&mut self) {
        let room = &mut self.stored.rooms[0];
        let victim = room.log.iter().position(|(seq, _)| *seq == VICTIM);
        let (Some(seeded), Some(victim)) = (self.seeded, victim) else {
            return;
        };
        match seeded {
            Kind::Lost | Kind::StoredDiffers => room.log[victim].1 = Op(Uuid::from_u128(3)),
            Kind::StoredTwice => room.log[victim].1 = room.log[victim - 1].1,
            Kind::StoredGap => {
                room.log.remove(victim);
                room.events -= 1;
            }
            _ => {}
        }
    }
}

/// Users are spread over threads by parity, except that users 0 and 1 share the first.
fn thread(user: u32) -> usize {
    usize::from(user >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seeded_violation_is_found_and_the_clean_history_is_clean() {
        let trials = self_test();
        assert_eq!(trials.len(), Kind::ALL.len() + 1);
        for trial in trials {
            assert!(trial.is_passed(), "{:?}: {}", trial.seeded, trial.findings);
        }
    }

    #[test]
    fn a_violation_that_one_kind_describes_is_not_found_as_everything() {
        for trial in self_test() {
            let kinds = trial.findings.iter().count();
            assert!(kinds <= 5, "{:?}: {}", trial.seeded, trial.findings);
        }
    }
}
