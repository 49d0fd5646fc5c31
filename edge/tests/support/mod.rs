//! Private Redis servers, keys folders, edge processes, and a client that is only a socket.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

pub mod client;
pub mod edge;
pub mod keys;
pub mod redis;
pub mod tls;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Makes two tests of each function, which is given the engine of its node.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident,)*) => {
        mod io_uring {
            $(#[test] fn $name() { super::$name("io_uring"); })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name("epoll"); })*
        }
    };
}

/// Bound of every wait for a condition; far more than any of them takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -{name}");
}
