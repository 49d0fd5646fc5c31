//! The io_uring data ring of a shard: connections, received bytes, segments.
