//! Step 12: who is where, one batch per node, revocations. After the commit, before the entry is deleted.
//!
//! | module | holds |
//! |---|---|
//! | `directory` | the addresses of users |
//! | `attached` | the shards that take the events of large rooms |
//! | [`outbox`] | outcomes into batches; pure |
//!
//! Invariant: [`Deliverer::flush`] succeeds only when each node's stream has confirmed its batches, was void, or had
//! its loss counted. After an error the caller starts again at its entries: what was sent is sent twice.

mod attached;
mod directory;
pub mod outbox;

use std::sync::Arc;
use std::time::Duration;

use hub_protocol::limits::LOST_TTL_S;
use hub_protocol::{LoginId, NodeId, keys};
use metrics::{counter, histogram};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

use crate::backbone::scripts;
use crate::metric::float;
use crate::service::{Delivery, Notice};
use attached::Attached;
use directory::Directory;
pub use outbox::{Answer, Told};

/// Revocations older than this concern no token that is still valid.
const REVOKED_MS: u64 = 20 * 60 * 1_000;

/// What one flush sends.
#[derive(Debug, Default)]
pub struct Flush {
    /// Answers to callers.
    pub answers: Vec<Answer>,
    /// Events.
    pub deliveries: Vec<Delivery>,
    /// What the edges have to know about large rooms.
    pub notices: Vec<Notice>,
    /// Logins that ended.
    pub revoked: Vec<LoginId>,
}

impl Flush {
    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.deliveries.is_empty()
            && self.notices.is_empty()
            && self.revoked.is_empty()
    }
}

/// Sends what follows from commits. Clones share the directory.
#[derive(Clone, Debug)]
pub struct Deliverer {
    directory: Arc<Directory>,
    node_entries_max: u32,
}

impl Deliverer {
    /// `node_entries_max` bounds a node's stream, `directory_reuse` the age of addresses.
    pub fn new(node_entries_max: u32, directory_reuse: Duration) -> Self {
        Self {
            directory: Arc::new(Directory::new(directory_reuse)),
            node_entries_max,
        }
    }

    /// Sends everything. `now_ms` is Redis' time.
    ///
    /// # Cancel safety
    /// Dropped half-way, some nodes may have got their batches and others not: flush again.
    pub async fn flush(
        &self,
        mut redis: MultiplexedConnection,
        flush: Flush,
        now_ms: u64,
    ) -> RedisResult<()> {
        let redis = &mut redis;
        // First: a node must not serve a login any more when its owner hears that it ended.
        revoke(redis, &flush.revoked, now_ms).await?;
        let attached = Attached::read(redis, &outbox::large_rooms(&flush)).await?;
        // A session that asked for its large rooms before this one became large must hear of it now: nothing that
        // was read before the commit will do.
        let now_large = outbox::now_large(&flush.notices);
        let mut addresses = self.directory.find_fresh(redis, &now_large).await?;
        let users = outbox::receivers(&flush.deliveries);
        addresses.extend(self.directory.find(redis, &users).await?);
        let batches = outbox::write(&flush, &addresses, &attached);
        let gone = self.append(redis, &batches.durable).await?;
        if !gone.is_empty() {
            self.directory.forget(redis, &addresses, &gone).await?;
            attached.forget(redis, &gone).await?;
        }
        publish(redis, &batches.ephemeral).await
    }

    /// Sends ephemeral events to single connections. They may be lost.
    pub async fn tell(&self, redis: &mut MultiplexedConnection, told: &[Told]) -> RedisResult<()> {
        publish(redis, &outbox::write_told(told)).await
    }

    /// Appends to the nodes' streams; returns the nodes that are gone.
    async fn append(
        &self,
        redis: &mut MultiplexedConnection,
        batches: &[(NodeId, Vec<u8>)],
    ) -> RedisResult<Vec<NodeId>> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for (node, batch) in batches {
            histogram!("hub_services_batch_bytes", "way" => "down").record(float(batch.len()));
            pipe.cmd("EVAL")
                .arg(scripts::APPEND)
                .arg(2)
                .arg(keys::node(*node))
                .arg(keys::lost(*node))
                .arg(batch)
                .arg(self.node_entries_max)
                .arg(LOST_TTL_S);
        }
        let answers: Vec<Value> = pipe.query_async(redis).await?;
        let mut gone = Vec::new();
        for ((node, _), answer) in batches.iter().zip(&answers) {
            let outcome = match answer {
                Value::BulkString(text) if text == b"void" => "void",
                Value::BulkString(text) if text == b"full" => "full",
                _ => "appended",
            };
            counter!("hub_services_node_batches_total", "outcome" => outcome).increment(1);
            match outcome {
                "void" if !gone.contains(node) => gone.push(*node),
                "full" => tracing::warn!(%node, "stream of the node is full, its loss is counted"),
                _ => {}
            }
        }
        Ok(gone)
    }
}

async fn publish(redis: &mut MultiplexedConnection, batches: &[(NodeId, Vec<u8>)]) -> RedisResult<()> {
    if batches.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for (node, batch) in batches {
        pipe.cmd("PUBLISH")
            .arg(keys::ephemeral(*node))
            .arg(batch)
            .ignore();
    }
    pipe.query_async(redis).await
}

async fn revoke(redis: &mut MultiplexedConnection, logins: &[LoginId], now_ms: u64) -> RedisResult<()> {
    if logins.is_empty() {
        return Ok(());
    }
    let oldest = now_ms.saturating_sub(REVOKED_MS);
    let mut pipe = redis::pipe();
    for login in logins {
        pipe.cmd("XADD")
            .arg(keys::REVOKED)
            .arg("MINID")
            .arg("~")
            .arg(oldest);
        pipe.arg("*").arg("login").arg(login.to_string()).ignore();
    }
    counter!("hub_services_revocations_total").increment(logins.len() as u64);
    pipe.query_async(redis).await
}
