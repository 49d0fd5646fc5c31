//! `hub-compare`: the edge beside the floor, in turns, in one run.
//!
//! ```text
//! hub-compare echo --edge target/release/hub-edge --keys DIR [--rounds 15] [--seconds 1]
//! hub-compare deliver [--receivers 1000] [--rounds 15]
//! hub-compare slow [--engine io_uring]
//! hub-compare flood --edge target/release/hub-edge --keys DIR
//! hub-compare instructions --edge target/release/hub-edge --keys DIR
//! hub-compare memory --edge target/release/hub-edge --keys DIR [--tls DIR]
//! hub-compare floor --listen 127.0.0.1:9000
//! ```
//!
//! Servers run on the first core, the load on the second. Each round runs every server once; what is compared is the
//! server's CPU time per message, as a ratio to the floor's of the same round; the medians of the ratios are printed.

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hub_bench::deliver::server::{self, ServerOptions};
use hub_bench::deliver::sink::{self, SinkOptions};
use hub_bench::floor::{self, Order};
use hub_bench::report::{deliver, echo, flood, instructions, memory, slow};

/// The allocator of `hub-edge`, since a shard runs in this program, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Compares the edge with the least that any server pays")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU time per echoed message.
    Echo(echo::Echo),
    /// CPU time per delivery of one event to many receivers.
    Deliver(deliver::Deliver),
    /// Latencies of fast receivers beside slow ones.
    Slow(slow::Slow),
    /// The longest turn under a flood, and what a quiet client notices of it.
    Flood(flood::Flood),
    /// User-space instructions per message and per delivery (needs valgrind).
    Instructions(instructions::Instructions),
    /// Memory per idle connection.
    Memory(memory::Memory),
    /// The floor by itself.
    Floor {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// When an answer is sent.
        #[arg(long, value_enum, default_value_t = Order::AtOnce)]
        order: Order,
    },
    /// The server of `deliver`, told what to do on its standard input.
    #[command(hide = true)]
    DeliverServer(ServerOptions),
    /// The receivers of `deliver`.
    #[command(hide = true)]
    DeliverSink {
        /// Where the server listens.
        server: SocketAddr,
        #[command(flatten)]
        options: SinkOptions,
    },
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Echo(options) => echo::run(&options),
        What::Deliver(options) => deliver::run(&options),
        What::Slow(options) => slow::run(&options),
        What::Flood(options) => flood::run(&options),
        What::Instructions(options) => instructions::run(&options),
        What::Memory(options) => memory::run(&options),
        What::Floor { listen, order } => floor::echo(listen, order),
        What::DeliverServer(options) => server::run(&options),
        What::DeliverSink { server, options } => sink::run(server, &options),
    }
}
