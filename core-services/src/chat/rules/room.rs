//! Who may make, join and leave a room.

use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::{Change, member, no_such_room};
use crate::call::refuse;
use crate::chat::room::Room;

/// The room is there and this op did not make it.
pub(super) fn create(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    match room.info.kind {
        // Both sides may make the one room of a pair, at the same time or one after the other.
        RoomKind::Direct => member(room, actor).map(|_stay| Change::Already),
        RoomKind::Group | RoomKind::Channel => Err(refuse(ErrorCode::Conflict, "the id is taken")),
    }
}

pub(super) fn join(room: &Room, actor: UserId) -> Result<Change, ErrorBody> {
    if room.find(actor).is_some() {
        return Ok(Change::Already);
    }
    match room.info.kind {
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
