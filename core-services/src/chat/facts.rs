//! What a plan knows beside rooms and their heads: accounts, blocks, bans, invites, preferences. Pure.

use hashbrown::{HashMap, HashSet};
use hub_protocol::api::invite::Invite;
use hub_protocol::api::room::Create;
use hub_protocol::api::setting::Preferences;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::ROOMS_MADE_PER_DAY_MAX;
use hub_protocol::{ErrorCode, RoomId, UserId};

use super::command::CodeHash;
use crate::call::refuse;

/// A link and what its code is recognised by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) info: Invite,
    pub(super) code: CodeHash,
}

impl Link {
    /// True if somebody may still come in by it.
    pub(super) fn is_live(&self, now: i64) -> bool {
        self.info.expires_at.is_none_or(|end| now < end)
            && self.info.uses_max.is_none_or(|max| self.info.uses < max)
    }
}

/// What was read in the transaction; of the calls at hand only.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// µs since the Unix epoch.
    pub(super) now: i64,
    /// Accounts that exist, of those that are named in the calls.
    pub(super) users: HashSet<UserId>,
    /// How many rooms these users made within a day, those of this transaction not counted.
    pub(super) made: HashMap<UserId, i64>,
    /// Who has blocked whom.
    pub(super) blocks: HashSet<(UserId, UserId)>,
    /// Who is kept out of where.
    pub(super) bans: HashSet<(RoomId, UserId)>,
    /// The links of rooms.
    pub(super) links: HashMap<RoomId, Vec<Link>>,
    /// How users keep rooms.
    pub(super) preferences: HashMap<(RoomId, UserId), Preferences>,
    /// Last messages in rooms in slow mode, µs since the Unix epoch.
    pub(super) last_sent: HashMap<(RoomId, UserId), i64>,
}

impl Facts {
    /// True if one of the two has blocked the other.
    pub(super) fn is_blocked(&self, a: UserId, b: UserId) -> bool {
        self.blocks.contains(&(a, b)) || self.blocks.contains(&(b, a))
    }

    /// True if the user is kept out of the room.
    pub(super) fn is_banned(&self, room: RoomId, user: UserId) -> bool {
        self.bans.contains(&(room, user))
    }

    /// Whether a user may make a room that is not there yet.
    pub(super) fn may_create(&self, actor: UserId, create: &Create) -> Result<(), ErrorBody> {
        let mut users = create.members.iter().chain([&actor]);
        if !users.all(|user| self.users.contains(user)) {
            return Err(refuse(ErrorCode::NotFound, "no such user"));
        }
        if create.members.iter().any(|user| self.is_blocked(actor, *user)) {
            return Err(refuse(ErrorCode::Forbidden, "one of these users cannot be added"));
        }
        if self.made.get(&actor).copied().unwrap_or(0) >= ROOMS_MADE_PER_DAY_MAX {
            return Err(
                refuse(ErrorCode::RateLimited, "at most 1000 new rooms in 24 hours")
                    .retry_after_ms(3_600_000),
            );
        }
        Ok(())
    }
}
