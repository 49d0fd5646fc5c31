//! What the arguments of `room.*` must be, seen for themselves.

use hub_protocol::api::room::{Create, RoomKind, direct_room};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{ROOM_FIRST_MEMBERS_MAX, ROOM_NAME_BYTES_MAX};
use hub_protocol::{ErrorCode, RoomId, UserId};

use crate::call::refuse;

pub(super) fn check_create(params: &Create, room: RoomId, actor: UserId) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    if params.id != room {
        return bad("params.id is not the room of the call");
    }
    if params.name.len() > ROOM_NAME_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the name is longer than 128 bytes"));
    }
    if params.name.chars().any(char::is_control) {
        return bad("the name holds a control character");
    }
    if params.members.len() > ROOM_FIRST_MEMBERS_MAX {
        return Err(refuse(
            ErrorCode::TooLarge,
            "a room begins with at most 256 members",
        ));
    }
    match params.kind {
        RoomKind::Direct => {
            let [other] = params.members.as_slice() else {
                return bad("a direct room has exactly one other member");
            };
            if *other == actor {
                return bad("a direct room needs another user");
            }
            if !params.name.is_empty() {
                return bad("a direct room has no name");
            }
            if params.id != direct_room(actor, *other) {
                return bad("the id is not that of the direct room of these two users");
            }
        }
        RoomKind::Group | RoomKind::Channel => {
            // Ids of version 8 belong to direct rooms: nobody may take that of two others.
            if params.id.0.get_version_num() == 8 {
                return bad("the id is one of a direct room");
            }
            let others = initial_members(params, actor).len();
            if others > ROOM_FIRST_MEMBERS_MAX {
                return Err(refuse(
                    ErrorCode::TooLarge,
                    "a room begins with at most 256 members",
                ));
            }
        }
    }
    Ok(())
}

/// The first members of a room by user id, the caller among them, each once.
pub(in crate::chat) fn initial_members(params: &Create, actor: UserId) -> Vec<UserId> {
    let mut users = params.members.clone();
    users.push(actor);
    users.sort_unstable();
    users.dedup();
    users
}
