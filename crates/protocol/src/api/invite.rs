//! `invite.*`: links by which users come into a room. A link is the room's id and a code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::room::{Role, RoomKind};
use crate::ids::{Op, RoomId, UserId};

/// A link, without its code: that is shown once, to whoever made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// Names it in `invite.revoke`; of no use to come in.
    pub id: Uuid,
    /// Who made it.
    pub created_by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
    /// As what users come in.
    pub role: Role,
    /// Until when, µs since the Unix epoch; absent: it does not expire.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<i64>,
    /// How many may come in by it; absent: any number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uses_max: Option<u32>,
    /// How many did.
    pub uses: u32,
}

/// Arguments of `invite.create`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// Name of this change.
    pub op: Op,
    /// It is good for this long, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in_s: Option<u32>,
    /// It lets so many in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uses_max: Option<u32>,
    /// As `member` or `reader`; if absent as `member`, in channels as `reader`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
}

/// Result of `invite.create`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InviteCreated {
    /// The link.
    pub invite: Invite,
    /// Its secret: 22 characters of `A-Z a-z 0-9 - _`.
    pub code: String,
    /// True if the op had been applied before.
    pub duplicate: bool,
}

/// Result of `invite.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Invites {
    /// Newest first.
    pub invites: Vec<Invite>,
}

/// Arguments of `invite.revoke`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeInvite {
    /// Name of this change.
    pub op: Op,
    /// The link's id.
    pub invite: Uuid,
}

/// Arguments of `invite.look`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookInvite {
    /// The link's code.
    pub code: String,
}

/// Result of `invite.look`: what may be shown before coming in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Looked {
    /// The room.
    pub room: RoomId,
    /// Its kind.
    pub kind: RoomKind,
    /// Its name.
    pub name: String,
    /// What it is about; absent if empty.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub topic: String,
    /// The attachment that shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub avatar: Option<Uuid>,
    /// How many belong to it.
    pub members: u32,
    /// As what the caller would come in.
    pub role: Role,
    /// True if the caller is a member already.
    pub joined: bool,
}

/// Arguments of `invite.accept`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvite {
    /// Name of this change.
    pub op: Op,
    /// The link's code.
    pub code: String,
}
