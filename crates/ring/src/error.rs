//! What can go wrong outside of a turn.

use std::io;

use thiserror::Error;

/// A ring cannot be made on this machine.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Seccomp or a sysctl denies it.
    #[error("io_uring is forbidden here: allow io_uring_setup, io_uring_enter and io_uring_register")]
    Forbidden(#[source] io::Error),
    /// The kernel does not know a flag or an operation.
    #[error("the kernel lacks {0}: Linux 6.1 or newer is needed")]
    TooOld(&'static str),
    /// The configuration cannot work.
    #[error("ring configuration: {0}")]
    Config(&'static str),
    /// Anything else.
    #[error("cannot set up the ring: {0}")]
    Io(#[from] io::Error),
}

impl SetupError {
    /// True if epoll works where this came from.
    pub(crate) fn is_about_uring(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::TooOld(_))
    }
}

/// A socket cannot be taken over; it is closed.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The slot is beyond the table.
    #[error("slot is beyond the connection table")]
    NoSuchSlot,
    /// The slot's last owner is not released yet.
    #[error("slot is not released yet")]
    Occupied,
    /// The kernel refused.
    #[error("cannot register the socket: {0}")]
    Io(#[from] io::Error),
}
