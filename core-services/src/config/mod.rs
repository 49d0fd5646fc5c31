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
use hub_protocol::limits::{ACCESS_TOKEN_S, UPLINK_ENVELOPES_MAX};
use serde::Serialize;
use thiserror::Error;

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
            auth: AuthConfig {
                argon2_memory_kib: number("auth.argon2_memory_kib", raw.auth.argon2_memory_kib)?,
                argon2_passes: number("auth.argon2_passes", raw.auth.argon2_passes)?,
                argon2_lanes: number("auth.argon2_lanes", raw.auth.argon2_lanes)?,
                hash_threads: threads,
                access_token: Duration::from_secs(access_token_s),
                refresh_token: Duration::from_secs(days * 86_400),
            },
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
