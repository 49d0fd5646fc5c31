//! CPU time per echoed message, and how often the server went to sleep for it.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cpu;
use crate::edge::{Edges, Server};
use crate::floor::Order;
use crate::load::{Load, Shape};
use crate::ratios::{Rounds, spread};

/// What to compare.
#[derive(Args)]
pub struct Echo {
    #[command(flatten)]
    edges: Edges,
    /// Rounds of each case.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

/// Floors and edges in turns.
pub fn run(options: &Echo) -> Result<()> {
    cpu::pin(1);
    let mut servers = vec![
        Server::floor(Order::AtOnce, &[])?,
        Server::floor(Order::InTurns, &[])?,
    ];
    for engine in &options.edges.engines {
        servers.push(Server::edge(&options.edges, engine, None, &[])?);
    }
    let length = Duration::from_secs_f64(options.seconds);
    println!(
        "{} connections, {} bytes, {} rounds of {:?}",
        options.connections, options.bytes, options.rounds, length
    );
    println!(
        "{:<12} {:>9} {:>15} {:>8} {:>18} {:>18}",
        "server", "in flight", "CPU µs/message", "ratio", "(lowest, highest)", "messages per sleep"
    );
    for in_flight in [1, 16] {
        let shape = Shape {
            connections: options.connections,
            in_flight,
            bytes: options.bytes,
        };
        let mut loads = servers
            .iter()
            .map(|server| Load::open(server.address, server.speech, shape))
            .collect::<Result<Vec<_>>>()?;
        let mut awake = vec![Vec::new(); servers.len()];
        let rounds = Rounds::run(servers.len(), options.rounds, |at| {
            let pid = servers[at].id();
            let (spent, slept) = (cpu::of_process(pid)?, cpu::sleeps(pid)?);
            let messages = loads[at].run(length)? as f64;
            awake[at].push(messages / (cpu::sleeps(pid)? - slept).max(1) as f64);
            anyhow::Ok((cpu::of_process(pid)? - spent) as f64 / messages)
        })?;
        for (at, server) in servers.iter().enumerate() {
            let (low, middle, high) = rounds.ratio(at);
            println!(
                "{:<12} {in_flight:>9} {:>15.3} {middle:>8.3} {:>18} {:>18.0}",
                server.name,
                rounds.median(at) / 1_000.0,
                format!("({low:.2}, {high:.2})"),
                spread(&awake[at]).1,
            );
        }
    }
    Ok(())
}
