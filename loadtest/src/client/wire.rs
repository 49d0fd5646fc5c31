//! What a client writes and reads. Written with `format!` from parts that need no escapes; read with serde.

use std::borrow::Cow;

use hub_protocol::error::ErrorBody;
use hub_protocol::{Method, Op, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The shortest text that holds what the harness writes into it.
pub const TEXT_BYTES_MIN: usize = 4 + 9 + 17 + 17;
/// How every text of the harness begins.
const MARK: &str = "hub ";

/// Anything that a hub says.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(default)]
    pub(super) id: Option<u64>,
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) error: Option<ErrorBody>,
    #[serde(borrow, default)]
    pub(super) event: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) room: Option<RoomId>,
    #[serde(default)]
    pub(super) seq: Option<u64>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// What names an event of any kind, and the text if it is a message.
#[derive(Debug, Deserialize)]
struct Identity<'a> {
    #[serde(default)]
    op: Option<Op>,
    #[serde(default)]
    client_message_id: Option<Op>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

/// An event, as far as a client of the harness cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delivered {
    /// The op of the change.
    pub(super) op: Op,
    /// What its text says, if this run wrote it.
    pub(super) ours: Option<Ours>,
}

/// What stands in a text of this run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ours {
    /// When the send was meant to happen.
    pub(super) intended: u64,
    /// False if the text belongs to another op.
    pub(super) is_intact: bool,
}

/// Reads the data of a durable event; `None` if it names no op.
pub(super) fn read_event(data: &str, nonce: u32) -> Option<Delivered> {
    let identity: Identity<'_> = serde_json::from_str(data).ok()?;
    let op = identity.client_message_id.or(identity.op)?;
    let ours = identity
        .text
        .and_then(|text| read_text(text.get().trim_matches('"'), nonce, op));
    Some(Delivered { op, ours })
}

/// The text of a message: names the run, the intended time and the op, and is filled up to its length.
pub(super) fn text(nonce: u32, intended: u64, op: Op, bytes: usize) -> String {
    let mut text = format!("{MARK}{nonce:08x} {intended:016x} {:016x} ", tail(op));
    while text.len() < bytes {
        text.push('.');
    }
    text
}

fn read_text(text: &str, nonce: u32, op: Op) -> Option<Ours> {
    let mut parts = text.strip_prefix(MARK)?.split(' ');
    if u32::from_str_radix(parts.next()?, 16) != Ok(nonce) {
        return None;
    }
    let intended = u64::from_str_radix(parts.next()?, 16);
    let written = u64::from_str_radix(parts.next()?, 16);
    Some(Ours {
        intended: intended.clone().unwrap_or(0),
        is_intact: intended.is_ok() && written == Ok(tail(op)),
    })
}

fn tail(op: Op) -> u64 {
    let (_, low) = op.0.as_u64_pair();
    low
}

/// What a request was about, told by the id of its answer: `number << 20 | room << 4 | kind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// `session.open`.
    Open,
    /// `session.refresh`.
    Refresh,
    /// `sync`.
    Sync,
    /// `message.history` of a room.
    Range(u16),
    /// `message.send` to a room.
    Send(u16),
}

impl Call {
    /// The id of the request with this number; grows with the number.
    pub(super) fn id(self, number: u32) -> u64 {
        let (kind, room) = match self {
            Self::Open => (0, 0),
            Self::Refresh => (1, 0),
            Self::Sync => (2, 0),
            Self::Range(room) => (3, room),
            Self::Send(room) => (4, room),
        };
        (u64::from(number) << 20) | (u64::from(room) << 4) | kind
    }

    /// What an id stands for.
    pub(super) fn of(id: u64) -> Option<Self> {
        let room = u16::try_from((id >> 4) & 0xFFFF).ok()?;
        match id & 0xF {
            0 => Some(Self::Open),
            1 => Some(Self::Refresh),
            2 => Some(Self::Sync),
            3 => Some(Self::Range(room)),
            4 => Some(Self::Send(room)),
            _ => None,
        }
    }
}

/// A request about a room.
pub(super) fn room_request(id: u64, method: Method, room: RoomId, params: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"{}","room":"{room}","params":{params}}}"#,
        method.name()
    )
}

/// A request about no room.
pub(super) fn request(id: u64, method: Method, params: &str) -> String {
    format!(r#"{{"id":{id},"method":"{}","params":{params}}}"#, method.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_its_run_its_time_and_its_op() {
        let op = Op(uuid::Uuid::from_u128(77));
        for bytes in [0, TEXT_BYTES_MIN, 128] {
            let text = text(9, 123, op, bytes);
            assert_eq!(text.len(), bytes.max(TEXT_BYTES_MIN));
            assert_eq!(
                read_text(&text, 9, op),
                Some(Ours {
                    intended: 123,
                    is_intact: true
                })
            );
            assert_eq!(read_text(&text, 8, op), None);
            let other = Op(uuid::Uuid::from_u128(78));
            assert_eq!(
                read_text(&text, 9, other),
                Some(Ours {
                    intended: 123,
                    is_intact: false
                })
            );
        }
        assert_eq!(read_text("hello", 9, op), None);
    }

    #[test]
    fn an_id_tells_its_call() {
        for call in [
            Call::Open,
            Call::Refresh,
            Call::Sync,
            Call::Range(7),
            Call::Send(u16::MAX),
        ] {
            assert_eq!(Call::of(call.id(u32::MAX)), Some(call));
            assert!(call.id(1) < Call::Open.id(2));
            // JSON numbers are exact below 2^53.
            assert!(call.id(u32::MAX) < 1 << 53);
        }
    }

    #[test]
    fn events_of_every_kind_name_their_op() {
        let op = "00000000-0000-7000-8000-000000000001";
        let message = format!(r#"{{"seq":1,"client_message_id":"{op}","text":"a \"b\"","sender":"x"}}"#);
        let member = format!(r#"{{"op":"{op}","user":"x"}}"#);
        for data in [message, member] {
            let delivered = read_event(&data, 1).unwrap();
            assert_eq!((delivered.op.to_string().as_str(), delivered.ours), (op, None));
        }
        assert_eq!(read_event("{}", 1), None);
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let room = RoomId(uuid::Uuid::from_u128(5));
        let text = room_request(7, Method::MessageHistory, room, r#"{"after":3}"#);
        let read: hub_protocol::api::Request<hub_protocol::api::message::History> =
            serde_json::from_str(&text).unwrap();
        assert_eq!((read.id, read.room, read.params.after), (7, Some(room), Some(3)));
    }
}
