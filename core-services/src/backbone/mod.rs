//! The way to Redis, as services use it: connections, entry ids, scripts.
//!
//! Blocking reads have a connection of their own: on a shared one they would hold up everything behind them.

pub mod scripts;
pub mod stream;

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};

pub use stream::{EntryId, StreamEntry};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Redis answers in microseconds; a longer silence is a stopped server or a dead way to it.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection whose answers come within [`RESPONSE_TIMEOUT`], after `blocking` at most.
pub async fn connect(client: &Client, blocking: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT + blocking));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// A connection for what is not the worker's own: opened when it is needed, and again after it failed.
#[derive(Debug)]
pub struct Link {
    client: Client,
    open: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// Nothing is opened yet.
    pub fn new(client: Client) -> Self {
        let open = tokio::sync::Mutex::default();
        Self { client, open }
    }

    /// The connection.
    pub async fn get(&self) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref() {
            return Ok(open.clone());
        }
        let fresh = connect(&self.client, Duration::ZERO).await?;
        Ok(open.insert(fresh).clone())
    }

    /// The connection failed: the next one is a new one.
    pub async fn forget(&self) {
        *self.open.lock().await = None;
    }

    /// Does some work on the connection.
    pub async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut redis = self.get().await?;
        let done = work(&mut redis).await;
        if done.is_err() {
            self.forget().await;
        }
        done
    }
}

/// Redis' time, milliseconds since the Unix epoch.
pub async fn redis_time_ms(redis: &mut MultiplexedConnection) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(redis).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// Redis' clock, carried on between two readings by this machine's monotonic one. Ages are told by it alone: the
/// ids of entries come from there too.
#[derive(Clone, Copy, Debug)]
pub struct RedisClock {
    ms: u64,
    read_at: Instant,
}

impl RedisClock {
    /// The clock as Redis told it just now.
    pub const fn new(ms: u64, read_at: Instant) -> Self {
        Self { ms, read_at }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.read_at).as_millis();
        self.ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// How old an entry is, milliseconds.
    pub fn age_ms(&self, id: EntryId, now: Instant) -> u64 {
        self.now_ms(now).saturating_sub(id.ms)
    }
}
