//! Web Push (RFC 8030): to devices of members who look at no device of theirs.
//!
//! | module | holds |
//! |---|---|
//! | `endpoint` | where pushes may go; pure |
//! | `encrypt` | what only the device can read (RFC 8291); pure |
//! | `vapid` | whose pushes these are (RFC 8292); pure |
//! | `collapse` | at most one push per user and room in a while; pure |
//! | `http` | the way to push services |
//! | `store` | the only SQL |
//! | `pusher` | the task beside the chat worker |

mod collapse;
mod encrypt;
mod endpoint;
mod http;
mod pusher;
pub(crate) mod store;
mod vapid;

pub use endpoint::{Device, Endpoints};
pub use pusher::{PushOptions, Pushes};
pub use vapid::VapidKey;
