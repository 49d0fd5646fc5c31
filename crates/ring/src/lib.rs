//! Step 4 and 16 of a message's way: the data ring of a shard. All `unsafe` of the project lives in this crate.
//!
//! A [`Ring`] carries many connections on one thread: it says which can be read, receives into slices of one arena
//! where bytes are parsed in place, and sends [`Piece`]s of shared [segments](SegmentWriter). An idle connection
//! owns one table row and one standing question to the kernel: no buffer, no task, nothing in flight.
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
//! # Two engines
//!
//! | | io_uring | epoll |
//! |---|---|---|
//! | needs | Linux 6.1, and nobody who forbids it | any Linux |
//! | a connection is | an entry of the ring's table of descriptors, with a multishot poll | a descriptor of the process, edge-triggered in a set |
//! | receives and sends | all of a turn in one system call | one system call each |
//! | a shard sleeps on | an eventfd that completions and mailboxes signal | the set, in which the mailboxes' eventfd is |
//!
//! What they do is the same, down to the order of receives; the tests run on both. [`Engine::Auto`] takes io_uring
//! where it can.
//!
//! | module | holds |
//! |---|---|
//! | `ring` | the interface, and the choice of the engine |
//! | `uring`, `epoll` | the engines |
//! | `state`, `table` | rows, and the lists that a turn works on |
//! | `arena`, `segment`, `gather` | memory on the way in and on the way out |
//! | `wake`, `handover` | to and from other threads and runtimes |
//!
//! # Why each family of `unsafe` is sound
//!
//! | where | argument |
//! |---|---|
//! | `uring`, pushing entries | receives and sends carry `MSG_DONTWAIT`: the kernel finishes them inside the submit and never keeps their pointers; arena, message headers and pieces live in the ring until after it |
//! | `uring`, `enter` | a plain system call on a ring of this thread; no argument points to memory |
//! | `epoll/sys.rs` | plain system calls: what they read or write is borrowed through the call, and the kernel keeps no pointer |
//! | `gather.rs`, `zeroed` | all zeroes is a message header without memory |
//! | `ring.rs`, `getrlimit` | writes into a local of the right type |
//! | `segment.rs` | a block is append-only: ranges that pieces can see are never written again, and a block starts over only when no piece is left |
//! | `handover.rs` | a stream that gives its descriptor up is the only owner before, and we are after |
//! | `wake.rs` | `eventfd` returns a descriptor that nobody else owns |

mod arena;
mod config;
mod epoll;
mod error;
mod gather;
mod handover;
mod ring;
mod segment;
mod state;
mod stats;
mod table;
mod uring;
mod wake;

pub use arena::{Inbound, Received};
pub use config::{Config, Engine};
pub use error::{AttachError, SetupError};
pub use gather::PIECES_MAX;
pub use handover::from_monoio;
pub use ring::{Choice, Ready, Ring, Short, choose};
pub use segment::{Piece, SegmentWriter};
pub use stats::Stats;
pub use table::ConnectionId;
pub use wake::WakeHandle;
