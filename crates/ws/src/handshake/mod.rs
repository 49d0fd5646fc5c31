//! Heads of HTTP/1.1 requests, and the opening handshake (RFC 6455 §4) from both sides.

mod client;
mod head;
mod upgrade;

pub use client::{Response, ResponseError, read_response, write_request};
pub use head::{Body, Head, HeadError, find_end};
pub use upgrade::{Refusal, Upgrade, accept_key};

/// Headers in one head.
pub const HEADERS_MAX: usize = 64;
/// Length of one head, bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
