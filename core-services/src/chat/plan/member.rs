//! What changes of membership do: rows and the data of their events.

use std::sync::Arc;

use hub_protocol::UserId;
use hub_protocol::api::event::MemberData;
use hub_protocol::api::room::{Changed, Role, RoomKind};
use hub_protocol::api::setting::Seen;

use super::{Planned, Planner};
use crate::call::json;
use crate::chat::command::Write;
use crate::chat::log::body;
use crate::chat::room::{Head, Room, Stay};
use crate::service::Outcome;

/// The data of an event and who gets it.
pub(super) type Told = (String, Arc<[UserId]>);

/// The data of a change of membership that says no more than whom it concerns.
fn data(write: &Write, user: UserId, created_at: i64) -> MemberData {
    MemberData {
        op: write.op.map(|(op, _hash)| op).unwrap_or_default(),
        user,
        role: None,
        banned: false,
        heir: None,
        by: write.actor,
        created_at,
    }
}

impl Planner {
    /// A reader comes to a channel. He sees the whole log; what was there before he came is not unread.
    pub(super) fn joined(&mut self, write: &Write, head: Head, mut room: Arc<Room>) -> Outcome {
        let stay = Stay {
            user: write.actor,
            role: Role::Reader,
            from_seq: 1,
        };
        Arc::make_mut(&mut room).add(stay);
        self.keep(write.room, stay, None, head.seq);
        self.quiet(write, head, room)
    }

    /// A reader leaves a channel.
    pub(super) fn left(&mut self, write: &Write, head: Head, mut room: Arc<Room>) -> Outcome {
        if let Some(stay) = Arc::make_mut(&mut room).remove(write.actor) {
            self.keep(write.room, stay, Some(head.seq), 0);
        }
        self.end_if_empty(&mut room);
        self.quiet(write, head, room)
    }

    pub(super) fn add(
        &mut self,
        write: &Write,
        head: Head,
        room: &mut Arc<Room>,
        user: UserId,
        role: Role,
        created_at: i64,
    ) -> Told {
        let sees_all = room.info.kind == RoomKind::Channel || room.info.settings.history == Seen::All;
        let from_seq = if sees_all { 1 } else { head.seq + 1 };
        let stay = Stay { user, role, from_seq };
        Arc::make_mut(room).add(stay);
        self.keep(write.room, stay, None, head.seq);
        let mut data = data(write, user, created_at);
        data.role = Some(role);
        (body(&data), Arc::clone(room.receivers()))
    }

    pub(super) fn remove(
        &mut self,
        write: &Write,
        room: &mut Arc<Room>,
        user: UserId,
        heir: Option<UserId>,
        seq: i64,
        created_at: i64,
    ) -> Told {
        // The one who goes is among the receivers: it is his last event.
        let receivers = Arc::clone(room.receivers());
        let changed = Arc::make_mut(room);
        if let Some(stay) = changed.remove(user) {
            self.keep(write.room, stay, Some(seq), 0);
        }
        if let Some(heir) = heir
            && let Some(stay) = changed.set_role(heir, Role::Owner)
        {
            self.keep(write.room, stay, None, 0);
        }
        self.end_if_empty(room);
        let mut data = data(write, user, created_at);
        data.heir = heir;
        data.banned = self.facts.is_banned(write.room, user);
        (body(&data), receivers)
    }

    /// A room that nobody belongs to is at its end: nobody could let anybody in.
    fn end_if_empty(&mut self, room: &mut Arc<Room>) {
        if room.stays().is_empty() {
            Arc::make_mut(room).ended = true;
            self.updated.insert(room.info.id);
        }
    }

    /// Gives a member another role. Invariant: who hands the room over is no owner any more by the same event.
    pub(super) fn set_role(
        &mut self,
        write: &Write,
        room: &mut Arc<Room>,
        user: UserId,
        role: Role,
        created_at: i64,
    ) -> Told {
        let changed = Arc::make_mut(room);
        let mut stays = Vec::new();
        if role == Role::Owner {
            stays.extend(changed.set_role(write.actor, Role::Admin));
        }
        stays.extend(changed.set_role(user, role));
        for stay in stays {
            self.keep(write.room, stay, None, 0);
        }
        let mut data = data(write, user, created_at);
        data.role = Some(role);
        (body(&data), Arc::clone(room.receivers()))
    }

    pub(super) fn ban(&mut self, write: &Write, user: UserId) {
        self.facts.bans.insert((write.room, user));
        self.plan.rows.bans.insert((write.room, user), Some(write.actor));
    }

    /// A user who is no member is kept out.
    pub(super) fn banned(&mut self, write: &Write, user: UserId) -> Planned {
        self.ban(write, user);
        self.silently(write)
    }

    pub(super) fn unbanned(&mut self, write: &Write, user: UserId) -> Planned {
        self.facts.bans.remove(&(write.room, user));
        self.plan.rows.bans.insert((write.room, user), None);
        self.silently(write)
    }

    /// A change that nobody else needs to know: answered, and remembered by its op.
    pub(super) fn silently(&mut self, write: &Write) -> Planned {
        let result = |duplicate| json(&Changed { seq: 0, duplicate });
        self.remember(write, &result(true));
        Planned::Done(Outcome::result(result(false)))
    }

    /// Keeps the time of a message where slow mode asks for it.
    pub(super) fn sent(&mut self, write: &Write, room: &Room, created_at: i64) {
        if room.info.settings.slow_mode_s > 0 {
            let of = (write.room, write.actor);
            self.facts.last_sent.insert(of, created_at);
            self.plan.rows.sent.insert(of, created_at);
        }
    }
}
