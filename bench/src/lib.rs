//! What the comparisons share: a floor to compare with, a load that both understand, and CPU time.
//!
//! | module | holds |
//! |---|---|
//! | [`floor`] | the least a server can do: epoll, receive, send the same bytes back |
//! | [`load`] | connections that send messages and wait for their echo |
//! | [`deliver`] | one event for many receivers, by a shard and by a floor |
//! | [`cpu`] | CPU time of a process by the scheduler's clock |

#![forbid(unsafe_code)]

pub mod cpu;
pub mod deliver;
pub mod floor;
pub mod load;
