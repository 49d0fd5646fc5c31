//! Who may do what with messages.

use hub_protocol::api::event::Kind;
use hub_protocol::api::message::Send;
use hub_protocol::api::room::Role;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{EDITS_MAX, PINS_MAX, REACTION_KINDS_MAX};
use hub_protocol::{ErrorCode, UserId};

use super::{may_write, member, not_blocked, reaches};
use crate::call::refuse;
use crate::chat::facts::Facts;
use crate::chat::log::LogEvent;
use crate::chat::room::{Room, Stay};

/// There is no such message, or the caller may not know that there is: one answer for both.
pub(in crate::chat) fn no_such_message() -> ErrorBody {
    refuse(ErrorCode::NotFound, "no such message")
}

/// The message, if the caller's stay covers it. It may have been taken away.
pub(in crate::chat) fn seen<'a>(stay: &Stay, event: Option<&'a LogEvent>) -> Result<&'a LogEvent, ErrorBody> {
    event
        .filter(|event| event.kind == Kind::MessageCreated && event.seq >= stay.from_seq)
        .ok_or_else(no_such_message)
}

/// The same, if it was not taken away.
fn alive<'a>(stay: &Stay, event: Option<&'a LogEvent>) -> Result<&'a LogEvent, ErrorBody> {
    let event = seen(stay, event)?;
    if event.is_deleted() {
        return Err(no_such_message());
    }
    Ok(event)
}

/// Whether the message is young enough to be changed by its author; a window of 0 is never open.
fn in_window(room: &Room, event: &LogEvent, now: i64) -> Result<(), ErrorBody> {
    let window_us = i64::from(room.info.settings.edit_window_s) * 1_000_000;
    if window_us == 0 || now.saturating_sub(event.created_at) > window_us {
        return Err(refuse(
            ErrorCode::Forbidden,
            "the message is too old to be changed",
        ));
    }
    Ok(())
}

pub(in crate::chat) fn edit<'a>(
    room: &Room,
    actor: UserId,
    event: Option<&'a LogEvent>,
    edits: usize,
    facts: &Facts,
) -> Result<&'a LogEvent, ErrorBody> {
    may_write(room, actor)?;
    not_blocked(room, actor, facts)?;
    let event = alive(&member(room, actor)?, event)?;
    if event.actor != actor {
        return Err(refuse(ErrorCode::Forbidden, "only its author edits a message"));
    }
    if event
        .extras
        .as_ref()
        .is_some_and(|extras| extras.forward.is_some())
    {
        return Err(refuse(ErrorCode::Forbidden, "a forwarded message is not edited"));
    }
    in_window(room, event, facts.now)?;
    if edits >= EDITS_MAX {
        return Err(refuse(
            ErrorCode::Forbidden,
            "a message is edited at most 100 times",
        ));
    }
    Ok(event)
}

/// `None`: it is gone already.
pub(in crate::chat) fn delete<'a>(
    room: &Room,
    actor: UserId,
    event: Option<&'a LogEvent>,
    now: i64,
) -> Result<Option<&'a LogEvent>, ErrorBody> {
    let stay = member(room, actor)?;
    let event = seen(&stay, event)?;
    if stay.role < Role::Admin {
        if event.actor != actor {
            return Err(refuse(
                ErrorCode::Forbidden,
                "only its author and admins take a message away for all",
            ));
        }
        in_window(room, event, now)?;
    }
    Ok((!event.is_deleted()).then_some(event))
}

/// Every member reacts, readers too. `kinds` are those that the message has without the new one.
pub(in crate::chat) fn react<'a>(
    room: &Room,
    actor: UserId,
    event: Option<&'a LogEvent>,
    kinds: usize,
    facts: &Facts,
) -> Result<&'a LogEvent, ErrorBody> {
    let stay = member(room, actor)?;
    not_blocked(room, actor, facts)?;
    let event = alive(&stay, event)?;
    if kinds >= REACTION_KINDS_MAX {
        return Err(refuse(
            ErrorCode::TooLarge,
            "a message has at most 20 kinds of reactions",
        ));
    }
    Ok(event)
}

/// Who reaches the setting pins; in a direct room both do. `pins` are those of the room without the new one.
pub(in crate::chat) fn pin<'a>(
    room: &Room,
    actor: UserId,
    event: Option<&'a LogEvent>,
    pins: usize,
    facts: &Facts,
) -> Result<&'a LogEvent, ErrorBody> {
    let stay = member(room, actor)?;
    not_blocked(room, actor, facts)?;
    let event = alive(&stay, event)?;
    if !reaches(room, stay, room.info.settings.pin) {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only higher roles pin messages here",
        ));
    }
    if pins >= PINS_MAX {
        return Err(refuse(
            ErrorCode::TooLarge,
            "a room has at most 100 pinned messages",
        ));
    }
    Ok(event)
}

/// What a message refers to in its own room.
pub(in crate::chat) fn refer(
    room: &Room,
    actor: UserId,
    send: &Send,
    reply: Option<&LogEvent>,
    root: Option<&LogEvent>,
) -> Result<(), ErrorBody> {
    let stay = member(room, actor)?;
    if send.reply_to.is_some() {
        alive(&stay, reply)?;
    }
    if send.thread.is_some() {
        let root = alive(&stay, root)?;
        if root.extras.as_ref().is_some_and(|extras| extras.thread.is_some()) {
            return Err(refuse(
                ErrorCode::BadRequest,
                "a thread does not begin inside of another",
            ));
        }
    }
    Ok(())
}

/// Those of the mentioned who are members and not the caller himself; everybody, if he may.
pub(in crate::chat) fn mentions(
    room: &Room,
    actor: UserId,
    wanted: Vec<UserId>,
) -> Result<Vec<UserId>, ErrorBody> {
    let stay = member(room, actor)?;
    if wanted.contains(&UserId::NIL) && !reaches(room, stay, room.info.settings.mention_all) {
        return Err(refuse(ErrorCode::Forbidden, "only higher roles mention the room"));
    }
    let counts = |user: &UserId| user.is_nil() || (*user != actor && room.find(*user).is_some());
    Ok(wanted.into_iter().filter(counts).collect())
}
