//! Rooms that were seen lately, so that a transaction reloads only what changed elsewhere.
//!
//! An entry is believed only if its (seq, revision) is that of the head, read under the lock. Bound: two
//! generations of [`ROOMS_MAX`] rooms or [`MEMBERS_MAX`] members; what was not used during one generation goes with
//! the next.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use hub_protocol::RoomId;

use super::room::{Head, Room};

const ROOMS_MAX: usize = 8_192;
const MEMBERS_MAX: usize = 1_048_576;

type Entries = HashMap<RoomId, (Head, Arc<Room>)>;

#[derive(Debug, Default)]
struct Generations {
    young: Entries,
    old: Entries,
    /// Members of all rooms in `young`.
    young_members: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

impl Cache {
    /// What is known of a room, and of which head.
    pub(super) fn find(&self, id: RoomId) -> Option<(Head, Arc<Room>)> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.young.get(&id) {
            return Some(entry.clone());
        }
        let entry = generations.old.remove(&id)?;
        insert(&mut generations, id, entry.clone());
        Some(entry)
    }

    /// The room as it is known to be at exactly this head.
    pub(super) fn find_at(&self, id: RoomId, head: &Head) -> Option<Arc<Room>> {
        let (known, room) = self.find(id)?;
        (known.seq == head.seq && known.revision == head.revision).then_some(room)
    }

    /// Keeps what a transaction left behind.
    pub(super) fn put(&self, id: RoomId, head: Head, room: Arc<Room>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.old.remove(&id);
        insert(&mut generations, id, (head, room));
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.generations.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }
}

fn insert(generations: &mut Generations, id: RoomId, entry: (Head, Arc<Room>)) {
    if generations.young.len() >= ROOMS_MAX || generations.young_members >= MEMBERS_MAX {
        generations.old = std::mem::take(&mut generations.young);
        generations.young_members = 0;
    }
    let members = entry.1.stays().len();
    if let Some((_, before)) = generations.young.insert(id, entry) {
        generations.young_members = generations.young_members.saturating_sub(before.stays().len());
    }
    generations.young_members += members;
}
