//! User-space instructions per message and per delivery, counted by callgrind: what a server takes for twice as many,
//! less what it takes for once as many, so that its start and its end cancel out.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::deliver::server::ServerOptions;
use crate::deliver::sink::SinkOptions;
use crate::deliver::{Kind, Pair};
use crate::edge::{Edges, Server};
use crate::floor::Order;
use crate::load::{Load, Shape};

/// What to count.
#[derive(Args)]
pub struct Instructions {
    #[command(flatten)]
    edges: Edges,
    /// Messages of the shorter run, and deliveries.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Connections that send messages.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Receivers of deliveries.
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
}

/// Floor and edges, one after the other: counts do not depend on the machine's other work.
pub fn run(options: &Instructions) -> Result<()> {
    println!(
        "{:<10} {:<12} {:>10} {:>14}",
        "what", "server", "at once", "instructions"
    );
    let kinds = [Kind::Floor, Kind::IoUring, Kind::Epoll];
    let kinds = kinds.into_iter().filter(|kind| {
        let name = kind.name();
        *kind == Kind::Floor || options.edges.engines.iter().any(|engine| engine == name)
    });
    let folder = std::env::temp_dir().join(format!("hub-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = table(options, kinds, &folder.join("callgrind.out"));
    std::fs::remove_dir_all(&folder)?;
    result
}

fn table(options: &Instructions, kinds: impl Iterator<Item = Kind>, out: &Path) -> Result<()> {
    for kind in kinds {
        for at_once in [1, 16] {
            let per_message = slope(options.messages, |messages| {
                echo(options, kind, at_once, messages, out)
            })?;
            print("message", kind, at_once, per_message);
        }
        for at_once in [1, 16] {
            let per_delivery = slope(options.messages, |messages| {
                deliver(options, kind, at_once, messages, out)
            })?;
            print("delivery", kind, at_once, per_delivery);
        }
    }
    Ok(())
}

fn print(what: &str, kind: Kind, at_once: usize, instructions: f64) {
    println!(
        "{what:<10} {:<12} {at_once:>10} {instructions:>14.0}",
        kind.name()
    );
}

/// Instructions of each more, from a count of instructions and what they were for.
fn slope(count: u64, mut run: impl FnMut(u64) -> Result<(u64, u64)>) -> Result<f64> {
    let (few, few_done) = run(count)?;
    let (many, many_done) = run(count * 2)?;
    ensure!(
        many > few && many_done > few_done,
        "more work takes more instructions"
    );
    Ok((many - few) as f64 / (many_done - few_done) as f64)
}

/// The command that counts, to be put before a program.
fn counting(out: &Path) -> Vec<String> {
    vec![
        "valgrind".to_owned(),
        "--quiet".to_owned(),
        "--tool=callgrind".to_owned(),
        // Or the thread that plays the backbone would keep the shard from running.
        "--fair-sched=yes".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ]
}

/// All instructions that callgrind has counted.
fn total(out: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(out).context("callgrind wrote nothing")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    Ok(line.context("callgrind has no totals")?.trim().parse()?)
}

/// Instructions, and the messages that they were for.
fn echo(
    options: &Instructions,
    kind: Kind,
    in_flight: usize,
    messages: u64,
    out: &Path,
) -> Result<(u64, u64)> {
    let wrapper = counting(out);
    let mut server = match kind {
        Kind::Floor => Server::floor(Order::AtOnce, &wrapper)?,
        Kind::IoUring | Kind::Epoll => Server::edge(&options.edges, kind.name(), None, &wrapper)?,
    };
    let shape = Shape {
        connections: options.connections,
        in_flight,
        bytes: options.bytes,
    };
    let mut load = Load::open(server.address, server.speech, shape)?;
    let done = load.run_messages(messages)?;
    drop(load);
    server.end()?;
    Ok((total(out)?, done))
}

/// Instructions, and the deliveries that they were for.
fn deliver(
    options: &Instructions,
    kind: Kind,
    burst: usize,
    deliveries: u64,
    out: &Path,
) -> Result<(u64, u64)> {
    let receivers = options.receivers;
    let server = ServerOptions {
        kind,
        receivers,
        bytes: options.bytes,
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
    let mut pair = Pair::open(&counting(out), &server, &sink)?;
    let each = u64::try_from(receivers * burst)?;
    let bursts = (deliveries / each).max(1);
    for _ in 0..bursts {
        pair.deliver(burst)?;
    }
    pair.server.finish()?;
    Ok((total(out)?, bursts * each))
}
