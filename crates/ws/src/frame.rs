//! Frames on the wire (RFC 6455 §5.2): headers in both directions.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use crate::error::ProtocolError;
use crate::mask;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message before.
    Continuation = 0x0,
    /// Starts a text.
    Text = 0x1,
    /// Starts binary data.
    Binary = 0x2,
    /// Ends the connection.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xA,
}

impl Opcode {
    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn find(number: u8) -> Option<Self> {
        match number {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Length of the longest header, bytes.
pub const HEADER_BYTES_MAX: usize = 14;
/// Length of the longest payload of a control frame, bytes (§5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The first reserved bit: of a data frame that starts a compressed message (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// An encoded header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl Header {
    /// The header of an unmasked frame that is a whole message: what a server sends.
    pub fn server(opcode: Opcode, payload_bytes: usize) -> Self {
        Self::new(opcode, true, payload_bytes, None)
    }

    /// The header of a whole message that is compressed (RFC 7692 §6.1): RSV1 is set.
    pub fn server_deflated(opcode: Opcode, payload_bytes: usize) -> Self {
        let mut header = Self::server(opcode, payload_bytes);
        let [first, ..] = &mut header.bytes;
        *first |= RSV1;
        header
    }

    /// Any header.
    pub fn new(opcode: Opcode, is_final: bool, payload_bytes: usize, mask: Option<[u8; 4]>) -> Self {
        let mut header = Self {
            bytes: [0; HEADER_BYTES_MAX],
            len: 0,
        };
        header.push(&[opcode.number() | if is_final { 0x80 } else { 0 }]);
        let mask_bit = if mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(len @ 0..=125), _) => header.push(&[mask_bit | len]),
            (_, Ok(len)) => {
                header.push(&[mask_bit | 0x7E]);
                header.push(&len.to_be_bytes());
            }
            _ => {
                header.push(&[mask_bit | 0x7F]);
                header.push(&u64::try_from(payload_bytes).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            header.push(&mask);
        }
        header
    }

    fn push(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
        }
        self.len = self.len.saturating_add(bytes.len());
    }

    /// The bytes to send before the payload.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// Appends a masked frame that is a whole message: what a client sends.
pub fn push_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    out.extend_from_slice(Header::new(opcode, true, payload.len(), Some(mask)).as_slice());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(masked) = out.get_mut(start..) {
        mask::apply(masked, mask, 0);
    }
}

/// The payload of a close frame; a reason that is too long is cut at a character.
pub fn close_payload(code: u16, reason: &str) -> ([u8; CONTROL_BYTES_MAX], usize) {
    let mut end = reason.len().min(CONTROL_BYTES_MAX.saturating_sub(2));
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let mut payload = [0; CONTROL_BYTES_MAX];
    let reason = reason.as_bytes().iter().take(end);
    for (to, from) in payload.iter_mut().zip(code.to_be_bytes().iter().chain(reason)) {
        *to = *from;
    }
    (payload, end.saturating_add(2))
}

/// A header as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) opcode: Opcode,
    pub(crate) is_final: bool,
    /// Starts a compressed message.
    pub(crate) is_deflated: bool,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload_bytes: u64,
}

impl Head {
    /// Reads a header and its length from the front; `None` if bytes are missing. What is wrong is said as soon as
    /// its octet is there. `has_deflate`: permessage-deflate was negotiated.
    pub(crate) fn read(bytes: &[u8], has_deflate: bool) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        // RFC 6455 §5.2: reserved bits are zero unless an extension gives them a meaning.
        let allowed = if has_deflate { RSV1 } else { 0 };
        if first & 0x70 & !allowed != 0 {
            return Err(ProtocolError::ReservedBit);
        }
        let opcode = Opcode::find(first & 0x0F).ok_or(ProtocolError::ReservedOpcode)?;
        // RFC 7692 §6.1: only the first frame of a data message has it.
        let is_deflated = first & RSV1 != 0;
        if is_deflated && (opcode.is_control() || opcode == Opcode::Continuation) {
            return Err(ProtocolError::ReservedBit);
        }
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err(ProtocolError::Control);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let short = second & 0x7F;
        if opcode.is_control() && short > 125 {
            return Err(ProtocolError::Control);
        }
        let rest = bytes.get(2..).unwrap_or_default();
        // RFC 6455 §5.2: the minimal number of bytes must be used; the most significant bit is zero.
        let (payload_bytes, rest, len) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                    return Ok(None);
                };
                let length = u16::from_be_bytes(*length);
                if length < 126 {
                    return Err(ProtocolError::Length);
                }
                (u64::from(length), rest, 4_usize)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if u16::try_from(length).is_ok() || length >> 63 != 0 {
                    return Err(ProtocolError::Length);
                }
                (length, rest, 10)
            }
            short => (u64::from(short), rest, 2),
        };
        if second & 0x80 == 0 {
            return Ok(Some((
                Self {
                    opcode,
                    is_final,
                    is_deflated,
                    mask: None,
                    payload_bytes,
                },
                len,
            )));
        }
        let Some(mask) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                opcode,
                is_final,
                is_deflated,
                mask: Some(*mask),
                payload_bytes,
            },
            len.saturating_add(4),
        )))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 §5.7.
        assert_eq!(Header::server(Opcode::Text, 5).as_slice(), [0x81, 0x05]);
        assert_eq!(Header::new(Opcode::Text, false, 3, None).as_slice(), [0x01, 0x03]);
        assert_eq!(
            Header::new(Opcode::Continuation, true, 2, None).as_slice(),
            [0x80, 0x02]
        );
        assert_eq!(
            Header::server(Opcode::Binary, 256).as_slice(),
            [0x82, 0x7E, 0x01, 0x00]
        );
        assert_eq!(
            Header::server(Opcode::Binary, 65536).as_slice(),
            [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        let mut out = Vec::new();
        push_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            out,
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let (payload, len) = close_payload(1000, &"ä".repeat(100));
        assert_eq!(len, 2 + 122);
        assert!(std::str::from_utf8(&payload[2..len]).is_ok());
    }

    proptest! {
        #[test]
        fn headers_round_trip_and_wait_for_every_byte(opcode in 0..6_usize, is_final: bool, len in prop_oneof![0..200_usize, 65_000..70_000_usize], mask in any::<Option<[u8; 4]>>()) {
            let opcode = [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong][opcode];
            let (is_final, len) = if opcode.is_control() { (true, len.min(125)) } else { (is_final, len) };
            let header = Header::new(opcode, is_final, len, mask);
            for cut in 0..header.as_slice().len() {
                prop_assert_eq!(Head::read(&header.as_slice()[..cut], false), Ok(None));
            }
            let head = Head { opcode, is_final, is_deflated: false, mask, payload_bytes: len as u64 };
            prop_assert_eq!(Head::read(header.as_slice(), false), Ok(Some((head, header.as_slice().len()))));
        }
    }
}
