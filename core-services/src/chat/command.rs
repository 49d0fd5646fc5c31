//! Step 10, first half: what a chat call asks for. Pure: JSON in, a checked command or a refusal out.

use aws_lc_rs::hmac;
use hub_protocol::api::message::{Read, Send};
use hub_protocol::api::room::{Add, Create, JoinLeave, Remove, RoomKind, direct_room};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{ROOM_MEMBERS_MAX, ROOM_NAME_BYTES_MAX, TEXT_BYTES_MAX};
use hub_protocol::{ErrorCode, Method, Op, RoomId, UserId};
use serde::Serialize;

use crate::call::{params, refuse};
use crate::service::Call;

/// Length of the hash that tells a repeat from a conflict, bytes.
pub(super) const HASH_BYTES: usize = 16;

/// Of what the client sent, keyed.
pub(super) type Hash = [u8; HASH_BYTES];

/// A change that a caller asks for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Command {
    /// Make the room.
    Create(Create),
    /// Become a reader of the channel.
    Join,
    /// End the own stay.
    Leave,
    /// Add a user.
    Add(Add),
    /// Remove a user.
    Remove(Remove),
    /// Write a message.
    Send(Send),
    /// Move the own read mark.
    Read(Read),
}

/// A command with who asks, where, and under which name.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Write {
    /// The room of the call.
    pub(super) room: RoomId,
    /// The caller.
    pub(super) actor: UserId,
    /// What he asks for.
    pub(super) command: Command,
    /// The client's name for the change and the hash of its content; `None` for marks, which repeat without harm.
    pub(super) op: Option<(Op, Hash)>,
}

/// Reads and checks a call of class [`Write`](hub_protocol::Class::Write).
pub(super) fn parse(call: &Call, key: &hmac::Key) -> Result<Write, ErrorBody> {
    let method = call.header.method;
    let (room, actor) = (call.header.room, call.header.user);
    if actor.is_nil() {
        return Err(refuse(ErrorCode::Unauthenticated, "no session"));
    }
    if room.is_nil() {
        return Err(refuse(ErrorCode::BadRequest, "the call names no room"));
    }
    let named = |op: Op, hash: Hash, command: Command| {
        if op.is_nil() {
            return Err(refuse(ErrorCode::BadRequest, "the op is nil"));
        }
        Ok(Write {
            room,
            actor,
            command,
            op: Some((op, hash)),
        })
    };
    match method {
        Method::RoomCreate => {
            let params: Create = params(call)?;
            check_create(&params, room, actor)?;
            let hash = hash(key, method, &params);
            named(params.op, hash, Command::Create(params))
        }
        Method::RoomJoin => {
            let params: JoinLeave = params(call)?;
            named(params.op, hash(key, method, &(room, &params)), Command::Join)
        }
        Method::RoomLeave => {
            let params: JoinLeave = params(call)?;
            named(params.op, hash(key, method, &(room, &params)), Command::Leave)
        }
        Method::MemberAdd => {
            let params: Add = params(call)?;
            named(
                params.op,
                hash(key, method, &(room, &params)),
                Command::Add(params),
            )
        }
        Method::MemberRemove => {
            let params: Remove = params(call)?;
            named(
                params.op,
                hash(key, method, &(room, &params)),
                Command::Remove(params),
            )
        }
        Method::MessageSend => {
            let params: Send = params(call)?;
            check_text(&params.text)?;
            named(
                params.client_message_id,
                hash(key, method, &params),
                Command::Send(params),
            )
        }
        Method::ReceiptRead => Ok(Write {
            room,
            actor,
            command: Command::Read(params(call)?),
            op: None,
        }),
        _ => Err(refuse(
            ErrorCode::BadRequest,
            "this service does not change anything by this method",
        )),
    }
}

fn check_text(text: &str) -> Result<(), ErrorBody> {
    if text.is_empty() {
        return Err(refuse(ErrorCode::BadRequest, "the text is empty"));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the text is longer than 16384 bytes"));
    }
    if text.contains('\0') {
        return Err(refuse(ErrorCode::BadRequest, "the text holds a NUL"));
    }
    Ok(())
}

fn check_create(params: &Create, room: RoomId, actor: UserId) -> Result<(), ErrorBody> {
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
    if params.members.len() > ROOM_MEMBERS_MAX {
        return Err(refuse(ErrorCode::TooLarge, "a room has at most 256 members"));
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
            if others > ROOM_MEMBERS_MAX {
                return Err(refuse(ErrorCode::TooLarge, "a room has at most 256 members"));
            }
        }
    }
    Ok(())
}

/// The first members of a room by user id, the caller among them, each once.
pub(super) fn initial_members(params: &Create, actor: UserId) -> Vec<UserId> {
    let mut users = params.members.clone();
    users.push(actor);
    users.sort_unstable();
    users.dedup();
    users
}

/// HMAC-SHA-256, cut to 128 bits, over the method and the arguments in one fixed notation: spaces and order of
/// members in the client's JSON do not matter.
fn hash<P: Serialize>(key: &hmac::Key, method: Method, params: &P) -> Hash {
    let mut text = method.code().to_le_bytes().to_vec();
    serde_json::to_writer(&mut text, params).expect("arguments that were read can be written");
    let tag = hmac::sign(key, &text);
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&tag.as_ref()[..HASH_BYTES]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::testing::{call, key, room, user};

    fn parsed(method: Method, body: &str) -> Result<Write, ErrorCode> {
        parse(&call(user(1), method, room(1), body), &key()).map_err(|error| error.code)
    }

    #[test]
    fn a_message_is_read_and_hashed_by_its_content() {
        let text = |text: &str, space: &str| {
            let body = format!(
                r#"{{"id":1,{space}"method":"message.send","params":{{{space}"text":"{text}","client_message_id":"{}"}}}}"#,
                uuid::Uuid::from_u128(5)
            );
            parsed(Method::MessageSend, &body).unwrap().op.unwrap()
        };
        assert_eq!(text("a", ""), text("a", "  "));
        assert_ne!(text("a", "").1, text("b", "").1);
    }

    #[test]
    fn texts_out_of_bounds_are_refused() {
        let send = |text: &str| {
            let op = uuid::Uuid::from_u128(5);
            parsed(
                Method::MessageSend,
                &format!(r#"{{"params":{{"text":"{text}","client_message_id":"{op}"}}}}"#),
            )
            .map(|_| ())
        };
        assert_eq!(send(""), Err(ErrorCode::BadRequest));
        assert_eq!(send("\\u0000"), Err(ErrorCode::BadRequest));
        assert_eq!(send("\\ud800"), Err(ErrorCode::BadRequest));
        assert_eq!(send(&"x".repeat(TEXT_BYTES_MAX + 1)), Err(ErrorCode::TooLarge));
        assert_eq!(send(&"x".repeat(TEXT_BYTES_MAX)), Ok(()));
    }

    #[test]
    fn a_group_cannot_take_the_id_of_a_direct_room() {
        let id = direct_room(user(2), user(3));
        let body = format!(
            r#"{{"params":{{"op":"{}","id":"{id}","kind":"group","name":"x"}}}}"#,
            uuid::Uuid::from_u128(9)
        );
        let refused = parse(&call(user(1), Method::RoomCreate, id, &body), &key()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
    }

    #[test]
    fn a_direct_room_has_the_id_of_its_pair() {
        let create = |id: RoomId, members: &str| {
            let body = format!(
                r#"{{"params":{{"op":"{}","id":"{id}","kind":"direct","members":[{members}]}}}}"#,
                uuid::Uuid::from_u128(9)
            );
            parse(&call(user(1), Method::RoomCreate, id, &body), &key()).is_ok()
        };
        let (a, b) = (format!("\"{}\"", user(1)), format!("\"{}\"", user(2)));
        assert!(create(direct_room(user(1), user(2)), &b));
        assert!(!create(room(1), &b));
        assert!(!create(direct_room(user(1), user(1)), &a));
        assert!(!create(direct_room(user(1), user(2)), &format!("{a},{b}")));
    }
}
