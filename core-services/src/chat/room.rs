//! What a transaction knows of a room: its head, its members, and what one change does to them. Pure.

use std::sync::Arc;

use hub_protocol::api::room::{self as api, Role};
use hub_protocol::limits::ROOM_GET_MEMBERS_MAX;
use hub_protocol::{Op, UserId};

/// Where a room stands. Locked in the database while numbers are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// The last event; 0 before the room was made.
    pub(super) seq: i64,
    /// The number of messages.
    pub(super) n: i64,
    /// Counts changes of membership that are no events.
    pub(super) revision: i64,
    /// Time of the last event, µs.
    pub(super) last_at: i64,
}

impl Head {
    /// The time of the next event: later than the last one, whatever the clock says.
    pub(super) fn next_at(&self, now: i64) -> i64 {
        now.max(self.last_at.saturating_add(1))
    }
}

/// One user's present stay in a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stay {
    /// Who.
    pub(super) user: UserId,
    /// What he may do.
    pub(super) role: Role,
    /// The first event that he may see.
    pub(super) from_seq: i64,
}

/// A change of membership that the plan has not told of yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    /// A user came.
    In(UserId),
    /// A user went.
    Out(UserId),
}

/// A room and who belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Room {
    /// What clients see of it.
    pub(super) info: api::Room,
    /// Deleted, or left by its last member: nobody comes in any more.
    pub(super) ended: bool,
    /// By user id.
    stays: Vec<Stay>,
    /// The same users, shared with deliveries; nobody while the room is large.
    receivers: Arc<[UserId]>,
    /// Its events go to whoever is attached.
    pub(super) is_large: bool,
    /// The last event when `is_large` was changed last.
    pub(super) switched_seq: i64,
    /// The change of membership by which it was.
    pub(super) switched_op: Option<Op>,
    moved: Vec<Moved>,
}

impl Room {
    /// A room with its present members in any order.
    pub(super) fn new(info: api::Room, mut stays: Vec<Stay>) -> Self {
        stays.sort_unstable_by_key(|stay| stay.user);
        let receivers = stays.iter().map(|stay| stay.user).collect();
        Self {
            info,
            ended: false,
            stays,
            receivers,
            is_large: false,
            switched_seq: 0,
            switched_op: None,
            moved: Vec::new(),
        }
    }

    /// Changes how its members are told.
    pub(super) fn set_large(&mut self, is_large: bool) {
        self.is_large = is_large;
        self.refresh();
    }

    /// All present members.
    pub(super) fn users(&self) -> Arc<[UserId]> {
        self.stays.iter().map(|stay| stay.user).collect()
    }

    /// True if there is something for [`take_moved`](Self::take_moved).
    pub(super) fn has_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// Who came and went since the last call, in that order.
    pub(super) fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    fn refresh(&mut self) {
        self.receivers = if self.is_large {
            Arc::from([])
        } else {
            self.users()
        };
    }

    /// The present members, by user id.
    pub(super) fn stays(&self) -> &[Stay] {
        &self.stays
    }

    /// The present members' ids.
    pub(super) fn receivers(&self) -> &Arc<[UserId]> {
        &self.receivers
    }

    /// A user's stay, if he is a member now.
    pub(super) fn find(&self, user: UserId) -> Option<&Stay> {
        let at = self.stays.binary_search_by_key(&user, |stay| stay.user).ok()?;
        self.stays.get(at)
    }

    /// The other user of a direct room.
    pub(super) fn peer(&self, of: UserId) -> Option<UserId> {
        let others = self.receivers.iter().copied().filter(|user| *user != of);
        (self.info.kind == api::RoomKind::Direct)
            .then_some(others)
            .into_iter()
            .flatten()
            .next()
    }

    /// Ends all stays.
    pub(super) fn end(&mut self) -> Vec<Stay> {
        self.ended = true;
        self.receivers = Arc::default();
        std::mem::take(&mut self.stays)
    }

    /// Adds a member who is none yet.
    pub(super) fn add(&mut self, stay: Stay) {
        if let Err(at) = self.stays.binary_search_by_key(&stay.user, |stay| stay.user) {
            self.stays.insert(at, stay);
            self.moved.push(Moved::In(stay.user));
            self.refresh();
        }
    }

    /// Removes a member; returns the stay that ended.
    pub(super) fn remove(&mut self, user: UserId) -> Option<Stay> {
        let at = self.stays.binary_search_by_key(&user, |stay| stay.user).ok()?;
        let stay = self.stays.remove(at);
        self.moved.push(Moved::Out(user));
        self.refresh();
        Some(stay)
    }

    /// Gives a member another role; returns the stay as it is now.
    pub(super) fn set_role(&mut self, user: UserId, role: Role) -> Option<Stay> {
        let at = self.stays.binary_search_by_key(&user, |stay| stay.user).ok()?;
        let stay = self.stays.get_mut(at)?;
        stay.role = role;
        Some(*stay)
    }

    /// Who becomes owner when this owner leaves: the highest role, then the longest stay.
    pub(super) fn heir(&self, leaving: UserId) -> Option<UserId> {
        let others = self.stays.iter().filter(|stay| stay.user != leaving);
        others
            .min_by_key(|stay| (std::cmp::Reverse(stay.role), stay.from_seq, stay.user))
            .map(|stay| stay.user)
    }

    /// The members as clients see them, the first of many.
    pub(super) fn members(&self) -> Vec<api::Member> {
        self.stays
            .iter()
            .take(ROOM_GET_MEMBERS_MAX)
            .map(|stay| api::Member {
                user: stay.user,
                role: stay.role,
            })
            .collect()
    }
}
