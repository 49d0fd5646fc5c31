//! Segments: frames are encoded once and shared by every receiver, without copies and without atomics.
//!
//! A [`SegmentWriter`] appends to a block of memory; every append gives a [`Piece`], a counted reference to its
//! range. Appends that follow one another lie behind one another, so that a burst to one receiver is one range and
//! one send. Blocks are used again when their last piece is gone; after warm-up nothing is allocated.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::slice;

/// Blocks kept for reuse beyond those that pieces hold.
const SPARE_BLOCKS_MAX: usize = 16;

/// Append-only memory. Only its [`SegmentWriter`] writes, and only behind everything that a piece can see.
struct Block(Box<[UnsafeCell<u8>]>);

impl Block {
    fn new(len: usize) -> Rc<Self> {
        let bytes: Vec<UnsafeCell<u8>> = std::iter::repeat_with(|| UnsafeCell::new(0)).take(len).collect();
        Rc::new(Self(bytes.into_boxed_slice()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Copies `bytes` to `at`. The caller guarantees that no piece covers any of that range.
    fn write(&self, at: usize, bytes: &[u8]) {
        let target = &self.0[at..at + bytes.len()];
        let pointer = UnsafeCell::raw_get(target.as_ptr());
        // SAFETY: `target` is in bounds and as long as `bytes`; it lies in UnsafeCells, behind the filled part, so
        // that no shared slice covers it; `bytes` is borrowed and so cannot be this range.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer, bytes.len()) };
    }

    fn read(&self, start: usize, end: usize) -> &[u8] {
        let range = &self.0[start..end];
        let pointer = UnsafeCell::raw_get(range.as_ptr());
        // SAFETY: the range is in bounds and was filled before a piece for it was made; the writer never touches it
        // again while a piece, and so this borrow, exists.
        unsafe { slice::from_raw_parts(pointer, range.len()) }
    }
}

/// A counted reference to a range of encoded bytes.
#[derive(Clone)]
pub struct Piece {
    block: Rc<Block>,
    start: usize,
    end: usize,
}

impl Piece {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True if nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.block.read(self.start, self.end)
    }

    /// Grows by `next` if that lies directly behind; false if it does not.
    #[must_use]
    pub fn try_extend(&mut self, next: &Self) -> bool {
        let follows = self.end == next.start && Rc::ptr_eq(&self.block, &next.block);
        if follows {
            self.end = next.end;
        }
        follows
    }

    /// Drops the first `bytes` from the range.
    ///
    /// # Panics
    /// If the piece is shorter.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "a send cannot take more than the piece");
        self.start += bytes;
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({}..{})", self.start, self.end)
    }
}

/// Appends encoded frames and hands out pieces of them.
pub struct SegmentWriter {
    current: Rc<Block>,
    /// Invariant: no piece of `current` ends behind this.
    filled: usize,
    /// Full blocks, oldest first; some are still held by pieces.
    retired: VecDeque<Rc<Block>>,
    block_bytes: usize,
}

impl SegmentWriter {
    /// A writer with blocks of this size. A frame that is larger gets a block of its own.
    pub fn new(block_bytes: usize) -> Self {
        Self {
            current: Block::new(block_bytes),
            filled: 0,
            retired: VecDeque::new(),
            block_bytes,
        }
    }

    /// Appends the parts as one piece.
    pub fn append(&mut self, parts: &[&[u8]]) -> Piece {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.block_bytes {
            let block = Block::new(len);
            Self::fill(&block, 0, parts);
            return Piece {
                block,
                start: 0,
                end: len,
            };
        }
        if self.current.len() - self.filled < len {
            self.turn_page();
        }
        let start = self.filled;
        Self::fill(&self.current, start, parts);
        self.filled += len;
        Piece {
            block: Rc::clone(&self.current),
            start,
            end: self.filled,
        }
    }

    fn fill(block: &Block, start: usize, parts: &[&[u8]]) {
        let mut at = start;
        for part in parts {
            block.write(at, part);
            at += part.len();
        }
    }

    /// Goes on in a block that no piece holds.
    fn turn_page(&mut self) {
        let is_free = |block: &Rc<Block>| Rc::strong_count(block) == 1;
        let next = match self.retired.iter().position(is_free) {
            Some(at) => self.retired.swap_remove_back(at),
            None => None,
        };
        let next = next.unwrap_or_else(|| Block::new(self.block_bytes));
        self.retired.push_back(std::mem::replace(&mut self.current, next));
        self.filled = 0;
        if self.retired.len() > SPARE_BLOCKS_MAX {
            // Blocks that are held stay known to their pieces alone; they are freed with the last of these.
            self.retired.pop_front();
        }
    }
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (filled, retired) = (self.filled, self.retired.len());
        f.debug_struct("SegmentWriter")
            .field("filled", &filled)
            .field("retired", &retired)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_merge_into_one_range() {
        let mut writer = SegmentWriter::new(64);
        let mut first = writer.append(&[b"ab", b"c"]);
        let second = writer.append(&[b"def"]);
        let third = writer.append(&[b"ghi"]);
        assert!(!first.clone().try_extend(&third));
        assert!(first.try_extend(&second));
        assert_eq!(first.as_slice(), b"abcdef");
        first.advance(4);
        assert_eq!(first.as_slice(), b"ef");
    }

    #[test]
    fn a_block_is_used_again_when_its_last_piece_is_gone() {
        let mut writer = SegmentWriter::new(8);
        let held = writer.append(&[b"12345678"]);
        let block = Rc::as_ptr(&held.block);
        drop(writer.append(&[b"abcdefgh"]));
        assert_ne!(Rc::as_ptr(&writer.current), block);
        drop(held);
        drop(writer.append(&[b"ABCDEFGH"]));
        assert_eq!(Rc::as_ptr(&writer.current), block);
    }

    #[test]
    fn a_large_frame_gets_a_block_of_its_own() {
        let mut writer = SegmentWriter::new(4);
        assert_eq!(writer.append(&[b"123", b"456"]).as_slice(), b"123456");
    }

    proptest! {
        #[test]
        fn held_pieces_never_change(steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..300)) {
            let mut writer = SegmentWriter::new(32);
            let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
            for (bytes, keep) in steps {
                let (front, back) = bytes.split_at(bytes.len() / 2);
                let piece = writer.append(&[front, back]);
                prop_assert_eq!(piece.as_slice(), &bytes[..]);
                if keep {
                    held.push((piece, bytes));
                } else if held.len() > 8 {
                    held.remove(0);
                }
                for (piece, expected) in &held {
                    prop_assert_eq!(piece.as_slice(), &expected[..]);
                }
            }
        }
    }
}
