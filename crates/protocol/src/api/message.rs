//! `message.*`, `typing.*`, `receipt.*`: what is said in a room.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{Op, RoomId, UserId};

/// A stored message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Where it stands.
    pub room: RoomId,
    /// Its place among the room's events.
    pub seq: u64,
    /// Its place among the room's messages.
    pub n: u64,
    /// Who wrote it.
    pub sender: UserId,
    /// The op it was sent with: replaces the sender's optimistic entry.
    pub client_message_id: Op,
    /// What it says.
    pub text: String,
    /// When it was stored, µs since the Unix epoch; grows with `seq`.
    pub created_at: i64,
}

/// Arguments of `message.send`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Name of this change, made once and kept over retries.
    pub client_message_id: Op,
    /// 1 to [`crate::limits::TEXT_BYTES_MAX`] bytes, no NUL.
    pub text: String,
}

/// Result of `message.send`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// The message as stored.
    pub message: Message,
    /// The same `seq`.
    pub seq: u64,
    /// The same `n`.
    pub n: u64,
    /// True if the op had been applied before.
    pub duplicate: bool,
}

/// Arguments of `message.history`: a range of the log, at most one of `after` and `before`.
/// With neither, the newest page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Events with a greater `seq`, oldest first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
    /// Events with a smaller `seq`, the newest of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<u64>,
    /// At most this many, and at most [`crate::limits::HISTORY_EVENTS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Result of `message.history`. Every `seq` of the range is answered: as an event or in `hidden`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// Events in ascending order, in the shape in which they are delivered.
    #[schemars(with = "Vec<crate::schema::AnyEvent>")]
    pub events: Vec<Box<RawValue>>,
    /// Inclusive ranges of `seq` that exist but are not for the caller; they count as seen.
    pub hidden: Vec<[u64; 2]>,
    /// True if the range goes on in the direction that was asked.
    pub more: bool,
}

/// Arguments of `typing.set`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    /// Whether the caller is typing.
    pub typing: bool,
}

/// Arguments of `receipt.read`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The caller has read up to here; clamped to the head, never goes back.
    pub seq: u64,
}

/// Result of `receipt.read`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadMark {
    /// The mark as stored.
    pub seq: u64,
}
