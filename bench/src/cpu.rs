//! CPU time and memory. CPU time: `/proc/PID/task/*/schedstat`, nanoseconds, user and system together.

use std::fs;
use std::io;

use anyhow::{Context, Result};

/// Nanoseconds that all present threads of a process have run.
pub fn of_process(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        let path = task?.path().join("schedstat");
        match fs::read_to_string(&path) {
            Ok(text) => {
                sum += first_number(&text).with_context(|| format!("cannot read {}", path.display()))?;
            }
            // A thread that ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sum)
}

/// The calling thread, as [`of_task`] knows it.
pub fn this_thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Nanoseconds that a thread of a process has run, up to its last sleep or tick of the scheduler.
pub fn of_task(pid: u32, thread: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))?;
    first_number(&text).context("no schedstat")
}

/// How often the threads of a process went to sleep by themselves.
pub fn sleeps(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line
            .and_then(first_number)
            .context("no voluntary_ctxt_switches")?;
    }
    Ok(sum)
}

/// Binds the calling thread, and those that it starts, to a core, if there are that many.
pub fn pin(core: usize) {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.get(core).copied()) {
        core_affinity::set_for_current(core);
    }
}

/// Resident memory of a process, bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(first_number).context("no VmRSS")? * 1024)
}

/// What the kernel holds for sockets, requests and page tables, bytes: slab, page tables and stacks of the machine.
pub fn kernel() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let parts = ["Slab:", "PageTables:", "KernelStack:"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(first_number).with_context(|| format!("no {name}"))
    });
    let mut sum = 0;
    for part in parts {
        sum += part? * 1024;
    }
    Ok(sum)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let me = std::process::id();
        let before = of_process(me).unwrap();
        let mut sum = 0_u64;
        while of_process(me).unwrap() < before + 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident(me).unwrap() > 100_000);
    }
}
