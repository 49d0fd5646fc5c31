//! Micro-benchmarks of the pure parts, in `benches/`:
//!
//! - `batch`: writing and reading the batches that travel through Redis;
//! - `frames`: decoding and unmasking WebSocket messages in place.
//!
//! Run with `cargo bench -p hub-bench`. Nothing depends on this crate.

#![forbid(unsafe_code)]
