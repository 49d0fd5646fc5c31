//! Step 4 and 16 of a message's way: the data ring of a shard. All `unsafe` of the project lives in this crate.
//!
//! A [`Ring`] carries many connections on one thread: it says which can be read, receives into slices of one arena
//! where bytes are parsed in place, and sends [`Piece`]s of shared [segments](SegmentWriter). An idle connection
//! owns one table row and one multishot poll in the kernel: no buffer, no task, nothing in flight.
//!
//! ```text
//! reap ─> readable, writable, released
//! receive ─> bytes in the arena ─> (the caller parses, acts, encodes into segments)
//! send, send, … flush ─> what was short
//! ```
//!
//! The interface speaks of connections, received bytes and pieces; pointers, descriptors and completions stay in
//! here. One turn is synchronous: when [`Ring::flush`] returns, every send is finished, and when
//! [`Ring::receive`] returns, the kernel holds no pointer into the arena.
//!
//! # Why each family of `unsafe` is sound
//!
//! | where | argument |
//! |---|---|
//! | `engine.rs`, pushing entries | receives and sends carry `MSG_DONTWAIT`: the kernel finishes them inside the submit and never keeps their pointers; arena, message headers and pieces live in `self` until after it |
//! | `gather.rs`, `zeroed` | all zeroes is a message header without memory |
//! | `engine.rs`, `getrlimit` | writes into a local of the right type |
//! | `engine.rs`, `enter` | a plain system call on a ring of this thread; no argument points to memory |
//! | `segment.rs` | a block is append-only: ranges that pieces can see are never written again, and a block starts over only when no piece is left |
//! | `handover.rs` | a stream that gives its descriptor up is the only owner before, and we are after |
//! | `wake.rs` | `eventfd` returns a descriptor that nobody else owns |

mod arena;
mod completions;
mod config;
mod engine;
mod error;
mod gather;
mod handover;
mod segment;
mod stats;
mod table;
mod wake;

pub use arena::{Inbound, Received};
pub use config::Config;
pub use engine::{Ready, Ring, Short, probe};
pub use error::{AttachError, SetupError};
pub use gather::PIECES_MAX;
pub use handover::from_monoio;
pub use segment::{Piece, SegmentWriter};
pub use stats::Stats;
pub use table::ConnectionId;
pub use wake::WakeHandle;
