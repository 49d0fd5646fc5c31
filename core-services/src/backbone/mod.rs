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
