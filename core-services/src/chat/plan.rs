//! Steps 10 and 11 between the reads and the writes of one transaction: recognises repeats, decides, numbers. Pure:
//! what was loaded under the locks goes in, rows to write and outcomes come out.
//!
//! Invariant: the events of a room that come out have the numbers after its head, without a hole, in the order of
//! the calls; a call that is refused, repeated or changes nothing takes none.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use hub_protocol::api::event::{Event, Kind, READ, ReadData};
use hub_protocol::api::message::ReadMark;
use hub_protocol::api::room::{self as api, Changed, Created, Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Op, RoomId, UserId};

use super::command::{Command, Hash, Write, initial_members};
use super::log::{LogEvent, created_body, member_body};
use super::room::{Head, Room, Stay};
use super::rules::{self, Change};
use crate::call::{json, refuse};
use crate::mutants::Mutant;
use crate::service::{Delivery, Outcome};

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
    /// Accounts that exist, of those that are named in the calls.
    pub(super) users: HashSet<UserId>,
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

/// A row of `applied_ops`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AppliedRow {
    pub(super) actor: UserId,
    pub(super) op: Op,
    pub(super) hash: Hash,
    pub(super) result: String,
}

/// The answer to one call, as far as it is known before the rows are written.
#[derive(Debug)]
pub(super) enum Planned {
    /// Complete.
    Done(Outcome),
    /// A read mark: the answer is what stands in the table afterwards.
    Mark {
        room: RoomId,
        user: UserId,
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
    /// Wanted read marks, by room and user.
    pub(super) marks: Vec<(RoomId, UserId, i64)>,
    pub(super) applied: Vec<AppliedRow>,
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
        users: loaded.users,
        changed: HashSet::new(),
        member_rows: HashMap::new(),
        marks: HashMap::new(),
        plan: Plan::default(),
    };
    for write in writes {
        let planned = match write {
            Ok(write) => planner.decide(write),
            Err(refusal) => Err(refusal.clone()),
        };
        planner
            .plan
            .planned
            .push(planned.unwrap_or_else(|refusal| Planned::Done(Outcome::refused(refusal))));
    }
    planner.finish()
}

struct Planner {
    now: i64,
    heads: HashMap<RoomId, Head>,
    rooms: HashMap<RoomId, Arc<Room>>,
    known: HashMap<OpKey, Known>,
    users: HashSet<UserId>,
    changed: HashSet<RoomId>,
    member_rows: HashMap<(RoomId, UserId, i64), MemberRow>,
    marks: HashMap<(RoomId, UserId), i64>,
    plan: Plan,
}

impl Planner {
    fn decide(&mut self, write: &Write) -> Result<Planned, ErrorBody> {
        if let Some((op, hash)) = write.op {
            let event = self.known.get(&(write.room, write.actor, op));
            // Changes that are no events are unique per actor alone, whatever the room.
            if let Some(known) = event.or_else(|| self.known.get(&applied_key(write.actor, op))) {
                if Mutant::NumberFirst.is_on()
                    && let Some(head) = self.heads.get_mut(&write.room)
                {
                    // The fault: the number was taken before it was known that this is a repeat.
                    head.seq += 1;
                    self.changed.insert(write.room);
                }
                return repeat(known, hash).map(Planned::Done);
            }
        }
        if let Command::Create(create) = &write.command
            && !self.rooms.contains_key(&write.room)
            && !create
                .members
                .iter()
                .chain([&write.actor])
                .all(|user| self.users.contains(user))
        {
            return Err(refuse(ErrorCode::NotFound, "no such user"));
        }
        let head = self
            .heads
            .get(&write.room)
            .copied()
            .ok_or_else(rules::no_such_room)?;
        match (&write.command, self.rooms.get(&write.room)) {
            (Command::Create(create), None) => Ok(Planned::Done(self.create(write, create, head))),
            (_, None) => Err(rules::no_such_room()),
            (command, Some(room)) => {
                let room = Arc::clone(room);
                let users = &self.users;
                let change = rules::decide(&room, head.seq, write.actor, command, |user| {
                    users.contains(&user)
                })?;
                Ok(self.apply(write, head, room, change))
            }
        }
    }

    /// Makes the room: its head stands at 0 and belongs to this transaction.
    fn create(&mut self, write: &Write, create: &api::Create, head: Head) -> Outcome {
        let created_at = head.next_at(self.now);
        let info = api::Room {
            id: write.room,
            kind: create.kind,
            name: create.name.clone(),
            created_by: write.actor,
            created_at,
        };
        let role = |user: UserId| match create.kind {
            RoomKind::Direct => Role::Member,
            _ if user == write.actor => Role::Owner,
            RoomKind::Group => Role::Member,
            RoomKind::Channel => Role::Reader,
        };
        let users = initial_members(create, write.actor);
        let stays = users.into_iter().map(|user| Stay {
            user,
            role: role(user),
            from_seq: 1,
        });
        let room = Room::new(info, stays.collect());
        for stay in room.stays() {
            self.keep(write.room, *stay, None, 0);
        }
        let op = write.op.expect("a creation has an op").0;
        let body = created_body(op, &room.info, &room.members());
        let receivers = Arc::clone(room.receivers());
        self.rooms.insert(write.room, Arc::new(room));
        self.append(write, head, Kind::RoomCreated, body, created_at, receivers)
    }

    fn apply(&mut self, write: &Write, head: Head, mut room: Arc<Room>, change: Change) -> Planned {
        let created_at = head.next_at(self.now);
        let seq = head.seq + 1;
        let op = write.op.map(|(op, _hash)| op).unwrap_or_default();
        let (body, receivers) = match change {
            Change::Mark { seq } => return self.mark(write, &room, seq),
            Change::Already => {
                // Remembered like a change: a repeat must not do later what was needless now.
                let json = already(&room, &write.command);
                self.remember(write, &json);
                return Planned::Done(Outcome::result(json));
            }
            Change::Joined => {
                // A reader sees the whole log; what was there before he came is not unread.
                let stay = Stay {
                    user: write.actor,
                    role: Role::Reader,
                    from_seq: 1,
                };
                Arc::make_mut(&mut room).add(stay);
                self.keep(write.room, stay, None, head.seq);
                return Planned::Done(self.quiet(write, head, room));
            }
            Change::Left => {
                if let Some(stay) = Arc::make_mut(&mut room).remove(write.actor) {
                    self.keep(write.room, stay, Some(head.seq), 0);
                }
                return Planned::Done(self.quiet(write, head, room));
            }
            Change::Message => {
                let Command::Send(send) = &write.command else {
                    unreachable!("only a send writes a message")
                };
                (send.text.clone(), Arc::clone(room.receivers()))
            }
            Change::Added { user, role } => {
                let from_seq = if room.info.kind == RoomKind::Channel {
                    1
                } else {
                    seq
                };
                let stay = Stay { user, role, from_seq };
                Arc::make_mut(&mut room).add(stay);
                self.keep(write.room, stay, None, head.seq);
                let body = member_body(op, user, Some(role), write.actor, created_at);
                (body, Arc::clone(room.receivers()))
            }
            Change::Removed { user, heir } => {
                // The one who goes is among the receivers: it is his last event.
                let receivers = Arc::clone(room.receivers());
                let changed = Arc::make_mut(&mut room);
                if let Some(stay) = changed.remove(user) {
                    self.keep(write.room, stay, Some(seq), 0);
                }
                if let Some(heir) = heir
                    && let Some(stay) = changed.set_role(heir, Role::Owner)
                {
                    self.keep(write.room, stay, None, 0);
                }
                (member_body(op, user, None, write.actor, created_at), receivers)
            }
        };
        self.rooms.insert(write.room, room);
        let kind = change.kind().expect("changes without an event returned above");
        Planned::Done(self.append(write, head, kind, body, created_at, receivers))
    }

    /// Gives the next number and keeps the event.
    fn append(
        &mut self,
        write: &Write,
        mut head: Head,
        kind: Kind,
        body: String,
        created_at: i64,
        receivers: Arc<[UserId]>,
    ) -> Outcome {
        let (op, hash) = write.op.expect("every event has an op");
        head.seq += 1;
        head.last_at = created_at;
        let n = (kind == Kind::MessageCreated).then(|| {
            head.n += 1;
            head.n
        });
        self.heads.insert(write.room, head);
        self.changed.insert(write.room);
        let (room, actor) = (write.room, write.actor);
        let event = LogEvent {
            room,
            seq: head.seq,
            n,
            kind,
            actor,
            op,
            hash,
            body,
            created_at,
        };
        let outcome = told(&event, &receivers, false);
        self.known
            .insert((room, actor, op), Known::Event(event.clone(), receivers));
        self.plan.events.push(event);
        outcome
    }

    /// A change of membership that is no event: answered, remembered by its op, told to nobody.
    fn quiet(&mut self, write: &Write, mut head: Head, room: Arc<Room>) -> Outcome {
        head.revision += 1;
        self.heads.insert(write.room, head);
        self.changed.insert(write.room);
        let result = |duplicate| match write.command {
            Command::Join => json(&Created {
                room: room.info.clone(),
                seq: 0,
                duplicate,
            }),
            _ => json(&Changed { seq: 0, duplicate }),
        };
        self.remember(write, &result(true));
        let outcome = Outcome::result(result(false));
        self.rooms.insert(write.room, room);
        outcome
    }

    /// Keeps the result of a change that is no event, for its repeats.
    fn remember(&mut self, write: &Write, repeated: &Bytes) {
        let Some((op, hash)) = write.op else { return };
        let result = String::from_utf8_lossy(repeated).into_owned();
        self.known
            .insert(applied_key(write.actor, op), Known::Applied(hash, result.clone()));
        self.plan.applied.push(AppliedRow {
            actor: write.actor,
            op,
            hash,
            result,
        });
    }

    fn mark(&mut self, write: &Write, room: &Room, seq: i64) -> Planned {
        let wanted = self.marks.entry((write.room, write.actor)).or_default();
        *wanted = seq.max(*wanted);
        let receivers = match room.info.kind {
            // What the many readers of a channel have read is nobody else's business.
            RoomKind::Channel => Arc::from([write.actor]),
            RoomKind::Direct | RoomKind::Group => Arc::clone(room.receivers()),
        };
        Planned::Mark {
            room: write.room,
            user: write.actor,
            receivers,
        }
    }

    fn keep(&mut self, room: RoomId, stay: Stay, to_seq: Option<i64>, read_seq: i64) {
        let Stay { user, role, from_seq } = stay;
        let row = self
            .member_rows
            .entry((room, user, from_seq))
            .or_insert(MemberRow {
                room,
                user,
                role,
                from_seq,
                to_seq,
                read_seq,
            });
        row.role = role;
        row.to_seq = to_seq;
        row.read_seq = row.read_seq.max(read_seq);
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
            .sort_unstable_by_key(|row| (row.room, row.user, row.from_seq));
        plan.marks = self
            .marks
            .into_iter()
            .map(|((room, user), seq)| (room, user, seq))
            .collect();
        plan.marks.sort_unstable();
        let heads = &self.heads;
        plan.rooms = self
            .rooms
            .into_iter()
            .filter_map(|(id, room)| Some((id, *heads.get(&id)?, room)))
            .collect();
        plan
    }
}

/// The outcome of an event, new or repeated.
fn told(event: &LogEvent, receivers: &Arc<[UserId]>, duplicate: bool) -> Outcome {
    let silent = duplicate && Mutant::NoRedelivery.is_on();
    let delivery = Delivery {
        room: event.room,
        seq: Some(event.seq.unsigned_abs()),
        users: Arc::clone(receivers),
        body: event.text(),
    };
    Outcome {
        reply: Some(Ok(event.result(duplicate))),
        deliveries: if silent { Vec::new() } else { vec![delivery] },
        revoked: Vec::new(),
    }
}

fn repeat(known: &Known, hash: Hash) -> Result<Outcome, ErrorBody> {
    let conflict = || Err(refuse(ErrorCode::Conflict, "the op was used for another change"));
    match known {
        Known::Event(event, _) if event.hash != hash => conflict(),
        Known::Event(event, receivers) => Ok(told(event, receivers, true)),
        Known::Applied(stored, _) if *stored != hash => conflict(),
        Known::Applied(_, result) => Ok(Outcome::result(Bytes::from(result.clone()))),
    }
}

/// The answer to a change that has been made already, by whomever.
fn already(room: &Room, command: &Command) -> Bytes {
    match command {
        Command::Create(_) => json(&Created {
            room: room.info.clone(),
            seq: 1,
            duplicate: true,
        }),
        Command::Join => json(&Created {
            room: room.info.clone(),
            seq: 0,
            duplicate: true,
        }),
        _ => json(&Changed {
            seq: 0,
            duplicate: true,
        }),
    }
}

/// The outcome of a read mark that stands at `seq` now.
pub(super) fn marked(room: RoomId, user: UserId, seq: i64, moved: bool, receivers: Arc<[UserId]>) -> Outcome {
    let seq = seq.unsigned_abs();
    let mut outcome = Outcome::result(json(&ReadMark { seq }));
    if moved {
        let event = Event {
            event: READ.to_owned(),
            room: Some(room),
            seq: None,
            data: ReadData { user, seq },
        };
        outcome.deliveries.push(Delivery {
            room,
            seq: None,
            users: receivers,
            body: json(&event),
        });
    }
    outcome
}
