//! Marks that moved, merged: a room is told at most once in a second. Ephemeral: what is lost here is in the next
//! `receipt.list`.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use hub_protocol::api::event::{Event, RECEIPTS, ReceiptsData, UNREAD, UnreadData};
use hub_protocol::api::receipt::Mark;
use hub_protocol::limits::ROOM_LARGE_ABOVE;
use hub_protocol::{RoomId, UserId};

use super::store::Stand;
use crate::call::json;
use crate::service::{Audience, Delivery};

/// Rooms that wait to be told. Above it marks of further rooms are not told.
const ROOMS_MAX: usize = 8_192;

#[derive(Debug)]
struct Pending {
    receivers: Arc<[UserId]>,
    /// Bound: members of the room.
    marks: HashMap<UserId, Mark>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    rooms: Mutex<HashMap<RoomId, Pending>>,
}

impl Receipts {
    /// Keeps a mark that moved until its room is told. Nobody is told in rooms where `receivers` are too many.
    pub(super) fn note(&self, room: RoomId, user: UserId, stand: &Stand, receivers: Arc<[UserId]>) {
        if receivers.is_empty() || receivers.len() > ROOM_LARGE_ABOVE {
            return;
        }
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(&room) {
            metrics::counter!("hub_services_receipts_dropped_total").increment(1);
            return;
        }
        let pending = rooms.entry(room).or_insert_with(|| Pending {
            receivers: Arc::clone(&receivers),
            marks: HashMap::new(),
        });
        pending.receivers = receivers;
        let mark = pending.marks.entry(user).or_insert(Mark {
            user,
            read_seq: 0,
            delivered_seq: 0,
        });
        mark.read_seq = mark.read_seq.max(stand.read.unsigned_abs());
        mark.delivered_seq = mark.delivered_seq.max(stand.delivered.unsigned_abs());
    }

    /// What is to be told now; called once in a second.
    pub(super) fn take(&self) -> Vec<Delivery> {
        let rooms = std::mem::take(&mut *self.rooms.lock().unwrap_or_else(PoisonError::into_inner));
        let tell = |(room, pending): (RoomId, Pending)| {
            let mut marks: Vec<Mark> = pending.marks.into_values().collect();
            marks.sort_unstable_by_key(|mark| mark.user);
            let event = Event {
                event: RECEIPTS.to_owned(),
                room: Some(room),
                seq: None,
                data: ReceiptsData { marks },
            };
            Delivery {
                room,
                seq: None,
                audience: Audience::Users(pending.receivers),
                body: json(&event),
            }
        };
        rooms.into_iter().map(tell).collect()
    }
}

/// Tells a user's own devices how much he has left to read.
pub(super) fn unread(room: RoomId, user: UserId, stand: &Stand) -> Delivery {
    let event = Event {
        event: UNREAD.to_owned(),
        room: Some(room),
        seq: None,
        data: UnreadData {
            unread: stand.unread,
            mentions: stand.mentions,
            read_seq: stand.read.unsigned_abs(),
        },
    };
    Delivery {
        room,
        seq: None,
        audience: Audience::Users(Arc::from([user])),
        body: json(&event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::testing::{room, user};

    fn stand(read: i64, delivered: i64) -> Stand {
        Stand {
            read,
            delivered,
            ..Stand::default()
        }
    }

    #[test]
    fn marks_of_a_second_are_told_at_once_and_only_grow() {
        let receipts = Receipts::default();
        let all: Arc<[UserId]> = Arc::from([user(1), user(2)]);
        receipts.note(room(1), user(1), &stand(3, 5), Arc::clone(&all));
        receipts.note(room(1), user(1), &stand(2, 7), Arc::clone(&all));
        receipts.note(room(1), user(2), &stand(1, 1), Arc::clone(&all));
        receipts.note(room(2), user(1), &stand(1, 1), Arc::from([]));
        let told = receipts.take();
        assert_eq!(told.len(), 1);
        let event: Event<ReceiptsData> = serde_json::from_slice(&told[0].body).unwrap();
        let marks: Vec<(u64, u64)> = event
            .data
            .marks
            .iter()
            .map(|m| (m.read_seq, m.delivered_seq))
            .collect();
        assert_eq!(marks, [(3, 7), (1, 1)]);
        assert!(receipts.take().is_empty());
    }

    #[test]
    fn rooms_that_wait_are_bounded() {
        let receipts = Receipts::default();
        let all: Arc<[UserId]> = Arc::from([user(1)]);
        for number in 0..10_000 {
            receipts.note(room(number), user(1), &stand(1, 1), Arc::clone(&all));
        }
        assert_eq!(receipts.take().len(), ROOMS_MAX);
    }
}
