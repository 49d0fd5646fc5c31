//! The load harness and its oracle: many correct clients of the public protocol on few threads, offered sends that
//! never wait, latencies from the intended time, and a check of every promise at the end.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`scenario`] | what is to be run |
//! | [`world`] | users, tokens and rooms of a run |
//! | [`arrivals`] | when which user sends to which room |
//! | [`client`] | one client: rule of events, outbox, sync; pure |
//! | [`wheel`] | deadlines of all clients |
//! | [`engine`] | clients on a data ring, one thread each |
//! | [`pacer`], [`renew`] | offers sends on time; renews tokens |
//! | [`oracle`], [`database`] | the verdict |
//! | [`stats`], [`live`], [`report`] | what people and scripts read |
//! | [`run`] | a run from its start to its exit code |

#![forbid(unsafe_code)]

pub mod arrivals;
pub mod cli;
pub mod client;
pub mod database;
pub mod engine;
pub mod live;
pub mod oracle;
pub mod pacer;
pub mod renew;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stats;
pub mod target;
pub mod units;
pub mod wheel;
pub mod world;
