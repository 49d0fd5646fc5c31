//! `message.*`, `typing.*`, `receipt.*`: what is said in a room.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entity::Entity;
use crate::ids::{Op, RoomId, UserId};

/// A stored message, as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<u64>,
    /// The first message of the thread that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<u64>,
    /// Where its text comes from, if it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<Origin>,
    /// How parts of its text are to be shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entities: Vec<Entity>,
    /// When its text was replaced last, µs since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_at: Option<i64>,
    /// True if it was taken away for all: the text is empty then.
    #[serde(skip_serializing_if = "is_false", default)]
    pub deleted: bool,
    /// Reactions, in the order of their first use. Only in answers, not in the event of a new message.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reactions: Vec<Reaction>,
    /// The thread that begins here. Only in answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replies: Option<Replies>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the face that serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Where a forwarded text was written first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The room.
    pub room: RoomId,
    /// Its place there.
    pub seq: u64,
    /// Who wrote it.
    pub sender: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// One kind of reaction to a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// How many users chose it.
    pub count: u32,
    /// True if the caller did.
    #[serde(skip_serializing_if = "is_false", default)]
    pub own: bool,
}

/// The thread that begins with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Replies {
    /// Its messages that were not taken away, without the first.
    pub count: u32,
    /// The last one that came.
    pub last_seq: u64,
    /// When that was, µs since the Unix epoch.
    pub last_at: i64,
}

/// Arguments of `message.send`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Name of this change, made once and kept over retries.
    pub client_message_id: Op,
    /// 1 to [`crate::limits::TEXT_BYTES_MAX`] bytes, no NUL; absent with `forward`.
    #[serde(default)]
    pub text: String,
    /// A message of this room that this one answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<u64>,
    /// The first message of the thread that it belongs to, in this room.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<u64>,
    /// A message that the caller sees: the server copies its text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<Source>,
    /// How parts of the text are to be shown, and who is mentioned; see [`Entity`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entities: Vec<Entity>,
}

/// A message of some room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The room.
    pub room: RoomId,
    /// Its place there.
    pub seq: u64,
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

/// Arguments of `message.edit`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Name of this change.
    pub op: Op,
    /// The message.
    pub seq: u64,
    /// Its new text, with the limits of [`Send::text`].
    pub text: String,
    /// The new entities.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entities: Vec<Entity>,
}

/// For whom a message is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteFor {
    /// For everybody: the text is gone.
    All,
    /// For the caller, on all of his devices.
    Me,
}

/// Arguments of `message.delete`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Name of this change.
    pub op: Op,
    /// The message.
    pub seq: u64,
    /// For whom.
    #[serde(rename = "for")]
    pub whom: DeleteFor,
}

/// Arguments of `message.react`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct React {
    /// Name of this change.
    pub op: Op,
    /// The message.
    pub seq: u64,
    /// 1 to [`crate::limits::EMOJI_BYTES_MAX`] bytes without spaces and control characters.
    pub emoji: String,
    /// True to take the own reaction away.
    #[serde(skip_serializing_if = "is_false", default)]
    pub remove: bool,
}

/// Arguments of `message.pin`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Name of this change.
    pub op: Op,
    /// The message.
    pub seq: u64,
    /// Whether it is to be pinned.
    pub pinned: bool,
}

/// Arguments of `message.edits` and `message.reactions`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfMessage {
    /// The message.
    pub seq: u64,
    /// Continues a list: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
}

/// What a message said before an edit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// The edit that replaced it.
    pub edit_seq: u64,
    /// The text until then.
    pub text: String,
    /// Its entities.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entities: Vec<Entity>,
    /// When it was replaced, µs since the Unix epoch.
    pub until: i64,
}

/// Result of `message.edits`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// Oldest first.
    pub edits: Vec<Version>,
    /// Ask again with `after` set to this: there is more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// One user's reaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reacted {
    /// Who.
    pub user: UserId,
    /// With what.
    pub emoji: String,
    /// The event that told of it.
    pub seq: u64,
}

/// Result of `message.reactions`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reactions {
    /// In the order in which they came.
    pub reactions: Vec<Reacted>,
    /// Ask again with `after` set to this: there is more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// A message that is pinned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pinned {
    /// Who pinned it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub pinned_at: i64,
    /// The message.
    pub message: Message,
}

/// Result of `message.pins`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pins {
    /// The one pinned last comes first.
    pub pins: Vec<Pinned>,
    /// True if the list was cut below the bound of a result.
    pub more: bool,
}

/// Arguments of `message.thread`: at most one of `after` and `before`; with neither, the newest page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// The first message of the thread.
    pub root: u64,
    /// Messages with a greater `seq`, oldest first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
    /// Messages with a smaller `seq`, the newest of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<u64>,
    /// At most this many, and at most [`crate::limits::HISTORY_EVENTS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Arguments of `message.search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRoom {
    /// Words that must all occur; `"a phrase"`, `-without`, `one or other`.
    pub query: String,
    /// Messages with a smaller `seq`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<u64>,
    /// At most this many, and at most [`crate::limits::SEARCH_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Arguments of `search`: the same over all rooms of the caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Like that of [`SearchRoom`].
    pub query: String,
    /// Continues a search: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<String>,
    /// At most this many, and at most [`crate::limits::SEARCH_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Result of `message.thread`, `message.search` and `search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Messages {
    /// Threads: ascending. Searches: the newest first.
    pub messages: Vec<Message>,
    /// True if there is more in the direction that was asked.
    pub more: bool,
    /// Of `search`: ask again with `page` set to this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Arguments of `message.history`: a range of the log, at most one of `after`, `before` and `around`.
/// With none of them, the newest page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Events with a greater `seq`, oldest first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
    /// Events with a smaller `seq`, the newest of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<u64>,
    /// Events on both sides of this `seq` and the one itself, half of `limit` before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub around: Option<u64>,
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
    /// True if the range goes on in the direction that was asked; with `around`, after its end.
    pub more: bool,
    /// With `around`: true if the range goes on before its start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub more_before: Option<bool>,
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
