//! Beside step 1: the memory ceiling. One place looks, once a second; gate and shards ask what it saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Large enough to be taken from the kernel's memory by itself, and not from a page that a thread keeps.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// Whether the process has more resident memory than it may.
#[derive(Debug)]
pub struct Memory {
    bytes_max: u64,
    is_over: AtomicBool,
    looks: AtomicU32,
}

impl Memory {
    /// A ceiling in bytes; 0 is none.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            is_over: AtomicBool::new(false),
            looks: AtomicU32::new(0),
        })
    }

    /// True while the last look was above the ceiling.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Changes with every look: who gives memory back waits for the next one to see what it was good for.
    pub fn looks(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Looks until the process ends. Runs on the backbone's thread.
    pub async fn watch(self: Arc<Self>) {
        let resident = metrics::gauge!("hub_edge_resident_bytes");
        let is_over = metrics::gauge!("hub_edge_memory_over");
        loop {
            if let Some(kib) = resident_kib() {
                resident.set(f64::from(kib) * 1024.0);
                self.observe(u64::from(kib) * 1024);
                is_over.set(if self.is_over() { 1.0 } else { 0.0 });
            }
            give_back();
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn observe(&self, bytes: u64) {
        let is_over = self.bytes_max > 0 && bytes > self.bytes_max;
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.is_over.swap(is_over, Ordering::Relaxed) != is_over {
            if is_over {
                tracing::warn!(bytes, max = self.bytes_max, "above limits.memory_bytes_max");
            } else {
                tracing::info!(bytes, max = self.bytes_max, "below limits.memory_bytes_max again");
            }
        }
    }
}

/// Makes the allocator look for memory that was freed a while ago and give it back to the kernel. mimalloc looks when a
/// large block is freed, of whatever thread; shards in steady state free none, so that what an attack made them take
/// would stay with the process, and count for its ceiling, until the next one.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Resident memory of this process in KiB. proc(5): `status` has it in kB, `statm` in pages of a size that it does
/// not tell.
fn resident_kib() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_noticed_and_forgotten() {
        let memory = Memory::new(1000);
        for (bytes, is_over) in [(1000, false), (1001, true), (5000, true), (999, false)] {
            memory.observe(bytes);
            assert_eq!(memory.is_over(), is_over, "{bytes}");
        }
        let none = Memory::new(0);
        none.observe(u64::MAX);
        assert!(!none.is_over());
    }

    #[test]
    fn the_kernel_says_how_much_there_is() {
        assert!(resident_kib().is_some_and(|kib| kib > 100));
    }
}
