//! `session.*`: answered by the edge.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{RoomId, SessionId, UserId};

/// Arguments of `session.open` and `session.refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// An access token.
    pub token: String,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open([redacted])")
    }
}

/// Arguments of `session.look`: they replace those of the call before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Large rooms whose events come one by one, at most [`crate::limits::LOOK_ROOMS_MAX`]; of all other large rooms
    /// the connection hears by one `room.bump` per room and second.
    pub rooms: Vec<RoomId>,
}

/// Result of `session.open` and `session.refresh`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// Who the session belongs to; a session never changes its user.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// The token's end, seconds since the Unix epoch; the session ends [`crate::limits::TOKEN_GRACE_S`] later.
    pub expires_at: u64,
    /// The edge pings this often.
    pub heartbeat_ms: u64,
    /// The edge's clock, µs since the Unix epoch.
    pub server_time: i64,
    /// Names the life of the database; another one means that cursors are void.
    pub epoch: String,
    /// What the client may rely on.
    pub limits: Limits,
    /// Names of optional parts that this edge has.
    pub features: Vec<String>,
}

/// Bounds that a client should keep by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// One message on the wire, bytes.
    pub message_bytes: u32,
    /// Sustained messages per second; 0 means unlimited.
    pub messages_per_second: u32,
    /// How many may come at once.
    pub messages_burst: u32,
}
