//! What the arguments of `invite.*` must be, seen for themselves; codes and their hashes.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_protocol::api::invite::CreateInvite;
use hub_protocol::api::room::Role;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::INVITE_S_MAX;
use hub_protocol::{ErrorCode, Op, RoomId, UserId};

use crate::call::refuse;

/// A code has 128 bits, and so has its hash, bytes.
const CODE_BYTES: usize = 16;
/// No text above this is a code, bytes.
const TEXT_BYTES_MAX: usize = 64;

/// SHA-256 of a code's text, cut.
pub(in crate::chat) type CodeHash = [u8; CODE_BYTES];

/// The code of a new invite: an HMAC of what names the call, so that a repeat of the call gets the same code
/// although only its hash is stored. Nobody without the key can tell it from a random one.
pub(super) fn new_code(key: &hmac::Key, room: RoomId, actor: UserId, op: Op) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [
        b"invite code 1".as_slice(),
        room.as_bytes(),
        actor.as_bytes(),
        op.as_bytes(),
    ] {
        context.update(part);
    }
    URL_SAFE_NO_PAD.encode(&context.sign().as_ref()[..CODE_BYTES])
}

/// What a code is recognised by.
pub(in crate::chat) fn code_hash(code: &str) -> Result<CodeHash, ErrorBody> {
    if code.len() > TEXT_BYTES_MAX {
        return Err(refuse(ErrorCode::BadRequest, "this is no code of an invite"));
    }
    let mut hash = CodeHash::default();
    hash.copy_from_slice(&digest::digest(&digest::SHA256, code.as_bytes()).as_ref()[..CODE_BYTES]);
    Ok(hash)
}

pub(super) fn check_create(params: &CreateInvite) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    if params.expires_in_s.is_some_and(|s| s == 0 || s > INVITE_S_MAX) {
        return bad("expires_in_s is from 1 to 31536000");
    }
    if params
        .uses_max
        .is_some_and(|uses| uses == 0 || i32::try_from(uses).is_err())
    {
        return bad("uses_max is from 1 to 2147483647");
    }
    if params.role.is_some_and(|role| role > Role::Member) {
        return bad("an invite makes members or readers");
    }
    Ok(())
}
