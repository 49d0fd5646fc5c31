//! UTF-8 that arrives in pieces (RFC 3629 §4): invalid at the first octet that cannot continue any text.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use simdutf8::compat;

/// Where a text stands between two pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Utf8 {
    /// Octets that the open character still lacks.
    missing: u8,
    /// Bounds of its next octet.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Takes the next piece; false as soon as the text cannot be valid any more.
    #[must_use]
    pub(crate) fn feed(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while self.missing > 0 {
            let Some((&octet, tail)) = rest.split_first() else {
                return true;
            };
            if !self.step(octet) {
                return false;
            }
            rest = tail;
        }
        match compat::from_utf8(rest) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            // The piece ends inside a character: at most three octets are left.
            Err(error) => rest
                .iter()
                .skip(error.valid_up_to())
                .all(|&octet| self.step(octet)),
        }
    }

    /// True if the text may end here.
    pub(crate) fn is_complete(self) -> bool {
        self.missing == 0
    }

    fn step(&mut self, octet: u8) -> bool {
        if self.missing > 0 {
            let fits = (self.low..=self.high).contains(&octet);
            *self = Self {
                missing: self.missing.saturating_sub(1),
                low: 0x80,
                high: 0xBF,
            };
            return fits;
        }
        // Well-formed byte sequences, Unicode table 3-7.
        let (missing, low, high) = match octet {
            0x00..=0x7F => (0, 0x80, 0xBF),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xE1..=0xEC | 0xEE..=0xEF => (2, 0x80, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return false,
        };
        *self = Self { missing, low, high };
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The octet at which a text becomes invalid, fed one by one; `None` if it never does.
    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        text.iter().position(|octet| !utf8.feed(&[*octet]))
    }

    #[test]
    fn fails_at_the_first_impossible_octet() {
        // The sequences of Autobahn's group 6 and the edges of table 3-7.
        for (text, at) in [
            (
                &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
                Some(12),
            ),
            (b"\xce\xba\xf4\x90\x80\x80", Some(3)),
            (b"\xff", Some(0)),
            (b"\xfe", Some(0)),
            (b"\xc0\xaf", Some(0)),
            (b"\xc1\xbf", Some(0)),
            (b"\xe0\x80\xaf", Some(1)),
            (b"\xe0\x9f\xbf", Some(1)),
            (b"\xf0\x80\x80\xaf", Some(1)),
            (b"\xf0\x8f\xbf\xbf", Some(1)),
            (b"\xf5\x80", Some(0)),
            (b"\xf8\x88\x80\x80\x80", Some(0)),
            (b"a\x80", Some(1)),
            (b"\xc2a", Some(1)),
            (b"\xed\xbf\xbf", Some(1)),
            (b"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf", None),
        ] {
            assert_eq!(fails_at(text), at, "{text:02x?}");
        }
    }

    #[test]
    fn every_pair_of_octets_agrees_with_the_standard_library() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let text = [first, second];
                let mut utf8 = Utf8::default();
                let valid = utf8.feed(&text) && utf8.is_complete();
                assert_eq!(valid, std::str::from_utf8(&text).is_ok(), "{text:02x?}");
            }
        }
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(text in prop_oneof![".{0,40}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..24)], cuts in prop::collection::vec(1..5_usize, 0..20)) {
            let mut utf8 = Utf8::default();
            let mut rest = &text[..];
            let mut valid = true;
            for cut in cuts {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                valid = valid && utf8.feed(piece);
                rest = tail;
            }
            valid = valid && utf8.feed(rest) && utf8.is_complete();
            prop_assert_eq!(valid, std::str::from_utf8(&text).is_ok());
        }
    }
}
