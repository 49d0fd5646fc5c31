//! Everything of a thread but its ring: clients, their links, and what bytes mean to them.

use std::sync::Arc;

use hub_protocol::CloseCode;
use hub_protocol::api::SUBPROTOCOL;
use hub_ring::{ConnectionId, SegmentWriter};
use hub_ws::frame::{self, Opcode};
use hub_ws::handshake;
use hub_ws::{Decoder, Item, Role};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::control::Command;
use super::line::{Line, Lines, Stage};
use super::link::{ABNORMAL, Link};
use super::{Settings, Snapshot};
use crate::client::{Alarm, Client, Context, Phase, Timer, Wish};
use crate::oracle::Recorder;
use crate::renew::Renewer;
use crate::stats::Stats;
use crate::target::Target;
use crate::units::{S, at, count, index};
use crate::wheel::Wheel;
use crate::world::World;

/// A message of the hub may be this long.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Tokens are renewed at this age, seconds.
const TOKEN_AGE_S_MAX: u64 = 10 * 60;

/// What all clients of the thread share.
pub(super) struct Common {
    pub(super) now: u64,
    pub(super) world: Arc<World>,
    pub(super) rng: SmallRng,
    pub(super) wheel: Wheel<Alarm>,
    pub(super) recorder: Recorder,
    pub(super) stats: Stats,
    pub(super) texts: Vec<String>,
    pub(super) wishes: Vec<Wish>,
}

impl Common {
    fn context(&mut self, client: u32) -> Context<'_> {
        Context {
            now: self.now,
            client,
            world: &self.world,
            rng: &mut self.rng,
            wheel: &mut self.wheel,
            recorder: &mut self.recorder,
            stats: &mut self.stats,
            texts: &mut self.texts,
            wishes: &mut self.wishes,
        }
    }
}

pub(super) struct Body {
    pub(super) common: Common,
    pub(super) clients: Vec<Client>,
    pub(super) links: Vec<Link>,
    pub(super) lines: Lines,
    pub(super) targets: Arc<[Target]>,
    pub(super) thread: u32,
    pub(super) threads: u32,
    pub(super) renewer: Renewer,
    pub(super) writer: SegmentWriter,
    pub(super) scratch: Vec<u8>,
    /// Connections with something to send.
    pub(super) touched: Vec<ConnectionId>,
    /// Connections to end, each with its close code.
    pub(super) ended: Vec<(ConnectionId, u16)>,
    /// Clients that want a connection now.
    pub(super) wanting: Vec<u32>,
    pub(super) rung: Vec<Alarm>,
    pub(super) is_stopping: bool,
}

impl Body {
    pub(super) fn new(settings: &Settings, slots: u32, now: u64) -> Self {
        let world = Arc::clone(&settings.world);
        let threads = settings.desks.threads();
        let users = (0..index(world.accounts.len())).filter(|user| user % threads == settings.thread);
        let mut common = Common {
            now,
            rng: SmallRng::seed_from_u64(settings.seed ^ (u64::from(settings.thread) << 32)),
            wheel: Wheel::new(now),
            recorder: Recorder::new(world.rooms()),
            stats: Stats::default(),
            texts: Vec::new(),
            wishes: Vec::new(),
            world,
        };
        let (mut clients, mut links) = (Vec::new(), Vec::new());
        let gap = S / u64::from(settings.connects_per_second.max(1));
        let wall_s = common.world.wall_ms(now) / 1_000;
        for (row, user) in (0_u32..).zip(users) {
            let account = &settings.world.accounts[at(user)];
            clients.push(Client::new(
                user,
                Arc::clone(&account.token),
                &mut common.context(row),
            ));
            let due = now + gap * u64::from(row);
            links.push(Link {
                due,
                edge: user,
                ..Link::default()
            });
            common.wheel.set(
                due,
                Alarm {
                    client: row,
                    timer: Timer::Connect,
                },
            );
            if account.issued_at > 0 {
                let in_s = (account.issued_at + TOKEN_AGE_S_MAX).saturating_sub(wall_s);
                let due = now + in_s * S + common.rng.random_range(0..30 * S);
                common.wheel.set(
                    due,
                    Alarm {
                        client: row,
                        timer: Timer::Token,
                    },
                );
            }
        }
        Self {
            common,
            clients,
            links,
            lines: Lines::new(slots),
            targets: Arc::clone(&settings.targets),
            thread: settings.thread,
            threads,
            renewer: settings.renewer.clone(),
            writer: SegmentWriter::new(256 * 1024),
            scratch: Vec::new(),
            touched: Vec::new(),
            ended: Vec::new(),
            wanting: Vec::new(),
            rung: Vec::new(),
            is_stopping: false,
        }
    }

    pub(super) fn set_now(&mut self, now: u64) {
        self.common.now = now;
    }

    pub(super) fn now(&self) -> u64 {
        self.common.now
    }

    pub(super) fn random<const N: usize>(&mut self) -> [u8; N] {
        self.common.rng.random()
    }

    /// The user of a row.
    pub(super) fn user(&self, client: u32) -> u32 {
        client * self.threads + self.thread
    }

    pub(super) fn link(&mut self, client: u32) -> &mut Link {
        &mut self.links[at(client)]
    }

    pub(super) fn unacked(&self) -> u64 {
        let counts = &self.common.stats.counts;
        counts.offered - counts.acked - counts.refused_final - counts.given_up
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let clients = &self.clients;
        let number = |test: fn(&Client) -> bool| count(clients.iter().filter(|client| test(client)).count());
        Snapshot {
            counts: self.common.stats.counts,
            connected: number(|client| client.phase() == Phase::Open),
            ready: number(Client::is_ready),
            busy: number(|client| !client.is_quiet()),
            ack_recent: std::mem::take(&mut self.common.stats.ack_recent),
        }
    }

    pub(super) fn into_parts(self) -> (Recorder, Stats) {
        (self.common.recorder, self.common.stats)
    }

    // What comes from outside.

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Offer {
                client,
                room,
                intended,
            } => {
                self.clients[at(client)].offer(room, intended, &mut self.common.context(client));
                self.settle(client);
            }
            Command::Token {
                client,
                token: Some(token),
            } => {
                self.common.stats.counts.renewals += 1;
                self.links[at(client)].awaits_token = false;
                self.clients[at(client)].on_token(token, &mut self.common.context(client));
                let age = (TOKEN_AGE_S_MAX + self.common.rng.random_range(0..30)) * S;
                self.common.wheel.set(
                    self.common.now + age,
                    Alarm {
                        client,
                        timer: Timer::Token,
                    },
                );
                self.settle(client);
            }
            Command::Token { client, token: None } => self.stop_client(client),
        }
    }

    pub(super) fn on_timers(&mut self) {
        let mut rung = std::mem::take(&mut self.rung);
        self.common.wheel.ring(self.common.now, &mut rung);
        for Alarm { client, timer } in rung.drain(..) {
            match timer {
                Timer::Connect => self.check_connection(client),
                Timer::Silence => self.check_silence(client),
                Timer::Token => self.renew(client),
                Timer::Open | Timer::Sync | Timer::Range(_) | Timer::Outbox(_) => {
                    self.clients[at(client)].on_timer(timer, &mut self.common.context(client));
                    self.settle(client);
                }
            }
        }
        self.rung = rung;
    }

    /// TCP is connected, or a full connection takes bytes again.
    pub(super) fn on_writable(&mut self, id: ConnectionId) {
        let Some(line) = self.lines.find(id) else { return };
        if line.stage == Stage::Connecting {
            line.stage = Stage::Upgrading;
            let (client, nonce) = (line.client, line.nonce);
            let target = &self.targets[self.next_edge(client)];
            let request = handshake::write_request(&target.host, &target.path, nonce, Some(SUBPROTOCOL), "");
            let piece = self.writer.append(&[request.as_bytes()]);
            self.queue(id, piece);
        } else {
            line.is_full = false;
            self.touch(id);
        }
    }

    pub(super) fn on_bytes(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let Some(line) = self.lines.find(id) else { return };
        self.links[at(line.client)].heard_at = self.common.now;
        match line.stage {
            Stage::Connecting => {}
            Stage::Upgrading => self.on_upgrade_bytes(id, bytes),
            Stage::Open | Stage::Closing(_) => self.on_frames(id, bytes),
        }
    }

    fn on_upgrade_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(line) = self.lines.find(id) else { return };
        line.head.extend_from_slice(bytes);
        match handshake::read_response(&line.head, line.nonce, Some(SUBPROTOCOL)) {
            Ok(None) => {}
            Ok(Some(response)) => {
                let mut rest = std::mem::take(&mut line.head).split_off(response.len);
                line.stage = Stage::Open;
                let client = line.client;
                self.clients[at(client)].on_connected(&mut self.common.context(client));
                self.settle(client);
                self.on_frames(id, &mut rest);
            }
            Err(_) => self.ended.push((id, ABNORMAL)),
        }
    }

    fn on_frames(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let Some(line) = self.lines.find(id) else { return };
        let client = line.client;
        let mut decoder = std::mem::replace(&mut line.decoder, Decoder::new(Role::Client));
        let mut from = 0;
        loop {
            match decoder.decode(bytes, &mut from, MESSAGE_BYTES_MAX, None) {
                Ok(None) => break,
                Ok(Some(Item::Text(text))) => {
                    self.clients[at(client)].on_text(text, &mut self.common.context(client));
                    self.settle(client);
                }
                Ok(Some(Item::Ping(payload))) => self.queue_frame(id, Opcode::Pong, payload),
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Binary(_))) => self.common.stats.counts.malformed += 1,
                Ok(Some(Item::Close(close))) => {
                    let code = close.map_or(1005, |close| close.code);
                    self.on_close_frame(id, code);
                    break;
                }
                Err(error) => {
                    self.common.stats.counts.malformed += 1;
                    self.close(id, error.close_code());
                    self.ended.push((id, error.close_code()));
                    break;
                }
            }
        }
        if let Some(line) = self.lines.find(id) {
            line.decoder = decoder;
        }
    }

    /// RFC 6455 §5.5.1: a close frame is answered once; ours was either this answer or the first.
    fn on_close_frame(&mut self, id: ConnectionId, code: u16) {
        let Some(line) = self.lines.find(id) else { return };
        if line.stage == Stage::Open {
            self.close(id, if code == 1005 { 1000 } else { code });
        }
        self.ended.push((id, code));
    }

    /// Sends a close frame.
    pub(super) fn close(&mut self, id: ConnectionId, code: u16) {
        if let Some(line) = self.lines.find(id).filter(|line| line.stage == Stage::Open) {
            line.stage = Stage::Closing(code);
            let (payload, len) = frame::close_payload(code, "");
            self.queue_frame(id, Opcode::Close, &payload[..len]);
        }
    }

    pub(super) fn on_broken(&mut self, id: ConnectionId) {
        self.ended.push((id, ABNORMAL));
    }

    /// Does what a client asked for when it was called: texts to send, and wishes.
    fn settle(&mut self, client: u32) {
        let line = self.links[at(client)].line;
        if self.clients[at(client)].phase() == Phase::Open {
            let link = &mut self.links[at(client)];
            link.tries = 0;
            if !std::mem::replace(&mut link.is_current, true)
                && std::mem::replace(&mut link.had_session, true)
            {
                self.common.stats.counts.reconnects += 1;
            }
        }
        let mut texts = std::mem::take(&mut self.common.texts);
        for text in texts.drain(..) {
            if let Some(line) = line {
                self.queue_frame(line, Opcode::Text, text.as_bytes());
            }
        }
        self.common.texts = texts;
        while let Some(wish) = self.common.wishes.pop() {
            match (wish, line) {
                (Wish::Renew, _) => self.renew(client),
                (Wish::Reconnect, Some(line)) => self.close_and_end(line),
                (Wish::Reconnect, None) => {}
            }
        }
    }

    fn close_and_end(&mut self, id: ConnectionId) {
        self.close(id, CloseCode::Normal.number());
        self.ended.push((id, CloseCode::Normal.number()));
    }

    fn queue_frame(&mut self, id: ConnectionId, opcode: Opcode, payload: &[u8]) {
        self.scratch.clear();
        frame::push_masked(&mut self.scratch, opcode, payload, self.common.rng.random());
        let piece = self.writer.append(&[&self.scratch]);
        self.queue(id, piece);
    }

    fn queue(&mut self, id: ConnectionId, piece: hub_ring::Piece) {
        if let Some(line) = self.lines.find(id) {
            line.queue(piece);
            self.touch(id);
        }
    }

    fn touch(&mut self, id: ConnectionId) {
        let touch = |line: &mut Line| !std::mem::replace(&mut line.is_touched, true);
        if self.lines.find(id).is_some_and(touch) {
            self.touched.push(id);
        }
    }
}
