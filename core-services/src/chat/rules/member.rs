//! Who may add, change and remove members.

use hub_protocol::api::room::{Add, Remove, Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::{Change, member};
use crate::call::refuse;
use crate::chat::room::{Room, Stay};

pub(super) fn add(
    room: &Room,
    actor: UserId,
    add: &Add,
    exists: impl Fn(UserId) -> bool,
) -> Result<Change, ErrorBody> {
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
        None => Ok(Change::Added { user: add.user, role }),
    }
}

pub(super) fn remove(room: &Room, actor: UserId, remove: &Remove) -> Result<Change, ErrorBody> {
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
