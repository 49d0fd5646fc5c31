//! Beside step 14: which connections of a shard take the events of which large rooms. Pure.
//!
//! ```text
//!            ask (nonce)               Attached (the same nonce)
//!   nobody ─────────────▶ open seat ───────────────────────────▶ taken seat
//!      ▲                      │                                      │  gap: open again, asks anew
//!      └──────────────────────┴── Detach, Small, session's end ──────┘
//! ```
//!
//! Only entries of the node's stream give a seat or take it away, in the order in which the owner of the room wrote
//! them. `last` is how far the stream has told of a room since the shard takes its events. An event goes to the taken
//! seats only if it is the next one; so whatever was lost, repeated or overtaken on the way, nobody gets an event from
//! before his attachment or from behind his removal.

use std::collections::HashMap;

use hub_protocol::RoomId;
use hub_ring::ConnectionId;

/// A connection in a room: 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    slot: u32,
    generation: u32,
    /// The call whose answer is awaited; 0 once it has come.
    nonce: u32,
}

impl Seat {
    pub(super) fn id(self) -> ConnectionId {
        ConnectionId {
            slot: self.slot,
            generation: self.generation,
        }
    }

    /// True if the connection takes events.
    pub(super) fn is_taken(self) -> bool {
        self.nonce == 0
    }
}

/// What the shard tells Redis of itself, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entered {
    /// The shard takes the room's events from now on, or still does (`sweep`).
    In {
        /// The room.
        room: RoomId,
        /// Names this stay of the shard: what is said of an earlier one does not concern it.
        life: u32,
        /// True if it was told before.
        sweep: bool,
    },
    /// It does not any more.
    Out {
        /// The room.
        room: RoomId,
        /// The stay that ended.
        life: u32,
    },
}

/// What to do with an event of a room.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Step {
    /// It is the next one: every taken seat gets it.
    Deliver,
    /// It was told before: nobody gets it.
    Known,
    /// No seat is taken.
    Nobody,
    /// Something before it is missing, so that removals may be, too: these ask again.
    Gap(Vec<ConnectionId>),
}

/// A seat that was given.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Given {
    /// How far the room is: what is behind it comes, what is up to it the client has to fetch.
    pub(super) last: u64,
    /// The stream does not tell what the owner knew: these ask again.
    pub(super) anew: Vec<ConnectionId>,
}

#[derive(Debug, Default)]
struct Row {
    life: u32,
    /// 0 until the stream has told of the room.
    last: u64,
    /// By slot. Bound: one per connection.
    seats: Vec<Seat>,
    /// Something was told that not everybody has looked at.
    is_dirty: bool,
}

impl Row {
    fn position(&self, slot: u32) -> Result<usize, usize> {
        self.seats.binary_search_by_key(&slot, |seat| seat.slot)
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Seat> {
        let at = self.position(id.slot).ok()?;
        self.seats
            .get_mut(at)
            .filter(|seat| seat.generation == id.generation)
    }
}

/// All large rooms of a shard.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rows: HashMap<RoomId, Row>,
    lives: u32,
    nonces: u32,
    entered: Vec<Entered>,
    dirty: Vec<RoomId>,
}

impl Rooms {
    /// Opens a seat for a connection; returns the nonce to ask with, or `None` if the seat is taken.
    pub(super) fn ask(&mut self, room: RoomId, id: ConnectionId) -> Option<u32> {
        let nonce = next(&mut self.nonces);
        let row = self.rows.entry(room).or_insert_with(|| {
            let life = next(&mut self.lives);
            let sweep = false;
            self.entered.push(Entered::In { room, life, sweep });
            Row {
                life,
                ..Row::default()
            }
        });
        let seat = Seat {
            slot: id.slot,
            generation: id.generation,
            nonce,
        };
        match row.position(id.slot) {
            Ok(at) if row.seats[at].generation == id.generation && row.seats[at].is_taken() => return None,
            // An answer that is still on its way is void.
            Ok(at) => row.seats[at] = seat,
            Err(at) => row.seats.insert(at, seat),
        }
        Some(nonce)
    }

    /// True if the connection has a seat, open or taken.
    pub(super) fn has(&mut self, room: RoomId, id: ConnectionId) -> bool {
        self.rows.get_mut(&room).is_some_and(|row| row.find(id).is_some())
    }

    /// The owner's answer: the connection was a member when the room stood at `head`. `None`: nobody asked, or a
    /// removal came in between.
    pub(super) fn on_attached(
        &mut self,
        room: RoomId,
        id: ConnectionId,
        nonce: u64,
        head: u64,
    ) -> Option<Given> {
        let row = self.rows.get_mut(&room)?;
        let last = row.last;
        let seat = row.find(id)?;
        if seat.is_taken() || u64::from(seat.nonce) != nonce {
            return None;
        }
        // Events that the owner has given numbers have not come this way, and may not any more.
        let anew = if head > last && last > 0 {
            self.reopen(room, Seat::is_taken)
        } else {
            Vec::new()
        };
        let row = self.rows.get_mut(&room)?;
        row.last = last.max(head);
        row.find(id)?.nonce = 0;
        Some(Given { last: row.last, anew })
    }

    /// An event of a room has come.
    pub(super) fn on_event(&mut self, room: RoomId, seq: u64) -> Step {
        let Some(row) = self.rows.get_mut(&room) else {
            return Step::Nobody;
        };
        if seq <= row.last {
            return Step::Known;
        }
        let is_next = seq == row.last + 1;
        row.last = seq;
        if !row.seats.iter().any(|seat| seat.is_taken()) {
            return Step::Nobody;
        }
        if is_next {
            return Step::Deliver;
        }
        Step::Gap(self.reopen(room, Seat::is_taken))
    }

    /// The seats of a room, to be walked through; they go back by [`put`](Self::put).
    pub(super) fn take(&mut self, room: RoomId) -> Vec<Seat> {
        let row = self.rows.get_mut(&room);
        row.map(|row| std::mem::take(&mut row.seats)).unwrap_or_default()
    }

    /// The seats that are left. `is_dirty`: somebody has not got the last event.
    pub(super) fn put(&mut self, room: RoomId, seats: Vec<Seat>, is_dirty: bool) {
        if let Some(row) = self.rows.get_mut(&room) {
            row.seats = seats;
            if is_dirty && !std::mem::replace(&mut row.is_dirty, true) {
                self.dirty.push(room);
            }
        }
        self.tidy(room);
    }

    /// Rooms with something that not everybody has got, each with its last event.
    pub(super) fn take_dirty(&mut self) -> Vec<(RoomId, u64)> {
        let rows = &mut self.rows;
        let dirty = self.dirty.drain(..).filter_map(|room| {
            let row = rows.get_mut(&room)?;
            row.is_dirty = false;
            Some((room, row.last))
        });
        dirty.collect()
    }

    /// How far a room is in which the connection has a taken seat.
    pub(super) fn last(&mut self, room: RoomId, id: ConnectionId) -> Option<u64> {
        let row = self.rows.get_mut(&room)?;
        let last = row.last;
        row.find(id).filter(|seat| seat.is_taken()).map(|_seat| last)
    }

    /// Takes every seat away that `is_his`, open ones included; returns whose they were.
    pub(super) fn detach(
        &mut self,
        room: RoomId,
        mut is_his: impl FnMut(ConnectionId) -> bool,
    ) -> Vec<ConnectionId> {
        let mut gone = Vec::new();
        if let Some(row) = self.rows.get_mut(&room) {
            row.seats.retain(|seat| {
                let is_his = is_his(seat.id());
                if is_his {
                    gone.push(seat.id());
                }
                !is_his
            });
        }
        self.tidy(room);
        gone
    }

    /// The room is large no longer: returns everybody who had a seat.
    pub(super) fn dissolve(&mut self, room: RoomId) -> Vec<ConnectionId> {
        self.detach(room, |_id| true)
    }

    /// Opens the seats of a room whose entry in Redis was missing, unless the shard entered again since.
    pub(super) fn on_missing(&mut self, room: RoomId, life: u32) -> Vec<ConnectionId> {
        if self.rows.get(&room).is_some_and(|row| row.life == life) {
            self.reopen(room, |_seat| true)
        } else {
            Vec::new()
        }
    }

    /// Deliveries may have been lost, and removals with them: opens every seat; returns them all, to ask again.
    pub(super) fn reopen_all(&mut self) -> Vec<(RoomId, ConnectionId)> {
        let rooms: Vec<RoomId> = self.rows.keys().copied().collect();
        let mut all = Vec::new();
        for room in rooms {
            let ids = self.reopen(room, |_seat| true);
            all.extend(ids.into_iter().map(|id| (room, id)));
        }
        all
    }

    /// Takes away the seats of those who are gone, and says again which rooms are left.
    pub(super) fn sweep(&mut self, mut is_alive: impl FnMut(ConnectionId) -> bool) {
        let rooms: Vec<RoomId> = self.rows.keys().copied().collect();
        for room in rooms {
            self.detach(room, |id| !is_alive(id));
            if let Some(row) = self.rows.get(&room) {
                let (life, sweep) = (row.life, true);
                self.entered.push(Entered::In { room, life, sweep });
            }
        }
    }

    /// Forgets everything: the node goes on under another name, and nothing of the old one is answered.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.dirty.clear();
        self.entered.clear();
    }

    /// What Redis has to be told since the last call.
    pub(super) fn take_entered(&mut self) -> Vec<Entered> {
        std::mem::take(&mut self.entered)
    }

    /// Rooms, and seats in them.
    pub(super) fn count(&self) -> (usize, usize) {
        (
            self.rows.len(),
            self.rows.values().map(|row| row.seats.len()).sum(),
        )
    }

    /// A seat that is open under this nonce.
    pub(super) fn find_open(&self, id: ConnectionId, nonce: u32) -> Option<RoomId> {
        let mut rows = self.rows.iter();
        rows.find_map(|(room, row)| {
            let seat = row.seats.get(row.position(id.slot).ok()?)?;
            (seat.generation == id.generation && seat.nonce == nonce && nonce != 0).then_some(*room)
        })
    }

    /// Opens seats; an answer that is still on its way is void.
    fn reopen(&mut self, room: RoomId, which: impl Fn(Seat) -> bool) -> Vec<ConnectionId> {
        let Some(row) = self.rows.get_mut(&room) else {
            return Vec::new();
        };
        let mut ids = Vec::new();
        for seat in row.seats.iter_mut().filter(|seat| which(**seat)) {
            seat.nonce = next(&mut self.nonces);
            ids.push(seat.id());
        }
        ids
    }

    fn tidy(&mut self, room: RoomId) {
        if let Some(row) = self.rows.get(&room)
            && row.seats.is_empty()
        {
            self.entered.push(Entered::Out { room, life: row.life });
            self.rows.remove(&room);
        }
    }
}

/// Counts, and leaves 0 out.
fn next(counter: &mut u32) -> u32 {
    *counter = counter.wrapping_add(1).max(1);
    *counter
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId::NIL;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    fn attach(rooms: &mut Rooms, slot: u32, head: u64) -> Given {
        let nonce = rooms.ask(ROOM, id(slot)).expect("not seated");
        rooms
            .on_attached(ROOM, id(slot), nonce.into(), head)
            .expect("was asked")
    }

    fn taken(rooms: &Rooms) -> Vec<u32> {
        let seats = rooms.rows.get(&ROOM).map_or(&[][..], |row| &row.seats);
        let taken = seats.iter().filter(|seat| seat.is_taken());
        taken.map(|seat| seat.slot).collect()
    }

    #[test]
    fn an_attached_connection_gets_the_next_events_and_no_repeats() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.on_event(ROOM, 4), Step::Nobody, "not asked for");
        let given = attach(&mut rooms, 1, 5);
        assert_eq!((given.last, given.anew), (5, vec![]));
        assert_eq!(rooms.on_event(ROOM, 5), Step::Known);
        assert_eq!(rooms.on_event(ROOM, 6), Step::Deliver);
        assert_eq!(rooms.on_event(ROOM, 6), Step::Known);
        assert_eq!(rooms.on_event(ROOM, 7), Step::Deliver);
        // Who comes later is told how far the room is, also by an answer from before.
        assert_eq!(attach(&mut rooms, 2, 6).last, 7);
        assert_eq!(taken(&rooms), [1, 2]);
    }

    #[test]
    fn an_event_that_overtakes_the_answer_is_told_of_by_it() {
        let mut rooms = Rooms::default();
        let nonce = rooms.ask(ROOM, id(1)).unwrap();
        assert_eq!(rooms.on_event(ROOM, 6), Step::Nobody);
        let given = rooms.on_attached(ROOM, id(1), nonce.into(), 5).unwrap();
        assert_eq!(given.last, 6);
        assert_eq!(rooms.on_event(ROOM, 7), Step::Deliver);
    }

    #[test]
    fn a_removal_voids_open_nonces_and_late_answers_are_ignored() {
        let mut rooms = Rooms::default();
        attach(&mut rooms, 2, 5);
        let nonce = rooms.ask(ROOM, id(1)).unwrap();
        assert_eq!(rooms.detach(ROOM, |his| his == id(1)), [id(1)]);
        assert_eq!(rooms.on_attached(ROOM, id(1), nonce.into(), 5), None);
        // Asked again, the old answer is still none.
        let again = rooms.ask(ROOM, id(1)).unwrap();
        assert_eq!(rooms.on_attached(ROOM, id(1), nonce.into(), 5), None);
        assert!(rooms.on_attached(ROOM, id(1), again.into(), 9).is_some());
        // An old connection of the slot is another one.
        let old = ConnectionId {
            slot: 1,
            generation: 0,
        };
        assert!(!rooms.has(ROOM, old) && rooms.has(ROOM, id(1)));
    }

    #[test]
    fn a_gap_gives_every_seat_back() {
        let mut rooms = Rooms::default();
        attach(&mut rooms, 1, 5);
        attach(&mut rooms, 2, 5);
        assert_eq!(rooms.on_event(ROOM, 7), Step::Gap(vec![id(1), id(2)]));
        assert_eq!(rooms.on_event(ROOM, 8), Step::Nobody);
        assert_eq!(
            rooms.on_event(ROOM, 6),
            Step::Known,
            "what comes late goes to nobody"
        );
        assert_eq!(attach(&mut rooms, 2, 8).last, 8);
        assert_eq!(rooms.on_event(ROOM, 9), Step::Deliver);
        assert_eq!(taken(&rooms), [2]);
        // The owner knows of more than the stream has told.
        assert_eq!(attach(&mut rooms, 1, 11).anew, [id(2)]);
        assert_eq!(taken(&rooms), [1]);
    }

    #[test]
    fn redis_is_told_when_the_shard_comes_and_goes() {
        let mut rooms = Rooms::default();
        attach(&mut rooms, 1, 5);
        attach(&mut rooms, 2, 5);
        let (room, life) = (ROOM, 1);
        let sweep = false;
        assert_eq!(rooms.take_entered(), [Entered::In { room, life, sweep }]);
        rooms.sweep(|alive| alive == id(2));
        let sweep = true;
        assert_eq!(rooms.take_entered(), [Entered::In { room, life, sweep }]);
        assert_eq!(rooms.on_missing(ROOM, 9), []);
        assert_eq!(rooms.on_missing(ROOM, 1), [id(2)]);
        assert_eq!(rooms.dissolve(ROOM), [id(2)]);
        assert_eq!(rooms.take_entered(), [Entered::Out { room, life }]);
        rooms.ask(ROOM, id(1));
        let (life, sweep) = (2, false);
        assert_eq!(rooms.take_entered(), [Entered::In { room, life, sweep }]);
        assert_eq!(rooms.count(), (1, 1));
    }

    #[test]
    fn bumps_are_merged_until_they_are_taken() {
        let mut rooms = Rooms::default();
        attach(&mut rooms, 1, 5);
        for seq in 6..9 {
            assert_eq!(rooms.on_event(ROOM, seq), Step::Deliver);
            let seats = rooms.take(ROOM);
            rooms.put(ROOM, seats, true);
        }
        assert_eq!(rooms.take_dirty(), [(ROOM, 8)]);
        assert_eq!(rooms.take_dirty(), []);
    }
}
