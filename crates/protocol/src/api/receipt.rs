//! `receipt.*` beside the read mark: how far members have received and read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// Arguments of `receipt.delivered`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// Some device of the caller has everything up to here; clamped to the head, never goes back.
    pub seq: u64,
}

/// Arguments of `receipt.list`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Counts who received and who read the log up to here; absent: up to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
}

/// How far one member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// The member.
    pub user: UserId,
    /// He has read up to here.
    pub read_seq: u64,
    /// Some device of his has received up to here: at least `read_seq`.
    pub delivered_seq: u64,
}

/// Result of `receipt.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// What the counts are about.
    pub seq: u64,
    /// Members who have read up to there, the caller included.
    pub read: u64,
    /// Members who have received up to there.
    pub delivered: u64,
    /// Every member's marks, by user; absent in channels and in rooms above
    /// [`crate::limits::ROOM_LARGE_ABOVE`] members.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub marks: Option<Vec<Mark>>,
}
