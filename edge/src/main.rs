//! `hub-edge`: the edge node. See the crate's library for how it is built.

use std::io::IsTerminal;

use anyhow::Result;
use clap::Parser;
use hub_edge::cli::{Cli, Command, ConfigAction};
use hub_edge::config::Config;
use hub_edge::{node, operator, top};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    start_logs();
    match run(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "hub-edge ends");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let config = Config::load(cli.flags.config.as_deref(), &cli.flags.overrides())?;
    let admin = config.server.admin;
    match cli.command {
        None => node::run(config),
        Some(Command::Top { interval, once: true }) => {
            print(&top::once(admin, interval)?);
            Ok(())
        }
        Some(Command::Top {
            interval,
            once: false,
        }) => Ok(top::watch(admin, interval)?),
        Some(Command::Drain { shard, within }) => {
            print(&operator::drain(admin, shard, within, false)?);
            Ok(())
        }
        Some(Command::Undrain { shard }) => {
            print(&operator::drain(admin, shard, None, true)?);
            Ok(())
        }
        Some(Command::Config { action }) => {
            print(&match action {
                ConfigAction::Print => config.to_toml(),
                ConfigAction::Check => "the configuration is valid\n".to_owned(),
            });
            Ok(())
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to a command")]
fn print(text: &str) {
    print!("{text}");
}

fn start_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.init();
    } else {
        logs.json().init();
    }
}
