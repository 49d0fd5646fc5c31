//! `hub-services migrate`: brings the schema up to date, decides once what may never change, and tells Redis.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use hub_protocol::keys::{self, meta as field};
use redis::aio::ConnectionLike;
use redis::{RedisError, cmd};
use tokio_postgres::{Client, NoTls};

use crate::store::meta::{KEY_BYTES, OP_HASH_KEY, REFRESH_KEY, to_hex};
use crate::store::{Meta, Store, StoreError, StoreOptions};

/// Only one migration runs at a time: the key of a lock that the server keeps for a session ("hub-migr").
const LOCK: i64 = 0x6875_622d_6d69_6772;
/// Another migration may take this long.
const LOCK_WAIT: &str =
    "SET lock_timeout = '5min'; SET statement_timeout = 0; SET client_min_messages = warning";

mod schema {
    refinery::embed_migrations!("migrations");
}

/// Partitions that the operator asks for. What is not named is as it was, or the default on a new database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WantedPartitions {
    /// Of the auth service; 2 by default.
    pub auth: Option<u16>,
    /// Of the chat service; 8 by default.
    pub chat: Option<u16>,
    /// Of the user service; 4 by default.
    pub user: Option<u16>,
}

impl WantedPartitions {
    fn by_field(self) -> [(&'static str, Option<u16>, u16); 3] {
        [
            (field::AUTH_PARTITIONS, self.auth, 2),
            (field::CHAT_PARTITIONS, self.chat, 8),
            (field::USER_PARTITIONS, self.user, 4),
        ]
    }
}

/// What a migration did.
#[derive(Debug)]
pub struct Migrated {
    /// Names of the steps that were applied now.
    pub applied: Vec<String>,
    /// What stands in the database.
    pub meta: Meta,
}

/// Applies the steps that are missing and makes the rows of `meta`, under a lock. Runs again without harm; other
/// partition counts than those of an existing database are refused.
pub async fn run(options: &StoreOptions, wanted: WantedPartitions) -> Result<Migrated, StoreError> {
    if wanted.by_field().iter().any(|(_, count, _)| *count == Some(0)) {
        return Err(StoreError::Unfit(
            "a service needs at least one partition".to_owned(),
        ));
    }
    let (mut client, connection) = options.driver_config()?.connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let applied = locked(&mut client, wanted).await;
    drop(client);
    // The connection ends with its client, and the lock with the connection.
    let _ = driver.await;
    let store = Store::connect(&StoreOptions {
        allow_unsafe_durability: true,
        ..options.clone()
    })
    .await?;
    Ok(Migrated {
        applied: applied?,
        meta: store.meta().await?,
    })
}

async fn locked(client: &mut Client, wanted: WantedPartitions) -> Result<Vec<String>, StoreError> {
    client.batch_execute(LOCK_WAIT).await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    // Each step is a transaction of its own; an aborted migration goes on where it stopped.
    let report = schema::migrations::runner().run_async(client).await;
    let report =
        report.map_err(|error| StoreError::Unfit(format!("the schema was not migrated: {error}")))?;
    make_meta(client, wanted).await?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}

async fn make_meta(client: &mut Client, wanted: WantedPartitions) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    let tx = client.transaction().await?;
    for (key, count, default) in wanted.by_field() {
        tx.execute(INSERT, &[&key, &count.unwrap_or(default).to_string()])
            .await?;
        let stands: String = tx
            .query_one("SELECT value FROM meta WHERE key = $1", &[&key])
            .await?
            .get(0);
        if let Some(count) = count
            && stands != count.to_string()
        {
            return Err(StoreError::Unfit(format!(
                "this database was made with {key} = {stands}, which never changes: {count} is refused"
            )));
        }
    }
    for key in [OP_HASH_KEY, REFRESH_KEY] {
        tx.execute(INSERT, &[&key, &to_hex(&random_key()?)]).await?;
    }
    Ok(tx.commit().await?)
}

fn random_key() -> Result<[u8; KEY_BYTES], StoreError> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_unspecified| StoreError::Unfit("the system gives no random bytes".to_owned()))?;
    Ok(key)
}

/// Writes `hub:meta`. The batch version is only written if none stands: it may lag behind this build on purpose
/// while older readers live.
pub async fn publish(redis: &mut impl ConnectionLike, meta: &Meta) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for (name, value) in meta.redis_fields() {
        let command = if name == field::BATCH_VERSION {
            "HSETNX"
        } else {
            "HSET"
        };
        pipe.cmd(command).arg(keys::META).arg(name).arg(value).ignore();
    }
    pipe.query_async(redis).await
}

/// Writes what `hub:meta` lacks, as after a restart of Redis; true if that was something. Every services process
/// calls this with its heartbeat. What stands there stays: after a failover, processes that know another epoch
/// would overwrite each other for ever.
pub async fn publish_if_missing(redis: &mut impl ConnectionLike, meta: &Meta) -> Result<bool, RedisError> {
    let fields = meta.redis_fields();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let stands: Vec<Option<String>> = cmd("HMGET")
        .arg(keys::META)
        .arg(&names)
        .query_async(redis)
        .await?;
    if stands.iter().all(Option::is_some) {
        return Ok(false);
    }
    let mut pipe = redis::pipe();
    for (name, value) in fields {
        pipe.cmd("HSETNX").arg(keys::META).arg(name).arg(value).ignore();
    }
    pipe.query_async::<()>(redis).await?;
    Ok(true)
}
