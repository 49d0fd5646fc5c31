//! What wakes a shard: mailboxes of other threads signal an eventfd. With io_uring completions signal it too, and a
//! shard sleeps on it; with epoll it is a member of the set, and a shard sleeps on the set.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Wakes the thread that drives a ring. May be cloned and sent to other threads.
#[derive(Clone, Debug)]
pub struct WakeHandle(Arc<OwnedFd>);

impl WakeHandle {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Makes the descriptor readable. Never blocks: a counter that is full is a signal already.
    pub fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is eight readable bytes that live through the call.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: `count` is eight writable bytes that live through the call.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }
}
