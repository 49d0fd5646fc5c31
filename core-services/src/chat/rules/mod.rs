//! Step 10, second half: who may do what in a room. Pure: a room as it is and a command in, a change or a refusal
//! out.

use hub_protocol::api::event::Kind;
use hub_protocol::api::room::Role;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::ROOM_MEMBERS_MAX;
use hub_protocol::{ErrorCode, UserId};

mod member;
pub(super) mod message;
mod room;

use super::command::Command;
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
    /// The event that tells of it; `None` for changes that are no events.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Message => Some(Kind::MessageCreated),
            Self::Added { .. } => Some(Kind::MemberAdded),
            Self::Removed { .. } => Some(Kind::MemberRemoved),
            Self::Joined | Self::Left | Self::Already | Self::Mark { .. } => None,
        }
    }
}

/// The room does not exist, or the caller may not know that it does: one answer for both.
pub(super) fn no_such_room() -> ErrorBody {
    refuse(ErrorCode::NotFound, "no such room")
}

/// The caller's stay, or that the room is not found.
pub(super) fn member(room: &Room, actor: UserId) -> Result<Stay, ErrorBody> {
    room.find(actor).copied().ok_or_else(no_such_room)
}

/// Whether the caller may write, which is also what makes him visible as typing.
pub(super) fn may_write(room: &Room, actor: UserId) -> Result<(), ErrorBody> {
    if member(room, actor)?.role < Role::Member {
        return Err(refuse(ErrorCode::Forbidden, "readers do not write here"));
    }
    Ok(())
}

/// Decides a command on a room that exists. `head_seq` is the room's last event, `exists` answers for accounts.
pub(super) fn decide(
    room: &Room,
    head_seq: i64,
    actor: UserId,
    command: &Command,
    exists: impl Fn(UserId) -> bool,
) -> Result<Change, ErrorBody> {
    match command {
        Command::Create(_) => room::create(room, actor),
        Command::Join => room::join(room, actor),
        Command::Leave => room::leave(room, actor),
        Command::Add(add) => member::add(room, actor, add, exists),
        Command::Remove(remove) => member::remove(room, actor, remove),
        Command::Send(_) => may_write(room, actor).map(|()| Change::Message),
        Command::About(_) => member(room, actor).map(|_stay| Change::Already),
        Command::Read(hub_protocol::api::message::Read { seq })
        | Command::Delivered(hub_protocol::api::receipt::Delivered { seq }) => {
            member(room, actor)?;
            let seq = i64::try_from(*seq).unwrap_or(i64::MAX).min(head_seq);
            Ok(Change::Mark { seq })
        }
    }
}

fn has_space(room: &Room) -> Result<(), ErrorBody> {
    if room.stays().len() >= ROOM_MEMBERS_MAX {
        return Err(refuse(ErrorCode::TooLarge, "a room has at most 256 members"));
    }
    Ok(())
}
