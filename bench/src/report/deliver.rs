//! CPU time per delivery of one event, or a burst, to many receivers.

use anyhow::Result;
use clap::Args;

use crate::deliver::server::ServerOptions;
use crate::deliver::sink::SinkOptions;
use crate::deliver::{Kind, Pair};
use crate::ratios::Rounds;

/// What to compare.
#[derive(Args)]
pub struct Deliver {
    /// Receivers.
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
    /// Rounds of each case.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Bytes of an event.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Events in a burst, one case each.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    bursts: Vec<usize>,
    /// Servers; the others are compared with the first.
    #[arg(long, value_delimiter = ',', default_value = "floor,io_uring,epoll")]
    servers: Vec<Kind>,
}

/// The servers in turns.
pub fn run(options: &Deliver) -> Result<()> {
    let Deliver {
        receivers,
        rounds,
        bytes,
        ..
    } = *options;
    println!("{receivers} receivers, {bytes} bytes, {rounds} rounds");
    println!(
        "{:<10} {:>6} {:>17} {:>8} {:>20}",
        "server", "burst", "CPU µs/delivery", "ratio", "(lowest, highest)"
    );
    let mut pairs = options
        .servers
        .iter()
        .map(|&kind| open(kind, receivers, bytes))
        .collect::<Result<Vec<_>>>()?;
    for &burst in &options.bursts {
        // One round warms up.
        Rounds::run(pairs.len(), 1, |at| pairs[at].deliver(burst).map(|_| 0.0))?;
        let deliveries = (receivers * burst) as f64;
        let rounds = Rounds::run(pairs.len(), rounds, |at| {
            anyhow::Ok(pairs[at].deliver(burst)? as f64 / deliveries)
        })?;
        for (at, kind) in options.servers.iter().enumerate() {
            let (low, middle, high) = rounds.ratio(at);
            println!(
                "{:<10} {burst:>6} {:>17.3} {middle:>8.3} {:>20}",
                kind.name(),
                rounds.median(at) / 1_000.0,
                format!("({low:.2}, {high:.2})")
            );
        }
    }
    Ok(())
}

fn open(kind: Kind, receivers: usize, bytes: usize) -> Result<Pair> {
    let server = ServerOptions {
        kind,
        receivers,
        bytes,
        narrow: 0,
        outbound_bytes_max: 0,
    };
    let sink = SinkOptions {
        receivers,
        sessions: kind != Kind::Floor,
        frame_bytes: server.frame_bytes(),
        narrow: 0,
        slow_bytes_per_second: 0,
    };
    Pair::open(&[], &server, &sink)
}
