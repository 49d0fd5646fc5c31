//! Events: durable ones with a `seq`, ephemeral ones and notices of the system without.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::message::Message;
use super::receipt::Mark;
use super::room::{Member, Role, Room};
use crate::ids::{Op, RoomId, UserId};

/// An event on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event<D> {
    /// Its name: [`Kind::name`], or one of [`TYPING`], [`RECEIPTS`], [`UNREAD`], [`HIDDEN`],
    /// [`PREFERENCES`], [`BUMP`], [`SYNC`], [`MIGRATE`].
    pub event: String,
    /// The room; absent for notices of the system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room: Option<RoomId>,
    /// Its place in the room; absent for ephemeral events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
    /// What happened.
    pub data: D,
}

/// Somebody is typing: [`TypingData`].
pub const TYPING: &str = "typing";
/// Marks of members moved, merged over a second: [`ReceiptsData`].
pub const RECEIPTS: &str = "receipts";
/// The caller's own counts in a room, for his other devices: [`UnreadData`].
pub const UNREAD: &str = "unread";
/// The caller took a message away for himself, on another device: [`HiddenData`].
pub const HIDDEN: &str = "message.hidden";
/// Another device of the user changed how he keeps a room: [`super::setting::Preferences`].
pub const PREFERENCES: &str = "room.preferences";
/// The room went on; fetch what is new: `room` and `seq` of the event, empty data.
pub const BUMP: &str = "room.bump";
/// Users whom this connection watches changed: [`super::presence::PresenceData`].
pub const PRESENCE: &str = "presence";
/// A profile changed; told to the own devices and to those who have the user as a contact: [`UserData`].
pub const USER_UPDATED: &str = "user.updated";
/// Deliveries may have been lost: sync within a random part of [`SyncData::spread_ms`].
pub const SYNC: &str = "system.sync";
/// Move to another node: [`MigrateData`].
pub const MIGRATE: &str = "system.migrate";

/// What a durable event is about. The number stands in the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i16)]
pub enum Kind {
    /// The room was made: [`CreatedData`].
    RoomCreated = 1,
    /// A message was written: [`Message`].
    MessageCreated = 2,
    /// A user became a member: [`MemberData`].
    MemberAdded = 3,
    /// A user is no member any more; for him this is the last event: [`MemberData`].
    MemberRemoved = 4,
    /// A message has another text: [`EditedData`].
    MessageEdited = 5,
    /// A message was taken away for all: [`DeletedData`].
    MessageDeleted = 6,
    /// Somebody reacted to a message, or took that back: [`ReactedData`].
    MessageReacted = 7,
    /// A message was pinned or unpinned: [`PinnedData`].
    MessagePinned = 8,
    /// Name, topic, avatar or settings of the room changed: [`UpdatedData`].
    RoomUpdated = 9,
    /// A member has another role: [`MemberData`].
    MemberUpdated = 10,
    /// The room ended, for everybody: [`RoomDeletedData`].
    RoomDeleted = 11,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::RoomCreated,
        Self::MessageCreated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::MessageEdited,
        Self::MessageDeleted,
        Self::MessageReacted,
        Self::MessagePinned,
        Self::RoomUpdated,
        Self::MemberUpdated,
        Self::RoomDeleted,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoomCreated => "room.created",
            Self::MessageCreated => "message.created",
            Self::MemberAdded => "member.added",
            Self::MemberRemoved => "member.removed",
            Self::MessageEdited => "message.edited",
            Self::MessageDeleted => "message.deleted",
            Self::MessageReacted => "message.reacted",
            Self::MessagePinned => "message.pinned",
            Self::RoomUpdated => "room.updated",
            Self::MemberUpdated => "member.updated",
            Self::RoomDeleted => "room.deleted",
        }
    }

    /// The number in the database.
    #[expect(clippy::as_conversions, reason = "the discriminant of a repr(i16) enum")]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The kind of a number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// Data of `room.created`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreatedData {
    /// The op that made it.
    pub op: Op,
    /// The room.
    pub room: Room,
    /// Its first members, by user id.
    pub members: Vec<Member>,
}

/// Data of `message.created`.
pub type MessageData = Message;

/// Data of `room.updated`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpdatedData {
    /// The op of the change.
    pub op: Op,
    /// The room as it is from here on.
    pub room: Room,
    /// Who did it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `room.deleted`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoomDeletedData {
    /// The op of the change.
    pub op: Op,
    /// Who did it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `member.added`, `member.removed` and `member.updated`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MemberData {
    /// The op of the change.
    pub op: Op,
    /// Whom it concerns.
    pub user: UserId,
    /// His role; absent when removed. `owner` in `member.updated`: the room was handed over, and `by` is `admin` now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
    /// In `member.removed`: he is kept out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub banned: bool,
    /// In `member.removed`: who owns the room now that its owner left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub heir: Option<UserId>,
    /// Who did it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `message.edited`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EditedData {
    /// The message.
    pub seq: u64,
    /// What it says since then; empty once it was taken away.
    pub text: String,
    /// Its entities since then.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entities: Vec<Entity>,
    /// When, µs since the Unix epoch.
    pub edited_at: i64,
    /// The op of the change.
    pub op: Op,
    /// Who did it.
    pub by: UserId,
}

/// Data of `message.deleted`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeletedData {
    /// The message.
    pub seq: u64,
    /// When, µs since the Unix epoch.
    pub deleted_at: i64,
    /// The op of the change.
    pub op: Op,
    /// Who did it.
    pub by: UserId,
}

/// Data of `message.reacted`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReactedData {
    /// The message.
    pub seq: u64,
    /// With what.
    pub emoji: String,
    /// True if the reaction was taken back.
    pub removed: bool,
    /// The op of the change.
    pub op: Op,
    /// Who.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `message.pinned`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PinnedData {
    /// The message.
    pub seq: u64,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// The op of the change.
    pub op: Op,
    /// Who did it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `receipts`: the marks that moved, as they stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptsData {
    /// One per member.
    pub marks: Vec<Mark>,
}

/// Data of `unread`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UnreadData {
    /// Like [`super::sync::RoomState::unread`].
    pub unread: u32,
    /// Like [`super::sync::RoomState::mentions`].
    pub mentions: u32,
    /// The caller's read mark.
    pub read_seq: u64,
}

/// Data of `message.hidden`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HiddenData {
    /// The message.
    pub seq: u64,
}

/// Data of `typing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TypingData {
    /// Who.
    pub user: UserId,
    /// Whether he is typing.
    pub typing: bool,
}

/// Data of `user.updated`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UserData {
    /// As it is now.
    pub user: super::user::Profile,
}

/// Data of `system.sync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SyncData {
    /// Wait a random part of this before the sync.
    pub spread_ms: u32,
}

/// Data of `system.migrate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MigrateData {
    /// Open another connection within this time.
    pub within_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_their_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn ephemeral_events_have_no_seq_on_the_wire() {
        let event = Event {
            event: SYNC.to_owned(),
            room: None,
            seq: None,
            data: SyncData { spread_ms: 500 },
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"system.sync","data":{"spread_ms":500}}"#
        );
    }
}
