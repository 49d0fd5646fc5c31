//! What slow readers do to the others: latencies of a shard's fast receivers with and without slow ones beside them.
//!
//! The same receivers have the smallest buffers on both sides in every round, so that slowness reaches the queue of the
//! shard and not only the kernel; in the rounds without slow readers they read as fast as the others. They never count.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::deliver::server::ServerOptions;
use crate::deliver::sink::SinkOptions;
use crate::deliver::{Kind, Pair};
use crate::ratios::spread;

/// What to compare.
#[derive(Args)]
pub struct Slow {
    /// Receivers on one shard.
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
    /// Those of them that are slow in every second round.
    #[arg(long = "slow", default_value_t = 10)]
    lagging: usize,
    /// What a slow one reads.
    #[arg(long = "slow-bytes-per-second", default_value_t = 10_000)]
    lagging_bytes_per_second: usize,
    /// Events per second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Bytes of an event.
    #[arg(long, default_value_t = 1_024)]
    bytes: usize,
    /// Bytes that may wait for one receiver.
    #[arg(long, default_value_t = 64 * 1024)]
    outbound_bytes_max: usize,
    /// Rounds with and without slow ones, each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The engine of the shard.
    #[arg(long, default_value = "io_uring")]
    engine: Kind,
}

/// A round's latencies, microseconds, and what waited and was left out at its end.
struct Round {
    latencies: [f64; 3],
    samples: f64,
    waiting: u64,
    shed: u64,
    closed: u64,
}

/// Rounds with and without slow readers in turns.
pub fn run(options: &Slow) -> Result<()> {
    println!(
        "{} receivers, {} of them slow ({} bytes/s) or not, {} events/s of {} bytes, {} s each round, {}",
        options.receivers,
        options.lagging,
        options.lagging_bytes_per_second,
        options.rate,
        options.bytes,
        options.seconds,
        options.engine.name(),
    );
    println!(
        "{:>6} {:>5} {:>9} {:>9} {:>9} {:>9} {:>14} {:>6} {:>7}",
        "round", "slow", "p50 µs", "p99 µs", "p99.9 µs", "events", "bytes waiting", "bumps", "closed"
    );
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..options.rounds * 2 {
        // A B, B A, A B …
        let is_slow = (round + round / 2) % 2 == 1;
        let found = listen(options, is_slow)?;
        let [p50, p99, p999] = found.latencies;
        println!(
            "{:>6} {:>5} {p50:>9.0} {p99:>9.0} {p999:>9.0} {:>9.0} {:>14} {:>6} {:>7}",
            round + 1,
            if is_slow { options.lagging } else { 0 },
            found.samples,
            found.waiting,
            found.shed,
            found.closed,
        );
        all[usize::from(is_slow)].push(found.latencies);
    }
    for (name, rounds) in ["none slow", "with slow"].into_iter().zip(&all) {
        let of = |at: usize| spread(&rounds.iter().map(|latencies| latencies[at]).collect::<Vec<_>>());
        let (low, middle, high) = of(1);
        println!(
            "{name}: median p50 {:.0}, p99 {middle:.0} (rounds from {low:.0} to {high:.0}), p99.9 {:.0} µs",
            of(0).1,
            of(2).1
        );
    }
    Ok(())
}

/// One round with processes of its own.
fn listen(options: &Slow, is_slow: bool) -> Result<Round> {
    let server = ServerOptions {
        kind: options.engine,
        receivers: options.receivers,
        bytes: options.bytes,
        narrow: options.lagging,
        outbound_bytes_max: options.outbound_bytes_max,
    };
    let sink = SinkOptions {
        receivers: options.receivers,
        sessions: options.engine != Kind::Floor,
        frame_bytes: server.frame_bytes(),
        narrow: options.lagging,
        slow_bytes_per_second: if is_slow {
            options.lagging_bytes_per_second
        } else {
            0
        },
    };
    let mut pair = Pair::open(&[], &server, &sink)?;
    let interval = Duration::from_secs(1) / options.rate;
    // What is sent last still arrives while the sink listens.
    let length = Duration::from_secs(options.seconds.into());
    let listen = length + Duration::from_millis(500);
    pair.sink.say(&format!("listen {}", listen.as_millis()))?;
    let start = Instant::now();
    for number in 0..options.rate * options.seconds {
        std::thread::sleep((start + interval * number).saturating_duration_since(Instant::now()));
        pair.server.say("stamped")?;
    }
    let counters = {
        pair.server.say("counters")?;
        numbers(&pair.server.expect("counters")?)?
    };
    let latencies = numbers(&pair.sink.expect("latency")?)?;
    let [p50, p99, p999, samples] = latencies[..] else {
        anyhow::bail!("four numbers are expected");
    };
    let [waiting, shed, closed] = counters[..] else {
        anyhow::bail!("three numbers are expected");
    };
    Ok(Round {
        latencies: [p50 as f64, p99 as f64, p999 as f64],
        samples: samples as f64,
        waiting,
        shed,
        closed,
    })
}

fn numbers(line: &str) -> Result<Vec<u64>> {
    line.split_whitespace()
        .map(|word| word.parse().context("numbers are expected"))
        .collect()
}
