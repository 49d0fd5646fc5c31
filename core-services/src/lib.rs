//! The auth, chat and user services on PostgreSQL.

#![forbid(unsafe_code)]

pub mod service;
pub mod store;
