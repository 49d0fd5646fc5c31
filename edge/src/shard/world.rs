//! What a shard knows, without its ring: everything here is decided from memory and written to memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hub_protocol::api::event::{BUMP, Event, SYNC, SyncData};
use hub_protocol::api::session::{Limits, Opened};
use hub_protocol::api::{Empty, Success};
use hub_protocol::error::ErrorBody;
use hub_protocol::partition::Partitions;
use hub_protocol::seal::Sealer;
use hub_protocol::{Address, CloseCode, LoginId, NodeId, RoomId, SessionId, UserId};
use hub_ring::{ConnectionId, Piece, SegmentWriter};
use hub_ws::frame::{self, Header, Opcode};
use hub_ws::{Action, Deflater, Event as CloseEvent, Inflater};
use uuid::Uuid;

use super::attach::Wishes;
use super::call::failure;
use super::drain::Drain;
use super::fanout::Text;
use super::rooms::Rooms;
use super::table::{Ending, State, Table};
use super::tls::Scratch;
use super::{Now, ShardSettings};
use crate::auth::{Caller, Verifier};
use crate::counters::Counters;
use crate::mailbox::ToBackbone;
use crate::outbound::{Class, Offer, Outbound};
use crate::request::RequestReader;
use crate::uplink::Uplink;
use crate::wheel::Wheel;

/// One block of encoded frames, shared by their receivers.
const SEGMENT_BYTES: usize = 64 * 1024;
/// A peer has this long to answer our close frame, milliseconds.
pub(super) const CLOSE_MS: u64 = 2_000;
/// A peer that broke the protocol has this long to read why, milliseconds.
const FAIL_MS: u64 = 500;
/// `system.sync` spreads the syncs of a node over this time, milliseconds.
const SYNC_SPREAD_MS: u32 = 1_000;

pub(super) struct World {
    pub(super) settings: ShardSettings,
    pub(super) table: Table,
    pub(super) wheel: Wheel,
    pub(super) counters: Counters,
    /// Connections with something to send in this turn.
    pub(super) touched: Vec<ConnectionId>,
    /// Connections that end with this turn.
    pub(super) ends: Vec<ConnectionId>,
    /// Connections whose sending direction ends with this turn.
    pub(super) half_ends: Vec<ConnectionId>,
    pub(super) to_backbone: VecDeque<ToBackbone>,
    /// Some fast connection has much to send: send before the next entry.
    pub(super) has_pressure: bool,
    /// Bytes that slow connections make wait.
    pub(super) waiting_bytes: usize,
    pub(super) drain: Option<Drain>,
    /// The look of the memory ceiling that slow receivers were last closed for.
    pub(super) relieved_look: u32,
    pub(super) node: Option<NodeId>,
    pub(super) partitions: Option<Partitions>,
    pub(super) epoch: String,
    pub(super) is_backbone_up: bool,
    /// Exists once the node has its name and the partitions are known.
    pub(super) uplink: Option<Uplink>,
    /// Who takes the events of large rooms.
    pub(super) rooms: Rooms,
    pub(super) wishes: Wishes,
    /// Logins that were revoked, and when.
    pub(super) revoked: HashMap<LoginId, u64>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) reader: RequestReader,
    pub(super) writer: SegmentWriter,
    pub(super) scratch: Scratch,
    /// Made when the first connection with permessage-deflate speaks, one for all of them.
    pub(super) inflater: Option<Box<Inflater>>,
    pub(super) deflater: Deflater,
}

impl World {
    pub(super) fn new(
        settings: ShardSettings,
        verifier: Arc<Verifier>,
        sealer: Arc<Sealer>,
        rows_max: u32,
    ) -> Self {
        Self {
            table: Table::new(rows_max),
            wheel: Wheel::new(0),
            counters: Counters::default(),
            touched: Vec::new(),
            ends: Vec::new(),
            half_ends: Vec::new(),
            to_backbone: VecDeque::new(),
            has_pressure: false,
            waiting_bytes: 0,
            drain: None,
            relieved_look: 0,
            node: None,
            partitions: None,
            epoch: String::new(),
            is_backbone_up: false,
            uplink: None,
            rooms: Rooms::default(),
            wishes: Wishes::default(),
            revoked: HashMap::new(),
            verifier,
            sealer,
            reader: RequestReader::default(),
            writer: SegmentWriter::new(SEGMENT_BYTES),
            scratch: Scratch::default(),
            inflater: None,
            deflater: Deflater::new(settings.deflate.level),
            settings,
        }
    }

    /// Where a row of this shard can be reached.
    pub(super) fn address(&self, id: ConnectionId) -> Address {
        Address {
            node: self.node.unwrap_or_default(),
            shard: self.settings.index,
            slot: id.slot,
            generation: id.generation,
        }
    }

    /// Queues a frame for a connection, as far as its slowness allows.
    pub(super) fn queue(&mut self, id: ConnectionId, piece: &Piece, class: Class, now: Now) {
        let bytes_max = self.settings.outbound_bytes_max;
        let Some(connection) = self
            .table
            .find(id)
            .filter(|connection| connection.closing.is_open())
        else {
            return;
        };
        match connection.outbound.offer(piece, class, bytes_max) {
            Offer::Queued => {
                self.counters.deliveries += 1;
                if !connection.is_blocked && connection.outbound.bytes() > bytes_max / 2 {
                    self.has_pressure = true;
                }
                self.touch(id);
            }
            Offer::Shed => self.counters.shed_ephemeral += 1,
            Offer::Bumped => self.counters.shed_bump += 1,
            Offer::Bump => {
                self.counters.shed_bump += 1;
                if let Class::Event { room, seq } = class {
                    self.push_bump(id, room, seq);
                }
            }
            Offer::Over => {
                self.counters.closed_slow += 1;
                self.close(id, CloseCode::Slow, now);
            }
        }
    }

    /// Queues a JSON text that only this connection gets.
    pub(super) fn queue_text(&mut self, id: ConnectionId, text: &[u8], class: Class, now: Now) {
        let window_bits = self.table.find(id).map_or(0, |connection| connection.window_bits);
        let piece = self.frame_for(&mut Text::new(text), window_bits);
        self.queue(id, &piece, class, now);
    }

    /// Answers a request of a connection with a refusal.
    pub(super) fn refuse(&mut self, id: ConnectionId, request: Option<u64>, error: ErrorBody, now: Now) {
        self.counters.refused += 1;
        self.queue_text(id, &failure(request, error), Class::Reply, now);
    }

    /// Queues a control frame.
    pub(super) fn push_control(&mut self, id: ConnectionId, opcode: Opcode, payload: &[u8]) {
        let header = Header::server(opcode, payload.len());
        let piece = self.writer.append(&[header.as_slice(), payload]);
        if let Some(connection) = self.table.find(id) {
            connection.outbound.push(&piece);
            self.touch(id);
        }
    }

    fn push_bump(&mut self, id: ConnectionId, room: RoomId, seq: u64) {
        let piece = self.encode(&bump_text(room, seq));
        if let Some(connection) = self.table.find(id) {
            connection.outbound.push(&piece);
            self.touch(id);
        }
    }

    pub(super) fn touch(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.find(id)
            && !std::mem::replace(&mut connection.is_touched, true)
        {
            self.touched.push(id);
        }
    }

    /// After a send: what waits is counted, bumps that were held back may go, and who only waited for his last
    /// bytes ends.
    pub(super) fn after_send(&mut self, id: ConnectionId, now: Now) {
        let bytes_max = self.settings.outbound_bytes_max;
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let bytes = connection.waiting_bytes();
        self.waiting_bytes = self.waiting_bytes + bytes - connection.counted_bytes;
        connection.counted_bytes = bytes;
        if bytes == 0 && matches!(connection.ending, Ending::WhenSent | Ending::HalfWhenSent) {
            self.finish(id);
            return;
        }
        if bytes > 0 && !connection.is_blocked {
            // More pieces than one send takes.
            self.touch(id);
        }
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if connection.outbound.has_bumps() {
            for (room, seq) in connection.outbound.take_bumps(bytes_max) {
                self.push_bump(id, room, seq);
            }
        }
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if connection.is_blocked && self.waiting_bytes > self.settings.outbound_shard_bytes_max {
            // The shard is short of memory: what this one holds is given back at once.
            self.counters.closed_slow += 1;
            self.end(id);
        } else if bytes > bytes_max && connection.closing.is_open() {
            // Control frames are not offered, so they may pass the bound.
            self.counters.closed_slow += 1;
            self.close(id, CloseCode::Slow, now);
        }
    }

    pub(super) fn on_writable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.find(id) {
            connection.is_blocked = false;
            self.touch(id);
        }
    }

    /// Starts the close handshake from our side.
    pub(super) fn close(&mut self, id: ConnectionId, code: CloseCode, now: Now) {
        if code == CloseCode::Abuse {
            self.counters.closed_abuse += 1;
        }
        self.close_with(id, code.number(), code.reason(), CLOSE_MS, now);
    }

    /// Fails a connection whose peer broke RFC 6455 (§7.1.7): says why and ends soon.
    pub(super) fn fail(&mut self, id: ConnectionId, code: u16, reason: &str, now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if connection.closing.is_open() {
            // Nothing that such a peer says counts any more, its close frame included: it gets the end right behind
            // ours. Ended at once, what it sent meanwhile would reset the connection, and with it our frame.
            connection.ending = Ending::HalfWhenSent;
            self.counters.closed_protocol += 1;
            self.close_with(id, code, reason, FAIL_MS, now);
        }
    }

    fn close_with(&mut self, id: ConnectionId, code: u16, reason: &str, within_ms: u64, now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if connection.closing.on(CloseEvent::Close) == Action::SendClose {
            // `since_ms` plus CLOSE_MS is the deadline.
            connection.since_ms = now.ms.saturating_sub(CLOSE_MS - within_ms);
            let (payload, len) = frame::close_payload(code, reason);
            self.push_control(id, Opcode::Close, &payload[..len]);
            self.end_session(id);
            self.wheel.enter(id, now.ms + within_ms);
        }
    }

    /// The peer's TCP connection has ended or is broken.
    pub(super) fn on_gone(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.find(id) {
            connection.closing.on(CloseEvent::PeerGone);
            self.end(id);
        }
    }

    /// Ends the TCP connection with this turn.
    pub(super) fn end(&mut self, id: ConnectionId) {
        self.end_session(id);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if std::mem::replace(&mut connection.is_ended, true) {
            return;
        }
        self.waiting_bytes -= connection.counted_bytes;
        connection.counted_bytes = 0;
        connection.outbound = Outbound::default();
        connection.tls = None;
        self.counters.connections -= 1;
        self.counters.closed += 1;
        self.ends.push(id);
    }

    /// Takes the session out of the directory.
    fn end_session(&mut self, id: ConnectionId) {
        self.tell_end(id);
        let address = self.address(id);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let user = std::mem::replace(&mut connection.user, UserId::NIL);
        let is_choosy = std::mem::take(&mut connection.is_choosy);
        match connection.state {
            State::Echo | State::Waiting => return,
            State::Opening { .. } => {}
            State::Open => self.counters.sessions -= 1,
        }
        connection.state = State::Waiting;
        if is_choosy {
            self.forget_look(id);
        }
        self.to_backbone
            .push_back(ToBackbone::Unregister { user, address });
    }

    /// Opens a session: it is answered when its directory entry is written.
    pub(super) fn open_session(&mut self, id: ConnectionId, request: u64, caller: Caller, now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        connection.state = State::Opening { request };
        connection.user = caller.user;
        connection.login = caller.login;
        connection.session = SessionId(Uuid::now_v7());
        connection.expires_at = caller.expires_at;
        self.register(id, false, now);
    }

    /// Has the session's directory entry written.
    pub(super) fn register(&mut self, id: ConnectionId, sweep: bool, now: Now) {
        let address = self.address(id);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        connection.registered_ms = now.ms;
        let (user, session) = (connection.user, connection.session);
        self.to_backbone.push_back(ToBackbone::Register {
            user,
            address,
            session,
            sweep,
        });
    }

    /// Answers `session.open` or `session.refresh` with what the session is told of itself.
    pub(super) fn answer_opened(&mut self, id: ConnectionId, request: u64, now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let result = Opened {
            user: connection.user,
            session: connection.session,
            expires_at: connection.expires_at,
            heartbeat_ms: u64::try_from(self.settings.ping.as_millis()).unwrap_or(u64::MAX),
            server_time: now.wall_us,
            epoch: self.epoch.clone(),
            limits: Limits {
                message_bytes: u32::try_from(self.settings.message_bytes_max).unwrap_or(u32::MAX),
                messages_per_second: self.settings.rate.per_second,
                messages_burst: self.settings.rate.burst,
            },
            features: Vec::new(),
        };
        let text = serde_json::to_vec(&Success { id: request, result }).expect("plain texts and numbers");
        self.queue_text(id, &text, Class::Reply, now);
    }

    /// Every session is told to sync, and attaches anew.
    pub(super) fn sync_all(&mut self, now: Now) {
        let text = sync_text(SYNC_SPREAD_MS);
        let piece = self.encode(&text);
        let ids: Vec<_> = self.table.ids().collect();
        self.ask_all(&ids);
        for id in ids {
            if self
                .table
                .find(id)
                .is_some_and(|connection| connection.is_session_open())
            {
                self.counters.syncs += 1;
                self.queue(id, &piece, Class::Reply, now);
            }
        }
    }

    /// One session is told to sync.
    pub(super) fn sync_one(&mut self, id: ConnectionId, now: Now) {
        self.counters.syncs += 1;
        self.ask_large(id);
        self.queue_text(id, &sync_text(SYNC_SPREAD_MS), Class::Reply, now);
    }

    /// True if nothing is left that a drain has to wait for.
    pub(super) fn is_empty(&self) -> bool {
        self.table.len() == 0 && self.uplink.as_ref().is_none_or(Uplink::is_empty)
    }

    /// Hands the batches that may leave to the backbone.
    pub(super) fn collect_uplink(&mut self) {
        let Some(uplink) = &mut self.uplink else { return };
        uplink.take_ready(|item| {
            if let ToBackbone::Uplink { envelopes, .. } = &item {
                self.counters.uplink_batches += 1;
                self.counters.uplink_envelopes += u64::from(*envelopes);
            }
            self.to_backbone.push_back(item);
        });
    }
}

/// The event that says how far a room is.
pub(super) fn bump_text(room: RoomId, seq: u64) -> Vec<u8> {
    let event = Event {
        event: BUMP.to_owned(),
        room: Some(room),
        seq: Some(seq),
        data: Empty {},
    };
    serde_json::to_vec(&event).expect("plain texts and numbers")
}

fn sync_text(spread_ms: u32) -> Vec<u8> {
    let event = Event {
        event: SYNC.to_owned(),
        room: None,
        seq: None,
        data: SyncData { spread_ms },
    };
    serde_json::to_vec(&event).expect("plain texts and numbers")
}
