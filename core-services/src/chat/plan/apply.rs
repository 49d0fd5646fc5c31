//! What a permitted change does: rows, events, outcomes.

use std::sync::Arc;

use bytes::Bytes;
use hub_protocol::api::event::Kind;
use hub_protocol::api::room::{self as api, Changed, Created, Role, RoomKind};
use hub_protocol::api::setting::Settings;
use hub_protocol::{RoomId, UserId};

use super::outcome::{already, told};
use super::{AppliedRow, Known, MemberRow, Planned, Planner, applied_key};
use crate::call::json;
use crate::chat::command::{Command, Write, initial_members};
use crate::chat::extras::Extras;
use crate::chat::log::{LogEvent, created_body};
use crate::chat::room::{Head, Room, Stay};
use crate::chat::rules::Change;
use crate::service::Outcome;

impl Planner {
    /// Makes the room: its head stands at 0 and belongs to this transaction.
    pub(super) fn create(&mut self, write: &Write, create: &api::Create, head: Head) -> Outcome {
        let created_at = head.next_at(self.now);
        let info = api::Room {
            id: write.room,
            kind: create.kind,
            name: create.name.clone(),
            created_by: write.actor,
            created_at,
            topic: String::new(),
            avatar: None,
            settings: Settings::default(),
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
        self.append(
            write,
            head,
            Kind::RoomCreated,
            (body, None),
            created_at,
            receivers,
        )
    }

    pub(super) fn apply(
        &mut self,
        write: &Write,
        head: Head,
        mut room: Arc<Room>,
        change: Change,
    ) -> Planned {
        let created_at = head.next_at(self.now);
        let seq = head.seq + 1;
        let (body, receivers) = match change {
            Change::Mark { seq } => return self.mark(write, &room, seq),
            Change::Already => {
                // Remembered like a change: a repeat must not do later what was needless now.
                let json = already(&room, &write.command);
                self.remember(write, &json);
                return Planned::Done(Outcome::result(json));
            }
            Change::Joined => return Planned::Done(self.joined(write, head, room)),
            Change::Left => return Planned::Done(self.left(write, head, room)),
            Change::Banned {
                user,
                is_member: false,
            } => return self.banned(write, user),
            Change::Unbanned { user } => return self.unbanned(write, user),
            Change::Preferred => return self.preferred(write),
            Change::LinkMade => return self.link_made(write, &room),
            Change::LinkRevoked { link } => return self.link_revoked(write, link),
            Change::AcceptedQuietly { link } => {
                self.link_used(write.room, link);
                return Planned::Done(self.joined(write, head, room));
            }
            Change::Message => {
                let Command::Send(send) = &write.command else {
                    unreachable!("only a send writes a message")
                };
                self.sent(write, &room, created_at);
                (send.text.clone(), Arc::clone(room.receivers()))
            }
            Change::Updated => self.update(write, &mut room, created_at),
            Change::Deleted => self.delete(write, &mut room, seq, created_at),
            Change::RoleSet { user, role } => self.set_role(write, &mut room, user, role, created_at),
            Change::Banned { user, .. } => {
                self.ban(write, user);
                self.remove(write, &mut room, user, None, seq, created_at)
            }
            Change::Removed { user, heir } => self.remove(write, &mut room, user, heir, seq, created_at),
            Change::Added { user, role } => self.add(write, head, &mut room, user, role, created_at),
            Change::Accepted { link, role } => {
                self.link_used(write.room, link);
                self.add(write, head, &mut room, write.actor, role, created_at)
            }
        };
        self.rooms.insert(write.room, room);
        let kind = change.kind().expect("changes without an event returned above");
        Planned::Done(self.append(write, head, kind, (body, None), created_at, receivers))
    }

    /// Gives the next number and keeps the event.
    pub(super) fn append(
        &mut self,
        write: &Write,
        mut head: Head,
        kind: Kind,
        (body, extras): (String, Option<Box<Extras>>),
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
            extras,
        };
        let outcome = told(&event, &receivers, false);
        self.known
            .insert((room, actor, op), Known::Event(event.clone(), receivers));
        self.plan.events.push(event);
        outcome
    }

    /// A change of membership that is no event: answered, remembered by its op, told to nobody.
    pub(super) fn quiet(&mut self, write: &Write, mut head: Head, room: Arc<Room>) -> Outcome {
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
    pub(super) fn remember(&mut self, write: &Write, repeated: &Bytes) {
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
        let (read, delivered) = self.marks.entry((write.room, write.actor)).or_default();
        let is_read = matches!(write.command, Command::Read(_));
        let wanted = if is_read { read } else { delivered };
        *wanted = seq.max(*wanted);
        let receivers = match room.info.kind {
            // What the many readers of a channel have read is nobody else's business.
            RoomKind::Channel => Arc::from([]),
            RoomKind::Direct | RoomKind::Group => Arc::clone(room.receivers()),
        };
        Planned::Mark {
            room: write.room,
            user: write.actor,
            is_read,
            receivers,
        }
    }

    pub(super) fn keep(&mut self, room: RoomId, stay: Stay, to_seq: Option<i64>, read_seq: i64) {
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
}
