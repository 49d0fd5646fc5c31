//! The configuration as it is written: TOML sections, units in the names, nothing checked yet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// All sections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) ring: Ring,
    pub(super) redis: Redis,
    pub(super) auth: Auth,
    pub(super) uplink: Uplink,
    pub(super) tls: Tls,
    pub(super) deflate: Deflate,
    pub(super) limits: Limits,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: String,
    pub(super) admin: String,
    pub(super) shards: u16,
    pub(super) pin: bool,
    pub(super) echo: bool,
    pub(super) origins: Vec<String>,
    pub(super) web: String,
    pub(super) drain_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ring {
    pub(super) engine: String,
    pub(super) connections_max: u32,
    pub(super) slices: u16,
    pub(super) slice_bytes: u32,
    pub(super) submissions: u32,
    pub(super) completions: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redis {
    pub(super) url: String,
    pub(super) response_timeout_ms: u64,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Redis")
            .field("response_timeout_ms", &self.response_timeout_ms)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) keys_dir: String,
    pub(super) leeway_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Uplink {
    pub(super) batch_envelopes_max: u32,
    pub(super) batch_bytes_max: u32,
    pub(super) linger_us: u64,
    pub(super) stream_entries_max: u32,
    pub(super) pending_bytes_max: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) dir: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deflate {
    pub(super) enabled: bool,
    pub(super) level: u32,
    pub(super) bytes_min: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) message_bytes_max: u32,
    pub(super) outbound_bytes_max: u32,
    pub(super) outbound_shard_bytes_max: u32,
    pub(super) handshake_ms: u64,
    pub(super) header_ms: u64,
    pub(super) keep_alive_ms: u64,
    pub(super) session_open_ms: u64,
    pub(super) ping_ms: u64,
    pub(super) idle_ms: u64,
    pub(super) message_ms: u64,
    pub(super) messages_per_second: u32,
    pub(super) messages_burst: u32,
    pub(super) bytes_per_second: u32,
    pub(super) bytes_burst: u32,
    pub(super) handshakes_per_second: u32,
    pub(super) handshakes_burst: u32,
    pub(super) calls_per_second: u32,
    pub(super) calls_burst: u32,
    pub(super) connections_per_address: u32,
    pub(super) connections_max: u32,
    pub(super) memory_bytes_max: u64,
    pub(super) call_wait_ms: u64,
}
