//! Figures of the auth service: `cargo run --release -p hub-services --example accounts -- timing|storm`.
//!
//! Needs `HUB_TEST_DATABASE_URL`, a PostgreSQL in which databases may be made, and for `storm` a `redis-server`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for people who measure: it prints figures, and ends where something is missing"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod storm;
mod timing;

use std::time::{Duration, SystemTime};

use hub_services::auth::Auth;
use hub_services::config::{Allowance, AuthConfig, OutboxConfig, OutboxKind};
use hub_services::keys::{self, Signer};
use hub_services::mail::Mailer;
use support::Database;

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("timing") => timing::run().await,
        Some("storm") => storm::run().await,
        _ => println!("usage: accounts timing|storm"),
    }
}

/// The shipped settings, without limits: one machine plays everybody.
fn without_limits() -> AuthConfig {
    let off = Allowance {
        burst: 0,
        every: Duration::from_secs(1),
    };
    AuthConfig {
        account_attempts: off,
        address_attempts: off,
        device_attempts: off,
        account_codes: off,
        ..AuthConfig::default()
    }
}

/// A service that writes its messages into a folder.
fn auth(db: &Database, config: &AuthConfig, outbox: &std::path::Path) -> Auth {
    let folder = tempfile::tempdir().unwrap();
    keys::make(folder.path(), SystemTime::now()).unwrap();
    let signer = Signer::new(keys::load_signing(folder.path()).unwrap());
    let outbox = OutboxConfig {
        kind: OutboxKind::File(outbox.to_owned()),
        from: "Hub <hub@example.org>".to_owned(),
    };
    let mailer = Mailer::start(&outbox).unwrap();
    Auth::new(db.store.clone(), &db.meta, config, signer, mailer).unwrap()
}

/// The value below which this share of a sorted list lies.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
