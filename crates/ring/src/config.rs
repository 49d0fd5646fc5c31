//! Sizes of a ring, and what it runs on.

/// What of the kernel carries the connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// io_uring where it is allowed and new enough, epoll elsewhere.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll, also where io_uring is allowed.
    Epoll,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::IoUring, Self::Epoll];

    /// As configurations, logs and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// How large a ring is. All memory is taken once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it runs on.
    pub engine: Engine,
    /// Connections at the same time; cut to the process's limit of descriptors. With io_uring each ring has a table
    /// of that size to itself; with epoll all rings of the process share the limit.
    pub connections_max: u32,
    /// Entries of the submission queue: the most sends in one submit. A power of two. epoll has no such queue.
    pub submissions: u32,
    /// Entries of the completion queue, at least twice `submissions`. epoll has no such queue.
    pub completions: u32,
    /// Slices of the receive arena: the most connections in one receive.
    pub slices: u16,
    /// Bytes of one slice: the most that one connection gives in one receive.
    pub slice_bytes: u32,
    /// Readable bytes behind each slice, so that a SIMD parser may load past the end.
    pub slice_padding: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: Engine::Auto,
            connections_max: 16_384,
            submissions: 512,
            completions: 8192,
            slices: 32,
            slice_bytes: 16 * 1024,
            slice_padding: 64,
        }
    }
}
