//! `user.*`: profiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// What others see of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique lower-case name.
    pub username: String,
    /// The name to show.
    pub display_name: String,
    /// When it was made, µs since the Unix epoch.
    pub created_at: i64,
}

/// Result of `user.me`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The caller.
    pub user: User,
}

/// Arguments of `user.get`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// At most [`crate::limits::USER_GET_MAX`] ids.
    pub users: Vec<UserId>,
}

/// Result of `user.get`: those that exist, in no particular order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// The profiles.
    pub users: Vec<User>,
}
