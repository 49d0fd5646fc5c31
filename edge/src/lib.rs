//! The edge node: terminates `WebSocket`s, forwards batches. Knows users, not rooms; never reaches PostgreSQL.
//!
//! A node is one thread per shard (monoio and a data ring, on io_uring or epoll) and one for the backbone (tokio and
//! Redis):
//!
//! | module | step | holds |
//! |---|---|---|
//! | [`config`], [`cli`], [`node`], [`runtime`] | | settings, command line, threads and what they run on |
//! | [`accept`], [`admission`], [`http`] | 1, 3 | listeners and admission, request heads and calls |
//! | [`tls`], [`stream`] | 2, 3 | TLS without I/O, certificates, bytes of a connection on a task |
//! | [`auth`] | 6 | verifies access tokens |
//! | [`mailbox`] | 7/8, 13/14 | between a shard and the backbone |
//! | [`shard`] | 4–7, 13–16 | one core: data ring, connections, sessions, turns |
//! | [`request`], [`uplink`], [`outbound`], [`bucket`], [`wheel`] | 6, 7, 15 | its pure parts |
//! | [`backbone`] | 8, 13 | Redis: uplink, node stream, directory |
//! | [`admin`], [`counters`], [`histogram`], [`exposition`], [`memory`] | | health, metrics, the memory ceiling |
//! | [`log`], [`operator`], [`top`] | | log lines; what operators ask a running node |

#![forbid(unsafe_code)]

pub mod accept;
pub mod admin;
pub mod admission;
pub mod auth;
pub mod backbone;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod counters;
pub mod exposition;
pub mod histogram;
pub mod http;
pub mod log;
pub mod mailbox;
pub mod memory;
pub mod node;
pub mod operator;
pub mod outbound;
pub mod request;
pub mod runtime;
pub mod shard;
pub mod stream;
pub mod tls;
pub mod top;
pub mod uplink;
pub mod wheel;
