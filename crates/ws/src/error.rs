//! Why a connection fails.

use thiserror::Error;

/// The peer broke RFC 6455 or a limit; the connection is to be failed with [`close_code`](Self::close_code).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProtocolError {
    /// A reserved bit without an extension (§5.2).
    #[error("reserved bit")]
    ReservedBit,
    /// An opcode that is not defined (§5.2).
    #[error("reserved opcode")]
    ReservedOpcode,
    /// A client's frame without a mask (§5.1).
    #[error("unmasked frame")]
    Unmasked,
    /// A server's frame with a mask (§5.1).
    #[error("masked frame")]
    Masked,
    /// A length that is not in its shortest form, or above 2^63 (§5.2).
    #[error("length encoding")]
    Length,
    /// A control frame that is fragmented or longer than 125 bytes (§5.5).
    #[error("control frame")]
    Control,
    /// A continuation of nothing, or a new message inside of another (§5.4).
    #[error("fragmentation")]
    Fragmentation,
    /// A close frame with one byte or a code that must not be sent (§7.4).
    #[error("close frame")]
    Close,
    /// A text or a close reason that is not UTF-8 (§8.1).
    #[error("invalid UTF-8")]
    Utf8,
    /// A compressed message that does not inflate (RFC 7692 §7.2.2).
    #[error("compressed data")]
    Deflate,
    /// A message above the limit.
    #[error("message too large")]
    TooLarge,
}

impl ProtocolError {
    /// The code to close with (§7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}
