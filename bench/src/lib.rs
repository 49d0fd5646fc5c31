//! What the comparisons share: a floor to compare with, a load that both understand, and CPU time.
//!
//! | module | holds |
//! |---|---|
//! | [`floor`] | the least a server can do: epoll, receive, send the same bytes back |
//! | [`load`] | connections that send messages and wait for their echo |
//! | [`cpu`] | CPU time of a process by the scheduler's clock |

#![forbid(unsafe_code)]

pub mod cpu;
pub mod floor;
pub mod load;
