//! Step 10, first half: what a chat call asks for. Pure: JSON in, a checked command or a refusal out.

mod entity;
mod message;
mod room;
#[cfg(test)]
mod tests;

use aws_lc_rs::hmac;
use hub_protocol::api::message::{Read, Send};
use hub_protocol::api::receipt::Delivered;
use hub_protocol::api::room::{Add, Create, JoinLeave, Remove};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Method, Op, RoomId, UserId};
use serde::Serialize;

use crate::call::{params, refuse};
use crate::service::Call;

pub(super) use message::{About, is_rich};
pub(super) use room::initial_members;

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
    /// Change a message that is there.
    About(About),
    /// Move the own read mark.
    Read(Read),
    /// Move the own mark of what was received.
    Delivered(Delivered),
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
            room::check_create(&params, room, actor)?;
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
            message::check_send(&params)?;
            named(
                params.client_message_id,
                hash(key, method, &params),
                Command::Send(params),
            )
        }
        Method::MessageEdit | Method::MessageDelete | Method::MessageReact | Method::MessagePin => {
            let (op, hash, about) = message::about(call, key)?;
            named(op, hash, Command::About(about))
        }
        Method::ReceiptDelivered => Ok(Write {
            room,
            actor,
            command: Command::Delivered(params(call)?),
            op: None,
        }),
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
