//! What the comparisons share: a floor to compare with, a load that both understand, and CPU time.
//!
//! | module | holds |
//! |---|---|
//! | [`report`] | the comparisons, one per subcommand of `hub-compare` |
//! | [`floor`] | the least a server can do: epoll, receive, send the same bytes back |
//! | [`edge`] | `hub-edge` and the floor as processes |
//! | [`load`] | connections that send messages and wait for their echo |
//! | [`deliver`] | one event for many receivers, by a shard and by a floor |
//! | [`ratios`] | rounds in turns, medians of paired ratios |
//! | [`cpu`] | CPU time of a process by the scheduler's clock, memory, cores |

#![forbid(unsafe_code)]

pub mod cpu;
pub mod deliver;
pub mod edge;
pub mod floor;
pub mod load;
pub mod ratios;
pub mod report;
