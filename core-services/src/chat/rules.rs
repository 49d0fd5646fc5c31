//! Step 10, second half: who may do what in a room. Pure: a room as it is and a command in, a change or a refusal
//! out.

use hub_protocol::api::event::Kind;
use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::ROOM_MEMBERS_MAX;
use hub_protocol::{ErrorCode, UserId};

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
        Command::Create(_) => decide_create(room, actor),
        Command::Join => decide_join(room, actor),
        Command::Leave => decide_leave(room, actor),
        Command::Add(add) => {
            let caller = manager(room, actor)?;
            let role = add.role.unwrap_or(match room.info.kind {
                RoomKind::Channel => Role::Reader,
                RoomKind::Direct | RoomKind::Group => Role::Member,
            });
            if role >= caller.role {
                return Err(refuse(
                    ErrorCode::Forbidden,
                    "only roles below the own one can be given",
                ));
            }
            match room.find(add.user) {
                Some(stay) if add.role.is_none_or(|role| role == stay.role) => Ok(Change::Already),
                Some(_) => Err(refuse(
                    ErrorCode::Conflict,
                    "the user is a member with another role",
                )),
                None if !exists(add.user) => Err(refuse(ErrorCode::NotFound, "no such user")),
                None => has_space(room).map(|()| Change::Added { user: add.user, role }),
            }
        }
        Command::Remove(remove) => {
            let caller = manager(room, actor)?;
            if remove.user == actor {
                return Err(refuse(ErrorCode::BadRequest, "leave the room instead"));
            }
            match room.find(remove.user) {
                None => Ok(Change::Already),
                Some(stay) if stay.role >= caller.role => Err(refuse(
                    ErrorCode::Forbidden,
                    "only members of a role below the own one can be removed",
                )),
                Some(_) => Ok(Change::Removed {
                    user: remove.user,
                    heir: None,
                }),
            }
        }
        Command::Send(_) => may_write(room, actor).map(|()| Change::Message),
        Command::Read(read) => {
            member(room, actor)?;
            let seq = i64::try_from(read.seq).unwrap_or(i64::MAX).min(head_seq);
            Ok(Change::Mark { seq })
        }
    }
}

/// The room is there and this op did not make it.
fn decide_create(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    match room.info.kind {
        // Both sides may make the one room of a pair, at the same time or one after the other.
        RoomKind::Direct => member(room, actor).map(|_stay| Change::Already),
        RoomKind::Group | RoomKind::Channel => Err(refuse(ErrorCode::Conflict, "the id is taken")),
    }
}

fn decide_join(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    if room.find(actor).is_some() {
        return Ok(Change::Already);
    }
    match room.info.kind {
        RoomKind::Channel => has_space(room).map(|()| Change::Joined),
        RoomKind::Direct | RoomKind::Group => Err(no_such_room()),
    }
}

fn decide_leave(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    let stay = member(room, actor)?;
    match room.info.kind {
        RoomKind::Direct => Err(refuse(ErrorCode::Forbidden, "a direct room cannot be left")),
        RoomKind::Channel if stay.role == Role::Reader => Ok(Change::Left),
        RoomKind::Channel | RoomKind::Group => {
            let heir = if stay.role == Role::Owner {
                room.heir(actor)
            } else {
                None
            };
            Ok(Change::Removed { user: actor, heir })
        }
    }
}

/// The caller, who must be able to manage members.
fn manager(room: &Room, actor: UserId) -> Result<Stay, ErrorBody> {
    let stay = member(room, actor)?;
    if room.info.kind == RoomKind::Direct {
        return Err(refuse(
            ErrorCode::Forbidden,
            "the members of a direct room do not change",
        ));
    }
    if stay.role < Role::Admin {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only admins and the owner manage members",
        ));
    }
    Ok(stay)
}

fn has_space(room: &Room) -> Result<(), ErrorBody> {
    if room.stays().len() >= ROOM_MEMBERS_MAX {
        return Err(refuse(ErrorCode::TooLarge, "a room has at most 256 members"));
    }
    Ok(())
}
