//! Who may make, join and leave a room.

use hub_protocol::api::room::{self as api, Role, RoomKind, Update};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::{Change, member, no_such_room};
use crate::call::refuse;
use crate::chat::facts::Facts;
use crate::chat::room::Room;

/// The room is there and this op did not make it.
pub(super) fn create(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    match room.info.kind {
        // Both sides may make the one room of a pair, at the same time or one after the other.
        RoomKind::Direct => member(room, actor).map(|_stay| Change::Already),
        RoomKind::Group | RoomKind::Channel => Err(refuse(ErrorCode::Conflict, "the id is taken")),
    }
}

pub(super) fn join(room: &Room, actor: UserId, facts: &Facts) -> Result<Change, ErrorBody> {
    if room.find(actor).is_some() {
        return Ok(Change::Already);
    }
    match room.info.kind {
        RoomKind::Channel if facts.is_banned(room.info.id, actor) => {
            Err(refuse(ErrorCode::Forbidden, "the room cannot be entered"))
        }
        RoomKind::Channel => Ok(Change::Joined),
        RoomKind::Direct | RoomKind::Group => Err(no_such_room()),
    }
}

pub(super) fn leave(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
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

pub(super) fn update(room: &Room, actor: UserId, update: &Update) -> Result<Change, ErrorBody> {
    let forbidden = |message| Err(refuse(ErrorCode::Forbidden, message));
    let stay = member(room, actor)?;
    if room.info.kind == RoomKind::Direct {
        return forbidden("a direct room has no name and no settings");
    }
    let settings = room.info.settings;
    if stay.role < settings.change {
        return forbidden("only higher roles change this room");
    }
    if let Some(change) = &update.settings {
        if stay.role < Role::Admin {
            return forbidden("only admins and the owner change settings");
        }
        // Who may not do a thing cannot open it to himself either, nor close it to his betters only.
        let (before, after) = (settings.roles(), settings.with(change).roles());
        let above = |(old, new): (&Role, &Role)| old != new && (*old > stay.role || *new > stay.role);
        if before.iter().zip(&after).any(above) {
            return forbidden("only roles up to the own one can be set");
        }
    }
    let changed = updated(&room.info, update);
    Ok(if changed == room.info {
        Change::Already
    } else {
        Change::Updated
    })
}

/// The room with an update applied.
pub(in crate::chat) fn updated(room: &api::Room, update: &Update) -> api::Room {
    let mut room = room.clone();
    if let Some(name) = &update.name {
        room.name.clone_from(name);
    }
    if let Some(topic) = &update.topic {
        room.topic.clone_from(topic);
    }
    if let Some(avatar) = update.avatar {
        room.avatar = avatar;
    }
    if let Some(change) = &update.settings {
        room.settings = room.settings.with(change);
    }
    room
}

pub(super) fn delete(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    let stay = member(room, actor)?;
    if room.info.kind == RoomKind::Direct || stay.role < Role::Owner {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only the owner of a group or channel deletes it",
        ));
    }
    Ok(Change::Deleted)
}
