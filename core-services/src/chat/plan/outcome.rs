//! The answers to changes, new or repeated.

use std::sync::Arc;

use bytes::Bytes;
use hub_protocol::api::invite::InviteCreated;
use hub_protocol::api::message::ReadMark;
use hub_protocol::api::room::{Changed, Created};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::Known;
use crate::call::{json, refuse};
use crate::chat::command::{Command, Hash};
use crate::chat::log::LogEvent;
use crate::chat::room::Room;
use crate::mutants::Mutant;
use crate::service::{Audience, Delivery, Outcome};

/// The outcome of an event, new or repeated.
pub(super) fn told(event: &LogEvent, receivers: &Arc<[UserId]>, duplicate: bool) -> Outcome {
    let silent = duplicate && Mutant::NoRedelivery.is_on();
    let delivery = Delivery {
        room: event.room,
        seq: Some(event.seq.unsigned_abs()),
        audience: Audience::Users(Arc::clone(receivers)),
        body: event.text(),
    };
    Outcome {
        reply: Some(Ok(event.result(duplicate))),
        deliveries: if silent { Vec::new() } else { vec![delivery] },
        notices: Vec::new(),
        revoked: Vec::new(),
    }
}

pub(super) fn repeat(known: &Known, hash: Hash, command: &Command) -> Result<Outcome, ErrorBody> {
    let conflict = || Err(refuse(ErrorCode::Conflict, "the op was used for another change"));
    match known {
        // Of a message that was taken away nothing is left to compare.
        Known::Event(event, _) if event.hash != hash && !event.is_deleted() => conflict(),
        Known::Event(event, receivers) => Ok(told(event, receivers, true)),
        Known::Applied(stored, _) if *stored != hash => conflict(),
        Known::Applied(_, result) => match command {
            Command::CreateInvite(_, code) => Ok(Outcome::result(with_code(result, code))),
            _ => Ok(Outcome::result(Bytes::from(result.clone()))),
        },
    }
}

/// The result of `invite.create` with its code, which is not stored with it.
fn with_code(result: &str, code: &str) -> Bytes {
    match serde_json::from_str::<InviteCreated>(result) {
        Ok(created) => json(&InviteCreated {
            code: code.to_owned(),
            ..created
        }),
        Err(_not_ours) => Bytes::from(result.to_owned()),
    }
}

/// The answer to a change that has been made already, by whomever.
pub(super) fn already(room: &Room, command: &Command) -> Bytes {
    match command {
        Command::Create(_) => json(&Created {
            room: room.info.clone(),
            seq: 1,
            duplicate: true,
        }),
        Command::Join | Command::Update(_) => json(&Created {
            room: room.info.clone(),
            seq: 0,
            duplicate: true,
        }),
        _ => json(&Changed {
            seq: 0,
            duplicate: true,
        }),
    }
}

/// The outcome of a mark that stands at `seq` now.
pub(in crate::chat) fn marked(seq: i64) -> Outcome {
    Outcome::result(json(&ReadMark {
        seq: seq.unsigned_abs(),
    }))
}
