//! Beside steps 6 and 14: sessions attach to the large rooms of their users, and get their events.
//!
//! A session that is in the directory asks the user service for its large rooms (`room.large`), and the owner of each
//! of them for a seat (`room.attach`). Both calls are the edge's own: their answers end here. What may have been lost
//! is asked for again; [`Rooms`](super::rooms::Rooms) says what may be given to whom.

use std::collections::{HashMap, VecDeque};

use hub_protocol::api::room::{Attach, LargeList, LargeRooms};
use hub_protocol::api::session::Look;
use hub_protocol::api::{Empty, Success};
use hub_protocol::batch::{Entry, EnvelopeHeader, Reply};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{DIRECTORY_SWEEP_S, LARGE_ROOMS_MAX, LOOK_ROOMS_MAX};
use hub_protocol::{ErrorCode, Method, RoomId};
use hub_ring::ConnectionId;
use serde::Serialize;

use super::Now;
use super::fanout::Text;
use super::rooms::{Entered, Step};
use super::table::Connection;
use super::world::{World, bump_text};
use crate::mailbox::ToBackbone;
use crate::outbound::Class;
use crate::uplink::Offer;

/// Marks the ids of calls that the edge makes by itself; those of clients end at 2^53.
const OWN: u64 = 1 << 63;
/// Calls of one turn: a node that starts again must not crowd out its clients.
const CALLS_MAX: usize = 512;
/// `room.large` without an answer is asked again after this, milliseconds: later than a service would drop it.
const ANSWER_MS: u64 = 20_000;
/// A refusal that may pass is asked again after this, milliseconds.
const RETRY_MS: u64 = 1_000;
/// Bumps for those who do not look are merged for this long, milliseconds.
const BUMP_MS: u64 = 1_000;
const SWEEP_MS: u64 = DIRECTORY_SWEEP_S * 1000;

/// Something to ask for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// The large rooms behind this one.
    Rooms { after: RoomId },
    /// A seat.
    Seat { room: RoomId },
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    generation: u32,
    after: RoomId,
    /// When to ask again.
    due_ms: u64,
    /// Rooms that this session has been told of.
    rooms: usize,
}

/// What the sessions of a shard want to know of large rooms, and want to see of them.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Bound: like the seats and the sessions.
    next: VecDeque<(ConnectionId, Wish)>,
    /// Refused for the moment, with the time to ask again.
    later: Vec<(u64, ConnectionId, Wish)>,
    /// `room.large` calls on their way, by slot.
    asked: HashMap<u32, Asked>,
    /// What those sessions look at that have said so, by slot.
    looks: HashMap<u32, (u32, Box<[RoomId]>)>,
    bumped_ms: u64,
    swept_ms: u64,
}

/// True for the answer to a call that the edge made by itself.
pub(super) fn is_own(reply: &Reply) -> bool {
    reply.request & OWN != 0
}

impl World {
    /// A session is in the directory, or may have missed something: asks which large rooms it has.
    pub(super) fn ask_large(&mut self, id: ConnectionId) {
        let after = RoomId::NIL;
        self.wishes.next.push_back((id, Wish::Rooms { after }));
    }

    /// Deliveries may have been lost: nobody keeps his seat, everybody asks anew.
    pub(super) fn ask_all(&mut self, ids: &[ConnectionId]) {
        let wishes = &mut self.wishes;
        wishes.next.clear();
        wishes.later.clear();
        wishes.asked.clear();
        for id in ids {
            self.ask_large(*id);
        }
        for (room, id) in self.rooms.reopen_all() {
            self.wishes.next.push_back((id, Wish::Seat { room }));
        }
    }

    /// The node has another name: nothing that was asked under the old one is answered.
    pub(super) fn forget_rooms(&mut self) {
        self.rooms.clear();
        self.wishes.next.clear();
        self.wishes.later.clear();
        self.wishes.asked.clear();
    }

    /// Takes what a session looks at with it.
    pub(super) fn forget_look(&mut self, id: ConnectionId) {
        self.wishes.looks.remove(&id.slot);
    }

    /// Asks for what is wished, sends bumps and sweeps when they are due. Once per turn.
    pub(super) fn advance_rooms(&mut self, now: Now) {
        if now.ms >= self.wishes.bumped_ms + BUMP_MS {
            self.wishes.bumped_ms = now.ms;
            self.flush_bumps(now);
            self.wish_again(now);
        }
        if now.ms >= self.wishes.swept_ms + SWEEP_MS && self.is_backbone_up {
            self.wishes.swept_ms = now.ms;
            let table = &mut self.table;
            self.rooms.sweep(|id| {
                table
                    .find(id)
                    .is_some_and(|connection| connection.is_session_open())
            });
            let table = &mut self.table;
            self.wishes.looks.retain(|slot, (generation, _)| {
                let (slot, generation) = (*slot, *generation);
                table.find(ConnectionId { slot, generation }).is_some()
            });
        }
        for _ in 0..CALLS_MAX {
            let Some(&(id, wish)) = self.wishes.next.front() else {
                break;
            };
            if !self.grant(id, wish, now) {
                break;
            }
            self.wishes.next.pop_front();
        }
        self.tell_entered();
    }

    /// Entries in Redis go before the calls that rely on them: both leave in this order.
    fn tell_entered(&mut self) {
        for entered in self.rooms.take_entered() {
            let (room, life, step) = match entered {
                Entered::In { room, life, sweep } => (room, life, Some(sweep)),
                Entered::Out { room, life } => (room, life, None),
            };
            let address = self.address(ConnectionId {
                slot: 0,
                generation: life,
            });
            self.to_backbone.push_back(match step {
                Some(sweep) => ToBackbone::EnterRoom { room, address, sweep },
                None => ToBackbone::LeaveRoom { room, address },
            });
        }
    }

    /// Asks for one thing; false if the uplink takes nothing now.
    fn grant(&mut self, id: ConnectionId, wish: Wish, now: Now) -> bool {
        let is_open = |connection: &mut Connection| connection.is_session_open();
        if !self.table.find(id).is_some_and(is_open) {
            return true;
        }
        match wish {
            Wish::Rooms { after } => {
                let asked = self.wishes.asked.get(&id.slot);
                let known = asked.filter(|asked| asked.generation == id.generation && !after.is_nil());
                let rooms = known.map_or(0, |asked| asked.rooms);
                let params = LargeRooms { after };
                let is_sent = self.call_own(id, Method::RoomLarge, RoomId::NIL, OWN, &params, now);
                if is_sent {
                    let asked = Asked {
                        generation: id.generation,
                        after,
                        due_ms: now.ms + ANSWER_MS,
                        rooms,
                    };
                    self.wishes.asked.insert(id.slot, asked);
                }
                is_sent
            }
            Wish::Seat { room } => {
                let Some(nonce) = self.rooms.ask(room, id) else {
                    return true;
                };
                let nonce = u64::from(nonce);
                self.call_own(id, Method::RoomAttach, room, OWN | nonce, &Attach { nonce }, now)
            }
        }
    }

    /// A call of the edge for one of its sessions.
    fn call_own(
        &mut self,
        id: ConnectionId,
        method: Method,
        room: RoomId,
        request: u64,
        params: &impl Serialize,
        now: Now,
    ) -> bool {
        #[derive(Serialize)]
        struct Body<'p, P> {
            params: &'p P,
        }
        let address = self.address(id);
        let Some(connection) = self.table.find(id) else {
            return true;
        };
        let header = EnvelopeHeader {
            address,
            request,
            method,
            user: connection.user,
            login: connection.login,
            session: connection.session,
            room,
        };
        let body = serde_json::to_vec(&Body { params }).expect("plain numbers and ids");
        let Some(uplink) = self.uplink.as_mut().filter(|_| self.is_backbone_up) else {
            return false;
        };
        uplink.offer(&header, &body, now.at) == Offer::Queued
    }

    /// The answer to a call of the edge's own.
    pub(super) fn on_own_reply(&mut self, id: ConnectionId, reply: Reply, body: &[u8], now: Now) {
        let nonce = u32::try_from(reply.request & !OWN).unwrap_or(0);
        if nonce != 0 {
            self.on_seat_refused(id, nonce, reply.error, now);
        } else if reply.error.is_none() {
            self.on_large_list(id, body);
        } else if let Some(asked) = self.wishes.asked.get_mut(&id.slot) {
            asked.due_ms = now.ms + RETRY_MS;
        }
    }

    fn on_large_list(&mut self, id: ConnectionId, body: &[u8]) {
        let Ok(Success::<LargeList> { result, .. }) = serde_json::from_slice(body) else {
            tracing::warn!("an answer to room.large cannot be read");
            return;
        };
        let asked = self.wishes.asked.get_mut(&id.slot);
        let Some(asked) = asked.filter(|asked| asked.generation == id.generation) else {
            return;
        };
        asked.rooms += result.rooms.len();
        let is_over = asked.rooms > LARGE_ROOMS_MAX;
        for room in &result.rooms {
            if !self.rooms.has(*room, id) {
                self.wishes.next.push_back((id, Wish::Seat { room: *room }));
            }
        }
        match result.rooms.last() {
            Some(after) if result.more && !is_over => {
                self.wishes.next.push_back((id, Wish::Rooms { after: *after }));
            }
            _ => {
                self.counters.room_sessions_over += u64::from(is_over);
                self.wishes.asked.remove(&id.slot);
            }
        }
    }

    fn on_seat_refused(&mut self, id: ConnectionId, nonce: u32, error: Option<ErrorCode>, now: Now) {
        let Some(room) = self.rooms.find_open(id, nonce) else {
            return;
        };
        if error.is_some_and(ErrorCode::is_retryable) {
            let again = (now.ms + RETRY_MS, id, Wish::Seat { room });
            self.wishes.later.push(again);
        } else {
            self.rooms.detach(room, |his| his == id);
        }
    }

    /// What was refused, or not answered, is wished again.
    fn wish_again(&mut self, now: Now) {
        let Wishes {
            next, later, asked, ..
        } = &mut self.wishes;
        later.retain(|(due_ms, id, wish)| {
            let is_due = now.ms >= *due_ms;
            if is_due {
                next.push_back((*id, *wish));
            }
            !is_due
        });
        for (slot, asked) in asked.iter_mut().filter(|(_, asked)| now.ms >= asked.due_ms) {
            let id = ConnectionId {
                slot: *slot,
                generation: asked.generation,
            };
            asked.due_ms = now.ms + ANSWER_MS;
            let after = asked.after;
            next.push_back((id, Wish::Rooms { after }));
        }
        let table = &mut self.table;
        self.wishes.asked.retain(|slot, asked| {
            let (slot, generation) = (*slot, asked.generation);
            let connection = table.find(ConnectionId { slot, generation });
            connection.is_some_and(|connection| connection.is_session_open())
        });
    }

    /// The entry of the shard was missing in Redis: something may have been lost.
    pub(super) fn on_lost_seat(&mut self, room: RoomId, id: ConnectionId) {
        self.wishes.next.push_back((id, Wish::Seat { room }));
    }

    fn wish_seats(&mut self, room: RoomId, ids: Vec<ConnectionId>) {
        for id in ids {
            self.wishes.next.push_back((id, Wish::Seat { room }));
        }
    }

    /// An event of a large room.
    pub(super) fn on_room_event(&mut self, room: RoomId, seq: u64, body: &[u8], now: Now) {
        match self.rooms.on_event(room, seq) {
            Step::Deliver => {}
            Step::Known => {
                self.counters.room_repeats += 1;
                return;
            }
            Step::Nobody => return,
            Step::Gap(ids) => {
                self.counters.room_gaps += 1;
                return self.wish_seats(room, ids);
            }
        }
        self.counters.room_events += 1;
        self.counters.downlink_entries += 1;
        let mut text = Text::new(body);
        let class = Class::Event { room, seq };
        let mut is_dirty = false;
        let mut seats = self.rooms.take(room);
        seats.retain(|seat| {
            if !seat.is_taken() {
                return true;
            }
            let id = seat.id();
            let connection = self.table.find(id);
            let Some(connection) = connection.filter(|connection| connection.is_session_open()) else {
                return false;
            };
            let window_bits = connection.window_bits;
            if connection.is_choosy && !self.looks_at(id, room) {
                is_dirty = true;
                return true;
            }
            let piece = self.frame_for(&mut text, window_bits);
            self.queue(id, &piece, class, now);
            true
        });
        self.rooms.put(room, seats, is_dirty);
    }

    /// The owner's answer to `room.attach`.
    pub(super) fn on_attached(
        &mut self,
        (room, head): (RoomId, u64),
        (nonce, is_large): (u64, bool),
        entry: &Entry<'_>,
        now: Now,
    ) {
        for target in self.own_targets(entry) {
            let id = ConnectionId {
                slot: target.slot(),
                generation: target.generation(),
            };
            let is_his = |connection: &mut Connection| {
                connection.user == target.user() && connection.is_session_open()
            };
            let is_there = self.table.find(id).is_some_and(is_his);
            if !is_there || !is_large {
                let asked = u32::try_from(nonce).ok();
                let is_asked = asked.and_then(|nonce| self.rooms.find_open(id, nonce)) == Some(room);
                if is_asked {
                    self.rooms.detach(room, |his| his == id);
                    if is_there {
                        self.bump(id, room, head, now);
                    }
                }
                continue;
            }
            let Some(given) = self.rooms.on_attached(room, id, nonce, head) else {
                self.counters.stale += 1;
                continue;
            };
            self.counters.room_attached += 1;
            self.wish_seats(room, given.anew);
            self.bump(id, room, given.last, now);
        }
    }

    /// A user left a large room.
    pub(super) fn on_detach(&mut self, room: RoomId, entry: &Entry<'_>) {
        let Some(target) = self.own_targets(entry).first() else {
            return;
        };
        let table = &mut self.table;
        let gone = self.rooms.detach(room, |id| {
            let connection = table.find(id);
            connection.is_some_and(|connection| connection.user == target.user())
        });
        self.counters.room_detached += gone.len() as u64;
        // If this came late and he is a member again, the owner says so.
        self.wish_seats(room, gone);
    }

    /// A room is large now, for the targets.
    pub(super) fn on_large(&mut self, room: RoomId, entry: &Entry<'_>) {
        for target in self.own_targets(entry) {
            let id = ConnectionId {
                slot: target.slot(),
                generation: target.generation(),
            };
            // Who is only opening his session asks when he is in the directory.
            let is_his = |connection: &mut Connection| {
                connection.user == target.user() && connection.is_session_open()
            };
            if self.table.find(id).is_some_and(is_his) {
                self.wishes.next.push_back((id, Wish::Seat { room }));
            }
        }
    }

    /// A room is large no longer. Who waited for a seat has perhaps missed something.
    pub(super) fn on_small(&mut self, room: RoomId, seq: u64, now: Now) {
        for id in self.rooms.dissolve(room) {
            self.bump(id, room, seq, now);
        }
    }

    /// Tells one connection how far a room is.
    fn bump(&mut self, id: ConnectionId, room: RoomId, seq: u64, now: Now) {
        self.counters.room_bumps += 1;
        self.queue_text(id, &bump_text(room, seq), Class::Event { room, seq }, now);
    }

    fn looks_at(&self, id: ConnectionId, room: RoomId) -> bool {
        let look = self.wishes.looks.get(&id.slot);
        look.is_some_and(|(generation, rooms)| *generation == id.generation && rooms.contains(&room))
    }

    /// One bump per room for all who do not look at it.
    fn flush_bumps(&mut self, now: Now) {
        for (room, seq) in self.rooms.take_dirty() {
            let text = bump_text(room, seq);
            let mut text = Text::new(&text);
            let seats = self.rooms.take(room);
            for seat in seats.iter().filter(|seat| seat.is_taken()) {
                let id = seat.id();
                let Some(connection) = self.table.find(id) else {
                    continue;
                };
                let (is_choosy, window_bits) = (connection.is_choosy, connection.window_bits);
                if is_choosy && !self.looks_at(id, room) {
                    self.counters.room_bumps += 1;
                    let piece = self.frame_for(&mut text, window_bits);
                    self.queue(id, &piece, Class::Event { room, seq }, now);
                }
            }
            self.rooms.put(room, seats, false);
        }
    }

    /// `session.look`: the list replaces the one before.
    pub(super) fn on_session_look(&mut self, id: ConnectionId, request: u64, text: &[u8], now: Now) {
        #[derive(serde::Deserialize)]
        struct Call {
            params: Look,
        }
        let look = match serde_json::from_slice::<Call>(text) {
            Ok(Call { params }) => params,
            Err(error) => {
                let error = ErrorBody::new(ErrorCode::BadRequest, format!("params: {error}"));
                return self.refuse(id, Some(request), error, now);
            }
        };
        if look.rooms.len() > LOOK_ROOMS_MAX {
            let error = ErrorBody::new(ErrorCode::TooLarge, "at most 16 rooms in one call");
            return self.refuse(id, Some(request), error, now);
        }
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let was_choosy = std::mem::replace(&mut connection.is_choosy, true);
        let rooms = look.rooms.iter().copied();
        let new: Vec<RoomId> = rooms
            .filter(|room| was_choosy && !self.looks_at(id, *room))
            .collect();
        self.wishes
            .looks
            .insert(id.slot, (id.generation, look.rooms.into()));
        let result = Success {
            id: request,
            result: Empty {},
        };
        let text = serde_json::to_vec(&result).expect("plain numbers");
        self.queue_text(id, &text, Class::Reply, now);
        // What came while nobody looked was perhaps not bumped yet.
        for room in new {
            if let Some(last) = self.rooms.last(room, id) {
                self.bump(id, room, last, now);
            }
        }
    }
}
