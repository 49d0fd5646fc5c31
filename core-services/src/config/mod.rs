//! Settings: embedded defaults, then a file, then the environment, then flags.
//!
//! The raw form is what people write, units in its names; [`Config`] is checked once, and the rest of the program
//! meets only valid values.

mod raw;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use hub_protocol::limits::{ACCESS_TOKEN_S, ROOM_MEMBERS_MAX, UPLINK_ENVELOPES_MAX};
use serde::Serialize;
use thiserror::Error;

use crate::push::{Endpoints, PushOptions};
use crate::store::StoreOptions;
use crate::worker::WorkerOptions;
pub use raw::Raw;

/// Every setting with its default and what it means.
pub const DEFAULTS: &str = include_str!("../../services.toml");
const ENV_PREFIX: &str = "HUB_SERVICES__";
/// Addresses older than this could hide a connection from both syncs of its client.
const DIRECTORY_REUSE_MS_MAX: u64 = 900;

/// What stands on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// A file.
    pub config: Option<PathBuf>,
    /// `postgres.url`.
    pub database: Option<String>,
    /// `redis.url`.
    pub redis: Option<String>,
    /// `keys.dir`.
    pub keys: Option<PathBuf>,
    /// `admin.listen`.
    pub admin: Option<SocketAddr>,
}

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not readable, misspelt, or of a wrong type.
    #[error("configuration: {0}")]
    Read(#[from] Box<figment::Error>),
    /// A value that makes no sense.
    #[error("configuration: {key} {problem}")]
    Value {
        /// Which one.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Bounds of the auth service.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// argon2id: memory of one hash, KiB.
    pub argon2_memory_kib: u32,
    /// argon2id: passes.
    pub argon2_passes: u32,
    /// argon2id: lanes.
    pub argon2_lanes: u32,
    /// Hashes at a time, at least 1.
    pub hash_threads: usize,
    /// Life of an access token.
    pub access_token: Duration,
    /// Life of a login that is not used.
    pub refresh_token: Duration,
    /// Tries to log in to one account from unknown devices.
    pub account_attempts: Allowance,
    /// Tries from one network address.
    pub address_attempts: Allowance,
    /// Tries of one known device, or of one login that shows its password again.
    pub device_attempts: Allowance,
    /// One-time codes for one account.
    pub account_codes: Allowance,
    /// How long the audit log is kept.
    pub audit: Duration,
}

impl Default for AuthConfig {
    /// What the shipped file says.
    fn default() -> Self {
        let shipped = Figment::from(Toml::string(DEFAULTS)).extract::<Raw>();
        let shipped = Config::try_from(shipped.expect("a test reads the shipped file"));
        shipped.expect("a test checks the shipped file").auth
    }
}

/// How often something may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// At once; 0 turns the limit off.
    pub burst: u32,
    /// One more each.
    pub every: Duration,
}

/// How messages to people are delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxConfig {
    /// On which way.
    pub kind: OutboxKind,
    /// The address of the sender.
    pub from: String,
}

impl OutboxConfig {
    /// Nothing is sent.
    pub fn none() -> Self {
        Self {
            kind: OutboxKind::None,
            from: String::new(),
        }
    }
}

/// See [`OutboxConfig`].
#[derive(Clone, PartialEq, Eq)]
pub enum OutboxKind {
    /// Not at all.
    None,
    /// Into a folder, one file per message.
    File(PathBuf),
    /// To an SMTP server, by URL.
    Smtp(String),
}

impl std::fmt::Debug for OutboxKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::File(folder) => write!(f, "File({})", folder.display()),
            Self::Smtp(url) => write!(f, "Smtp({})", redact(url)),
        }
    }
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub store: StoreOptions,
    /// The address of Redis.
    pub redis_url: String,
    /// The keys folder.
    pub keys_dir: PathBuf,
    /// The admin port; `None`: that of the service.
    pub admin: Option<SocketAddr>,
    /// Bounds of each worker.
    pub worker: WorkerOptions,
    /// Bound of a node's stream.
    pub node_entries_max: u32,
    /// Age of addresses.
    pub directory_reuse: Duration,
    /// Bounds of the auth service.
    pub auth: AuthConfig,
    /// How one-time codes are delivered.
    pub outbox: OutboxConfig,
    /// How pushes are sent.
    pub push: PushOptions,
    /// Members that a room takes.
    pub room_members_max: usize,
}

/// Reads all sources, without checking values.
pub fn load(flags: &Flags) -> Result<Raw, ConfigError> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(path) = &flags.config {
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
    figment = flag(figment, "postgres.url", flags.database.as_ref());
    figment = flag(figment, "redis.url", flags.redis.as_ref());
    figment = flag(figment, "keys.dir", flags.keys.as_ref());
    figment = flag(
        figment,
        "admin.listen",
        flags.admin.as_ref().map(ToString::to_string).as_ref(),
    );
    Ok(figment.extract::<Raw>().map_err(Box::new)?)
}

fn flag<T: Serialize>(figment: Figment, key: &str, value: Option<&T>) -> Figment {
    match value {
        Some(value) => figment.merge(Serialized::default(key, value)),
        None => figment,
    }
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let positive = |key, value: u64| match value {
            0 => Err(bad(key, "must be at least 1")),
            value => Ok(value),
        };
        let size = |key, value: u64, max: u64| match positive(key, value)? {
            value if value > max => Err(bad(key, &format!("is at most {max}"))),
            value => Ok(usize::try_from(value).unwrap_or(usize::MAX)),
        };
        let number = |key, value: u64| {
            u32::try_from(positive(key, value)?).map_err(|_too_large| bad(key, "is too large"))
        };
        let mut store = StoreOptions::new(raw.postgres.url);
        store.pool_max = size("postgres.pool_max", raw.postgres.pool_max, 1_000)?;
        store.statement_timeout = Duration::from_millis(positive(
            "postgres.statement_timeout_ms",
            raw.postgres.statement_timeout_ms,
        )?);
        store.allow_unsafe_durability = raw.postgres.allow_unsafe_durability;
        let listen = raw.admin.listen.trim();
        let admin = match listen {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_not| bad("admin.listen", "is not IP:PORT"))?,
            ),
        };
        let reuse = raw.delivery.directory_reuse_ms;
        if reuse > DIRECTORY_REUSE_MS_MAX {
            return Err(bad(
                "delivery.directory_reuse_ms",
                &format!("is at most {DIRECTORY_REUSE_MS_MAX}"),
            ));
        }
        let access_token_s = positive("auth.access_token_s", raw.auth.access_token_s)?;
        if access_token_s > ACCESS_TOKEN_S {
            return Err(bad(
                "auth.access_token_s",
                &format!("is at most {ACCESS_TOKEN_S}"),
            ));
        }
        let days = size("auth.refresh_token_days", raw.auth.refresh_token_days, 3_650)? as u64;
        let threads = match raw.auth.hash_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => size("auth.hash_threads", threads, 1_024)?,
        };
        let allowance = |keys: [&'static str; 2], burst: u64, every_s: u64| {
            Ok::<_, ConfigError>(Allowance {
                burst: u32::try_from(burst).map_err(|_too_large| bad(keys[0], "is too large"))?,
                every: Duration::from_secs(size(keys[1], every_s, 86_400)? as u64),
            })
        };
        let outbox = OutboxConfig {
            kind: match raw.outbox.kind.as_str() {
                "none" => OutboxKind::None,
                "file" => OutboxKind::File(raw.outbox.folder),
                "smtp" if raw.outbox.url.is_empty() => {
                    return Err(bad("outbox.url", "is needed for smtp"));
                }
                "smtp" => OutboxKind::Smtp(raw.outbox.url),
                _ => return Err(bad("outbox.kind", "is none, file or smtp")),
            },
            from: raw.outbox.from,
        };
        let subject = raw.push.subject.trim();
        if !subject.is_empty()
            && !["mailto:", "https:"]
                .iter()
                .any(|scheme| subject.starts_with(scheme))
        {
            return Err(bad("push.subject", "is mailto:ADDRESS, an https URL, or empty"));
        }
        let push = PushOptions {
            subject: subject.to_owned(),
            endpoints: Endpoints {
                allow_loopback: raw.push.allow_loopback,
            },
            window: Duration::from_millis(size("push.window_ms", raw.push.window_ms, 3_600_000)? as u64),
            queue_max: size("push.queue_max", raw.push.queue_max, 1_000_000)?,
            requests_max: size("push.requests_max", raw.push.requests_max, 1_024)?,
            none_reuse: Duration::from_mins(1),
        };
        let calls_max = 64 * u64::from(UPLINK_ENVELOPES_MAX);
        Ok(Self {
            store,
            redis_url: raw.redis.url,
            keys_dir: raw.keys.dir,
            admin,
            worker: WorkerOptions {
                read_entries_max: size("worker.read_entries_max", raw.worker.read_entries_max, 10_000)?,
                envelopes_max: size(
                    "worker.batch_envelopes_max",
                    raw.worker.batch_envelopes_max,
                    calls_max,
                )?,
                reads_max: size("worker.reads_max", raw.worker.reads_max, 1_024)?,
                block: Duration::from_millis(size("worker.block_ms", raw.worker.block_ms, 1_000)? as u64),
            },
            node_entries_max: number("delivery.node_entries_max", raw.delivery.node_entries_max)?,
            directory_reuse: Duration::from_millis(reuse),
            room_members_max: size(
                "chat.room_members_max",
                raw.chat.room_members_max,
                ROOM_MEMBERS_MAX as u64,
            )?,
            auth: AuthConfig {
                argon2_memory_kib: number("auth.argon2_memory_kib", raw.auth.argon2_memory_kib)?,
                argon2_passes: number("auth.argon2_passes", raw.auth.argon2_passes)?,
                argon2_lanes: number("auth.argon2_lanes", raw.auth.argon2_lanes)?,
                hash_threads: threads,
                access_token: Duration::from_secs(access_token_s),
                refresh_token: Duration::from_secs(days * 86_400),
                account_attempts: allowance(
                    ["auth.attempts_per_account", "auth.account_attempt_s"],
                    raw.auth.attempts_per_account,
                    raw.auth.account_attempt_s,
                )?,
                address_attempts: allowance(
                    ["auth.attempts_per_address", "auth.address_attempt_s"],
                    raw.auth.attempts_per_address,
                    raw.auth.address_attempt_s,
                )?,
                device_attempts: allowance(
                    ["auth.attempts_per_device", "auth.device_attempt_s"],
                    raw.auth.attempts_per_device,
                    raw.auth.device_attempt_s,
                )?,
                account_codes: allowance(
                    ["auth.codes_per_account", "auth.account_code_s"],
                    raw.auth.codes_per_account,
                    raw.auth.account_code_s,
                )?,
                audit: Duration::from_secs(
                    size("auth.audit_days", raw.auth.audit_days, 36_500)? as u64 * 86_400,
                ),
            },
            outbox,
            push,
        })
    }
}

/// Reads and checks the settings.
pub fn read(flags: &Flags) -> Result<Config, ConfigError> {
    Config::try_from(load(flags)?)
}

/// The text of an address without its password.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let tail = if tail.contains("password=") {
        "/[redacted]"
    } else {
        tail
    };
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _password)| name);
            let shown = if user.contains(':') {
                format!("{name}:[redacted]")
            } else {
                name.to_owned()
            };
            format!("{scheme}://{shown}@{host}{tail}")
        }
        None => format!("{scheme}://{authority}{tail}"),
    }
}

fn bad(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value {
        key,
        problem: problem.to_owned(),
    }
}
