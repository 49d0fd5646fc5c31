//! What a ring counts, in plain integers; whoever drives it publishes them.

/// Counters since the ring was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// System calls.
    pub enters: u64,
    /// Completions (io_uring) or events (epoll) that were read.
    pub completions: u64,
    /// Receives that were submitted.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sends that were submitted.
    pub sends: u64,
    /// Bytes that the kernel took.
    pub sent_bytes: u64,
    /// Sends that were not taken whole.
    pub short_sends: u64,
    /// Multishot polls that ended by themselves and were armed again; io_uring alone has them.
    pub rearms: u64,
    /// Connections taken over.
    pub attached: u64,
    /// Slots given back.
    pub released: u64,
}
