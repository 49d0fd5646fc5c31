//! The orderly end: each connection is told to move at a moment of its own, and closed later if it has not.
//!
//! ```text
//!   0 %                        60 %          90 %  95 %  100 %
//!   ├─ told, slot by slot ──────┤             │     │     │
//!   │           ├─ closed with 4000, each 30 % after it was told
//!   └─ calls are answered as they come ───────┼────▶ cut: what is left ends, the uplink is flushed
//! ```
//!
//! Two cursors walk over the slots of the table; nothing is kept per connection. So all clients do not come to the
//! other nodes at once.

use std::ops::Range;
use std::rc::Rc;

use hub_protocol::CloseCode;
use hub_protocol::api::event::{Event, MIGRATE, MigrateData};
use hub_ring::ConnectionId;

use super::Now;
use super::table::{Connection, Ending, Row, State};
use super::world::World;
use crate::outbound::Class;

/// The uplink has at least this long to be flushed, milliseconds: several round trips and ticks.
const FLUSH_MS: u64 = 200;

/// A drain that is under way, or complete and not taken back.
#[derive(Debug)]
pub(super) struct Drain {
    start_ms: u64,
    within_ms: u64,
    /// Slots of the table at the start; none is added while it lasts.
    slots: u32,
    told: u32,
    closed: u32,
    is_cut: bool,
    /// The node ends with it.
    is_end: bool,
}

/// What has come due since the last step.
#[derive(PartialEq, Eq, Debug)]
struct Step {
    tell: Range<u32>,
    close: Range<u32>,
    is_cut: bool,
}

impl Drain {
    fn new(start_ms: u64, within_ms: u64, slots: u32, is_end: bool) -> Self {
        Self {
            start_ms,
            within_ms,
            slots,
            told: 0,
            closed: 0,
            is_cut: false,
            is_end,
        }
    }

    /// How long a connection has to move after it was told.
    fn grace_ms(&self) -> u64 {
        self.within_ms * 3 / 10
    }

    fn step(&mut self, now_ms: u64) -> Step {
        let elapsed_ms = now_ms.saturating_sub(self.start_ms);
        let cut_ms = self.within_ms - self.within_ms.min(FLUSH_MS.max(self.within_ms / 20));
        let tell = self.told..self.due(Some(elapsed_ms));
        let close = self.closed..self.due(elapsed_ms.checked_sub(self.grace_ms()));
        (self.told, self.closed) = (tell.end, close.end);
        let is_cut = elapsed_ms >= cut_ms && !std::mem::replace(&mut self.is_cut, elapsed_ms >= cut_ms);
        Step { tell, close, is_cut }
    }

    /// Slots whose moment has come: slot `n` of `slots` has it when `n / slots` of 60 % of the window are over.
    fn due(&self, elapsed_ms: Option<u64>) -> u32 {
        let spread_ms = self.within_ms * 6 / 10;
        match elapsed_ms {
            None => 0,
            Some(elapsed_ms) if elapsed_ms >= spread_ms => self.slots,
            Some(elapsed_ms) => {
                let slots = u64::from(self.slots);
                u32::try_from((elapsed_ms * slots / spread_ms + 1).min(slots)).unwrap_or(self.slots)
            }
        }
    }
}

impl World {
    /// No connection and no call is taken from here on, and those that are there are moved away. With `is_end` the
    /// node ends when they are gone.
    pub(super) fn start_drain(&mut self, within_ms: u64, is_end: bool, now: Now) {
        if !self.is_ending() {
            self.drain = Some(Drain::new(now.ms, within_ms, self.table.slots(), is_end));
        }
    }

    /// Takes connections again, unless the node ends.
    pub(super) fn stop_drain(&mut self) {
        if !self.is_ending() {
            self.drain = None;
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// True if the node ends with the drain.
    pub(super) fn is_ending(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.is_end)
    }

    /// Does what has come due of a drain. Called once per turn.
    pub(super) fn advance_drain(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let step = drain.step(now.ms);
        let grace_ms = drain.grace_ms();
        if !step.tell.is_empty() {
            self.tell(step.tell, grace_ms, now);
        }
        for slot in step.close {
            let Some(id) = self.table.id_at(slot) else {
                continue;
            };
            if self.is_open(id) {
                self.counters.closed_drain += 1;
                self.close(id, CloseCode::Drain, now);
            }
        }
        if step.is_cut {
            for slot in 0..self.table.slots() {
                if let Some(id) = self.table.id_at(slot) {
                    self.cut(id, now);
                }
            }
        }
    }

    /// True for a connection that nobody has begun to close.
    fn is_open(&mut self, id: ConnectionId) -> bool {
        let connection = self.table.find(id);
        connection.is_some_and(|connection| connection.closing.is_open())
    }

    /// Asks everybody in these slots to move.
    fn tell(&mut self, slots: Range<u32>, within_ms: u64, now: Now) {
        let event = Event {
            event: MIGRATE.to_owned(),
            room: None,
            seq: None,
            data: MigrateData {
                within_ms: u32::try_from(within_ms).unwrap_or(u32::MAX),
            },
        };
        let text = serde_json::to_vec(&event).expect("plain texts and numbers");
        let piece = self.encode(&text);
        for slot in slots {
            let Some(id) = self.table.id_at(slot) else {
                continue;
            };
            let is_echo = |connection: &mut Connection| connection.state == State::Echo;
            if self.is_open(id) && !self.table.find(id).is_some_and(is_echo) {
                self.counters.migrates += 1;
                self.queue(id, &piece, Class::Reply, now);
            }
        }
    }

    /// Time is up: ends a connection with its last frame, or without it where the peer takes nothing.
    fn cut(&mut self, id: ConnectionId, now: Now) {
        if let Some(Row::Call(call)) = self.table.find_row(id) {
            let call = Rc::clone(call);
            return self.cut_call(id, &call);
        }
        self.close(id, CloseCode::Drain, now);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        if connection.is_blocked || connection.outbound.is_empty() {
            self.end(id);
        } else {
            connection.ending = Ending::WhenSent;
            self.touch(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_told_evenly_and_closed_the_same_time_later() {
        let mut drain = Drain::new(1_000, 10_000, 100, true);
        let (mut told, mut closed, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        for now_ms in (1_000..=11_000).step_by(10) {
            let step = drain.step(now_ms);
            told.extend(step.tell.map(|slot| (slot, now_ms - 1_000)));
            closed.extend(step.close.map(|slot| (slot, now_ms - 1_000)));
            cut.extend(step.is_cut.then_some(now_ms - 1_000));
        }
        let expected = |from_ms| {
            (0..100)
                .map(|slot| (slot, from_ms + u64::from(slot) * 60))
                .collect::<Vec<_>>()
        };
        assert_eq!(told, expected(0));
        assert_eq!(closed, expected(3_000));
        assert_eq!(cut, [9_500], "once");
    }

    #[test]
    fn a_long_pause_makes_up_for_what_it_missed() {
        let mut drain = Drain::new(0, 10_000, 10, true);
        assert_eq!(drain.step(0).tell, 0..1);
        let step = drain.step(60_000);
        assert_eq!((step.tell, step.close, step.is_cut), (1..10, 0..10, true));
        let step = drain.step(60_050);
        assert!(step.tell.is_empty() && step.close.is_empty() && !step.is_cut);
    }

    #[test]
    fn no_window_and_no_table_are_fine() {
        let step = Drain::new(0, 0, 7, true).step(0);
        assert_eq!((step.tell, step.close, step.is_cut), (0..7, 0..7, true));
        let step = Drain::new(0, 10_000, 0, false).step(5_000);
        assert!(step.tell.is_empty() && step.close.is_empty());
    }
}
