//! The words that edge, services, clients and harness share: ids, methods, requests, responses, events, error
//! and close codes, batches, Redis keys, limits.
//!
//! Every other crate points here and this one points nowhere. It does no I/O and reads no clock: time and
//! randomness are arguments.
//!
//! | module | holds |
//! |---|---|
//! | [`ids`], [`address`] | newtypes for everything that is named |
//! | [`method`] | the table of calls: name, code, service, route, class |
//! | [`api`] | JSON shapes of requests, results and events |
//! | [`error`], [`close`] | what a refusal and what a close mean to a client |
//! | [`batch`] | envelopes on the way up and down, fixed little-endian headers |
//! | [`keys`], [`partition`] | the names of all Redis keys, and who works on what |
//! | [`limits`] | every bound that two parts must agree on |
//! | [`schema`] | descriptions of all that for other languages |
//! | `seal` | AEAD for `auth.*` on the backbone (feature `seal`) |

#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod batch;
pub mod close;
pub mod error;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod method;
pub mod partition;
pub mod schema;
#[cfg(feature = "seal")]
pub mod seal;

pub use address::Address;
pub use close::CloseCode;
pub use error::ErrorCode;
pub use ids::{LoginId, NodeId, Op, RoomId, SessionId, UserId};
pub use method::{Access, Class, Method, Route, Service};
