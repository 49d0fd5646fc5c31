//! The command line of `hub-edge`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::Overrides;

/// A day: more is a typing error.
const DURATION_MS_MAX: u64 = 24 * 3600 * 1000;

/// An edge node of Socket-Hub: terminates WebSocket connections, forwards batches through Redis.
///
/// Settings come from the built-in defaults, then `--config FILE`, then `HUB_EDGE__SECTION__KEY`, then flags.
#[derive(Debug, Parser)]
#[command(name = "hub-edge", version)]
pub struct Cli {
    /// What to do; without it, the node runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings.
    #[command(flatten)]
    pub flags: Flags,
}

/// What else `hub-edge` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows or checks the configuration.
    Config {
        /// What about it.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Shows all shards of the node at --admin, live.
    Top {
        /// Time between two looks, like 1s or 500ms.
        #[arg(long, default_value = "1s", value_parser = duration)]
        interval: Duration,
        /// Print one table as plain text and end.
        #[arg(long)]
        once: bool,
    },
    /// Takes one shard of the node at --admin out of service: its sessions move, it stays up empty.
    Drain {
        /// The shard.
        #[arg(long)]
        shard: u16,
        /// The window for its sessions; without it `server.drain_ms` of the node.
        #[arg(long, value_parser = duration)]
        within: Option<Duration>,
    },
    /// Takes a drained shard back into service.
    Undrain {
        /// The shard.
        #[arg(long)]
        shard: u16,
    },
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigAction {
    /// Prints what is in force, without secrets.
    Print,
    /// Says whether it is valid.
    Check,
}

/// Flags; each one beats every other source.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// A TOML file with settings.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients connect.
    #[arg(long, global = true, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where operators look: /healthz /readyz /metrics.
    #[arg(long, global = true, value_name = "IP:PORT", value_parser = admin_address)]
    pub admin: Option<SocketAddr>,
    /// The backbone.
    #[arg(long, global = true, value_name = "URL")]
    pub redis: Option<String>,
    /// The keys folder that `hub-services config keys DIR` made.
    #[arg(long, global = true, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The folder of certificates, NAME.crt and NAME.key: serve TLS.
    #[arg(long, global = true, value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// Shards, one thread each.
    #[arg(long, global = true, value_name = "N")]
    pub shards: Option<u16>,
    /// Also serve /echo.
    #[arg(long, global = true)]
    pub echo: bool,
}

impl Flags {
    /// As the configuration takes them.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen,
            admin: self.admin,
            redis: self.redis.clone(),
            keys: self.keys.clone(),
            tls: self.tls.clone(),
            shards: self.shards,
            echo: self.echo,
        }
    }
}

/// An address, also in the form of a URL.
fn admin_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    address
        .parse()
        .or(Err("an address with its port, like 127.0.0.1:9080".to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => (text, 1000),
    };
    let number: u64 = number.parse().or(Err("a time like 1s or 500ms".to_owned()))?;
    match number.checked_mul(unit_ms) {
        Some(ms @ 1..=DURATION_MS_MAX) => Ok(Duration::from_millis(ms)),
        _ => Err("more than nothing and at most a day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn times_and_addresses_are_read_in_their_forms() {
        for (text, ms) in [("1s", 1000), ("250ms", 250), ("3", 3000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0s", "-1s", "1m", "999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in [
            "127.0.0.1:9080",
            "http://127.0.0.1:9080",
            "http://127.0.0.1:9080/",
        ] {
            assert_eq!(
                admin_address(text).map(|address| address.port()),
                Ok(9080),
                "{text}"
            );
        }
        assert!(admin_address("localhost").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
