//! Deadlines of connections and calls: computed when their entry of the wheel comes up, from what the row says then.

use std::rc::Rc;
use std::time::Duration;

use hub_protocol::CloseCode;
use hub_protocol::limits::{DIRECTORY_SWEEP_S, TOKEN_GRACE_S};
use hub_ring::ConnectionId;
use hub_ws::Event as CloseEvent;
use hub_ws::frame::Opcode;

use super::Now;
use super::table::{Connection, Row, State};
use super::world::{CLOSE_MS, World};

/// The directory entry of a session is rewritten this often, milliseconds.
const SWEEP_MS: u64 = DIRECTORY_SWEEP_S * 1000;

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    /// Enters a connection into the wheel for its nearest deadline.
    pub(super) fn watch(&mut self, id: ConnectionId, now: Now) {
        let (open_ms, ping_ms, idle_ms) = (
            ms(self.settings.session_open),
            ms(self.settings.ping),
            ms(self.settings.idle),
        );
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let due = next_due(connection, now, open_ms, ping_ms, idle_ms);
        self.wheel.enter(id, due);
    }

    /// An entry of the wheel came up.
    pub(super) fn on_due(&mut self, id: ConnectionId, now: Now) {
        match self.table.find_row(id) {
            Some(Row::Call(call)) => {
                let call = Rc::clone(call);
                if now.ms >= call.due_ms {
                    self.time_out_call(id, &call);
                } else {
                    self.wheel.enter(id, call.due_ms);
                }
            }
            Some(Row::Socket(connection)) if !connection.is_ended => {
                self.check(id, now);
                self.watch(id, now);
            }
            Some(Row::Socket(_) | Row::Vacant) | None => {}
        }
    }

    fn check(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if !connection.closing.is_open() {
            if now.ms >= connection.since_ms.saturating_add(CLOSE_MS) {
                connection.closing.on(CloseEvent::Deadline);
                self.end(id);
            }
            return;
        }
        if connection.state == State::Waiting
            && now.ms >= connection.since_ms + ms(self.settings.session_open)
        {
            return self.close(id, CloseCode::NoSession, now);
        }
        if connection.state == State::Open && now.wall_s() >= connection.expires_at + TOKEN_GRACE_S {
            return self.close(id, CloseCode::TokenInvalid, now);
        }
        let message_ms = ms(self.settings.message);
        if message_ms > 0
            && connection.decoder.is_gathering()
            && now.ms >= connection.message_ms.saturating_add(message_ms)
        {
            self.counters.closed_late_messages += 1;
            return self.close(id, CloseCode::Policy, now);
        }
        if now.ms >= connection.heard_ms + ms(self.settings.idle) {
            self.counters.closed_heartbeat += 1;
            return self.close(id, CloseCode::Heartbeat, now);
        }
        let quiet_since = connection.heard_ms.max(connection.pinged_ms);
        if now.ms >= quiet_since + ms(self.settings.ping) {
            connection.pinged_ms = now.ms;
            self.push_control(id, Opcode::Ping, b"");
        }
        let is_due = |connection: &mut Connection| {
            connection.state == State::Open && now.ms >= connection.registered_ms + SWEEP_MS
        };
        if self.table.find(id).is_some_and(is_due) {
            self.register(id, true, now);
        }
    }
}

fn next_due(connection: &Connection, now: Now, open_ms: u64, ping_ms: u64, idle_ms: u64) -> u64 {
    if !connection.closing.is_open() {
        return connection.since_ms.saturating_add(CLOSE_MS).max(now.ms + 1);
    }
    let quiet_since = connection.heard_ms.max(connection.pinged_ms);
    let mut due = (quiet_since + ping_ms).min(connection.heard_ms + idle_ms);
    match connection.state {
        State::Waiting => due = due.min(connection.since_ms + open_ms),
        State::Open => {
            let left_s = (connection.expires_at + TOKEN_GRACE_S).saturating_sub(now.wall_s());
            due = due.min(now.ms.saturating_add(left_s.saturating_mul(1000)));
            due = due.min(connection.registered_ms + SWEEP_MS);
        }
        State::Opening { .. } | State::Echo => {}
    }
    due.max(now.ms + 1)
}
