//! Step 10, first half: what a chat call asks for. Pure: JSON in, a checked command or a refusal out.

mod entity;
mod invite;
mod message;
mod room;
#[cfg(test)]
mod tests;

use aws_lc_rs::hmac;
use hub_protocol::api::invite::{AcceptInvite, CreateInvite, RevokeInvite};
use hub_protocol::api::member::{Ban, SetRole};
use hub_protocol::api::message::{Read, Send};
use hub_protocol::api::receipt::Delivered;
use hub_protocol::api::room::{Add, Attach, Create, Delete, JoinLeave, Remove, Update};
use hub_protocol::api::setting::Prefer;
use hub_protocol::error::ErrorBody;
use hub_protocol::{Address, ErrorCode, Method, Op, RoomId, UserId};
use serde::Serialize;

use crate::call::{params, refuse};
use crate::service::Call;

pub(super) use invite::{CodeHash, code_hash};
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
    /// Change what the room is called and how it is used.
    Update(Update),
    /// End the room.
    Delete,
    /// Give a member another role.
    SetRole(SetRole),
    /// Keep a user out.
    Ban(Ban),
    /// Do not keep him out any more.
    Unban(Ban),
    /// Make a link, with this code.
    CreateInvite(CreateInvite, String),
    /// End a link.
    RevokeInvite(RevokeInvite),
    /// Come in by the link of this code.
    AcceptInvite(CodeHash),
    /// Keep the room in another way.
    Prefer(Prefer),
    /// Write a message.
    Send(Send),
    /// Change a message that is there.
    About(About),
    /// Move the own read mark.
    Read(Read),
    /// Attach a connection to the large room.
    Attach {
        /// The connection.
        address: Address,
        /// Names the call.
        nonce: u64,
    },
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
        Method::RoomUpdate => {
            let params: Update = params(call)?;
            room::check_update(&params)?;
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::Update(params))
        }
        Method::RoomDelete => {
            let params: Delete = params(call)?;
            named(params.op, hash(key, method, &(room, &params)), Command::Delete)
        }
        Method::MemberSetRole => {
            let params: SetRole = params(call)?;
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::SetRole(params))
        }
        Method::MemberBan => {
            let params: Ban = params(call)?;
            named(
                params.op,
                hash(key, method, &(room, &params)),
                Command::Ban(params),
            )
        }
        Method::MemberUnban => {
            let params: Ban = params(call)?;
            named(
                params.op,
                hash(key, method, &(room, &params)),
                Command::Unban(params),
            )
        }
        Method::InviteCreate => {
            let params: CreateInvite = params(call)?;
            invite::check_create(&params)?;
            let code = invite::new_code(key, room, actor, params.op);
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::CreateInvite(params, code))
        }
        Method::InviteRevoke => {
            let params: RevokeInvite = params(call)?;
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::RevokeInvite(params))
        }
        Method::InviteAccept => {
            let params: AcceptInvite = params(call)?;
            let code = code_hash(&params.code)?;
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::AcceptInvite(code))
        }
        Method::RoomPreferences => {
            let params: Prefer = params(call)?;
            room::check_prefer(&params)?;
            let hash = hash(key, method, &(room, &params));
            named(params.op, hash, Command::Prefer(params))
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
        Method::RoomAttach => Ok(Write {
            room,
            actor,
            command: Command::Attach {
                address: call.header.address,
                nonce: params::<Attach>(call)?.nonce,
            },
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
