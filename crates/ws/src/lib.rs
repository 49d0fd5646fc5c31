//! RFC 6455 without I/O: handshake, frames, messages, close.
