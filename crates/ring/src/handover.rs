//! From a runtime to the ring: takes the descriptor out of a stream.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The descriptor of a stream on which no operation is pending.
pub fn from_monoio(stream: monoio::net::TcpStream) -> OwnedFd {
    let fd = stream.into_raw_fd();
    // SAFETY: the stream gave its descriptor up, so that nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
