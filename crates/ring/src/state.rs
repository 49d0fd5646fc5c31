//! What a ring knows, whatever engine it runs on: rows, and the lists that a turn works on.

use std::collections::VecDeque;

use crate::arena::Arena;
use crate::stats::Stats;
use crate::table::{ConnectionId, Row};

/// What the kernel's answers change.
pub(crate) struct State {
    pub(crate) rows: Vec<Row>,
    /// Slots to receive from, first come first served.
    readable: VecDeque<u32>,
    pub(crate) writable: Vec<ConnectionId>,
    pub(crate) released: Vec<ConnectionId>,
    /// Sends that were not taken whole: bytes taken, or the negative number of an error.
    pub(crate) short: Vec<(ConnectionId, i32)>,
    pub(crate) arena: Arena,
    pub(crate) stats: Stats,
}

impl State {
    pub(crate) fn new(connections: u32, arena: Arena) -> Self {
        Self {
            rows: vec![Row::VACANT; connections as usize],
            readable: VecDeque::new(),
            writable: Vec::new(),
            released: Vec::new(),
            short: Vec::new(),
            arena,
            stats: Stats::default(),
        }
    }

    pub(crate) fn find_open(&mut self, id: ConnectionId) -> Option<&mut Row> {
        self.rows
            .get_mut(id.slot as usize)
            .filter(|row| row.is_open(id.generation))
    }

    pub(crate) fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Takes the next connection to receive from off its list.
    pub(crate) fn next_readable(&mut self) -> Option<ConnectionId> {
        while let Some(slot) = self.readable.pop_front() {
            let row = &mut self.rows[slot as usize];
            if row.on_unlisted() {
                return Some(ConnectionId {
                    slot,
                    generation: row.generation(),
                });
            }
        }
        None
    }

    /// An open slot has bytes or its end; an end that was reported is not reported again.
    pub(crate) fn on_readable(&mut self, slot: u32, is_ending: bool) {
        let row = &mut self.rows[slot as usize];
        if is_ending {
            row.on_ending();
        }
        if row.on_readable() {
            self.readable.push_back(slot);
        }
    }

    /// The caller wants bytes again.
    pub(crate) fn resume(&mut self, id: ConnectionId) {
        if self.find_open(id).is_some_and(Row::resume) {
            self.readable.push_back(id.slot);
        }
    }

    /// A receive is in: bytes, 0 for the end, or the negative number of an error. A full slice means that there may
    /// be more, and so does an end that was reported together with bytes: the connection goes to the end of the
    /// list, which is also what keeps a loud one from crowding out the others.
    pub(crate) fn on_received(&mut self, index: u32, result: i32) {
        let Some(id) = self.arena.finish(index, result) else {
            return;
        };
        let slice_bytes = self.arena.slice_bytes();
        let len = u32::try_from(result).unwrap_or(0);
        self.stats.received_bytes += u64::from(len);
        let Some(row) = self.find_open(id) else { return };
        if len == 0 {
            if !Arena::is_empty_handed(result) {
                row.on_ended();
            }
        } else if len == slice_bytes || row.is_ending() {
            self.on_readable(id.slot, false);
        }
    }

    /// Gives a closed slot back if the kernel has nothing more to say of it.
    pub(crate) fn try_release(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        if row.try_release() {
            let generation = row.generation();
            self.stats.released += 1;
            self.released.push(ConnectionId { slot, generation });
        }
    }
}
