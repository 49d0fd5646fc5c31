//! Before step 1: what a node is told by its operator.
//!
//! `edge.toml` (embedded, the default) → `--config FILE` → `HUB_EDGE__SECTION__KEY` → flags. [`Config`] is
//! checked once, here; the rest of the code meets only valid values.

mod raw;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use hub_protocol::limits;
use hub_ring::Engine;
use thiserror::Error;

use crate::bucket::Rate;
use crate::http::Origins;
use crate::shard::DeflateSettings;
use raw::Raw;

/// The commented default, as it is shipped.
pub const DEFAULT: &str = include_str!("../../edge.toml");
/// Before the name of every variable.
pub const ENV_PREFIX: &str = "HUB_EDGE__";

/// More shards than an address can tell apart, or than any machine has cores.
const SHARDS_MAX: u16 = 1024;
/// A descriptor table of the kernel is bounded by the process's limit; above this nobody raises it.
const CONNECTIONS_MAX: u32 = 1 << 20;
/// A day: more is a typing error.
const MS_MAX: u64 = 24 * 3600 * 1000;
/// Half a queue of sends must fit into what one address space maps for a ring.
const QUEUE_MAX: u32 = 1 << 15;
/// Events per second; thousandths of a burst of them still fit into 32 bits.
const RATE_MAX: u32 = 1_000_000;
/// A message above this does not fit into one uplink batch.
const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
const _: () = assert!(MESSAGE_BYTES_MAX as usize == limits::MESSAGE_BYTES_MAX);
/// An echo of conformance suites sends messages of 16 MiB.
const ECHO_MESSAGE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// What a node runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners and threads.
    pub server: Server,
    /// Sizes of each shard's data ring.
    pub ring: hub_ring::Config,
    /// The backbone.
    pub redis: Redis,
    /// Tokens.
    pub auth: Auth,
    /// Batches on the way up.
    pub uplink: Uplink,
    /// The folder of certificates; none serves plain TCP.
    pub tls_dir: Option<PathBuf>,
    /// Compression.
    pub deflate: DeflateSettings,
    /// What a client may do.
    pub limits: Limits,
    raw: Raw,
}

/// Listeners and threads.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// Number of shards, at least 1.
    pub shards: u16,
    /// One core per shard.
    pub pin: bool,
    /// Whether `/echo` is served.
    pub echo: bool,
    /// Pages that may open a WebSocket.
    pub origins: Origins,
    /// Folder of the web app, if it is served.
    pub web: Option<PathBuf>,
    /// Bound of an orderly end.
    pub drain: Duration,
}

/// The backbone.
#[derive(Clone)]
pub struct Redis {
    /// Where it is; may hold a password.
    pub url: String,
    /// Later is down.
    pub response_timeout: Duration,
}

/// Tokens.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The keys folder.
    pub keys_dir: PathBuf,
    /// How far clocks may differ, seconds.
    pub leeway_s: u64,
}

/// Batches on the way up.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Envelopes in one batch.
    pub batch_envelopes_max: u32,
    /// Bytes of one batch.
    pub batch_bytes_max: usize,
    /// How long a batch waits for company.
    pub linger: Duration,
    /// A longer stream is full.
    pub stream_entries_max: u32,
    /// Bytes of one shard that may wait for Redis.
    pub pending_bytes_max: usize,
}

/// What a client may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One message of a client, bytes.
    pub message_bytes_max: usize,
    /// Bytes that may wait for one connection.
    pub outbound_bytes_max: usize,
    /// Bytes that may wait for all connections of one shard.
    pub outbound_shard_bytes_max: usize,
    /// Deadline of a TLS handshake.
    pub handshake: Duration,
    /// Deadline of a request head and of its body.
    pub header: Duration,
    /// Silence between two requests of a connection; zero ends it after the first.
    pub keep_alive: Duration,
    /// Deadline of `session.open`.
    pub session_open: Duration,
    /// Interval of pings.
    pub ping: Duration,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// Deadline of a message from its first byte; zero is off.
    pub message: Duration,
    /// Messages of one connection.
    pub messages: Rate,
    /// Bytes of one connection.
    pub bytes: Rate,
    /// New connections of one shard.
    pub handshakes: Rate,
    /// HTTP requests of one connection.
    pub calls: Rate,
    /// Connections of one address; 0 is off.
    pub connections_per_address: u32,
    /// Connections of the node; 0 is as many as the rings hold.
    pub connections_max: u32,
    /// Resident memory of the process, bytes; 0 is off.
    pub memory_bytes_max: u64,
    /// How long a call over HTTP waits.
    pub call_wait: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("url", &redacted_url(&self.url))
            .field("response_timeout", &self.response_timeout)
            .finish()
    }
}

/// What flags say; each one beats every other source.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--admin`.
    pub admin: Option<SocketAddr>,
    /// `--redis`.
    pub redis: Option<String>,
    /// `--keys`.
    pub keys: Option<PathBuf>,
    /// `--tls`.
    pub tls: Option<PathBuf>,
    /// `--shards`.
    pub shards: Option<u16>,
    /// `--echo`.
    pub echo: bool,
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A source cannot be read, or holds what no setting is called.
    #[error("configuration: {0}")]
    Source(String),
    /// The named file is not there.
    #[error("configuration: there is no file {}", .0.display())]
    NoFile(PathBuf),
    /// A value is outside its range.
    #[error("configuration: {key} = {value}: {rule}")]
    Value {
        /// Section and key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        rule: String,
    },
    /// More than one of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

impl ConfigError {
    fn of(errors: Vec<Self>) -> Self {
        match <[Self; 1]>::try_from(errors) {
            Ok([error]) => error,
            Err(errors) => Self::Several(errors),
        }
    }

    /// One line for each thing that is wrong.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Several(errors) => errors.iter().flat_map(Self::lines).collect(),
            error => vec![error.to_string()],
        }
    }
}

impl From<figment::Error> for ConfigError {
    fn from(errors: figment::Error) -> Self {
        Self::of(
            errors
                .into_iter()
                .map(|error| Self::Source(one_line(&error)))
                .collect(),
        )
    }
}

/// What a source has wrong, without the drawing of the place that a TOML parser makes.
fn one_line(error: &figment::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim);
    let said = lines.filter(|line| !line.is_empty() && !line.contains('|'));
    said.collect::<Vec<_>>().join(": ").replace("\"default.", "\"")
}

impl Config {
    /// Reads all sources and checks the result.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULT));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
        for (key, value) in overrides.entries() {
            figment = figment.merge(Serialized::default(key, value));
        }
        let raw: Raw = figment.extract()?;
        Self::try_from(raw)
    }

    /// What is in force, as TOML without secrets.
    pub fn to_toml(&self) -> String {
        let mut shown = self.raw.clone();
        shown.redis.url = redacted_url(&shown.redis.url);
        let sections = serde_json::to_value(&shown).expect("plain structs of numbers, booleans and texts");
        let mut out = String::new();
        for (section, keys) in sections.as_object().into_iter().flatten() {
            let _ = writeln!(out, "[{section}]");
            for (key, value) in keys.as_object().into_iter().flatten() {
                // JSON numbers, booleans and texts are TOML as they stand.
                let _ = writeln!(out, "{key} = {value}");
            }
            out.push('\n');
        }
        out
    }
}

impl Overrides {
    fn entries(&self) -> Vec<(&'static str, figment::value::Value)> {
        let mut entries: Vec<(&'static str, figment::value::Value)> = Vec::new();
        if let Some(listen) = self.listen {
            entries.push(("server.listen", listen.to_string().into()));
        }
        if let Some(admin) = self.admin {
            entries.push(("server.admin", admin.to_string().into()));
        }
        if let Some(redis) = &self.redis {
            entries.push(("redis.url", redis.clone().into()));
        }
        if let Some(keys) = &self.keys {
            entries.push(("auth.keys_dir", keys.to_string_lossy().into_owned().into()));
        }
        if let Some(tls) = &self.tls {
            entries.push(("tls.dir", tls.to_string_lossy().into_owned().into()));
        }
        if let Some(shards) = self.shards {
            entries.push(("server.shards", shards.into()));
        }
        if self.echo {
            entries.push(("server.echo", true.into()));
        }
        entries
    }
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let message_bytes_max = if raw.server.echo {
            ECHO_MESSAGE_BYTES_MAX
        } else {
            MESSAGE_BYTES_MAX
        };
        // Each section says what is wrong with it, so that one check finds more than one fault.
        let sections = (
            server(&raw.server),
            ring(&raw.ring),
            redis(&raw.redis),
            auth(&raw.auth),
            uplink(&raw.uplink),
            deflate(&raw.deflate),
            client_limits(&raw.limits, message_bytes_max),
        );
        match sections {
            (Ok(server), Ok(ring), Ok(redis), Ok(auth), Ok(uplink), Ok(deflate), Ok(limits)) => Ok(Self {
                server,
                ring,
                redis,
                auth,
                uplink,
                tls_dir: (!raw.tls.dir.is_empty()).then(|| PathBuf::from(&raw.tls.dir)),
                deflate,
                limits,
                raw,
            }),
            (server, ring, redis, auth, uplink, deflate, limits) => {
                let errors = [
                    server.err(),
                    ring.err(),
                    redis.err(),
                    auth.err(),
                    uplink.err(),
                    deflate.err(),
                    limits.err(),
                ];
                Err(ConfigError::of(errors.into_iter().flatten().collect()))
            }
        }
    }
}

fn server(raw: &raw::Server) -> Result<Server, ConfigError> {
    let shards = match raw.shards {
        0 => cores(),
        shards => within("server.shards", shards, 1, SHARDS_MAX)?,
    };
    Ok(Server {
        listen: socket_address("server.listen", &raw.listen)?,
        admin: socket_address("server.admin", &raw.admin)?,
        shards,
        pin: raw.pin,
        echo: raw.echo,
        origins: Origins::parse(&raw.origins).map_err(|wrong| {
            refused(
                "server.origins",
                wrong,
                "\"scheme://host[:port]\" without a path, or \"*\"",
            )
        })?,
        web: (!raw.web.is_empty()).then(|| PathBuf::from(&raw.web)),
        drain: ms("server.drain_ms", raw.drain_ms, 0)?,
    })
}

fn auth(raw: &raw::Auth) -> Result<Auth, ConfigError> {
    Ok(Auth {
        keys_dir: PathBuf::from(&raw.keys_dir),
        leeway_s: within("auth.leeway_s", raw.leeway_s, 0, 60)?,
    })
}

fn ring(raw: &raw::Ring) -> Result<hub_ring::Config, ConfigError> {
    let submissions = within("ring.submissions", raw.submissions, 8, QUEUE_MAX)?;
    if !submissions.is_power_of_two() {
        return Err(refused("ring.submissions", submissions, "a power of two"));
    }
    let completions = within(
        "ring.completions",
        raw.completions,
        2 * submissions,
        2 * QUEUE_MAX,
    )?;
    if !completions.is_power_of_two() {
        return Err(refused("ring.completions", completions, "a power of two"));
    }
    let engine = Engine::ALL
        .into_iter()
        .find(|engine| engine.name() == raw.engine)
        .ok_or_else(|| refused("ring.engine", &raw.engine, "auto, io_uring or epoll"))?;
    Ok(hub_ring::Config {
        engine,
        connections_max: within("ring.connections_max", raw.connections_max, 16, CONNECTIONS_MAX)?,
        submissions,
        completions,
        slices: within("ring.slices", raw.slices, 1, 4096)?,
        slice_bytes: within("ring.slice_bytes", raw.slice_bytes, 256, 1 << 20)?,
        ..hub_ring::Config::default()
    })
}

fn redis(raw: &raw::Redis) -> Result<Redis, ConfigError> {
    if let Err(error) = ::redis::Client::open(raw.url.as_str()) {
        // The library's text may repeat the URL, password included.
        let rule = format!("redis://[[user]:password@]host[:port]/[db] ({:?})", error.kind());
        return Err(refused("redis.url", redacted_url(&raw.url), rule));
    }
    Ok(Redis {
        url: raw.url.clone(),
        response_timeout: ms("redis.response_timeout_ms", raw.response_timeout_ms, 10)?,
    })
}

fn uplink(raw: &raw::Uplink) -> Result<Uplink, ConfigError> {
    let bytes_max = u32::try_from(limits::UPLINK_BYTES_MAX).expect("a constant below 4 GiB");
    let batch_bytes = within(
        "uplink.batch_bytes_max",
        raw.batch_bytes_max,
        MESSAGE_BYTES_MAX + 1024,
        bytes_max,
    )?;
    let pending = within(
        "uplink.pending_bytes_max",
        raw.pending_bytes_max,
        batch_bytes,
        1 << 30,
    )?;
    Ok(Uplink {
        batch_envelopes_max: within(
            "uplink.batch_envelopes_max",
            raw.batch_envelopes_max,
            1,
            limits::UPLINK_ENVELOPES_MAX,
        )?,
        batch_bytes_max: size(batch_bytes),
        linger: Duration::from_micros(within("uplink.linger_us", raw.linger_us, 0, 1_000_000)?),
        stream_entries_max: within("uplink.stream_entries_max", raw.stream_entries_max, 1, 1_000_000)?,
        pending_bytes_max: size(pending),
    })
}

fn deflate(raw: &raw::Deflate) -> Result<DeflateSettings, ConfigError> {
    Ok(DeflateSettings {
        enabled: raw.enabled,
        level: within("deflate.level", raw.level, 2, 9)?,
        bytes_min: size(raw.bytes_min),
    })
}

fn client_limits(raw: &raw::Limits, message_bytes_max: u32) -> Result<Limits, ConfigError> {
    let message = within(
        "limits.message_bytes_max",
        raw.message_bytes_max,
        128,
        message_bytes_max,
    )?;
    // A result always fits into an empty queue.
    let result = u32::try_from(2 * limits::RESULT_BYTES_MAX).expect("a constant below 4 GiB");
    let outbound = within(
        "limits.outbound_bytes_max",
        raw.outbound_bytes_max,
        result,
        1 << 30,
    )?;
    let shard = within(
        "limits.outbound_shard_bytes_max",
        raw.outbound_shard_bytes_max,
        outbound,
        u32::MAX,
    )?;
    let ping = ms("limits.ping_ms", raw.ping_ms, 10)?;
    let idle = ms("limits.idle_ms", raw.idle_ms, 20)?;
    if idle <= ping {
        return Err(refused(
            "limits.idle_ms",
            raw.idle_ms,
            "above limits.ping_ms, or every quiet client is closed",
        ));
    }
    Ok(Limits {
        message_bytes_max: size(message),
        outbound_bytes_max: size(outbound),
        outbound_shard_bytes_max: size(shard),
        handshake: ms("limits.handshake_ms", raw.handshake_ms, 10)?,
        header: ms("limits.header_ms", raw.header_ms, 10)?,
        keep_alive: ms("limits.keep_alive_ms", raw.keep_alive_ms, 0)?,
        session_open: ms("limits.session_open_ms", raw.session_open_ms, 10)?,
        ping,
        idle,
        message: ms("limits.message_ms", raw.message_ms, 0)?,
        messages: rate(
            ["limits.messages_per_second", "limits.messages_burst"],
            [raw.messages_per_second, raw.messages_burst],
            (1, RATE_MAX),
        )?,
        // A message always fits into a full bucket.
        bytes: rate(
            ["limits.bytes_per_second", "limits.bytes_burst"],
            [raw.bytes_per_second, raw.bytes_burst],
            (message.min(MESSAGE_BYTES_MAX), 1 << 30),
        )?,
        handshakes: rate(
            ["limits.handshakes_per_second", "limits.handshakes_burst"],
            [raw.handshakes_per_second, raw.handshakes_burst],
            (1, RATE_MAX),
        )?,
        calls: rate(
            ["limits.calls_per_second", "limits.calls_burst"],
            [raw.calls_per_second, raw.calls_burst],
            (1, RATE_MAX),
        )?,
        connections_per_address: raw.connections_per_address,
        connections_max: raw.connections_max,
        memory_bytes_max: raw.memory_bytes_max,
        call_wait: ms("limits.call_wait_ms", raw.call_wait_ms, 10)?,
    })
}

/// A rate with its burst, which lies in a range unless the rate is off.
fn rate(
    keys: [&'static str; 2],
    [per_second, burst]: [u32; 2],
    (burst_min, max): (u32, u32),
) -> Result<Rate, ConfigError> {
    let per_second = within(keys[0], per_second, 0, max)?;
    let burst_min = if per_second == 0 { 0 } else { burst_min };
    let burst = within(keys[1], burst, burst_min, max)?;
    Ok(Rate { per_second, burst })
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
fn refused(key: &'static str, value: impl ToString, rule: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key,
        value: value.to_string(),
        rule: rule.into(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "numbers alone")]
fn within<T: PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    if value < min || value > max {
        return Err(refused(key, value, format!("from {min} to {max}")));
    }
    Ok(value)
}

fn ms(key: &'static str, value: u64, min: u64) -> Result<Duration, ConfigError> {
    within(key, value, min, MS_MAX).map(Duration::from_millis)
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).expect("an address space has at least 32 bits")
}

fn socket_address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().or(Err(refused(
        key,
        text,
        "an address with its port, like 127.0.0.1:8080",
    )))
}

fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX)
}

/// The URL with its password replaced.
fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "[redacted]".to_owned();
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest
        .get(..authority_end)
        .and_then(|authority| authority.rfind('@'))
    {
        None => url.to_owned(),
        Some(at) => format!("{scheme}://[redacted]{}", rest.get(at..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
