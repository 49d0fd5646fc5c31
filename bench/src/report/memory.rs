//! What the process and the kernel hold more of, per connection, between two numbers of idle connections.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cpu;
use crate::edge::{Edges, Server};
use crate::load::Idle;

/// Connections that a shard is made for by default.
const CAPACITY: f64 = 16_384.0;

/// What to look at.
#[derive(Args)]
pub struct Memory {
    #[command(flatten)]
    edges: Edges,
    /// A folder with dev.crt and dev.key for localhost: measure TLS, too.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Connections at the first and at the second look.
    #[arg(long, num_args = 2, default_values_t = [1_000, 15_000])]
    connections: Vec<usize>,
}

/// Each engine, plain and under TLS.
pub fn run(options: &Memory) -> Result<()> {
    let (few, many) = (options.connections[0], options.connections[1]);
    let between = f64::from(u32::try_from(many - few)?);
    println!("{few} and {many} idle connections; bytes per connection");
    println!(
        "{:<10} {:<6} {:>10} {:>24} {:>22}",
        "engine", "TLS", "RSS slope", "RSS with few / capacity", "slab, tables, stacks"
    );
    for tls in [None, options.tls.as_deref()]
        .into_iter()
        .take(1 + usize::from(options.tls.is_some()))
    {
        for engine in &options.edges.engines {
            let server = Server::edge(&options.edges, engine, tls, &[])?;
            let mut idle = Idle::new(server.address, "/echo", tls)?;
            let mut looks = Vec::new();
            // The first connections of a process make its allocator take more than it keeps.
            idle.grow(few)?;
            idle.drop_all();
            for connections in [few, many] {
                std::thread::sleep(Duration::from_secs(2));
                idle.grow(connections)?;
                std::thread::sleep(Duration::from_secs(3));
                looks.push((cpu::resident(server.id())?, cpu::kernel()?));
            }
            let slope = |from: u64, to: u64| (to as f64 - from as f64) / between;
            println!(
                "{engine:<10} {:<6} {:>10.0} {:>24.0} {:>22.0}",
                if tls.is_some() { "yes" } else { "no" },
                slope(looks[0].0, looks[1].0),
                looks[0].0 as f64 / CAPACITY,
                slope(looks[0].1, looks[1].1),
            );
        }
    }
    Ok(())
}
