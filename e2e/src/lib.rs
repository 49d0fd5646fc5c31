//! Tests of the whole system, steps 1 to 16: real processes, real sockets, real PostgreSQL and Redis.
//!
//! | module | holds |
//! |---|---|
//! | [`stack`] | a private system of one test: starts, kills and restarts each part |
//! | [`process`] | one part: a process with its log |
//! | [`postgres`] | a database on the test server, or a server that may be killed |
//! | [`http`] | calls over `POST /v1/rpc` |
//! | [`client`] | a WebSocket client on tokio-tungstenite |
//! | [`sender`] | a client that keeps sending whatever is killed, and the check of what it got |
//! | [`wait`] | bounded waiting for a condition |
//!
//! Whatever a test waits for is a condition with a bound; no time that passed proves anything.

#![forbid(unsafe_code)]

pub mod client;
pub mod http;
pub mod postgres;
pub mod process;
pub mod sender;
pub mod stack;
pub mod wait;

pub use client::Connection;
pub use http::{Account, Answer};
pub use sender::Sender;
pub use stack::{Options, Stack};

use hub_protocol::{Op, RoomId};

/// A new name for a change.
pub fn op() -> Op {
    Op(uuid::Uuid::now_v7())
}

/// A new id for a room.
pub fn room_id() -> RoomId {
    RoomId(uuid::Uuid::now_v7())
}
