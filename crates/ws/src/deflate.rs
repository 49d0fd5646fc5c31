//! permessage-deflate (RFC 7692) without context takeover in either direction: an idle connection owns no window, and
//! one [`Inflater`] and one [`Deflater`] serve all connections of a thread.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::ProtocolError;
use crate::handshake::Head;

/// The end of a flushed block: not sent, and added again by the receiver (§7.2.1, §7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// Window sizes that a compressor can have, bits. §7.1.2.1 also allows 8.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;
/// The first piece of memory for an inflated message, bytes.
const INFLATED_BYTES_MIN: usize = 1024;
/// Memory for inflated messages that is kept from one to the next, bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// What both sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflate {
    /// The largest window that the client can inflate, bits: 8 to 15.
    pub window_bits: u8,
    /// The client limited the window, so that the answer names it (§7.1.2.1).
    is_limited: bool,
}

impl Deflate {
    /// The first offer of a request that can be accepted (§5.1, §7.1).
    pub(crate) fn negotiate(head: &Head<'_>) -> Option<Self> {
        head.list("sec-websocket-extensions").find_map(Self::accept)
    }

    fn accept(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut seen = [false; 4];
        let mut once = |place: usize| {
            seen.get_mut(place)
                .is_some_and(|seen| !std::mem::replace(seen, true))
        };
        let mut window_bits = None;
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
                None => (part, None),
            };
            let is_fine = match (name, value) {
                ("server_no_context_takeover", None) => once(0),
                ("client_no_context_takeover", None) => once(1),
                ("server_max_window_bits", Some(value)) => {
                    window_bits = bits(value);
                    window_bits.is_some() && once(2)
                }
                // Any window of the client's can be inflated.
                ("client_max_window_bits", None) => once(3),
                ("client_max_window_bits", Some(value)) => bits(value).is_some() && once(3),
                _ => false,
            };
            if !is_fine {
                return None;
            }
        }
        Some(Self {
            window_bits: window_bits.unwrap_or(15),
            is_limited: window_bits.is_some(),
        })
    }
}

/// The value of `Sec-WebSocket-Extensions` in the answer. A server may ask for `client_no_context_takeover` whatever
/// was offered (§7.1.1.2).
impl fmt::Display for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.is_limited {
            write!(f, "; server_max_window_bits={}", self.window_bits)?;
        }
        Ok(())
    }
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

/// A decimal number from 8 to 15 without leading zeros (§7.1.2).
fn bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    let is_plain = value.starts_with(['1', '8', '9']);
    is_plain.then_some(bits)
}

/// Inflates messages, one after the other.
pub struct Inflater {
    state: Decompress,
    message: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            state: Decompress::new(false),
            message: Vec::new(),
        }
    }
}

impl Inflater {
    /// Inflates the payload of one message. The bound holds while it inflates: a bomb costs no more memory than
    /// `bytes_max`.
    pub(crate) fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<&mut [u8], ProtocolError> {
        self.state.reset(false);
        self.message.clear();
        self.message.shrink_to(KEPT_BYTES_MAX);
        self.feed(payload, bytes_max)?;
        self.feed(&TAIL, bytes_max)?;
        Ok(&mut self.message)
    }

    fn feed(&mut self, mut input: &[u8], bytes_max: usize) -> Result<(), ProtocolError> {
        loop {
            let before = self.message.len();
            if before == self.message.capacity() {
                // One byte more than allowed tells that there are too many.
                let room = bytes_max.saturating_add(1).saturating_sub(before);
                self.message
                    .reserve_exact(before.max(INFLATED_BYTES_MIN).min(room));
            }
            let total = self.state.total_in();
            let status = self
                .state
                .decompress_vec(input, &mut self.message, FlushDecompress::Sync)
                .or(Err(ProtocolError::Deflate))?;
            let taken = self.state.total_in().saturating_sub(total);
            input = input
                .get(usize::try_from(taken).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
            if self.message.len() > bytes_max {
                return Err(ProtocolError::TooLarge);
            }
            let is_full = self.message.len() == self.message.capacity();
            if status == Status::StreamEnd {
                // §7.2.3.4: a final block ends nothing but itself.
                self.state.reset(false);
            } else if taken == 0 && self.message.len() == before && !is_full {
                return if input.is_empty() {
                    Ok(())
                } else {
                    Err(ProtocolError::Deflate)
                };
            }
            if input.is_empty() && !is_full {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Compresses messages, one after the other.
pub struct Deflater {
    level: Compression,
    /// By window size, from the smallest; made when first used.
    states: [Option<Compress>; 7],
    payload: Vec<u8>,
}

impl Deflater {
    /// `level`: 2 is fast, 9 is small. (1 is an algorithm of its own in zlib-rs, which panics when its output is short.)
    pub fn new(level: u32) -> Self {
        Self {
            level: Compression::new(level.clamp(2, 9)),
            states: Default::default(),
            payload: Vec::new(),
        }
    }

    /// Compresses a whole message for a client that can inflate this window. `None` if it would not get shorter, or
    /// for a window of 8 bits, which zlib cannot make: such a message is sent as it is.
    pub fn deflate(&mut self, message: &[u8], window_bits: u8) -> Option<&[u8]> {
        let window_bits = window_bits.min(*WINDOW_BITS.end());
        let place = usize::from(window_bits.checked_sub(*WINDOW_BITS.start())?);
        let state = self
            .states
            .get_mut(place)?
            .get_or_insert_with(|| Compress::new_with_window_bits(self.level, false, window_bits));
        state.reset();
        self.payload.clear();
        self.payload.shrink_to(KEPT_BYTES_MAX);
        // What does not fit in here is not shorter.
        self.payload
            .reserve_exact(message.len().saturating_add(TAIL.len()));
        state
            .compress_vec(message, &mut self.payload, FlushCompress::Sync)
            .ok()?;
        let is_whole = state.total_in() == u64::try_from(message.len()).ok()?
            && self.payload.len() < self.payload.capacity();
        let payload = self.payload.strip_suffix(&TAIL)?;
        (is_whole && payload.len() < message.len()).then_some(payload)
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(extensions: &str) -> Option<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n");
        let (head, _) = Head::read(request.as_bytes()).unwrap().unwrap();
        Deflate::negotiate(&head).map(|deflate| deflate.to_string())
    }

    const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn the_first_good_offer_is_accepted() {
        for (offer, extra) in [
            ("permessage-deflate", ""),
            ("Permessage-Deflate ; client_max_window_bits", ""),
            (
                "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
                "",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"9\"",
                "; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "; server_max_window_bits=15",
            ),
            (
                "x-other; a=b, permessage-deflate; unknown, permessage-deflate",
                "",
            ),
            (
                "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits = 8",
                "; server_max_window_bits=8",
            ),
        ] {
            assert_eq!(answer(offer), Some(format!("{ANSWER}{extra}")), "{offer}");
        }
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=07",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate;",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let mut inflater = Inflater::default();
        for payload in [
            // §7.2.3.1: one block; §7.2.3.3: no compression; §7.2.3.4: a final block; §7.2.3.5: two blocks.
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ] {
            assert_eq!(inflater.inflate(payload, 5).unwrap(), b"Hello", "{payload:02x?}");
            assert_eq!(inflater.inflate(payload, 4), Err(ProtocolError::TooLarge));
        }
        // §7.2.3.6: an empty message.
        assert_eq!(inflater.inflate(b"\x00", 0).unwrap(), b"");
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = Deflater::new(9).deflate(&vec![0; 64 << 20], 15).unwrap().to_vec();
        assert!(bomb.len() < 80_000);
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&bomb, 65_536), Err(ProtocolError::TooLarge));
        assert!(inflater.message.capacity() <= 65_537);
        assert_eq!(
            inflater.inflate(b"\xff\xff\xff", 1000),
            Err(ProtocolError::Deflate)
        );
        assert_eq!(
            inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5).unwrap(),
            b"Hello"
        );
    }

    #[test]
    fn what_does_not_get_shorter_is_sent_as_it_is() {
        let mut deflater = Deflater::new(6);
        assert_eq!(deflater.deflate(b"", 15), None);
        assert_eq!(deflater.deflate(b"Hi", 15), None);
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(deflater.deflate(&all, 15), None);
        assert_eq!(deflater.deflate(&[7; 4096], 8), None);
        assert!(deflater.deflate(&[7; 4096], 9).is_some());
    }

    proptest! {
        #[test]
        fn messages_round_trip_at_every_window(words in prop::collection::vec(0..40_u8, 0..6000), bits in 9..=15_u8, level in 2..=9_u32) {
            let mut deflater = Deflater::new(level);
            let mut inflater = Inflater::default();
            for message in [&words[..], &words[words.len() / 2..]] {
                if let Some(payload) = deflater.deflate(message, bits) {
                    prop_assert!(payload.len() < message.len());
                    prop_assert_eq!(inflater.inflate(payload, message.len()).unwrap(), message);
                }
            }
        }

        #[test]
        fn dense_messages_of_any_size_are_compressed_or_left_alone(seed: u64, len in 0..200_000_usize, mask: u8, bits in 9..=15_u8, level in 2..=9_u32) {
            let mut state = seed | 1;
            let message: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0] & mask
            })
            .take(len)
            .collect();
            let mut deflater = Deflater::new(level);
            if let Some(payload) = deflater.deflate(&message, bits) {
                let mut inflater = Inflater::default();
                prop_assert_eq!(inflater.inflate(payload, len).unwrap(), &message);
            }
        }

        #[test]
        fn whatever_comes_is_inflated_or_refused_within_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..400), max in 0..5000_usize) {
            let mut inflater = Inflater::default();
            if let Ok(message) = inflater.inflate(&bytes, max) {
                prop_assert!(message.len() <= max);
            }
        }
    }
}
