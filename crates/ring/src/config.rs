//! Sizes of a ring.

/// How large a ring is. All memory is taken once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at the same time; cut to the process's limit of descriptors, which is also the kernel's bound
    /// for one table of registered descriptors.
    pub connections_max: u32,
    /// Entries of the submission queue: the most sends in one submit. A power of two.
    pub submissions: u32,
    /// Entries of the completion queue, at least twice `submissions`.
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
            connections_max: 16_384,
            submissions: 512,
            completions: 8192,
            slices: 32,
            slice_bytes: 16 * 1024,
            slice_padding: 64,
        }
    }
}
