//! Step 5 of a message's way: RFC 6455 and RFC 7692 without I/O.
//!
//! - [`Decoder`] turns received bytes into messages and control frames, in place: a message that lies whole in the
//!   receive buffer is unmasked there and handed out from there. Only what straddles receives is gathered.
//! - [`frame`] writes headers, masks payloads and builds close frames.
//! - [`Closing`] is the close handshake as a state machine.
//! - [`Inflater`] and [`Deflater`] are permessage-deflate, one of each for all connections of a thread.
//! - [`handshake`] reads request heads, accepts or refuses upgrades, and does the client's side.
//!
//! Nothing here reads a socket or a clock, and nothing panics whatever the bytes are.

#![forbid(unsafe_code)]

mod closing;
mod decoder;
mod deflate;
mod error;
pub mod frame;
pub mod handshake;
mod mask;
mod utf8;

pub use closing::{Action, Closing, Event};
pub use decoder::{Close, Decoder, Item, Role};
pub use deflate::{Deflate, Deflater, Inflater};
pub use error::ProtocolError;
