//! `room.*` and `member.*`: conversations and who belongs to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use uuid::Uuid;

use super::setting::{Settings, SettingsChange};
use crate::ids::{Op, RoomId, UserId};

/// What kind of conversation a room is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// Exactly two users, one room per pair.
    Direct,
    /// Members are added; all may write.
    Group,
    /// Anyone may join; few write, many read.
    Channel,
}

impl RoomKind {
    /// The name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Channel => "channel",
        }
    }

    /// The kind of a name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Direct, Self::Group, Self::Channel]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and writes.
    Member,
    /// Also manages members.
    Admin,
    /// Also manages admins and the room itself.
    Owner,
}

impl Role {
    /// The name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of a name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Reader, Self::Member, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// A room, without its members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// Its id.
    pub id: RoomId,
    /// Its kind.
    pub kind: RoomKind,
    /// The name to show; empty for `direct`.
    pub name: String,
    /// Who made it.
    pub created_by: UserId,
    /// When, µs since the Unix epoch.
    pub created_at: i64,
    /// What it is about; absent if empty.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub topic: String,
    /// The attachment that shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub avatar: Option<Uuid>,
    /// How it is used; absent where all settings are as in a new room.
    #[serde(skip_serializing_if = "Settings::is_default", default)]
    pub settings: Settings,
}

/// One member of a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// What he may do.
    pub role: Role,
}

/// Arguments of `room.create`; the request's `room` is the id of the new room.
/// For `direct` it is [`direct_room`] of the pair.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Name of this change.
    pub op: Op,
    /// The same id as the request's `room`.
    pub id: RoomId,
    /// The kind.
    pub kind: RoomKind,
    /// The name to show; empty for `direct`.
    #[serde(default)]
    pub name: String,
    /// Users beside the caller, who becomes owner (`direct`: both are members).
    #[serde(default)]
    pub members: Vec<UserId>,
}

/// Arguments of `room.update`: what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Name of this change.
    pub op: Op,
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// What the room is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topic: Option<String>,
    /// The attachment that shows it; `null` takes it away.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "given")]
    pub avatar: Option<Option<Uuid>>,
    /// How it is used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settings: Option<SettingsChange>,
}

/// Tells `null` from a member that is absent.
#[expect(
    clippy::option_option,
    reason = "absent, `null` and an id are three things here"
)]
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<Uuid>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Arguments of `room.delete`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Name of this change.
    pub op: Op,
}

/// Result of `room.create`, `room.join`, `room.update`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Created {
    /// The room.
    pub room: Room,
    /// The event's place in the room; 0 for joins and leaves that are no events.
    pub seq: u64,
    /// True if the op had been applied before.
    pub duplicate: bool,
}

/// Result of `room.get`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Got {
    /// The room.
    pub room: Room,
    /// Its members, by user id: the first [`crate::limits::ROOM_GET_MEMBERS_MAX`] of them.
    pub members: Vec<Member>,
    /// How many members it has.
    pub member_count: u32,
    /// Its last event.
    pub seq: u64,
    /// Its number of messages.
    pub n: u64,
}

/// Arguments of `room.join` and `room.leave`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinLeave {
    /// Name of this change.
    pub op: Op,
}

/// Arguments of `member.add`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Name of this change.
    pub op: Op,
    /// Whom to add.
    pub user: UserId,
    /// As what; `member` if absent (`reader` in channels).
    #[serde(default)]
    pub role: Option<Role>,
}

/// Arguments of `member.remove`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Name of this change.
    pub op: Op,
    /// Whom to remove.
    pub user: UserId,
}

/// Result of `room.leave`, `room.delete`, `invite.accept`, `member.add`, `remove`, `set_role`, `ban` and `unban`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The event's place in the room; 0 if the change is no event.
    pub seq: u64,
    /// True if the op had been applied before.
    pub duplicate: bool,
}

/// Arguments of `room.list`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only rooms after this id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<RoomId>,
    /// At most this many, and at most [`crate::limits::SYNC_ROOMS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Result of `room.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rooms {
    /// The caller's rooms, by id.
    pub rooms: Vec<Room>,
    /// True if another page follows.
    pub more: bool,
}

/// Arguments of `room.attach`, which the edge calls for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Names this call among those of the shard; the answer carries it.
    pub nonce: u64,
}

/// Arguments of `room.large`, which the edge calls for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LargeRooms {
    /// Only rooms after this id.
    pub after: RoomId,
}

/// Result of `room.large`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LargeList {
    /// Large rooms of the user by id, at most [`crate::limits::LARGE_ROOMS_PAGE`].
    pub rooms: Vec<RoomId>,
    /// True if another page follows.
    pub more: bool,
}

/// The id of the one `direct` room of two users: both ids, smaller first, folded into a `UUIDv8` (RFC 9562 §5.8)
/// with FNV-1a-128, so that both sides compute the same id without asking.
pub fn direct_room(a: UserId, b: UserId) -> RoomId {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut hash = OFFSET;
    for &byte in low.as_bytes().iter().chain(high.as_bytes()) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    }
    RoomId(uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_users_compute_the_same_direct_room() {
        let a = UserId::from_bytes([1; 16]);
        let b = UserId::from_bytes([2; 16]);
        assert_eq!(direct_room(a, b), direct_room(b, a));
        assert_ne!(direct_room(a, b), direct_room(a, a));
        assert_eq!(direct_room(a, b).0.get_version_num(), 8);
    }

    #[test]
    fn names_find_their_values() {
        for role in [Role::Reader, Role::Member, Role::Admin, Role::Owner] {
            assert_eq!(Role::find(role.name()), Some(role));
        }
        for kind in [RoomKind::Direct, RoomKind::Group, RoomKind::Channel] {
            assert_eq!(RoomKind::find(kind.name()), Some(kind));
        }
    }

    #[test]
    fn misspelt_members_are_refused() {
        let text =
            r#"{"op":"00000000-0000-0000-0000-000000000000","usr":"00000000-0000-0000-0000-000000000000"}"#;
        assert!(serde_json::from_str::<Remove>(text).is_err());
    }
}
