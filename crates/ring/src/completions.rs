//! What completions mean: they change rows and fill the lists that a turn works on.

use std::collections::VecDeque;

use io_uring::cqueue;

use crate::arena::Arena;
use crate::stats::Stats;
use crate::table::{
    CLOSE, ConnectionId, GENERATION_MASK, POLL_IN, POLL_OUT, Phase, Row, Tag, split_user_data,
};

/// A poll that reports one of these reports nothing after it.
const END_EVENTS: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

/// What completions change.
pub(crate) struct State {
    pub(crate) rows: Vec<Row>,
    pub(crate) readable: VecDeque<u32>,
    pub(crate) rearm: Vec<u32>,
    pub(crate) writable: Vec<ConnectionId>,
    pub(crate) released: Vec<ConnectionId>,
    pub(crate) short: Vec<(ConnectionId, i32)>,
    pub(crate) arena: Arena,
    pub(crate) stats: Stats,
}

impl State {
    pub(crate) fn new(connections: u32, arena: Arena) -> Self {
        Self {
            rows: vec![Row::VACANT; connections as usize],
            readable: VecDeque::new(),
            rearm: Vec::new(),
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

    pub(crate) fn on_completion(&mut self, completion: &cqueue::Entry) {
        let Some((tag, slot, generation_bits)) = split_user_data(completion.user_data()) else {
            return;
        };
        if tag == Tag::Receive {
            self.on_received(slot, completion.result());
            return;
        }
        let Some(row) = self.rows.get_mut(slot as usize) else {
            return;
        };
        if !row.is_owner(generation_bits) {
            return;
        }
        let id = ConnectionId {
            slot,
            generation: row.generation(),
        };
        debug_assert_eq!(id.generation & GENERATION_MASK, generation_bits);
        match tag {
            Tag::PollIn => {
                let ended = !cqueue::more(completion.flags());
                if ended {
                    row.pending &= !POLL_IN;
                }
                if row.phase() == Phase::Open {
                    if completion.result() > 0 && completion.result() & END_EVENTS != 0 {
                        row.on_ending();
                    }
                    if completion.result() != 0 && row.on_readable() {
                        self.readable.push_back(slot);
                    }
                    if ended {
                        self.rearm.push(slot);
                    }
                }
            }
            Tag::PollOut => {
                row.pending &= !POLL_OUT;
                if row.phase() == Phase::Open {
                    self.writable.push(id);
                }
            }
            Tag::Send => {
                self.stats.short_sends += 1;
                self.short.push((id, completion.result()));
            }
            Tag::Close => row.pending &= !CLOSE,
            Tag::Cancel | Tag::Receive => {}
        }
        if self.rows[slot as usize].try_release() {
            self.stats.released += 1;
            self.released.push(id);
        }
    }

    /// A receive is in. A full slice means that there may be more, and so does an end that was reported together
    /// with bytes: the connection goes to the end of the list, which is also what keeps a loud one from crowding
    /// out the others.
    fn on_received(&mut self, index: u32, result: i32) {
        let Some(id) = self.arena.finish(index, result) else {
            return;
        };
        let Ok(len) = u32::try_from(result) else { return };
        self.stats.received_bytes += u64::from(len);
        let (slot, is_full) = (id.slot, len == self.arena.slice_bytes());
        let is_relisted = self
            .find_open(id)
            .filter(|row| is_full || (len > 0 && row.is_ending()))
            .is_some_and(Row::on_readable);
        if is_relisted {
            self.readable.push_back(slot);
        }
    }
}
