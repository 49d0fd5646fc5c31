//! The end of a run: all records and the database beside each other.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hub_protocol::Op;

use super::findings::{Findings, Kind};
use super::record::{Outcome, Receiver, Recorder, SendRecord, Shown};
use crate::units::{at, count, share};

/// What the database holds of one room.
#[derive(Clone, Debug, Default)]
pub struct StoredRoom {
    /// The head.
    pub head: u64,
    /// Number of events in the room's log, from its beginning.
    pub events: u64,
    /// The last place in the log.
    pub last: u64,
    /// The events after the run's start, ascending.
    pub log: Vec<(u64, Op)>,
}

/// What the database holds, by room index.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// One entry per room of the run.
    pub rooms: Vec<StoredRoom>,
}

/// What a run must reach to prove something.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Share of the offered sends that must be acknowledged.
    pub acked_share_min: f64,
    /// Reconnects of receivers in the quiet time.
    pub quiet_reconnects: u64,
}

type ByOp = HashMap<Op, (u32, u64), FixedState>;

/// Checks everything that one thread alone cannot see. Without the database its part is left out.
pub fn judge(recorders: Vec<Recorder>, stored: Option<&Stored>, expect: Expect) -> Findings {
    let mut all = Recorder::default();
    for recorder in recorders {
        merge(&mut all, recorder);
    }
    let mut findings = std::mem::take(&mut all.findings);
    expectations(&all, expect, &mut findings);
    let places = places(&all, &mut findings);
    acks_against_logs(&all, &mut findings);
    receivers(&all, stored, &mut findings);
    orders(&all.sends, &mut findings);
    phantoms(&all, &mut findings);
    if let Some(stored) = stored {
        database(&all, stored, &places, &mut findings);
    }
    findings
}

/// Puts the record of another thread into `all`; where both saw a place they must have seen the same.
fn merge(all: &mut Recorder, other: Recorder) {
    if all.logs.len() < other.logs.len() {
        all.logs.resize_with(other.logs.len(), HashMap::default);
    }
    let before = all.receivers.len();
    for (room, log) in other.logs.into_iter().enumerate() {
        for (seq, shown) in log {
            let known = *all.logs[room].entry(seq).or_insert(shown);
            if known.op != shown.op {
                let example = || format!("room {room} at {seq}: {} and {}", known.op, shown.op);
                all.findings.add(Kind::Diverged, example);
            }
        }
    }
    all.sends.extend(other.sends);
    all.receivers.extend(other.receivers);
    all.hidden.extend(
        other
            .hidden
            .into_iter()
            .map(|(id, from, to)| (id.shifted(before), from, to)),
    );
    all.findings.merge(other.findings);
}

fn expectations(all: &Recorder, expect: Expect, findings: &mut Findings) {
    let offered = count(all.sends.len());
    let acked = count(
        all.sends
            .iter()
            .filter(|send| send.outcome == Outcome::Acked)
            .count(),
    );
    let reached = share(acked, offered);
    if reached < expect.acked_share_min {
        findings.add(Kind::TooFewAcked, || {
            format!(
                "{acked} of {offered}, {:.2} % where {:.0} % are needed",
                reached * 100.0,
                expect.acked_share_min * 100.0
            )
        });
    }
    for _ in 0..expect.quiet_reconnects {
        findings.add(Kind::QuietReconnect, || {
            "a client reconnected after the last send was answered".to_owned()
        });
    }
    let shown = all
        .receivers
        .iter()
        .any(|receiver| receiver.last > receiver.start);
    if acked == 0 || !shown {
        findings.add(Kind::NothingProven, || {
            format!("{acked} acknowledged, {} receivers", all.receivers.len())
        });
    }
}

/// Where each op was shown; at two places is one too many.
fn places(all: &Recorder, findings: &mut Findings) -> ByOp {
    let mut places = ByOp::default();
    for (room, log) in (0_u32..).zip(&all.logs) {
        for (&seq, shown) in log {
            if let Some((other_room, other_seq)) = places.insert(shown.op, (room, seq)) {
                let example = || {
                    format!(
                        "{} in room {other_room} at {other_seq} and in room {room} at {seq}",
                        shown.op
                    )
                };
                findings.add(Kind::OpTwice, example);
            }
        }
    }
    places
}

fn acked(sends: &[SendRecord]) -> impl Iterator<Item = &SendRecord> {
    sends.iter().filter(|send| send.outcome == Outcome::Acked)
}

fn acks_against_logs(all: &Recorder, findings: &mut Findings) {
    for send in acked(&all.sends) {
        let SendRecord { op, room, seq, .. } = *send;
        if let Some(shown) = all.logs[at(room)].get(&seq).filter(|shown| shown.op != op) {
            findings.add(Kind::AckMoved, || {
                format!(
                    "room {room} at {seq}: {op} was acknowledged, {} was shown",
                    shown.op
                )
            });
        }
    }
}

/// Everybody has the end of every room, and nothing acknowledged was withheld.
fn receivers(all: &Recorder, stored: Option<&Stored>, findings: &mut Findings) {
    let mut heads = vec![0_u64; all.logs.len()];
    for (head, log) in heads.iter_mut().zip(&all.logs) {
        *head = log.keys().copied().max().unwrap_or(0);
    }
    let mut acked_ops: Vec<HashMap<u64, Op, FixedState>> = vec![HashMap::default(); heads.len()];
    for send in acked(&all.sends) {
        let room = at(send.room);
        heads[room] = heads[room].max(send.seq);
        acked_ops[room].insert(send.seq, send.op);
    }
    if let Some(stored) = stored {
        for (head, room) in heads.iter_mut().zip(&stored.rooms) {
            *head = (*head).max(room.head);
        }
    }
    for receiver in &all.receivers {
        let Receiver { user, room, last, .. } = *receiver;
        let head = heads[at(room)];
        if last < head {
            findings.add(Kind::HeadMissing, || {
                format!("room {room}, user {user}: has {last} of {head}")
            });
        }
    }
    for &(id, from, to) in &all.hidden {
        let Receiver { user, room, .. } = all.receivers[id.at()];
        for (seq, op) in &acked_ops[at(room)] {
            if (from..=to).contains(seq) {
                findings.add(Kind::Unseen, || {
                    format!("room {room} at {seq}: {op} was hidden from user {user}")
                });
            }
        }
    }
}

/// Per sender: his own order. Per room: acknowledged before sent means before in the log.
fn orders(sends: &[SendRecord], findings: &mut Findings) {
    let mut last: HashMap<(u32, u32), u64, FixedState> = HashMap::default();
    let mut rooms: HashMap<u32, Vec<&SendRecord>, FixedState> = HashMap::default();
    for send in acked(sends) {
        let before = last.insert((send.room, send.sender), send.seq);
        if let Some(before) = before.filter(|&before| before >= send.seq) {
            findings.add(Kind::SenderOrder, || {
                format!(
                    "room {}, user {}: {} after {before}",
                    send.room, send.sender, send.seq
                )
            });
        }
        rooms.entry(send.room).or_default().push(send);
    }
    for (room, mut sends) in rooms {
        sends.sort_unstable_by_key(|send| send.seq);
        // The latest start of a send among those with a smaller place.
        let mut latest_sent = 0;
        for send in sends {
            if send.acked < latest_sent {
                findings.add(Kind::RealTimeOrder, || {
                    format!(
                        "room {room} at {}: {} was acknowledged before one in front of it was sent",
                        send.seq, send.op
                    )
                });
            }
            latest_sent = latest_sent.max(send.sent);
        }
    }
}

fn phantoms(all: &Recorder, findings: &mut Findings) {
    let sent: hashbrown::HashSet<Op, FixedState> = all.sends.iter().map(|send| send.op).collect();
    for (room, log) in all.logs.iter().enumerate() {
        for (seq, Shown { op, .. }) in log
            .iter()
            .filter(|(_, shown)| shown.is_ours && !sent.contains(&shown.op))
        {
            findings.add(Kind::Phantom, || format!("room {room} at {seq}: {op}"));
        }
    }
}

fn database(all: &Recorder, stored: &Stored, places: &ByOp, findings: &mut Findings) {
    let mut by_op = ByOp::default();
    for (index, room) in (0_u32..).zip(&stored.rooms) {
        if room.events != room.head || room.last != room.head {
            findings.add(Kind::StoredGap, || {
                format!(
                    "room {index}: {} events up to {}, the head says {}",
                    room.events, room.last, room.head
                )
            });
        }
        for pair in room.log.windows(2) {
            if pair[1].0 != pair[0].0 + 1 {
                findings.add(Kind::StoredGap, || {
                    format!("room {index}: {} after {}", pair[1].0, pair[0].0)
                });
            }
        }
        let seen = &all.logs[at(index)];
        for &(seq, op) in &room.log {
            if let Some((other, other_seq)) = by_op.insert(op, (index, seq)) {
                findings.add(Kind::StoredTwice, || {
                    format!("{op} in room {other} at {other_seq} and in room {index} at {seq}")
                });
            }
            if let Some(shown) = seen.get(&seq).filter(|shown| shown.op != op) {
                findings.add(Kind::StoredDiffers, || {
                    format!("room {index} at {seq}: {op} is stored, {} was shown", shown.op)
                });
            }
        }
    }
    for (op, (room, seq)) in places {
        if !by_op.contains_key(op) {
            findings.add(Kind::StoredDiffers, || {
                format!("room {room} at {seq}: {op} was shown and is not stored")
            });
        }
    }
    for send in &all.sends {
        let SendRecord { op, room, seq, .. } = *send;
        let found = by_op.get(&op);
        match (send.outcome, found) {
            (Outcome::Acked, None) => {
                findings.add(Kind::Lost, || format!("room {room} at {seq}: {op}"));
            }
            (Outcome::Acked, Some(&place)) if place != (room, seq) => findings.add(Kind::AckMoved, || {
                format!(
                    "{op}: acknowledged in room {room} at {seq}, stored in room {} at {}",
                    place.0, place.1
                )
            }),
            (Outcome::Refused, Some((_, seq))) => {
                findings.add(Kind::RefusedStored, || format!("room {room} at {seq}: {op}"));
            }
            (Outcome::Acked | Outcome::Open | Outcome::GivenUp, _) | (Outcome::Refused, None) => {}
        }
    }
}
