//! What ends by its age: lines of the audit log, codes, logins that ended long ago, devices that nobody uses.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::call::now_us;
use crate::store::{Store, StoreError};

const EVERY: Duration = Duration::from_hours(1);
const DAY_US: i64 = 86_400 * 1_000_000;
/// Codes stay this long after their end, so that a repeat is recognised.
const CODES_US: i64 = DAY_US;
/// Logins stay this long after their end: a token of theirs that comes back is told from a guess by its tag alone.
const LOGINS_US: i64 = 30 * DAY_US;
const DEVICES_US: i64 = 400 * DAY_US;
/// Rows of one statement: short transactions, whatever there is to do.
const ROWS_MAX: i64 = 10_000;

/// Statements with the column that decides, and how long past it a row stays.
const STATEMENTS: [(&str, i64); 3] = [
    (
        "DELETE FROM codes WHERE id IN (SELECT id FROM codes WHERE expires_at < $1 LIMIT $2)",
        CODES_US,
    ),
    (
        "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2)",
        LOGINS_US,
    ),
    (
        "DELETE FROM devices WHERE id IN (SELECT id FROM devices WHERE used_at < $1 LIMIT $2)",
        DEVICES_US,
    ),
];
const AUDIT: &str = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT $2)";

/// Tidies every hour until `cancel`. Several processes may do it at once.
pub async fn run(store: Store, audit: Duration, cancel: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = every.tick() => {}
        }
        match once(&store, audit, now_us()).await {
            Ok(rows) if rows > 0 => tracing::info!(rows, "what ended by its age is deleted"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "tidying failed, comes again in an hour"),
        }
    }
}

/// Deletes everything that is too old at a moment, µs; returns how many rows that were.
pub async fn once(store: &Store, audit: Duration, now: i64) -> Result<u64, StoreError> {
    let audit_us = i64::try_from(audit.as_micros()).unwrap_or(i64::MAX);
    let mut rows = 0;
    for (sql, age_us) in STATEMENTS.into_iter().chain([(AUDIT, audit_us)]) {
        let before = now.saturating_sub(age_us);
        loop {
            let deleted = store
                .run_tx("auth.tidy", |tx| async move {
                    tx.execute(sql, &[&before, &ROWS_MAX]).await
                })
                .await?;
            rows += deleted;
            // Bound: each round deletes rows that no round brings back.
            if deleted < ROWS_MAX.unsigned_abs() {
                break;
            }
        }
    }
    Ok(rows)
}
