//! Parts of a text: how they are to be shown, where they lead, whom they mention.
//!
//! Offsets and lengths count UTF-16 code units, as strings of JavaScript do: an emoji outside of the basic plane is
//! two. Entities come sorted by `offset`, the longer first; two of them are apart or one holds the other; `code` and
//! `pre` hold none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// What a part of a text is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityType {
    /// Strong.
    Bold,
    /// Emphasised.
    Italic,
    /// Underlined.
    Underline,
    /// Struck out.
    Strike,
    /// Hidden until it is touched.
    Spoiler,
    /// Of one width, within a line.
    Code,
    /// Of one width, lines of its own.
    Pre,
    /// Quoted.
    Quote,
    /// Leads to `url`.
    Link,
    /// Mentions `user`.
    Mention,
    /// Mentions everybody in the room.
    Room,
}

/// A part of a text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntityType,
    /// Where it begins, UTF-16 code units from the start of the text.
    pub offset: u32,
    /// How long it is, UTF-16 code units, at least 1.
    pub length: u32,
    /// Of a link, and of nothing else: `http`, `https` or `mailto`, up to [`crate::limits::URL_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// Of a mention, and of nothing else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<UserId>,
}
