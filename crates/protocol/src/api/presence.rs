//! `presence.*`: who is there. Ephemeral: nothing of it is promised, everything is true again a minute later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{RoomId, UserId};

/// Arguments of `presence.watch`: users or a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Whom this connection looks at from now on, at most [`crate::limits::PRESENCE_WATCH_MAX`]; replaces what it
    /// looked at before. Empty: nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub users: Option<Vec<UserId>>,
    /// The members of this room, if there are no more than [`crate::limits::PRESENCE_ROOM_MAX`]; of a larger one
    /// only their number, and what was looked at before stays.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room: Option<RoomId>,
}

/// Result of `presence.watch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// How they are now, those that exist.
    pub users: Vec<Presence>,
    /// Say it again after this, or changes are told no more, milliseconds.
    pub renew_ms: u64,
    /// How many members of the room are there; absent without a room.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room: Option<RoomPresence>,
}

/// How many members of a room are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoomPresence {
    /// Members.
    pub members: u32,
    /// Of these are online or away.
    pub online: u32,
    /// False if `online` was estimated from some of them.
    pub exact: bool,
}

/// How a user is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Some connection is open and not said to be away.
    Online,
    /// Connections are open, all of them said to be away.
    Away,
    /// No connection is open, or the caller may not know.
    Offline,
}

impl State {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }
}

/// One user, as one other may see him.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// How.
    pub state: State,
    /// When his last connection ended, µs since the Unix epoch; only when offline, and if he lets it be known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen: Option<i64>,
}

/// Data of the event `presence`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PresenceData {
    /// Those that changed.
    pub users: Vec<Presence>,
}

/// What a client says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Somebody looks at it.
    Active,
    /// Nobody does.
    Away,
}

/// Arguments of `presence.set`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// How this connection is from now on. Holds no push back for longer than a minute, unless said again.
    pub state: Activity,
}

/// What happened to a session, by the word of its edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// It stands in the directory.
    Open,
    /// It ended.
    Closed,
}

/// Arguments of `presence.session`, which the edge alone calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// What happened.
    pub state: Moment,
}
