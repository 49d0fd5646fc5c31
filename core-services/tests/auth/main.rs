//! The calls of accounts, on a real database: what each does, refuses and leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests, some of which print figures"
)]

#[path = "../support/mod.rs"]
mod support;

mod deletion;
mod emails;
mod limits;
mod logins;
mod passwords;
mod second_factor;
mod upkeep;
mod world;
