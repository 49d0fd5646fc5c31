//! Events: durable ones with a `seq`, ephemeral ones and notices of the system without.

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::room::{Member, Role, Room};
use crate::ids::{Op, RoomId, UserId};

/// An event on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event<D> {
    /// Its name: [`Kind::name`], or one of [`TYPING`], [`READ`], [`BUMP`], [`SYNC`], [`MIGRATE`].
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
/// Somebody's read mark moved: [`ReadData`].
pub const READ: &str = "receipt.read";
/// Another device of the user changed how he keeps a room: [`super::setting::Preferences`].
pub const PREFERENCES: &str = "room.preferences";
/// The room went on; fetch what is new: `room` and `seq` of the event, empty data.
pub const BUMP: &str = "room.bump";
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
    /// Name, topic, avatar or settings of the room changed: [`UpdatedData`].
    RoomUpdated = 9,
    /// A member has another role: [`MemberData`].
    MemberUpdated = 10,
    /// The room ended, for everybody: [`DeletedData`].
    RoomDeleted = 11,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::RoomCreated,
        Self::MessageCreated,
        Self::MemberAdded,
        Self::MemberRemoved,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeletedData {
    /// The op of the change.
    pub op: Op,
    /// Who did it.
    pub by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
}

/// Data of `member.added`, `member.removed` and `member.updated`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

/// Data of `typing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TypingData {
    /// Who.
    pub user: UserId,
    /// Whether he is typing.
    pub typing: bool,
}

/// Data of `receipt.read`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadData {
    /// Whose mark.
    pub user: UserId,
    /// Where it stands.
    pub seq: u64,
}

/// Data of `system.sync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncData {
    /// Wait a random part of this before the sync.
    pub spread_ms: u32,
}

/// Data of `system.migrate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
