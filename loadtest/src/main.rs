//! `hub-load`: the load harness and its oracle.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use hub_load::cli::{Cli, Command};
use hub_load::oracle::self_test;
use hub_load::scenario::BUILT_IN;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::print_stderr,
    reason = "the one place that tells why a run could not be done"
)]
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own code for a wrong flag is 2, which means a broken promise here.
            let is_wrong = error.use_stderr();
            // If the terminal is gone there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::from(is_wrong));
        }
    };
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("hub-load: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn dispatch(command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => hub_load::run::run(&args),
        Command::Oracle(_) => Ok(oracle()),
        Command::Scenarios { name } => scenarios(name.as_deref()),
    }
}

/// Prints what was seeded and what was found; 0 if nothing was missed.
#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn oracle() -> u8 {
    let mut missed = 0;
    for trial in self_test() {
        let seeded = trial
            .seeded
            .map_or("(clean history)", hub_load::oracle::Kind::name);
        let found: Vec<String> = trial
            .findings
            .iter()
            .map(|(kind, count, _)| format!("{} {count}", kind.name()))
            .collect();
        let found = if found.is_empty() {
            "nothing".to_owned()
        } else {
            found.join(", ")
        };
        let verdict = if trial.is_passed() { "ok  " } else { "MISS" };
        println!("{verdict} seeded {seeded:<16} found {found}");
        missed += u32::from(!trial.is_passed());
    }
    println!("{missed} missed");
    u8::from(missed > 0)
}

#[expect(clippy::print_stdout, reason = "the list is the program's result")]
fn scenarios(name: Option<&str>) -> Result<u8> {
    let Some(name) = name else {
        for (name, text) in BUILT_IN {
            println!(
                "{name:<12} {}",
                text.lines().next().unwrap_or("").trim_start_matches("# ")
            );
        }
        return Ok(0);
    };
    let (_, text) = BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .context("no such scenario is built in")?;
    print!("{text}");
    Ok(0)
}
