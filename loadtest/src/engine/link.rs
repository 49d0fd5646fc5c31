//! The life of a client's connection: when it is made, when it is given up, and whether there is another one.

use hub_protocol::CloseCode;
use hub_protocol::close::is_reconnect;
use hub_ring::ConnectionId;
use rand::Rng;

use super::body::Body;
use super::line::Stage;
use crate::client::{Alarm, Phase, Timer};
use crate::units::{MS, S, at, index};

/// From the start of a connection to its open session.
const OPEN_MAX: u64 = 15 * S;
/// A connection from which nothing was heard for this long is dead; the edge pings more often.
const SILENCE_MAX: u64 = 60 * S;
/// First and longest span of a pause before a reconnect.
const RECONNECT_MS: (u64, u64) = (250, 5_000);
/// The end of a connection without a close frame (RFC 6455 §7.1.5).
pub(super) const ABNORMAL: u16 = 1006;

/// A client's way to its edge.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a client, each set in one place"
)]
pub(super) struct Link {
    pub(super) line: Option<ConnectionId>,
    /// Connections in a row that did not open a session.
    pub(super) tries: u32,
    /// Which edge is next.
    pub(super) edge: u32,
    /// When to connect, or when the session must be open.
    pub(super) due: u64,
    pub(super) heard_at: u64,
    /// A timer for silence is set; there is one at a time.
    pub(super) is_watched: bool,
    pub(super) had_session: bool,
    /// The present connection has opened its session.
    pub(super) is_current: bool,
    pub(super) awaits_token: bool,
    /// It may not come back by itself.
    pub(super) is_stopped: bool,
}

impl Body {
    pub(super) fn check_connection(&mut self, client: u32) {
        let link = self.links[at(client)];
        if link.is_stopped || self.is_stopping || link.due > self.common.now {
            return;
        }
        match link.line {
            None if link.awaits_token => self.connect_at(client, self.common.now + S),
            None => self.wanting.push(client),
            Some(line) if self.clients[at(client)].phase() != Phase::Open => {
                self.ended.push((line, ABNORMAL));
            }
            Some(_) => {}
        }
    }

    pub(super) fn check_silence(&mut self, client: u32) {
        let link = self.links[at(client)];
        let Some(line) = link.line else {
            self.links[at(client)].is_watched = false;
            return;
        };
        if link.heard_at + SILENCE_MAX <= self.common.now {
            self.ended.push((line, CloseCode::Heartbeat.number()));
            self.watch(client, self.common.now + SILENCE_MAX);
        } else {
            self.watch(client, link.heard_at + SILENCE_MAX);
        }
    }

    /// Looks at the connection's silence then.
    fn watch(&mut self, client: u32, due: u64) {
        self.links[at(client)].is_watched = true;
        let timer = Timer::Silence;
        self.common.wheel.set(due, Alarm { client, timer });
    }

    /// A connection of a client was started, or could not be.
    pub(super) fn on_started(&mut self, client: u32, line: Option<ConnectionId>) {
        self.common.stats.counts.connects += 1;
        let link = &mut self.links[at(client)];
        link.line = line;
        link.heard_at = self.common.now;
        if line.is_some() {
            let is_watched = link.is_watched;
            self.connect_at(client, self.common.now + OPEN_MAX);
            if !is_watched {
                self.watch(client, self.common.now + SILENCE_MAX);
            }
        } else {
            link.edge = link.edge.wrapping_add(1);
            self.common.stats.counts.connects_failed += 1;
            self.connect_after_pause(client);
        }
    }

    /// All slots are in use; soon one is not.
    pub(super) fn on_no_slot(&mut self, client: u32) {
        self.connect_at(client, self.common.now + 100 * MS);
    }

    /// The edge that this client tries next.
    pub(super) fn next_edge(&self, client: u32) -> usize {
        at(self.links[at(client)].edge % index(self.targets.len()))
    }

    /// The connection is gone: the client comes back, if the code lets it.
    pub(super) fn on_ended(&mut self, id: ConnectionId, code: u16) {
        let Some(line) = self.lines.remove(id) else { return };
        let client = line.client;
        let was_open = self.clients[at(client)].phase() == Phase::Open;
        self.clients[at(client)].on_disconnected();
        let link = &mut self.links[at(client)];
        link.line = None;
        link.is_current = false;
        link.edge = link.edge.wrapping_add(1);
        if was_open {
            link.tries = 0;
        }
        if self.is_stopping {
            return;
        }
        self.common.stats.close(code);
        if !was_open {
            self.common.stats.counts.connects_failed += 1;
        }
        // The session was asked for at once, so a late one is the hub's doing.
        let is_welcome = is_reconnect(code) || code == CloseCode::NoSession.number();
        if code == CloseCode::TokenInvalid.number() {
            self.renew(client);
        } else if !is_welcome {
            self.stop_client(client);
            return;
        }
        self.connect_after_pause(client);
    }

    /// The last moments of a run: every open connection is closed properly, the others are dropped.
    pub(super) fn start_stopping(&mut self) {
        self.is_stopping = true;
        let ids: Vec<(ConnectionId, Stage)> = self.lines.iter().map(|line| (line.id, line.stage)).collect();
        for (id, stage) in ids {
            match stage {
                Stage::Open => self.close(id, CloseCode::Normal.number()),
                Stage::Connecting | Stage::Upgrading | Stage::Closing(_) => self.ended.push((id, ABNORMAL)),
            }
        }
    }

    pub(super) fn stop_client(&mut self, client: u32) {
        let link = &mut self.links[at(client)];
        if !link.is_stopped {
            link.is_stopped = true;
            self.common.stats.counts.stopped += 1;
        }
    }

    pub(super) fn renew(&mut self, client: u32) {
        let user = self.user(client);
        let link = &mut self.links[at(client)];
        if !link.awaits_token && !self.is_stopping {
            link.awaits_token = true;
            self.renewer.renew(user);
        }
    }

    pub(super) fn connect_at(&mut self, client: u32, due: u64) {
        self.links[at(client)].due = due;
        self.common.wheel.set(
            due,
            Alarm {
                client,
                timer: Timer::Connect,
            },
        );
    }

    /// Full jitter over a span that doubles with every failure.
    pub(super) fn connect_after_pause(&mut self, client: u32) {
        let link = &mut self.links[at(client)];
        let span = (RECONNECT_MS.0 << link.tries.min(8)).min(RECONNECT_MS.1) * MS;
        link.tries += 1;
        let due = self.common.now + self.common.rng.random_range(0..=span);
        self.connect_at(client, due);
    }
}
