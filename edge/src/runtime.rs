//! Beneath step 1: the runtime of a shard's thread, on the same part of the kernel as its data ring.

use std::io;

use hub_ring::Engine;
use monoio::time::TimeDriver;
use monoio::{Buildable, Driver, IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Entries of monoio's own ring, or events of one look at its epoll set: accepts, reads and timers of handshakes
/// and calls.
const ENTRIES: u32 = 1024;

/// Runs `work` and the tasks that it spawns on the calling thread, until `work` ends.
///
/// # Errors
/// If the kernel refuses what the runtime needs; `work` has not started then.
pub fn block_on<T>(engine: Engine, work: impl Future<Output = T>) -> io::Result<T> {
    match engine {
        Engine::IoUring => drive(RuntimeBuilder::<IoUringDriver>::new().enable_timer(), work),
        // Without a choice the one that works everywhere.
        Engine::Epoll | Engine::Auto => drive(RuntimeBuilder::<LegacyDriver>::new().enable_timer(), work),
    }
}

fn drive<D, T>(builder: RuntimeBuilder<TimeDriver<D>>, work: impl Future<Output = T>) -> io::Result<T>
where
    D: Driver + Buildable,
{
    let mut runtime = TimeDriver::build(builder.with_entries(ENTRIES))?;
    Ok(runtime.block_on(work))
}
