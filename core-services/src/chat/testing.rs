//! Short names for the tests of this service.

use aws_lc_rs::hmac;
use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use uuid::Uuid;

use crate::service::Call;

pub(super) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

pub(super) fn room(number: u128) -> RoomId {
    RoomId(Uuid::from_u128(number << 64))
}

pub(super) fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
}

pub(super) fn call(user: UserId, method: Method, room: RoomId, body: &str) -> Call {
    Call {
        header: EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room,
        },
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}
