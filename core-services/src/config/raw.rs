//! Settings as people write them: `services.toml`.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Deserialize;

use super::redact;

/// All sections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub(super) postgres: Postgres,
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) admin: Admin,
    pub(super) worker: Worker,
    pub(super) delivery: Delivery,
    pub(super) auth: Auth,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Postgres {
    pub(super) url: String,
    pub(super) pool_max: u64,
    pub(super) statement_timeout_ms: u64,
    pub(super) allow_unsafe_durability: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redis {
    pub(super) url: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) dir: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) read_entries_max: u64,
    pub(super) batch_envelopes_max: u64,
    pub(super) reads_max: u64,
    pub(super) block_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delivery {
    pub(super) node_entries_max: u64,
    pub(super) directory_reuse_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) argon2_memory_kib: u64,
    pub(super) argon2_passes: u64,
    pub(super) argon2_lanes: u64,
    pub(super) hash_threads: u64,
    pub(super) access_token_s: u64,
    pub(super) refresh_token_days: u64,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("url", &redact(&self.url))
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("url", &redact(&self.url)).finish()
    }
}

impl Raw {
    /// What is in force, as TOML, without passwords.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut section = |name: &str, values: &[(&str, String)]| {
            let _ = writeln!(out, "[{name}]");
            for (key, value) in values {
                let _ = writeln!(out, "{key} = {value}");
            }
            out.push('\n');
        };
        let text = |text: &str| format!("{text:?}");
        let postgres = &self.postgres;
        section(
            "postgres",
            &[
                ("url", text(&redact(&postgres.url))),
                ("pool_max", postgres.pool_max.to_string()),
                ("statement_timeout_ms", postgres.statement_timeout_ms.to_string()),
                (
                    "allow_unsafe_durability",
                    postgres.allow_unsafe_durability.to_string(),
                ),
            ],
        );
        section("redis", &[("url", text(&redact(&self.redis.url)))]);
        section("keys", &[("dir", text(&self.keys.dir.to_string_lossy()))]);
        section("admin", &[("listen", text(&self.admin.listen))]);
        let worker = &self.worker;
        section(
            "worker",
            &[
                ("read_entries_max", worker.read_entries_max.to_string()),
                ("batch_envelopes_max", worker.batch_envelopes_max.to_string()),
                ("reads_max", worker.reads_max.to_string()),
                ("block_ms", worker.block_ms.to_string()),
            ],
        );
        let delivery = &self.delivery;
        section(
            "delivery",
            &[
                ("node_entries_max", delivery.node_entries_max.to_string()),
                ("directory_reuse_ms", delivery.directory_reuse_ms.to_string()),
            ],
        );
        let auth = &self.auth;
        section(
            "auth",
            &[
                ("argon2_memory_kib", auth.argon2_memory_kib.to_string()),
                ("argon2_passes", auth.argon2_passes.to_string()),
                ("argon2_lanes", auth.argon2_lanes.to_string()),
                ("hash_threads", auth.hash_threads.to_string()),
                ("access_token_s", auth.access_token_s.to_string()),
                ("refresh_token_days", auth.refresh_token_days.to_string()),
            ],
        );
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}
