//! `hub-services`: reads the command line and runs one command.

use std::process::ExitCode;

use clap::Parser as _;
use hub_services::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
