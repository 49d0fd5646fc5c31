//! Steps 10 and 11 between the reads and the writes of one transaction: recognises repeats, decides, numbers. Pure:
//! what was loaded under the locks goes in, rows to write and outcomes come out.
//!
//! Invariant: the events of a room that come out have the numbers after its head, without a hole, in the order of
//! the calls; a call that is refused, repeated or changes nothing takes none.

mod apply;
mod invite;
mod member;
pub(super) mod message;
mod outcome;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use hub_protocol::api::room::{self as api, Role};
use hub_protocol::api::setting::Preferences;
use hub_protocol::error::ErrorBody;
use hub_protocol::{Op, RoomId, UserId};
use uuid::Uuid;

use super::command::{Command, Hash, Write, is_rich};
use super::facts::{Facts, Link};
use super::log::LogEvent;
use super::room::{Head, Room};
use super::rules;
use crate::mutants::Mutant;
use crate::service::Outcome;
use message::{MessageRows, Messages};
pub(super) use outcome::marked;
use outcome::repeat;

/// Names one change: unique per room and actor.
pub(super) type OpKey = (RoomId, UserId, Op);

/// The key of a change that is no event.
pub(super) const fn applied_key(actor: UserId, op: Op) -> OpKey {
    (RoomId::NIL, actor, op)
}

/// A change that was applied before.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// It stands in the log; these users may see it.
    Event(LogEvent, Arc<[UserId]>),
    /// It was no event; this was its result.
    Applied(Hash, String),
}

/// What one transaction knows before it decides.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Heads of all rooms touched that exist, locked. A head at 0 belongs to a room that this transaction makes.
    pub(super) heads: HashMap<RoomId, Head>,
    /// The rooms of those heads that are not at 0, as they are under the lock.
    pub(super) rooms: HashMap<RoomId, Arc<Room>>,
    /// Changes of this read that were applied before.
    pub(super) known: HashMap<OpKey, Known>,
    /// What else the calls need.
    pub(super) facts: Facts,
    /// Messages that calls are about.
    pub(super) messages: Messages,
    /// Members that a room takes.
    pub(super) members_max: usize,
}

/// A row of `members`, as it is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MemberRow {
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) role: Role,
    pub(super) from_seq: i64,
    pub(super) to_seq: Option<i64>,
    /// At least this.
    pub(super) read_seq: i64,
}

/// What a room is called and how it is used, as it is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RoomRow {
    pub(super) info: api::Room,
    pub(super) ended: bool,
}

/// Rows of small tables as they are to be; `None`: gone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Rows {
    /// Who is kept out of where, by whom.
    pub(super) bans: BTreeMap<(RoomId, UserId), Option<UserId>>,
    pub(super) links: BTreeMap<(RoomId, Uuid), Option<Link>>,
    pub(super) preferences: BTreeMap<(RoomId, UserId), Preferences>,
    /// Last messages of members in rooms in slow mode, µs since the Unix epoch.
    pub(super) sent: BTreeMap<(RoomId, UserId), i64>,
}

/// A row of `applied_ops`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AppliedRow {
    pub(super) actor: UserId,
    pub(super) op: Op,
    pub(super) hash: Hash,
    pub(super) result: String,
}

/// What a row of `rooms` says about its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LargeRow {
    pub(super) room: RoomId,
    pub(super) is_large: bool,
    pub(super) seq: i64,
    pub(super) op: Op,
}

/// The answer to one call, as far as it is known before the rows are written.
#[derive(Debug)]
pub(super) enum Planned {
    /// Complete.
    Done(Outcome),
    /// A mark: the answer is what stands in the table afterwards.
    Mark {
        room: RoomId,
        user: UserId,
        /// The read mark, not that of what was received.
        is_read: bool,
        /// Who is told if the mark moved.
        receivers: Arc<[UserId]>,
    },
}

/// What one transaction writes and answers.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// One per call, in their order.
    pub(super) planned: Vec<Planned>,
    pub(super) events: Vec<LogEvent>,
    /// Heads that changed, by room.
    pub(super) heads: Vec<(RoomId, Head)>,
    pub(super) members: Vec<MemberRow>,
    /// Rooms that became large, or are so no longer.
    pub(super) large: Vec<LargeRow>,
    /// Wanted marks, by room and user: read, received.
    pub(super) marks: Vec<(RoomId, UserId, i64, i64)>,
    pub(super) messages: MessageRows,
    pub(super) applied: Vec<AppliedRow>,
    /// Rooms that were updated or ended.
    pub(super) updated: Vec<RoomRow>,
    pub(super) rows: Rows,
    /// Rooms after the transaction with their heads, for the cache.
    pub(super) rooms: Vec<(RoomId, Head, Arc<Room>)>,
}

/// Plans one transaction. `now` is µs since the Unix epoch.
pub(super) fn plan(writes: &[Result<Write, ErrorBody>], loaded: Loaded, now: i64) -> Plan {
    let mut planner = Planner {
        now,
        heads: loaded.heads,
        rooms: loaded.rooms,
        known: loaded.known,
        facts: Facts { now, ..loaded.facts },
        messages: loaded.messages,
        updated: HashSet::new(),
        members_max: loaded.members_max,
        changed: HashSet::new(),
        member_rows: HashMap::new(),
        marks: HashMap::new(),
        plan: Plan::default(),
    };
    for write in writes {
        let planned = match write {
            Ok(write) => {
                let before = planner.before(write);
                let planned = planner.decide(write);
                planned.map(|planned| planner.complete(write, before, planned))
            }
            Err(refusal) => Err(refusal.clone()),
        };
        planner
            .plan
            .planned
            .push(planned.unwrap_or_else(|refusal| Planned::Done(Outcome::refused(refusal))));
    }
    planner.finish()
}

pub(super) struct Planner {
    now: i64,
    pub(super) heads: HashMap<RoomId, Head>,
    pub(super) rooms: HashMap<RoomId, Arc<Room>>,
    known: HashMap<OpKey, Known>,
    facts: Facts,
    messages: Messages,
    updated: HashSet<RoomId>,
    changed: HashSet<RoomId>,
    member_rows: HashMap<(RoomId, UserId, i64), MemberRow>,
    marks: HashMap<(RoomId, UserId), (i64, i64)>,
    members_max: usize,
    pub(super) plan: Plan,
}

impl Planner {
    /// What this call led to when it was applied before.
    pub(super) fn find_known(&self, write: &Write) -> Option<&Known> {
        let (op, _hash) = write.op?;
        let event = self.known.get(&(write.room, write.actor, op));
        // Changes that are no events are unique per actor alone, whatever the room.
        event.or_else(|| self.known.get(&applied_key(write.actor, op)))
    }

    fn decide(&mut self, write: &Write) -> Result<Planned, ErrorBody> {
        if let Command::Attach { address, nonce } = write.command {
            return self.attach(write, address, nonce);
        }
        if let Some((_op, hash)) = write.op
            && let Some(known) = self.find_known(write).cloned()
        {
            if Mutant::NumberFirst.is_on()
                && let Some(head) = self.heads.get_mut(&write.room)
            {
                // The fault: the number was taken before it was known that this is a repeat.
                head.seq += 1;
                self.changed.insert(write.room);
            }
            return repeat(&known, hash, &write.command).map(Planned::Done);
        }
        if let Command::Create(create) = &write.command
            && !self.rooms.contains_key(&write.room)
        {
            self.facts.may_create(write.actor, create)?;
        }
        let head = self
            .heads
            .get(&write.room)
            .copied()
            .ok_or_else(rules::no_such_room)?;
        match (&write.command, self.rooms.get(&write.room)) {
            (Command::Create(create), None) => Ok(Planned::Done(self.create(write, create, head))),
            (_, None) => Err(rules::no_such_room()),
            (Command::About(about), Some(room)) => self.about(write, about, head, &Arc::clone(room)),
            (Command::Send(send), Some(room)) if is_rich(send) => {
                self.send_rich(write, send, head, &Arc::clone(room))
            }
            (command, Some(room)) => {
                let room = Arc::clone(room);
                let change = rules::decide(&room, head.seq, write.actor, command, &self.facts)?;
                if change.adds_member() {
                    rules::has_space(&room, self.members_max)?;
                }
                Ok(self.apply(write, head, room, change))
            }
        }
    }

    fn finish(self) -> Plan {
        let mut plan = self.plan;
        plan.heads = self
            .changed
            .iter()
            .map(|room| (*room, self.heads[room]))
            .collect();
        plan.heads.sort_unstable_by_key(|(room, _)| *room);
        plan.members = self.member_rows.into_values().collect();
        // Ended stays before new ones of the same user: at no time he has two open ones.
        plan.members
            .sort_unstable_by_key(|row| (row.room, row.user, row.to_seq.is_none(), row.from_seq));
        plan.marks = self
            .marks
            .into_iter()
            .map(|((room, user), (read, delivered))| (room, user, read, delivered))
            .collect();
        plan.marks.sort_unstable();
        let row = |room: &Arc<Room>| RoomRow {
            info: room.info.clone(),
            ended: room.ended,
        };
        plan.updated = self
            .updated
            .iter()
            .filter_map(|id| self.rooms.get(id).map(row))
            .collect();
        let heads = &self.heads;
        plan.rooms = self
            .rooms
            .into_iter()
            .filter_map(|(id, room)| Some((id, *heads.get(&id)?, room)))
            .collect();
        plan
    }
}
