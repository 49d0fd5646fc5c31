//! What one sees while a run goes on: a line per second for people, a small file for scripts.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::{Desks, Snapshot};
use crate::stats::Latency;

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// Clients connect.
    Connect,
    /// Load, not measured.
    Warmup,
    /// Load, measured.
    Load,
    /// The last answers.
    Settle,
    /// Nothing is sent.
    Quiet,
    /// The verdict.
    Judge,
}

impl Stage {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Connect, "connect"),
        (Self::Warmup, "warmup"),
        (Self::Load, "load"),
        (Self::Settle, "settle"),
        (Self::Quiet, "quiet"),
        (Self::Judge, "judge"),
    ];
}

/// The thread that shows it.
#[derive(Debug)]
pub struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    desks: Desks,
    stage: AtomicU8,
    is_over: AtomicBool,
    status_file: Option<PathBuf>,
}

impl Live {
    /// Starts to show.
    pub fn start(desks: Desks, status_file: Option<PathBuf>) -> Self {
        let (stage, is_over) = (AtomicU8::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared {
            desks,
            stage,
            is_over,
            status_file,
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.show()
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// The run goes on to another stage.
    pub fn stage(&self, stage: Stage) {
        let index = Stage::ALL.iter().position(|(known, _)| *known == stage);
        self.shared.stage.store(
            index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0),
            Ordering::Relaxed,
        );
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the run's result does not depend on it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn show(&self) {
        let mut before = Snapshot::default();
        for step in 1_u64.. {
            let is_over = self.is_over.load(Ordering::Relaxed);
            let now = self.desks.snapshot();
            let unacked = self.desks.unacked();
            self.write_status(&now, unacked);
            if is_over {
                return;
            }
            if step.is_multiple_of(10) {
                self.print(&before, &now, unacked);
                before = now;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn name(&self) -> &'static str {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))].1
    }

    #[expect(
        clippy::print_stderr,
        reason = "the live line is for the person at the terminal"
    )]
    fn print(&self, before: &Snapshot, now: &Snapshot, unacked: u64) {
        let mut recent = Latency::default();
        for desk in self.desks.iter() {
            recent.merge(&desk.take_ack_recent());
        }
        eprintln!(
            "{:<7} connected {:>6}  offered {:>6}/s  acked {:>6}/s  shown {:>7}/s  ack p99 {:>8.1} ms  unacked {unacked}",
            self.name(),
            now.connected,
            now.counts.offered - before.counts.offered,
            now.counts.acked - before.counts.acked,
            now.counts.delivered_ours - before.counts.delivered_ours,
            recent.quantile_ms(0.99),
        );
    }

    /// Whole or not at all, so that a script never reads half a line. It is a help, no result: errors are passed over.
    fn write_status(&self, now: &Snapshot, unacked: u64) {
        let Some(path) = &self.status_file else { return };
        let Snapshot {
            counts,
            connected,
            ready,
            ..
        } = now;
        let text = format!(
            "phase={} offered={} acked={} unacked={unacked} connected={connected} ready={ready} reconnects={}\n",
            self.name(),
            counts.offered,
            counts.acked,
            counts.reconnects,
        );
        let next = path.with_extension("next");
        if fs::write(&next, text).is_ok() {
            let _ = fs::rename(next, path);
        }
    }
}
