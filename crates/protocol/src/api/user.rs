//! `user.*`, `contact.*`, `block.*`: profiles, and whom a user knows or does not want to know.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::ids::{Op, UserId};

/// What others see of an account, as a login answers it.
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

/// What others see of an account, in full.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// Its id.
    pub id: UserId,
    /// Unique lower-case name.
    pub username: String,
    /// The name to show.
    pub display_name: String,
    /// When it was made, µs since the Unix epoch.
    pub created_at: i64,
    /// What the user says about himself; absent when empty.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub about: String,
    /// The attachment that shows him.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub avatar: Option<Uuid>,
    /// True if the account has ended: its messages stay, nothing else can be done with it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
}

/// Who is told when a user was last seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visible {
    /// Everybody who may see the profile.
    Everyone,
    /// Whom the user keeps as a contact.
    Contacts,
    /// Nobody.
    Nobody,
}

impl Visible {
    /// The name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Contacts => "contacts",
            Self::Nobody => "nobody",
        }
    }

    /// The value of a name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Everyone, Self::Contacts, Self::Nobody]
            .into_iter()
            .find(|value| value.name() == name)
    }
}

/// Result of `user.me`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The caller.
    pub user: Profile,
    /// Who is told when he was last seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen_visible: Option<Visible>,
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
    pub users: Vec<Profile>,
    /// True if the answer became too long: ask again for those that are missing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub more: bool,
}

/// Arguments of `user.update`: what is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Names the change.
    pub op: Op,
    /// The name to show, 1 to [`crate::limits::DISPLAY_NAME_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display_name: Option<String>,
    /// Up to [`crate::limits::ABOUT_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// An attachment, or `null` for none.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "present"
    )]
    pub avatar: Option<Option<Uuid>>,
    /// Who is told when the user was last seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen_visible: Option<Visible>,
}

/// Tells `null` from absent.
#[expect(clippy::option_option, reason = "absent, null and an id are three things")]
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Uuid>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Result of `user.update`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Updated {
    /// The caller, as he is now.
    pub user: Profile,
    /// Who is told when he was last seen.
    pub last_seen_visible: Visible,
    /// True if this op was applied before; the rest is what it led to then.
    pub duplicate: bool,
}

/// Arguments of `user.search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Starts of words, separated by spaces: each must begin the user name or a word of the display name.
    pub query: String,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<String>,
    /// Users at most (20; up to [`crate::limits::USER_SEARCH_MAX`]).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Result of `user.search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// By the word that was found. May be fewer than asked for, or none, although there are more.
    pub users: Vec<Profile>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Arguments of `contact.list` and `block.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// Users after this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<UserId>,
    /// Users at most (up to [`crate::limits::USER_LIST_MAX`], which is also what holds when absent).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// One contact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// Who.
    pub user: Profile,
    /// The caller's own name for him; empty: the display name.
    pub alias: String,
}

/// Result of `contact.list`: by user id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// True if there are more after the last one.
    pub more: bool,
}

/// Arguments of `contact.set`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetContact {
    /// Names the change.
    pub op: Op,
    /// Who.
    pub user: UserId,
    /// The caller's own name for him, up to [`crate::limits::DISPLAY_NAME_BYTES_MAX`] bytes.
    #[serde(default)]
    pub alias: String,
}

/// Arguments of `contact.remove`, `block.add` and `block.remove`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relate {
    /// Names the change.
    pub op: Op,
    /// Who.
    pub user: UserId,
}

/// Result of `contact.set`, `contact.remove`, `block.add`, `block.remove` and `push.unsubscribe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// True if this op was applied before.
    pub duplicate: bool,
}

/// Result of `block.list`: by user id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// The users whom the caller has blocked.
    pub users: Vec<Profile>,
    /// True if there are more after the last one.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_takes_an_avatar_away_and_absence_keeps_it() {
        let read = |text: &str| serde_json::from_str::<Update>(text).unwrap().avatar;
        let op = Uuid::from_u128(1);
        assert_eq!(read(&format!(r#"{{"op":"{op}"}}"#)), None);
        assert_eq!(read(&format!(r#"{{"op":"{op}","avatar":null}}"#)), Some(None));
        assert_eq!(
            read(&format!(r#"{{"op":"{op}","avatar":"{op}"}}"#)),
            Some(Some(op))
        );
    }
}
