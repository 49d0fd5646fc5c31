//! Connections of a thread: rows of a table whose slots are the ring's, and what each still has to send.

use std::collections::VecDeque;

use hub_ring::{ConnectionId, Piece};
use hub_ws::{Decoder, Role};

use crate::units::at;

/// How far a connection is.
///
/// ```text
/// Connecting ─writable─> Upgrading ─101─> Open ─close frame─> Closing
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// TCP is being set up.
    Connecting,
    /// The request for the upgrade is out.
    Upgrading,
    /// Messages go both ways.
    Open,
    /// Our close frame is out; the number says why.
    Closing(u16),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: ConnectionId,
    /// The client's row.
    pub(super) client: u32,
    pub(super) stage: Stage,
    pub(super) decoder: Decoder,
    /// The answer to the upgrade, while it is not complete.
    pub(super) head: Vec<u8>,
    pub(super) nonce: [u8; 16],
    pub(super) out: Vec<Piece>,
    /// The kernel takes no more for now.
    pub(super) is_full: bool,
    /// It stands in the list of connections to send to.
    pub(super) is_touched: bool,
}

impl Line {
    /// Appends to what is to be sent.
    pub(super) fn queue(&mut self, piece: Piece) {
        let is_merged = self.out.last_mut().is_some_and(|last| last.try_extend(&piece));
        if !is_merged {
            self.out.push(piece);
        }
    }

    /// So many bytes from the front were taken.
    pub(super) fn taken(&mut self, mut bytes: usize) {
        let mut whole = 0;
        for piece in &mut self.out {
            if piece.len() > bytes {
                piece.advance(bytes);
                break;
            }
            bytes -= piece.len();
            whole += 1;
        }
        self.out.drain(..whole);
    }
}

/// The table of connections. Slots are used again oldest first.
#[derive(Debug)]
pub(super) struct Lines {
    rows: Vec<Option<Box<Line>>>,
    generations: Vec<u32>,
    free: VecDeque<u32>,
}

impl Lines {
    pub(super) fn new(slots: u32) -> Self {
        let rows = std::iter::repeat_with(|| None).take(at(slots)).collect();
        Self {
            rows,
            generations: vec![0; at(slots)],
            free: (0..slots).collect(),
        }
    }

    /// A new row for a client; `None` if all slots are in use.
    pub(super) fn add(&mut self, client: u32, nonce: [u8; 16]) -> Option<ConnectionId> {
        let slot = self.free.pop_front()?;
        let generation = &mut self.generations[at(slot)];
        *generation = generation.wrapping_add(1);
        let id = ConnectionId {
            slot,
            generation: *generation,
        };
        self.rows[at(slot)] = Some(Box::new(Line {
            id,
            client,
            stage: Stage::Connecting,
            decoder: Decoder::new(Role::Client),
            head: Vec::new(),
            nonce,
            out: Vec::new(),
            is_full: false,
            is_touched: false,
        }));
        Some(id)
    }

    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Line> {
        self.rows
            .get_mut(at(id.slot))?
            .as_deref_mut()
            .filter(|line| line.id == id)
    }

    /// Forgets the connection; its slot comes back with [`release`](Self::release).
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<Line>> {
        self.find(id)?;
        self.rows[at(id.slot)].take()
    }

    /// The slot may be given out again.
    pub(super) fn release(&mut self, id: ConnectionId) {
        self.free.push_back(id.slot);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.rows.iter().filter_map(|row| row.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use hub_ring::SegmentWriter;

    use super::*;

    #[test]
    fn a_stale_id_finds_nobody() {
        let mut lines = Lines::new(1);
        let first = lines.add(7, [0; 16]).unwrap();
        assert_eq!(lines.add(8, [0; 16]), None);
        assert_eq!(lines.remove(first).unwrap().client, 7);
        lines.release(first);
        let second = lines.add(8, [0; 16]).unwrap();
        assert!(lines.find(first).is_none());
        assert_eq!(lines.find(second).unwrap().client, 8);
    }

    #[test]
    fn what_is_taken_in_part_goes_on_where_it_stopped() {
        let mut lines = Lines::new(1);
        let id = lines.add(0, [0; 16]).unwrap();
        let line = lines.find(id).unwrap();
        let (mut one, mut other) = (SegmentWriter::new(64), SegmentWriter::new(64));
        line.queue(one.append(&[b"abc"]));
        line.queue(one.append(&[b"def"]));
        line.queue(other.append(&[b"ghi"]));
        assert_eq!(line.out.len(), 2);
        line.taken(7);
        assert_eq!(line.out.len(), 1);
        assert_eq!(line.out[0].as_slice(), b"hi");
        line.taken(2);
        assert!(line.out.is_empty());
    }
}
