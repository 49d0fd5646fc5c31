//! The client as a whole: opens its session, syncs, reads what comes, and keeps its outboxes going.

use std::sync::Arc;

use hub_protocol::api::event::{BUMP, MIGRATE, SYNC, SyncData};
use hub_protocol::api::session::{Open, Opened};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Method, Op};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::catch_up::Asked;
use super::outbox::Refusal;
use super::room::{Fetch, Room, hold};
use super::wire::{self, Call, Incoming};
use super::{Context, Timer, Wish};
use crate::units::{MS, S};

/// An unanswered call is repeated after this, with jitter.
pub(super) const ANSWER: u64 = 10 * S;
/// The second sync after an opened session.
const SECOND_SYNC: u64 = S;
/// First and longest pause between tries of a send.
const RETRY_MS: (u64, u64) = (200, 5_000);

/// How far a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No connection.
    Offline,
    /// Connected; the session is being opened.
    Opening,
    /// The session is open.
    Open,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub(super) user: u32,
    pub(super) phase: Phase,
    pub(super) token: Arc<str>,
    /// By the room's index.
    pub(super) rooms: Vec<Room>,
    pub(super) cursor: Option<Box<str>>,
    /// Requests so far.
    pub(super) requests: u32,
    pub(super) asked: Option<Box<Asked>>,
    /// When the next sync is to start.
    pub(super) sync_due: Option<u64>,
    /// Failed tries to open the session of this connection.
    pub(super) open_tries: u32,
    pub(super) is_synced: bool,
}

/// What a client reads from the answer to a send.
#[derive(Deserialize)]
struct SentAnswer {
    seq: u64,
    duplicate: bool,
    message: SentMessage,
}

#[derive(Deserialize)]
struct SentMessage {
    client_message_id: Op,
}

impl Client {
    /// The client of a user. Rooms of which the world knows the head are joined there.
    pub fn new(user: u32, token: Arc<str>, context: &mut Context<'_>) -> Self {
        let world = context.world;
        let mut rooms: Vec<Room> = world
            .rooms_of(user)
            .iter()
            .map(|&index| Room::new(index))
            .collect();
        rooms.sort_unstable_by_key(|room| room.index);
        for room in &mut rooms {
            if let Some(head) = world.start_head(room.index) {
                room.join(user, head, context);
            }
        }
        Self {
            user,
            phase: Phase::Offline,
            token,
            rooms,
            cursor: None,
            requests: 0,
            asked: None,
            sync_due: None,
            open_tries: 0,
            is_synced: false,
        }
    }

    /// The user's index.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// True if it is online and was shown everything that it knows to exist.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Open && self.is_synced && self.rooms.iter().all(Room::is_caught_up)
    }

    /// True if it has nothing left to send.
    pub fn is_quiet(&self) -> bool {
        self.rooms.iter().all(|room| room.outbox.is_empty())
    }

    /// What its rooms occupy.
    #[cfg(test)]
    pub(super) fn room_bytes(&self) -> usize {
        self.rooms.capacity() * size_of::<Room>()
    }

    /// A send is offered, meant to happen at `intended`.
    pub fn offer(&mut self, room: u32, intended: u64, context: &mut Context<'_>) {
        let Ok(slot) = self.rooms.binary_search_by_key(&room, |room| room.index) else {
            return;
        };
        let op = context.op();
        let send = context.recorder.offer(room, self.user, intended, op);
        context.stats.counts.offered += 1;
        self.rooms[slot].outbox.push(send);
        self.pump(slot, context);
    }

    /// The WebSocket is open.
    pub fn on_connected(&mut self, context: &mut Context<'_>) {
        self.phase = Phase::Opening;
        self.open_tries = 0;
        self.open(Method::SessionOpen, context);
    }

    /// The connection is gone.
    pub fn on_disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.asked = None;
        self.is_synced = false;
        for room in &mut self.rooms {
            room.fetch = Fetch::Idle;
        }
    }

    /// There is a new token: used at once where a session is open, else for the next one.
    pub fn on_token(&mut self, token: Arc<str>, context: &mut Context<'_>) {
        self.token = token;
        if self.phase == Phase::Open {
            self.open(Method::SessionRefresh, context);
        }
    }

    /// A text message came.
    pub fn on_text(&mut self, text: &[u8], context: &mut Context<'_>) {
        let Ok(incoming) = serde_json::from_slice::<Incoming<'_>>(text) else {
            context.stats.counts.malformed += 1;
            return;
        };
        if let Some(name) = &incoming.event {
            self.on_event(name, &incoming, context);
            return;
        }
        let call = incoming.id.and_then(|id| Some((id, Call::of(id)?)));
        match (call, incoming.result, &incoming.error) {
            (Some((id, call)), Some(result), None) => self.on_result(id, call, result, context),
            (Some((id, call)), None, Some(error)) => {
                context.stats.refusal(error.code);
                self.on_refused(id, call, error, context);
            }
            _ => context.stats.counts.malformed += 1,
        }
    }

    /// A timer rang that is the client's own.
    pub fn on_timer(&mut self, timer: Timer, context: &mut Context<'_>) {
        match timer {
            Timer::Open => {
                if self.phase == Phase::Opening {
                    self.open(Method::SessionOpen, context);
                }
            }
            Timer::Sync => self.check_sync(context),
            Timer::Range(slot) => self.check_range(slot, context),
            Timer::Outbox(slot) => self.pump(usize::from(slot), context),
            Timer::Connect | Timer::Silence | Timer::Token => {}
        }
    }

    pub(super) fn request_number(&mut self) -> u32 {
        self.requests += 1;
        self.requests
    }

    fn open(&mut self, method: Method, context: &mut Context<'_>) {
        let call = if method == Method::SessionOpen {
            Call::Open
        } else {
            Call::Refresh
        };
        let id = call.id(self.request_number());
        let params = json(&Open {
            token: self.token.to_string(),
        });
        context.texts.push(wire::request(id, method, &params));
    }

    fn on_result(&mut self, id: u64, call: Call, result: &RawValue, context: &mut Context<'_>) {
        let is_understood = match call {
            Call::Open => self.on_opened(result, context),
            Call::Refresh => Some(()),
            Call::Sync => self.on_synced(id, result, context),
            Call::Range(slot) => self.on_range(slot, id, result, context),
            Call::Send(slot) => self.on_sent(usize::from(slot), result, context),
        };
        if is_understood.is_none() {
            context.stats.counts.malformed += 1;
        }
    }

    fn on_refused(&mut self, id: u64, call: Call, error: &ErrorBody, context: &mut Context<'_>) {
        match call {
            Call::Open => self.on_open_refused(error, context),
            Call::Refresh => {}
            Call::Sync => {
                if self.asked.as_ref().is_some_and(|asked| asked.id == id) {
                    let asked = self.asked.as_mut().expect("tested above");
                    asked.due = context.now + wait(error) + context.part_of(S);
                    let due = asked.due;
                    context.set(due, Timer::Sync);
                }
            }
            Call::Range(slot) => {
                let room = &mut self.rooms[usize::from(slot)];
                if matches!(room.fetch, Fetch::Asked { id: asked, .. } if asked == id) {
                    room.plan(slot, wait(error).max(hold()), context);
                }
            }
            Call::Send(slot) => self.on_send_refused(usize::from(slot), id, error, context),
        }
    }

    fn on_opened(&mut self, result: &RawValue, context: &mut Context<'_>) -> Option<()> {
        let opened: Opened = serde_json::from_str(result.get()).ok()?;
        if self.phase != Phase::Opening {
            return Some(());
        }
        self.phase = Phase::Open;
        context.world.note_limits(opened.limits.messages_per_second);
        for slot in 0..self.rooms.len() {
            let due = context.now + context.part_of(50 * MS);
            let outbox = &mut self.rooms[slot].outbox;
            outbox.on_reconnected(due);
            if let (Some(due), Ok(slot)) = (outbox.due(), u16::try_from(slot)) {
                context.set(due, Timer::Outbox(slot));
            }
            self.pump(slot, context);
        }
        self.ask_sync(None, true, context);
        self.want_sync(context.now + SECOND_SYNC, context);
        Some(())
    }

    fn on_open_refused(&mut self, error: &ErrorBody, context: &mut Context<'_>) {
        if self.phase != Phase::Opening {
            return;
        }
        if error.retryable {
            self.open_tries += 1;
            let pause = context.pause(self.open_tries, 100, 1_000).max(wait(error));
            context.set(context.now + pause, Timer::Open);
        } else if error.code == ErrorCode::Unauthenticated {
            context.wishes.push(Wish::Renew);
        } else {
            context.wishes.push(Wish::Reconnect);
        }
    }

    fn on_event(&mut self, name: &str, incoming: &Incoming<'_>, context: &mut Context<'_>) {
        match (name, incoming.room, incoming.seq) {
            (SYNC, None, _) => {
                context.stats.counts.sync_notices += 1;
                let data = incoming
                    .data
                    .and_then(|data| serde_json::from_str::<SyncData>(data.get()).ok());
                let spread = data.map_or(0, |data| u64::from(data.spread_ms)) * MS;
                let due = context.now + context.part_of(spread);
                self.want_sync(due, context);
            }
            (MIGRATE, None, _) => context.stats.counts.migrate_notices += 1,
            (BUMP, Some(room), Some(seq)) => {
                context.stats.counts.bumps += 1;
                if let Some(slot) = self.slot_of(room, context) {
                    self.rooms[usize::from(slot)].on_head(slot, seq, hold(), context);
                }
            }
            (_, Some(_), None) => context.stats.counts.ephemerals += 1,
            (_, Some(room), Some(seq)) => {
                let event = incoming
                    .data
                    .and_then(|data| wire::read_event(data.get(), context.world.nonce()));
                let Some(event) = event else {
                    context.stats.counts.malformed += 1;
                    return;
                };
                if let Some(slot) = self.slot_of(room, context) {
                    self.rooms[usize::from(slot)].on_event(slot, seq, event, context);
                }
            }
            (_, None, _) => context.stats.counts.malformed += 1,
        }
    }

    pub(super) fn slot_of(&self, room: hub_protocol::RoomId, context: &Context<'_>) -> Option<u16> {
        let index = context.world.find_room(room)?;
        let slot = self.rooms.binary_search_by_key(&index, |room| room.index).ok()?;
        u16::try_from(slot).ok()
    }

    /// Writes the room's next or due send, if there is one and a session to carry it.
    fn pump(&mut self, slot: usize, context: &mut Context<'_>) {
        if self.phase != Phase::Open {
            return;
        }
        let Ok(room_slot) = u16::try_from(slot) else {
            return;
        };
        let id = Call::Send(room_slot).id(self.requests + 1);
        let again = context.now + ANSWER + context.part_of(S);
        let room = &mut self.rooms[slot];
        let Some((send, is_again)) = room.outbox.take_due(context.now, id, again) else {
            return;
        };
        self.requests += 1;
        let record = *context.recorder.send(send);
        let text = wire::text(
            context.world.nonce(),
            record.intended,
            record.op,
            context.world.text_bytes(),
        );
        let params = format!(r#"{{"client_message_id":"{}","text":"{text}"}}"#, record.op);
        let room_id = context.world.room_id(room.index);
        context
            .texts
            .push(wire::room_request(id, Method::MessageSend, room_id, &params));
        context.recorder.sent(send, context.now);
        context.stats.counts.resends += u64::from(is_again);
        context.set(again, Timer::Outbox(room_slot));
    }

    fn on_sent(&mut self, slot: usize, result: &RawValue, context: &mut Context<'_>) -> Option<()> {
        let answer: SentAnswer = serde_json::from_str(result.get()).ok()?;
        let op = answer.message.client_message_id;
        let room = self.rooms.get_mut(slot)?;
        let current = room
            .outbox
            .current()
            .filter(|&send| context.recorder.send(send).op == op);
        let Some(send) = current else {
            context.recorder.acked_again(op, answer.seq, context.now);
            return Some(());
        };
        context.recorder.acked(send, answer.seq, context.now);
        room.outbox.settle();
        let intended = context.recorder.send(send).intended;
        let latency = context.now.saturating_sub(intended);
        context.stats.counts.acked += 1;
        context.stats.counts.acked_duplicate += u64::from(answer.duplicate);
        context.stats.ack_recent.record(latency);
        if context.world.is_measured(intended) {
            context.stats.ack.record(latency);
        }
        self.pump(slot, context);
        Some(())
    }

    fn on_send_refused(&mut self, slot: usize, id: u64, error: &ErrorBody, context: &mut Context<'_>) {
        let (Some(room), Ok(room_slot)) = (self.rooms.get_mut(slot), u16::try_from(slot)) else {
            return;
        };
        match room.outbox.on_refused(id, error) {
            Refusal::Retry { tries, after_ms } => {
                let pause = match after_ms {
                    Some(ms) => u64::from(ms) * MS + context.part_of(u64::from(ms) * MS / 4),
                    None => context.pause(tries, RETRY_MS.0, RETRY_MS.1),
                };
                let due = context.now + pause;
                room.outbox.pause_until(due);
                context.set(due, Timer::Outbox(room_slot));
                return;
            }
            Refusal::Final(send) => {
                context.stats.counts.refused_final += 1;
                context.recorder.refused(send);
            }
            Refusal::GivenUp(send) => {
                context.stats.counts.given_up += 1;
                context.recorder.given_up(send);
            }
            Refusal::Stale => return,
        }
        self.pump(slot, context);
    }
}

/// How long a refusal asks to wait.
pub(super) fn wait(error: &ErrorBody) -> u64 {
    u64::from(
        error
            .retry_after_ms
            .unwrap_or(if error.retryable { 500 } else { 5_000 }),
    ) * MS
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types always serialise")
}
