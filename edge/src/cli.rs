//! The command line of `hub-edge`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Overrides;

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
    #[arg(long, global = true, value_name = "IP:PORT")]
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
