//! `sync`: what changed in the caller's rooms since a cursor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::room::{Role, Room};
use super::setting::Preferences;
use crate::ids::RoomId;

/// Arguments of `sync`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The cursor that the last complete sync returned; absent: everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cursor: Option<String>,
    /// Continues a sync of several pages: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<String>,
    /// Rooms per page, at most [`crate::limits::SYNC_ROOMS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Result of `sync`. Rooms may come again that did not change; none that changed is missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Synced {
    /// Rooms whose head or whose own member row changed, by id.
    pub rooms: Vec<RoomState>,
    /// Rooms that the caller is no member of any more, each with his last event.
    pub left: Vec<Left>,
    /// Keep it when `next` is absent: the next sync starts there.
    pub cursor: String,
    /// Ask again with `page` set to this: there is more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// True if the cursor was unknown or of another epoch: this is everything, forget what is not in it.
    pub reset: bool,
}

/// Where a room and the caller's marks in it stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoomState {
    /// The room.
    pub room: Room,
    /// Its last event.
    pub seq: u64,
    /// Its number of messages.
    pub n: u64,
    /// The first event that the caller may see.
    pub from_seq: u64,
    /// The caller's role.
    pub role: Role,
    /// The caller's read mark.
    pub read_seq: u64,
    /// Messages after the mark that are not the caller's, exact up to [`crate::limits::UNREAD_COUNT_MAX`].
    pub unread: u32,
    /// Those that mention the caller.
    pub mentions: u32,
    /// How the caller keeps the room; absent if he left it as it came.
    #[serde(skip_serializing_if = "Preferences::is_default", default)]
    pub preferences: Preferences,
    /// The last message, for the list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_message: Option<Message>,
}

/// A room that the caller left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// The room.
    pub room: RoomId,
    /// The event of his removal, the last that he may see.
    pub seq: u64,
}
