//! Clients on a data ring: one thread, one loop, rows instead of tasks, as an edge carries its connections.
//!
//! monoio sleeps for the loop: a task of its own waits for the ring's descriptor, and a timer bounds the wait. What
//! is waiting is never dropped half-way; only the timer and a notice inside of the process are.

mod body;
mod control;
mod line;
mod link;
mod turn;

use std::cell::Cell;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Notify;

use crate::oracle::Recorder;
use crate::renew::Renewer;
use crate::stats::Stats;
use crate::target::Target;
use crate::world::World;
use turn::Engine;

pub use control::{Command, Desk, Desks, Snapshot};

/// What an engine thread needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which thread, of how many.
    pub thread: u32,
    /// All of them.
    pub desks: Desks,
    /// Users and rooms.
    pub world: Arc<World>,
    /// Edges; clients are spread over them.
    pub targets: Arc<[Target]>,
    /// Clients per source address on loopback; 0 leaves it to the system.
    pub clients_per_address: u32,
    /// Connections per second of this thread at the start.
    pub connects_per_second: u32,
    /// Seeds jitter and ops.
    pub seed: u64,
    /// Renews tokens.
    pub renewer: Renewer,
}

/// What is left when a thread has ended.
#[derive(Debug)]
pub struct Finished {
    /// For the oracle.
    pub recorder: Recorder,
    /// For the report.
    pub stats: Stats,
}

/// The longest sleep: timers ring at least this often.
const TICK: Duration = Duration::from_millis(5);

/// Runs one thread's clients until its desk says stop. Blocks.
pub fn run(settings: &Settings) -> Result<Finished> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .enable_timer()
        .build()
        .context("cannot start monoio: is io_uring allowed here?")?;
    runtime.block_on(drive(settings))
}

async fn drive(settings: &Settings) -> Result<Finished> {
    let mut engine = Engine::new(settings)?;
    let event = TcpStream::from(engine.event_fd()?);
    let event = monoio::net::TcpStream::from_std(event).context("cannot watch the ring")?;
    let wait = Rc::new(Wait::default());
    let watch = monoio::spawn(watch(event, Rc::clone(&wait)));
    loop {
        while engine.turn()? {}
        if engine.is_finished() {
            break;
        }
        wait.resume.notify_one();
        monoio::select! {
            () = wait.signal.notified() => {}
            () = monoio::time::sleep(TICK) => {}
        }
    }
    // A last signal ends the wait that is still pending, and its task with it.
    wait.is_over.set(true);
    wait.resume.notify_one();
    engine.wake();
    watch.await;
    Ok(engine.finish())
}

/// What the loop and the task that waits for it tell each other.
#[derive(Debug, Default)]
struct Wait {
    /// The descriptor is readable.
    signal: Notify,
    /// The loop has cleared the descriptor and is about to sleep.
    resume: Notify,
    is_over: Cell<bool>,
}

/// Waits for the ring's descriptor, tells the loop, and waits again when the loop has cleared it.
async fn watch(event: monoio::net::TcpStream, wait: Rc<Wait>) {
    while !wait.is_over.get() {
        if event.readable(false).await.is_err() {
            return;
        }
        wait.signal.notify_one();
        wait.resume.notified().await;
    }
}
