//! What the arguments of `room.*` must be, seen for themselves.

use hub_protocol::api::room::{Create, Role, RoomKind, Update, direct_room};
use hub_protocol::api::setting::{Prefer, Settings};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{
    EDIT_WINDOW_S_MAX, ROOM_FIRST_MEMBERS_MAX, ROOM_NAME_BYTES_MAX, ROOM_TOPIC_BYTES_MAX, SLOW_MODE_S_MAX,
};
use hub_protocol::{ErrorCode, RoomId, UserId};

use crate::call::refuse;

pub(super) fn check_create(params: &Create, room: RoomId, actor: UserId) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    if params.id != room {
        return bad("params.id is not the room of the call");
    }
    check_name(&params.name)?;
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

fn check_name(name: &str) -> Result<(), ErrorBody> {
    if name.len() > ROOM_NAME_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the name is longer than 128 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(refuse(
            ErrorCode::BadRequest,
            "the name holds a control character",
        ));
    }
    Ok(())
}

pub(super) fn check_update(params: &Update) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    check_name(params.name.as_deref().unwrap_or_default())?;
    let topic = params.topic.as_deref().unwrap_or_default();
    if topic.len() > ROOM_TOPIC_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the topic is longer than 1024 bytes"));
    }
    if topic.chars().any(|c| c.is_control() && c != '\n') {
        return bad("the topic holds a control character");
    }
    let Some(change) = &params.settings else {
        if params.name.is_none() && params.topic.is_none() && params.avatar.is_none() {
            return bad("nothing to change");
        }
        return Ok(());
    };
    let settings = Settings::default().with(change);
    if settings.roles().contains(&Role::Reader) {
        return bad("readers only read: no setting names them");
    }
    if settings.slow_mode_s > SLOW_MODE_S_MAX {
        return bad("slow_mode_s is from 0 to 21600");
    }
    if settings.edit_window_s > EDIT_WINDOW_S_MAX {
        return bad("edit_window_s is from 0 to 2592000");
    }
    Ok(())
}

pub(super) fn check_prefer(params: &Prefer) -> Result<(), ErrorBody> {
    /// Every JSON reader holds integers exactly up to here.
    const TIME_MAX: i64 = 1 << 53;
    if params.archived.is_none() && params.muted_until.is_none() && params.pinned.is_none() {
        return Err(refuse(ErrorCode::BadRequest, "nothing to change"));
    }
    if params
        .muted_until
        .is_some_and(|until| !(0..=TIME_MAX).contains(&until))
    {
        return Err(refuse(ErrorCode::BadRequest, "muted_until is from 0 to 2^53"));
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
