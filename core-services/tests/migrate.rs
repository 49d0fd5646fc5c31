//! `migrate`: what is decided once stays, whoever runs it and however often; Redis is told again when it forgot.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use hub_protocol::keys;
use hub_services::migrate::{self, WantedPartitions};
use hub_services::store::Store;
use redis::cmd;
use support::{Database, Redis, create, drop_database, options};

const CHAT_64: WantedPartitions = WantedPartitions {
    auth: None,
    chat: Some(64),
    user: None,
};

async fn stands(redis: &Redis) -> BTreeMap<String, String> {
    cmd("HGETALL")
        .arg(keys::META)
        .query_async(&mut redis.connection().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_database_without_tables_says_what_to_do() {
    let (url, admin_url, name) = create().await;
    let error = Store::connect(&options(&url))
        .await
        .unwrap()
        .meta()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("hub-services migrate"), "{error}");
    drop_database(&admin_url, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_migrate_once_and_agree() {
    let (url, admin_url, name) = create().await;
    let options = options(&url);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let options = options.clone();
        tasks.push(tokio::spawn(async move {
            migrate::run(&options, CHAT_64).await.unwrap()
        }));
    }
    let (mut applied, mut metas) = (0, Vec::new());
    for task in tasks {
        let migrated = task.await.unwrap();
        applied += usize::from(!migrated.applied.is_empty());
        metas.push(migrated.meta);
    }
    assert_eq!(applied, 1, "one applied all steps");
    assert!(metas.iter().all(|meta| *meta == metas[0]), "{metas:?}");
    assert_eq!(metas[0].partitions.chat, 64);
    assert_eq!((metas[0].partitions.auth, metas[0].partitions.user), (2, 4));
    assert_ne!(metas[0].op_hash_key, metas[0].refresh_key);
    drop_database(&admin_url, &name).await;
}

#[tokio::test]
async fn partition_counts_never_change() {
    let db = Database::fresh().await;
    let error = migrate::run(&options(&db.url), CHAT_64)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("chat_partitions = 8") && error.contains("64"),
        "{error}"
    );
    let zero = WantedPartitions {
        user: Some(0),
        ..WantedPartitions::default()
    };
    assert!(migrate::run(&options(&db.url), zero).await.is_err());
    let same = WantedPartitions {
        chat: Some(8),
        ..WantedPartitions::default()
    };
    let again = migrate::run(&options(&db.url), same).await.unwrap();
    assert_eq!(again.meta, db.meta);
}

#[tokio::test]
async fn databases_of_one_server_have_lives_of_their_own() {
    let (one, two) = (Database::fresh().await, Database::fresh().await);
    assert_ne!(one.meta.epoch, two.meta.epoch);
    assert_eq!(one.store.meta().await.unwrap().epoch, one.meta.epoch);
}

#[tokio::test]
async fn redis_is_told_again_when_it_forgot_and_not_overwritten() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let mut connection = redis.connection().await;
    migrate::publish(&mut connection, &db.meta).await.unwrap();
    let told = stands(&redis).await;
    assert_eq!(told["chat_partitions"], "8");
    assert_eq!(told["epoch"], db.meta.epoch);
    assert!(
        !migrate::publish_if_missing(&mut connection, &db.meta)
            .await
            .unwrap()
    );

    let () = cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    assert!(
        migrate::publish_if_missing(&mut connection, &db.meta)
            .await
            .unwrap()
    );
    assert_eq!(stands(&redis).await, told);

    // Batches may be written in an older version while older readers live; another epoch is the newer process's.
    for (name, value) in [("batch_version", "0"), ("epoch", "another")] {
        let () = cmd("HSET")
            .arg(keys::META)
            .arg(name)
            .arg(value)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    assert!(
        !migrate::publish_if_missing(&mut connection, &db.meta)
            .await
            .unwrap()
    );
    assert_eq!(stands(&redis).await["epoch"], "another");
    migrate::publish(&mut connection, &db.meta).await.unwrap();
    assert_eq!(stands(&redis).await["epoch"], db.meta.epoch);
    assert_eq!(stands(&redis).await["batch_version"], "0");
}
