//! `hub-edge`: the edge node. See the crate's library for how it is built.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use hub_edge::cli::{Cli, Command, ConfigAction};
use hub_edge::config::{Config, ConfigError};
use hub_edge::{log, node, operator, top};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        None => run_node(&cli),
        Some(command) => match run_command(&cli, command) {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                print_error(&error);
                ExitCode::FAILURE
            }
        },
    }
}

/// The node says everything in its log.
fn run_node(cli: &Cli) -> ExitCode {
    log::start();
    match load(cli).and_then(node::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in lines(&error) {
                tracing::error!(error = line, "the node ends");
            }
            ExitCode::FAILURE
        }
    }
}

/// A command answers in plain text.
fn run_command(cli: &Cli, command: &Command) -> Result<String> {
    let config = load(cli)?;
    let admin = config.server.admin;
    match command {
        Command::Config { action } => Ok(match action {
            ConfigAction::Print => config.to_toml(),
            ConfigAction::Check => "the configuration is valid\n".to_owned(),
        }),
        Command::Top { interval, once: true } => Ok(top::once(admin, *interval)?),
        Command::Top {
            interval,
            once: false,
        } => {
            top::watch(admin, *interval)?;
            Ok(String::new())
        }
        Command::Drain { shard, within } => Ok(operator::drain(admin, *shard, *within)?),
        Command::Undrain { shard } => Ok(operator::undrain(admin, *shard)?),
    }
}

fn load(cli: &Cli) -> Result<Config> {
    Ok(Config::load(cli.flags.config.as_deref(), &cli.flags.overrides())?)
}

/// What is wrong, one line for each fault.
fn lines(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<ConfigError>() {
        Some(error) => error.lines(),
        None => vec![format!("{error:#}")],
    }
}

#[expect(clippy::print_stderr, reason = "why a command has no answer")]
fn print_error(error: &anyhow::Error) {
    for line in lines(error) {
        eprintln!("{line}");
    }
}

#[expect(clippy::print_stdout, reason = "the answer to a command")]
fn print(text: &str) {
    print!("{text}");
}
