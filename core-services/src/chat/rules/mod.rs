//! Step 10, second half: who may do what in a room. Pure: a room as it is and a command in, a change or a refusal
//! out.

use hub_protocol::api::event::Kind;
use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};
use uuid::Uuid;

pub(super) mod invite;
mod member;
pub(super) mod message;
pub(super) mod room;

use super::command::Command;
use super::facts::Facts;
use super::room::{Room, Stay};
use crate::call::refuse;

/// What a permitted command does to an existing room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// A message is written.
    Message,
    /// A user becomes a member, by an event.
    Added {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// A user's stay ends, by an event.
    Removed {
        /// Who.
        user: UserId,
        /// Who becomes owner, if an owner leaves.
        heir: Option<UserId>,
    },
    /// A user is kept out from now on; a member's stay ends, by an event.
    Banned {
        /// Who.
        user: UserId,
        /// Whether he is a member.
        is_member: bool,
    },
    /// A user is not kept out any more: no event.
    Unbanned {
        /// Who.
        user: UserId,
    },
    /// A member has another role, by an event; that of the owner is handed over.
    RoleSet {
        /// Who.
        user: UserId,
        /// What he is now.
        role: Role,
    },
    /// The caller comes in by a link, by an event.
    Accepted {
        /// The link.
        link: Uuid,
        /// As what.
        role: Role,
    },
    /// The caller comes in by a link as reader of a channel: no event.
    AcceptedQuietly {
        /// The link.
        link: Uuid,
    },
    /// A link is made: no event.
    LinkMade,
    /// A link ends: no event.
    LinkRevoked {
        /// Which.
        link: Uuid,
    },
    /// Name, topic, avatar or settings change.
    Updated,
    /// The room ends, and with it all stays.
    Deleted,
    /// The caller keeps the room in another way: no event.
    Preferred,
    /// A reader comes to a channel: no event.
    Joined,
    /// A reader leaves a channel: no event.
    Left,
    /// It is so already.
    Already,
    /// The caller's read mark goes here at least.
    Mark {
        /// Not beyond the head.
        seq: i64,
    },
}

impl Change {
    /// True if the room needs space for one more.
    pub(super) const fn adds_member(&self) -> bool {
        matches!(
            self,
            Self::Added { .. } | Self::Joined | Self::Accepted { .. } | Self::AcceptedQuietly { .. }
        )
    }

    /// The event that tells of it; `None` for changes that are no events.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Message => Some(Kind::MessageCreated),
            Self::Added { .. } | Self::Accepted { .. } => Some(Kind::MemberAdded),
            Self::Removed { .. } | Self::Banned { is_member: true, .. } => Some(Kind::MemberRemoved),
            Self::RoleSet { .. } => Some(Kind::MemberUpdated),
            Self::Updated => Some(Kind::RoomUpdated),
            Self::Deleted => Some(Kind::RoomDeleted),
            Self::Joined
            | Self::Left
            | Self::Already
            | Self::Mark { .. }
            | Self::Banned { .. }
            | Self::Unbanned { .. }
            | Self::Preferred
            | Self::AcceptedQuietly { .. }
            | Self::LinkMade
            | Self::LinkRevoked { .. } => None,
        }
    }
}

/// The room does not exist, or the caller may not know that it does: one answer for both.
pub(super) fn no_such_room() -> ErrorBody {
    refuse(ErrorCode::NotFound, "no such room")
}

/// The caller's stay, or that the room is not found. A room that has ended has no members.
pub(super) fn member(room: &Room, actor: UserId) -> Result<Stay, ErrorBody> {
    let stay = room.find(actor).filter(|_stay| !room.ended);
    stay.copied().ok_or_else(no_such_room)
}

/// Whether the caller may write, which is also what makes him visible as typing.
pub(super) fn may_write(room: &Room, actor: UserId) -> Result<(), ErrorBody> {
    let stay = member(room, actor)?;
    if stay.role < Role::Member {
        return Err(refuse(ErrorCode::Forbidden, "readers do not write here"));
    }
    if !reaches(room, stay, room.info.settings.write) {
        return Err(refuse(ErrorCode::Forbidden, "only higher roles write here"));
    }
    Ok(())
}

/// Whether a member has the role that a setting asks for. The two of a direct room are equals.
pub(super) fn reaches(room: &Room, stay: Stay, role: Role) -> bool {
    room.info.kind == RoomKind::Direct || stay.role >= role
}

/// Nothing goes from one to the other in a direct room while one has blocked the other, whoever it was.
pub(super) fn not_blocked(room: &Room, actor: UserId, facts: &Facts) -> Result<(), ErrorBody> {
    if room.peer(actor).is_some_and(|peer| facts.is_blocked(actor, peer)) {
        return Err(blocked());
    }
    Ok(())
}

/// One answer for both sides: it does not tell who has blocked whom.
pub(super) fn blocked() -> ErrorBody {
    refuse(ErrorCode::Forbidden, "nothing can be sent here")
}

/// Whether the caller may write a message now.
pub(super) fn may_send(room: &Room, actor: UserId, facts: &Facts) -> Result<(), ErrorBody> {
    may_write(room, actor)?;
    not_blocked(room, actor, facts)?;
    not_too_soon(room, actor, facts)
}

/// Slow mode: members below `admin` wait between two messages.
fn not_too_soon(room: &Room, actor: UserId, facts: &Facts) -> Result<(), ErrorBody> {
    let stay = member(room, actor)?;
    let wait_us = i64::from(room.info.settings.slow_mode_s) * 1_000_000;
    if wait_us == 0 || stay.role >= Role::Admin || room.info.kind == RoomKind::Direct {
        return Ok(());
    }
    let Some(last) = facts.last_sent.get(&(room.info.id, actor)) else {
        return Ok(());
    };
    let left_us = last
        .saturating_add(wait_us)
        .saturating_sub(facts.now)
        .min(wait_us);
    if left_us <= 0 {
        return Ok(());
    }
    let left_ms = u32::try_from(left_us.div_euclid(1_000) + 1).unwrap_or(u32::MAX);
    Err(refuse(ErrorCode::RateLimited, "the room is in slow mode").retry_after_ms(left_ms))
}

/// Decides a command on a room that exists. `head_seq` is the room's last event.
pub(super) fn decide(
    room: &Room,
    head_seq: i64,
    actor: UserId,
    command: &Command,
    facts: &Facts,
) -> Result<Change, ErrorBody> {
    if room.ended && !matches!(command, Command::Create(_)) {
        return Err(no_such_room());
    }
    match command {
        Command::Create(_) => room::create(room, actor),
        Command::Join => room::join(room, actor, facts),
        Command::Leave => room::leave(room, actor),
        Command::Update(update) => room::update(room, actor, update),
        Command::Delete => room::delete(room, actor),
        Command::Prefer(_) => member(room, actor).map(|_stay| Change::Preferred),
        Command::Add(add) => member::add(room, actor, add, facts),
        Command::Remove(remove) => member::remove(room, actor, remove),
        Command::SetRole(set) => member::set_role(room, actor, set),
        Command::Ban(ban) => member::ban(room, actor, ban.user, facts),
        Command::Unban(ban) => member::unban(room, actor, ban.user, facts),
        Command::CreateInvite(..) => invite::create(room, actor, facts),
        Command::RevokeInvite(revoke) => invite::revoke(room, actor, revoke.invite, facts),
        Command::AcceptInvite(code) => invite::accept(room, actor, code, facts),
        Command::Send(_) => may_send(room, actor, facts).map(|()| Change::Message),
        Command::About(_) => member(room, actor).map(|_stay| Change::Already),
        Command::Read(hub_protocol::api::message::Read { seq })
        | Command::Delivered(hub_protocol::api::receipt::Delivered { seq }) => {
            member(room, actor)?;
            let seq = i64::try_from(*seq).unwrap_or(i64::MAX).min(head_seq);
            Ok(Change::Mark { seq })
        }
        // Decided beside the events, see `large`.
        Command::Attach { .. } => member(room, actor).map(|_stay| Change::Already),
    }
}

/// Whether one more fits in.
pub(super) fn has_space(room: &Room, members_max: usize) -> Result<(), ErrorBody> {
    if room.stays().len() >= members_max {
        return Err(refuse(ErrorCode::TooLarge, "the room takes no more members"));
    }
    Ok(())
}
