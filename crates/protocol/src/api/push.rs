//! `push.*`: Web Push (RFC 8030, 8291, 8292) to devices without an open connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Op, RoomId, UserId};

/// Arguments of `push.subscribe`: what the browser's `PushSubscription.toJSON()` holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Names the change.
    pub op: Op,
    /// Where pushes are posted to; https, up to [`crate::limits::PUSH_ENDPOINT_BYTES_MAX`] bytes.
    pub endpoint: String,
    /// The device's public key, 65 bytes in base64url without padding.
    pub p256dh: String,
    /// The device's secret, 16 bytes in base64url without padding.
    pub auth: String,
}

/// Result of `push.subscribe`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// The subscription.
    pub id: Uuid,
    /// True if this op was applied before.
    pub duplicate: bool,
}

/// Arguments of `push.unsubscribe`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// Names the change.
    pub op: Op,
    /// The subscription.
    pub id: Uuid,
}

/// One subscription, without its keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Subscription {
    /// Its id.
    pub id: Uuid,
    /// The endpoint's scheme and host.
    pub origin: String,
    /// True if the calling login made it.
    pub own: bool,
    /// When it was made, µs since the Unix epoch.
    pub created_at: i64,
}

/// Result of `push.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Subscriptions {
    /// `applicationServerKey` for `PushManager.subscribe`: base64url without padding.
    pub application_server_key: String,
    /// All subscriptions of the caller, at most [`crate::limits::PUSH_SUBSCRIPTIONS_MAX`].
    pub subscriptions: Vec<Subscription>,
}

/// What a device gets, encrypted: one room in which something new stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The room.
    pub room: RoomId,
    /// Its name; empty for direct rooms.
    pub room_name: String,
    /// The place of the newest message.
    pub seq: u64,
    /// Who wrote it.
    pub sender: UserId,
    /// His name to show.
    pub sender_name: String,
    /// The start of its text.
    pub text: String,
    /// Messages since the push before, at least 1.
    pub count: u32,
}
