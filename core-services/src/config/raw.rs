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
    pub(super) outbox: Outbox,
    pub(super) push: Push,
    pub(super) chat: Chat,
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
    pub(super) attempts_per_account: u64,
    pub(super) account_attempt_s: u64,
    pub(super) attempts_per_address: u64,
    pub(super) address_attempt_s: u64,
    pub(super) attempts_per_device: u64,
    pub(super) device_attempt_s: u64,
    pub(super) codes_per_account: u64,
    pub(super) account_code_s: u64,
    pub(super) audit_days: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outbox {
    pub(super) kind: String,
    pub(super) folder: PathBuf,
    pub(super) url: String,
    pub(super) from: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    pub(super) subject: String,
    pub(super) window_ms: u64,
    pub(super) queue_max: u64,
    pub(super) requests_max: u64,
    pub(super) allow_loopback: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chat {
    pub(super) room_members_max: u64,
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

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("kind", &self.kind)
            .field("url", &redact(&self.url))
            .finish_non_exhaustive()
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
                ("attempts_per_account", auth.attempts_per_account.to_string()),
                ("account_attempt_s", auth.account_attempt_s.to_string()),
                ("attempts_per_address", auth.attempts_per_address.to_string()),
                ("address_attempt_s", auth.address_attempt_s.to_string()),
                ("attempts_per_device", auth.attempts_per_device.to_string()),
                ("device_attempt_s", auth.device_attempt_s.to_string()),
                ("codes_per_account", auth.codes_per_account.to_string()),
                ("account_code_s", auth.account_code_s.to_string()),
                ("audit_days", auth.audit_days.to_string()),
            ],
        );
        let outbox = &self.outbox;
        section(
            "outbox",
            &[
                ("kind", text(&outbox.kind)),
                ("folder", text(&outbox.folder.to_string_lossy())),
                ("url", text(&redact(&outbox.url))),
                ("from", text(&outbox.from)),
            ],
        );
        let push = &self.push;
        section(
            "push",
            &[
                ("subject", text(&push.subject)),
                ("window_ms", push.window_ms.to_string()),
                ("queue_max", push.queue_max.to_string()),
                ("requests_max", push.requests_max.to_string()),
                ("allow_loopback", push.allow_loopback.to_string()),
            ],
        );
        section(
            "chat",
            &[("room_members_max", self.chat.room_members_max.to_string())],
        );
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}
