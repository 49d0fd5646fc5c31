//! The auth, chat and user services on PostgreSQL.
//!
//! ```text
//! Redis ─> worker ─> auth | chat | user ─> store ─> PostgreSQL ─> delivery ─> Redis
//! ```
//!
//! | module | step |
//! |---|---|
//! | [`worker`] | 9: owns partitions, reads entries, keeps the order read → transaction → deliver → delete |
//! | [`service`] | the face between the worker and a service |
//! | [`auth`], [`chat`], [`user`] | 10: rules |
//! | [`store`] | 11: transactions |
//! | [`delivery`] | 12: who is where |
//! | [`mail`] | messages to people, out of the way of every call |
//! | [`backbone`] | connections to Redis, and the scripts that run there |
//! | [`migrate`], [`keys`], [`seed`] | what is made once |
//! | [`rotation`] | keys that change while the program runs |
//! | [`config`], [`cli`], [`app`], [`admin`] | the program around it |

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
mod applied;
pub mod auth;
pub mod backbone;
mod call;
pub mod chat;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod keys;
pub mod mail;
pub mod metric;
pub mod migrate;
pub mod mutants;
pub mod presence;
pub mod push;
pub mod rotation;
pub mod seed;
pub mod service;
pub mod store;
mod unread;
pub mod user;
pub mod worker;
