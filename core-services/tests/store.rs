//! Transactions on a real server: what counts as committed, what an error means, what happens to connections.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hub_services::service::WorkError;
use hub_services::store::{Store, StoreError, StoreOptions, Tx};
use support::{Database, create, drop_database, options};
use tokio::sync::Barrier;

const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, '')";

async fn put(tx: &Tx, key: &str) -> Result<u64, StoreError> {
    tx.execute(PUT, &[&key]).await
}

async fn has(db: &Database, key: &str) -> bool {
    let sql = "SELECT 1 FROM meta WHERE key = $1";
    !db.client().await.query(sql, &[&key]).await.unwrap().is_empty()
}

async fn pid(store: &Store) -> i32 {
    let rows = store
        .query("test.pid", "SELECT pg_backend_pid()", &[])
        .await
        .unwrap();
    rows[0].get(0)
}

#[tokio::test]
async fn what_is_committed_stands_and_what_fails_leaves_nothing() {
    let db = Database::fresh().await;
    db.store
        .run_tx("test", |tx| async move { put(&tx, "kept").await })
        .await
        .unwrap();
    assert!(has(&db, "kept").await);
    let failed = db.store.run_tx("test", |tx| async move {
        put(&tx, "lost").await?;
        Err::<(), _>(StoreError::Unfit("changed my mind".to_owned()))
    });
    assert!(failed.await.is_err());
    assert!(!has(&db, "lost").await);
}

/// The server answers COMMIT with ROLLBACK when a statement failed before, even if the body did not look.
#[tokio::test]
async fn a_swallowed_error_is_no_commit() {
    let db = Database::fresh().await;
    let done = db.store.run_tx("test", |tx| async move {
        put(&tx, "lost").await?;
        let _ = tx.execute("SELECT 1 / 0", &[]).await;
        Ok(())
    });
    assert!(done.await.is_err());
    assert!(!has(&db, "lost").await);
}

/// Here the warning is "there is no transaction in progress"; a cancelled wait for a standby looks the same.
#[tokio::test]
async fn a_warning_at_commit_is_no_commit() {
    let db = Database::fresh().await;
    let done = db.store.run_tx("test", |tx| async move {
        tx.client().batch_execute("COMMIT").await?;
        Ok(())
    });
    let error = done.await.unwrap_err();
    assert!(matches!(error, StoreError::Commit(_)), "{error}");
    assert!(matches!(WorkError::from(error), WorkError::System(_)));
}

#[tokio::test]
async fn errors_tell_whether_the_data_or_the_server_is_at_fault() {
    let db = Database::fresh().await;
    for sql in [
        "SELECT 1 / 0",
        "INSERT INTO meta (key, value) VALUES ('a', ''), ('a', '')",
        "INSERT INTO meta (key) VALUES ('b')",
        "SELECT chr(0)",
        "SELECT (SELECT generate_series(1, 2))",
    ] {
        let done = db
            .store
            .run_tx("test", |tx| async move { tx.execute(sql, &[]).await })
            .await;
        let error = done.unwrap_err();
        assert_eq!(error.kind(), "data", "{sql}: {error}");
        assert!(matches!(WorkError::from(error), WorkError::Data(_)), "{sql}");
    }
    for sql in [
        "SELECT * FROM nothing_here",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ] {
        let done = db
            .store
            .run_tx("test", |tx| async move { tx.execute(sql, &[]).await })
            .await;
        let error = done.unwrap_err();
        assert!(matches!(WorkError::from(error), WorkError::System(_)), "{sql}");
    }
    assert!(
        db.store.is_ready().await,
        "the pool goes on with another connection"
    );
}

#[tokio::test]
async fn a_connection_goes_back_after_a_clean_end_only() {
    let db = Database::fresh().await;
    let store = Store::connect(&StoreOptions {
        pool_max: 1,
        ..options(&db.url)
    })
    .await
    .unwrap();
    let first = pid(&store).await;
    store
        .run_tx("test", |tx| async move { put(&tx, "a").await })
        .await
        .unwrap();
    assert_eq!(pid(&store).await, first);
    let failed = store.run_tx("test", |tx| async move { put(&tx, "a").await });
    assert!(failed.await.is_err());
    let second = pid(&store).await;
    assert_ne!(second, first, "after an error");
    // A transaction that is given up half-way: `select!` drops it once the body has begun.
    let begun = tokio::sync::Notify::new();
    tokio::select! {
        _ = store.run_tx("test", |tx| { let begun = &begun; async move {
            put(&tx, "dropped").await?;
            begun.notify_one();
            std::future::pending::<Result<(), StoreError>>().await
        } }) => {}
        () = begun.notified() => {}
    }
    assert_ne!(pid(&store).await, second, "after being dropped");
    assert!(!has(&db, "dropped").await);
}

#[tokio::test]
async fn a_body_that_keeps_its_transaction_does_not_get_it_back() {
    let db = Database::fresh().await;
    let store = Store::connect(&StoreOptions {
        pool_max: 1,
        ..options(&db.url)
    })
    .await
    .unwrap();
    let first = pid(&store).await;
    let kept = store
        .run_tx("test", |tx| async move { Ok(tx.clone()) })
        .await
        .unwrap();
    drop(kept);
    assert_ne!(pid(&store).await, first);
}

/// Two transactions lock two rows in opposite order; the server ends one of them, which then runs again.
#[tokio::test(flavor = "multi_thread")]
async fn the_loser_of_a_deadlock_runs_again() {
    const LOCK: &str = "UPDATE meta SET value = value || '+' WHERE key = $1";
    let db = Database::fresh().await;
    db.client()
        .await
        .batch_execute("INSERT INTO meta VALUES ('x', ''), ('y', '')")
        .await
        .unwrap();
    let (met, runs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let cross = |first: &'static str, second: &'static str| {
        let (store, met, runs) = (db.store.clone(), Arc::clone(&met), Arc::clone(&runs));
        tokio::spawn(async move {
            store
                .run_tx("test", |tx| {
                    let (met, runs) = (Arc::clone(&met), Arc::clone(&runs));
                    async move {
                        tx.execute(LOCK, &[&first]).await?;
                        if runs.fetch_add(1, Ordering::Relaxed) < 2 {
                            met.wait().await;
                        }
                        tx.execute(LOCK, &[&second]).await
                    }
                })
                .await
        })
    };
    let (one, two) = (cross("x", "y"), cross("y", "x"));
    assert_eq!(one.await.unwrap().unwrap(), 1);
    assert_eq!(two.await.unwrap().unwrap(), 1);
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    let sql = "SELECT string_agg(value, '') FROM meta WHERE key IN ('x', 'y')";
    let marks: String = db.client().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(marks, "++++");
}

#[tokio::test]
async fn every_connection_has_its_time_limits() {
    let db = Database::fresh().await;
    let sql = "SELECT name || '=' || setting FROM pg_settings WHERE name IN \
         ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'application_name') ORDER BY name";
    let rows = db.store.query("test", sql, &[]).await.unwrap();
    let settings: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        settings,
        [
            "application_name=hub-services",
            "idle_in_transaction_session_timeout=3000",
            "lock_timeout=5000",
            "statement_timeout=10000"
        ]
    );
}

#[tokio::test]
async fn a_server_that_may_forget_commits_is_refused() {
    let (url, admin_url, name) = create().await;
    let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    support::connect(&admin_url)
        .await
        .batch_execute(&set)
        .await
        .unwrap();
    let error = Store::connect(&StoreOptions::new(&url))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("synchronous_commit") && error.contains("allow_unsafe_durability"),
        "{error}"
    );
    assert!(Store::connect(&options(&url)).await.is_ok());
    drop_database(&admin_url, &name).await;
}

#[tokio::test]
async fn a_wrong_address_is_known_at_the_start() {
    for url in ["nonsense", "postgres:///x", "postgres://u:secret@127.0.0.1:1/x"] {
        let error = Store::connect(&options(url)).await.unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
