//! How a room is used: settings for all (`room.update`), and preferences of one user (`room.preferences`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::room::Role;
use crate::ids::Op;

/// From where a user who is added to a group sees its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// From the event of his joining.
    #[default]
    Join,
    /// From the start.
    All,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $value:expr;)*) => {
        /// Settings of a room.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Settings { $($(#[$doc])* pub $name: $kind,)* }

        /// What of them is to change; what is absent stays.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct SettingsChange {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none", default)] pub $name: Option<$kind>,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $value,)* }
            }
        }

        impl Settings {
            /// The same with a change applied.
            #[must_use]
            pub fn with(self, change: &SettingsChange) -> Self {
                Self { $($name: change.$name.unwrap_or(self.$name),)* }
            }
        }
    };
}

settings! {
    /// The lowest role that writes; never `reader`.
    write: Role = Role::Member;
    /// The lowest role that adds members and makes invites; never `reader`.
    add: Role = Role::Admin;
    /// The lowest role that changes name, topic and avatar; never `reader`.
    change: Role = Role::Admin;
    /// The lowest role that pins messages; never `reader`.
    pin: Role = Role::Admin;
    /// The lowest role that may mention everybody at once; never `reader`.
    mention_all: Role = Role::Admin;
    /// Members below `admin` wait this long between two messages, seconds; 0: not at all.
    slow_mode_s: u32 = 0;
    /// An own message may be edited for this long, seconds; 0: never.
    edit_window_s: u32 = 86_400;
    /// What new members of a group see of its log.
    history: Seen = Seen::Join;
}

impl Settings {
    /// True in a new room.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The roles among them.
    pub const fn roles(&self) -> [Role; 5] {
        [self.write, self.add, self.change, self.pin, self.mention_all]
    }
}

/// How one user keeps a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Preferences {
    /// Out of the way, until something is written.
    pub archived: bool,
    /// No notices until then, µs since the Unix epoch; 0: not muted.
    pub muted_until: i64,
    /// Since when it stands on top of the list, µs since the Unix epoch; 0: it does not.
    pub pinned_at: i64,
}

impl Preferences {
    /// True for a room that was left as it came.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Arguments of `room.preferences`: what is absent stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefer {
    /// Name of this change.
    pub op: Op,
    /// See [`Preferences::archived`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archived: Option<bool>,
    /// See [`Preferences::muted_until`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub muted_until: Option<i64>,
    /// Whether the room stands on top of the list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pinned: Option<bool>,
}

/// Result of `room.preferences`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Preferred {
    /// As they stand now.
    pub preferences: Preferences,
    /// True if the op had been applied before.
    pub duplicate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let change = SettingsChange {
            slow_mode_s: Some(10),
            ..SettingsChange::default()
        };
        let settings = Settings::default().with(&change);
        assert_eq!(settings.slow_mode_s, 10);
        assert_eq!(settings.write, Role::Member);
        // Settings that a later release adds are read as in a new room.
        let read: Settings = serde_json::from_str(r#"{"slow_mode_s":10}"#).unwrap();
        assert_eq!(read, settings);
    }
}
