//! Web Push: to devices of members who look at no device of theirs.
//!
//! | module | holds |
//! |---|---|
//! | `endpoint` | where pushes may go; pure |
//! | `store` | subscriptions, and what a push says |

mod endpoint;
pub(crate) mod store;

pub use endpoint::{Device, Endpoints};
