//! Step 15: encoded frames waiting for one connection's next send, bounded in bytes.
//!
//! ```text
//!   0 %            50 %                 75 %                    100 %
//!   │ everything    │ no ephemerals      │ bumps for events       │ closed: slow
//! ```
//!
//! Replies pass at every level below 100 %.

use std::collections::VecDeque;

use hub_protocol::RoomId;
use hub_ring::{PIECES_MAX, Piece};

/// What a frame is, for a connection that reads too slowly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Answers and notices.
    Reply,
    /// A durable event.
    Event {
        /// Its room.
        room: RoomId,
        /// Its place there.
        seq: u64,
    },
    /// May be lost.
    Ephemeral,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offer {
    /// It waits for the next send.
    Queued,
    /// It is left out: the connection is slow and the frame may be lost.
    Shed,
    /// It is left out, and a `room.bump` is to be queued in its place.
    Bump,
    /// It is left out, and a bump for its room waits already.
    Bumped,
    /// The connection is over its bound: close it.
    Over,
}

/// The queue of one connection. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub struct Outbound {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Rooms whose events were left out. Rare, so behind a pointer.
    #[expect(
        clippy::box_collection,
        reason = "one word instead of three in every idle connection"
    )]
    bumps: Option<Box<Vec<Bumped>>>,
}

#[derive(Clone, Copy, Debug)]
struct Bumped {
    room: RoomId,
    /// What the queued bump says.
    told: u64,
    /// The newest event that was left out.
    latest: u64,
}

impl Outbound {
    /// Decides on a frame of `len` bytes and queues it where it is to be queued.
    pub fn offer(&mut self, piece: &Piece, class: Class, bytes_max: usize) -> Offer {
        let after = self.bytes + piece.len();
        if after > bytes_max {
            return Offer::Over;
        }
        match class {
            Class::Ephemeral if after > bytes_max / 2 => return Offer::Shed,
            Class::Event { room, seq } => {
                if let Some(bumped) = self.find_bump(room) {
                    // Until the queue has drained the room stays bumped: an event after a gap would only make the
                    // client fetch once more.
                    bumped.latest = bumped.latest.max(seq);
                    return Offer::Bumped;
                }
                if after > bytes_max / 4 * 3 {
                    let bumps = self.bumps.get_or_insert_default();
                    bumps.push(Bumped {
                        room,
                        told: seq,
                        latest: seq,
                    });
                    return Offer::Bump;
                }
            }
            Class::Reply | Class::Ephemeral => {}
        }
        self.push(piece);
        Offer::Queued
    }

    /// Queues a frame that must not be left out; what is over the bound is the caller's to see by [`bytes`](Self::bytes).
    pub fn push(&mut self, piece: &Piece) {
        self.bytes += piece.len();
        if !self.pieces.back_mut().is_some_and(|last| last.try_extend(piece)) {
            self.pieces.push_back(piece.clone());
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Copies the front into `pieces`: what the next send takes.
    pub fn front(&self, pieces: &mut Vec<Piece>) {
        pieces.clear();
        pieces.extend(self.pieces.iter().take(PIECES_MAX).cloned());
    }

    /// Appends the first bytes, at most `bytes_max`, to `to`.
    pub fn copy_front(&self, to: &mut Vec<u8>, bytes_max: usize) {
        let mut left = bytes_max;
        for piece in &self.pieces {
            let slice = piece.as_slice();
            let part = slice.get(..left).unwrap_or(slice);
            to.extend_from_slice(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
    }

    /// Takes `taken` bytes off the front: they are sent.
    pub fn advance(&mut self, taken: usize) {
        let mut left = taken;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                break;
            };
            let step = left.min(piece.len());
            piece.advance(step);
            left -= step;
            self.bytes -= step;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.pieces.is_empty() && self.pieces.capacity() > 4 {
            self.pieces = VecDeque::new();
        }
    }

    /// Takes the whole [`front`](Self::front) off: it was sent.
    pub fn advance_front(&mut self) {
        let bytes = self.pieces.iter().take(PIECES_MAX).map(Piece::len).sum();
        self.advance(bytes);
    }

    /// Once less than half of the bound waits: the rooms whose newest event no bump has told of. After this, events
    /// pass again.
    pub fn take_bumps(&mut self, bytes_max: usize) -> Vec<(RoomId, u64)> {
        if self.bytes > bytes_max / 2 {
            return Vec::new();
        }
        let Some(bumps) = self.bumps.take() else {
            return Vec::new();
        };
        bumps
            .iter()
            .filter(|bump| bump.latest > bump.told)
            .map(|bump| (bump.room, bump.latest))
            .collect()
    }

    /// True if [`take_bumps`](Self::take_bumps) may have something.
    pub fn has_bumps(&self) -> bool {
        self.bumps.is_some()
    }

    fn find_bump(&mut self, room: RoomId) -> Option<&mut Bumped> {
        self.bumps.as_mut()?.iter_mut().find(|bump| bump.room == room)
    }
}

#[cfg(test)]
mod tests {
    use hub_ring::SegmentWriter;

    use super::*;

    const MAX: usize = 1000;
    const ROOM: RoomId = RoomId::NIL;

    fn event(seq: u64) -> Class {
        Class::Event { room: ROOM, seq }
    }

    fn filled(bytes: usize) -> (Outbound, SegmentWriter) {
        let mut writer = SegmentWriter::new(64);
        let mut outbound = Outbound::default();
        let piece = writer.append(&[&vec![0; bytes]]);
        assert_eq!(outbound.offer(&piece, Class::Reply, MAX), Offer::Queued);
        (outbound, writer)
    }

    #[test]
    fn each_step_leaves_out_what_it_may() {
        for (bytes, ephemeral, durable, reply) in [
            (0, Offer::Queued, Offer::Queued, Offer::Queued),
            (500, Offer::Shed, Offer::Queued, Offer::Queued),
            (750, Offer::Shed, Offer::Bump, Offer::Queued),
            (1000, Offer::Over, Offer::Over, Offer::Over),
        ] {
            for (class, expected) in [
                (Class::Ephemeral, ephemeral),
                (event(1), durable),
                (Class::Reply, reply),
            ] {
                let (mut outbound, mut writer) = filled(bytes);
                let piece = writer.append(&[b"x"]);
                assert_eq!(
                    outbound.offer(&piece, class, MAX),
                    expected,
                    "{class:?} at {bytes}"
                );
            }
        }
    }

    #[test]
    fn a_room_is_bumped_once_and_its_newest_event_is_told_in_the_end() {
        let (mut outbound, mut writer) = filled(800);
        let piece = writer.append(&[b"x"]);
        assert_eq!(outbound.offer(&piece, event(5), MAX), Offer::Bump);
        assert_eq!(outbound.offer(&piece, event(6), MAX), Offer::Bumped);
        assert_eq!(outbound.take_bumps(MAX), []);
        outbound.advance(800);
        assert_eq!(
            outbound.offer(&piece, event(7), MAX),
            Offer::Bumped,
            "no event after a gap"
        );
        assert_eq!(outbound.take_bumps(MAX), [(ROOM, 7)]);
        assert_eq!(outbound.offer(&piece, event(8), MAX), Offer::Queued);
    }

    #[test]
    fn a_bump_that_told_everything_is_not_repeated() {
        let (mut outbound, mut writer) = filled(800);
        let piece = writer.append(&[b"x"]);
        assert_eq!(outbound.offer(&piece, event(5), MAX), Offer::Bump);
        outbound.advance(800);
        assert_eq!(outbound.take_bumps(MAX), []);
        assert!(!outbound.has_bumps());
    }

    #[test]
    fn sends_may_stop_anywhere() {
        let mut writer = SegmentWriter::new(8);
        let mut outbound = Outbound::default();
        for n in 0..10_u8 {
            outbound.push(&writer.append(&[&[n; 5]]));
        }
        let mut sent = Vec::new();
        let mut pieces = Vec::new();
        while !outbound.is_empty() {
            outbound.front(&mut pieces);
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.as_slice().to_vec())
                .collect();
            let taken = bytes.len().min(7);
            sent.extend_from_slice(&bytes[..taken]);
            outbound.advance(taken);
        }
        let expected: Vec<u8> = (0..10_u8).flat_map(|n| [n; 5]).collect();
        assert_eq!(sent, expected);
        assert_eq!(outbound.bytes(), 0);
    }
}
