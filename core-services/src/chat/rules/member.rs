//! Who may add, change and remove members.

use hub_protocol::api::member::SetRole;
use hub_protocol::api::room::{Add, Remove, Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::{Change, member, reaches};
use crate::call::refuse;
use crate::chat::facts::Facts;
use crate::chat::room::{Room, Stay};

pub(super) fn add(room: &Room, actor: UserId, add: &Add, facts: &Facts) -> Result<Change, ErrorBody> {
    let caller = adder(room, actor)?;
    let role = add.role.unwrap_or(match room.info.kind {
        RoomKind::Channel => Role::Reader,
        RoomKind::Direct | RoomKind::Group => Role::Member,
    });
    // Who may add may add equals, but nobody makes an admin of others who is not above them.
    if role > caller.role || (role > Role::Member && role == caller.role) {
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
        None if !facts.users.contains(&add.user) => Err(refuse(ErrorCode::NotFound, "no such user")),
        None if facts.is_banned(room.info.id, add.user) => {
            Err(refuse(ErrorCode::Forbidden, "the user is kept out of this room"))
        }
        None if facts.is_blocked(actor, add.user) => {
            Err(refuse(ErrorCode::Forbidden, "the user cannot be added"))
        }
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

pub(super) fn set_role(room: &Room, actor: UserId, set: &SetRole) -> Result<Change, ErrorBody> {
    let caller = manager(room, actor)?;
    if set.user == actor {
        return Err(refuse(ErrorCode::BadRequest, "nobody changes his own role"));
    }
    let stay = room
        .find(set.user)
        .ok_or_else(|| refuse(ErrorCode::NotFound, "no such member"))?;
    if stay.role >= caller.role {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only members of a role below the own one get another",
        ));
    }
    // The owner alone hands over what he has; everybody else gives less than he has.
    if set.role >= caller.role && caller.role != Role::Owner {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only roles below the own one can be given",
        ));
    }
    Ok(if set.role == stay.role {
        Change::Already
    } else {
        Change::RoleSet {
            user: set.user,
            role: set.role,
        }
    })
}

pub(super) fn ban(room: &Room, actor: UserId, user: UserId, facts: &Facts) -> Result<Change, ErrorBody> {
    let caller = manager(room, actor)?;
    if user == actor {
        return Err(refuse(ErrorCode::BadRequest, "nobody bans himself"));
    }
    match room.find(user) {
        Some(stay) if stay.role >= caller.role => Err(refuse(
            ErrorCode::Forbidden,
            "only members of a role below the own one can be banned",
        )),
        Some(_) => Ok(Change::Banned {
            user,
            is_member: true,
        }),
        None if facts.is_banned(room.info.id, user) => Ok(Change::Already),
        None if !facts.users.contains(&user) => Err(refuse(ErrorCode::NotFound, "no such user")),
        None => Ok(Change::Banned {
            user,
            is_member: false,
        }),
    }
}

pub(super) fn unban(room: &Room, actor: UserId, user: UserId, facts: &Facts) -> Result<Change, ErrorBody> {
    manager(room, actor)?;
    Ok(if facts.is_banned(room.info.id, user) {
        Change::Unbanned { user }
    } else {
        Change::Already
    })
}

/// The caller, who must be able to bring users in.
pub(super) fn adder(room: &Room, actor: UserId) -> Result<Stay, ErrorBody> {
    let stay = member(room, actor)?;
    if room.info.kind == RoomKind::Direct {
        return Err(refuse(
            ErrorCode::Forbidden,
            "the members of a direct room do not change",
        ));
    }
    if !reaches(room, stay, room.info.settings.add) {
        return Err(refuse(ErrorCode::Forbidden, "only higher roles add members here"));
    }
    Ok(stay)
}

/// The caller, who must be able to manage members.
pub(super) fn manager(room: &Room, actor: UserId) -> Result<Stay, ErrorBody> {
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
