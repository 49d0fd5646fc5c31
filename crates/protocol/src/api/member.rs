//! `member.*` beyond coming and going: roles, pages, bans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::room::{Member, Role};
use crate::ids::{Op, UserId};

/// Arguments of `member.set_role`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// Name of this change.
    pub op: Op,
    /// Whose role.
    pub user: UserId,
    /// What it becomes; `owner` hands the room over, and the caller is `admin` from then on.
    pub role: Role,
}

/// Arguments of `member.ban` and `member.unban`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// Name of this change.
    pub op: Op,
    /// Whom to keep out, or not any more.
    pub user: UserId,
}

/// Arguments of `member.list`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMembers {
    /// Only users after this id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<UserId>,
    /// At most this many, and at most [`crate::limits::MEMBERS_PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
    /// Only members of this role.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
}

/// Result of `member.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    /// By user id.
    pub members: Vec<Member>,
    /// True if another page follows.
    pub more: bool,
}

/// Arguments of `member.bans`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBans {
    /// Only users after this id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<UserId>,
    /// At most this many, and at most [`crate::limits::MEMBERS_PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// One user who is kept out of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Banned {
    /// Who.
    pub user: UserId,
    /// By whom.
    pub by: UserId,
    /// Since when, µs since the Unix epoch.
    pub created_at: i64,
}

/// Result of `member.bans`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bans {
    /// By user id.
    pub bans: Vec<Banned>,
    /// True if another page follows.
    pub more: bool,
}
