//! What a flood does to the turns of a shard, and to a connection beside it: many connections send far more than a turn
//! receives of each, one sends a message at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;

use crate::cpu;
use crate::edge::{Edges, Server};
use crate::load::{Load, Shape};
use crate::ratios::spread;

/// What to do.
#[derive(Args)]
pub struct Flood {
    #[command(flatten)]
    edges: Edges,
    /// Loud connections.
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// Messages that each of them sends before it waits.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Seconds of the flood; the longest turn is that of the last five to ten.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Each engine under the flood.
pub fn run(options: &Flood) -> Result<()> {
    cpu::pin(1);
    println!(
        "{} loud connections, {} messages of {} bytes each at once, for {} s",
        options.connections, options.in_flight, options.bytes, options.seconds
    );
    println!(
        "{:<10} {:>12} {:>16} {:>16} {:>14} {:>14}",
        "engine", "messages/s", "longest turn ms", "exhausted turns", "quiet p50 ms", "quiet max ms"
    );
    for engine in &options.edges.engines {
        let server = Server::edge(&options.edges, engine, None, &[])?;
        let open = |connections, in_flight| {
            let shape = Shape {
                connections,
                in_flight,
                bytes: options.bytes,
            };
            Load::open(server.address, server.speech, shape)
        };
        let (mut loud, mut quiet) = (open(options.connections, options.in_flight)?, open(1, 1)?);
        let is_over = AtomicBool::new(false);
        let length = Duration::from_secs(options.seconds);
        let (messages, waits) = thread::scope(|scope| {
            let listening = scope.spawn(|| {
                let mut waits = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    quiet.run_messages(1)?;
                    waits.push(start.elapsed().as_secs_f64() * 1_000.0);
                }
                anyhow::Ok(waits)
            });
            let messages = loud.run(length);
            is_over.store(true, Ordering::Relaxed);
            let waits = listening
                .join()
                .map_err(|panic| anyhow!("the quiet client panicked: {panic:?}"))??;
            anyhow::Ok((messages?, waits))
        })?;
        // Counters are published ten times a second.
        thread::sleep(Duration::from_millis(300));
        let (_, middle, high) = spread(&waits);
        println!(
            "{engine:<10} {:>12.0} {:>16.2} {:>16.0} {middle:>14.2} {high:>14.2}",
            messages as f64 / length.as_secs_f64(),
            server.metric("hub_edge_turn_max_seconds")? * 1_000.0,
            server.metric("hub_edge_receive_exhausted_turns_total")?,
        );
    }
    Ok(())
}
