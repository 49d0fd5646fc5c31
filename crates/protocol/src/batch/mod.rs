//! Batches: what travels through Redis. Fixed little-endian headers, lengths checked, versioned; reading borrows.
//!
//! ```text
//! batch     = header (24 bytes) item*
//! uplink    item = envelope header (96 bytes) body
//! downlink  item = entry header (44 bytes) target (28 bytes)* body
//! ```
//!
//! A reader understands [`VERSION`] and the one before it. A writer marks each batch with the lowest version that has
//! all of its items: version 2 has the entries of large rooms, and nothing else was changed.
//! Readers never panic, whatever the bytes are: a batch is checked as a whole before its first item is seen.

pub mod downlink;
pub mod uplink;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ids::NodeId;

pub use downlink::{DownlinkBatch, DownlinkWriter, Entry, EntryKind, Reply, Target};
pub use uplink::{Envelope, EnvelopeHeader, UplinkBatch, UplinkWriter};

/// The layout described in this module.
pub const VERSION: u16 = 2;
/// The oldest layout that is still read.
pub const VERSION_MIN: u16 = 1;

const MAGIC: [u8; 4] = *b"HUB\n";

/// Length of the header of every batch, bytes.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();

/// Which way a batch travels.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    const fn number(self) -> u8 {
        match self {
            Self::Up => 1,
            Self::Down => 2,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    version: U16,
    direction: u8,
    reserved: u8,
    items: U32,
    bytes: U32,
    node: U64,
}

/// Why bytes are no batch.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BatchError {
    /// Shorter than a header, or not ours.
    #[error("not a batch")]
    NotABatch,
    /// Written by a newer or a much older release. The stream stops here until this is resolved.
    #[error("batch version {0} is not understood")]
    Version(u16),
    /// Uplink where downlink belongs, or the other way round.
    #[error("batch of the wrong direction")]
    Direction,
    /// A length points outside, or the count is not that of the items.
    #[error("batch is damaged")]
    Damaged,
    /// An item names a method, kind or code that this version does not have.
    #[error("batch holds an unknown item")]
    UnknownItem,
}

/// Writes the header of an empty batch.
fn begin(out: &mut Vec<u8>, direction: Direction, node: NodeId) {
    let header = RawHeader {
        magic: MAGIC,
        version: U16::new(VERSION_MIN),
        direction: direction.number(),
        reserved: 0,
        items: U32::new(0),
        bytes: U32::new(0),
        node: U64::new(node.0),
    };
    out.extend_from_slice(header.as_bytes());
}

/// Completes the header that [`begin`] wrote at the start of `out`.
fn finish(out: &mut [u8], items: u32, version: u16) {
    let bytes = u32::try_from(out.len()).expect("a batch is bounded far below 4 GiB");
    if let Ok((header, _)) = RawHeader::mut_from_prefix(out) {
        header.version = U16::new(version);
        header.items = U32::new(items);
        header.bytes = U32::new(bytes);
    }
}

/// Checks the header; returns version, node and number of items with what follows.
fn open(bytes: &[u8], direction: Direction) -> Result<(u16, NodeId, u32, &[u8]), BatchError> {
    let Ok((header, rest)) = RawHeader::ref_from_prefix(bytes) else {
        return Err(BatchError::NotABatch);
    };
    if header.magic != MAGIC {
        return Err(BatchError::NotABatch);
    }
    let version = header.version.get();
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(BatchError::Version(version));
    }
    if header.direction != direction.number() {
        return Err(BatchError::Direction);
    }
    if usize::try_from(header.bytes.get()).ok() != Some(bytes.len()) {
        return Err(BatchError::Damaged);
    }
    Ok((version, NodeId(header.node.get()), header.items.get(), rest))
}

/// Splits `len` bytes off the front.
fn take(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), BatchError> {
    bytes.split_at_checked(len).ok_or(BatchError::Damaged)
}

/// A length of an item as a size; the caller checks it against what is there.
fn size(len: U32) -> usize {
    usize::try_from(len.get()).unwrap_or(usize::MAX)
}
