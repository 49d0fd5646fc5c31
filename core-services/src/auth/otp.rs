//! Time-based codes (RFC 6238: HMAC-SHA-1, 30 s, six digits) and recovery codes. Pure: time is an argument.
//!
//! On aws-lc, the one crypto library of the project; what is left of the RFC is a truncation.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{constant_time, digest, hmac};
use hub_protocol::UserId;

/// RFC 4226 §4 recommends the length of the hash.
pub(super) const SECRET_BYTES: usize = 20;
const STEP_S: i64 = 30;
const DIGITS: usize = 6;
/// Clocks may be one step apart (RFC 6238 §5.2).
const STEPS_AROUND: i64 = 1;
/// Recovery codes of an account.
pub(super) const RECOVERY_CODES: usize = 10;
const RECOVERY_BYTES: usize = 10;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What a user typed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Six digits.
    Totp(String),
    /// SHA-256 of a recovery code and its user.
    Recovery(Vec<u8>),
}

impl Typed {
    /// Tells codes from recovery codes; spaces and dashes do not count.
    pub(super) fn read(text: &str, user: UserId) -> Self {
        let bare: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .take(64)
            .collect();
        if bare.len() == DIGITS && bare.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Totp(bare);
        }
        Self::Recovery(recovery_hash(&bare.to_ascii_uppercase(), user))
    }
}

/// Random bytes, or nothing if the system has none.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// The time step whose code this is, around a moment.
pub(super) fn find_step(secret: &[u8], code: &str, now_s: i64) -> Option<i64> {
    let now = now_s / STEP_S;
    (now - STEPS_AROUND..=now + STEPS_AROUND).find(|&step| {
        let expected = code_at(secret, step);
        constant_time::verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok()
    })
}

/// The code of a time step (RFC 4226 §5.3).
pub(super) fn code_at(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xF);
    let number = u32::from_be_bytes([tag[offset], tag[offset + 1], tag[offset + 2], tag[offset + 3]]);
    format!("{:06}", (number & 0x7FFF_FFFF) % 1_000_000)
}

/// New recovery codes: 80 random bits each, `XXXX-XXXX-XXXX-XXXX`.
pub(super) fn recovery_codes() -> Option<Vec<String>> {
    let make = |_| {
        let bare = base32(&random::<RECOVERY_BYTES>()?);
        let groups: Vec<&str> = (0..4).map(|at| &bare[at * 4..at * 4 + 4]).collect();
        Some(groups.join("-"))
    };
    (0..RECOVERY_CODES).map(make).collect()
}

/// What the database holds of a recovery code.
fn recovery_hash(bare: &str, user: UserId) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(user.as_bytes());
    context.update(bare.as_bytes());
    context.finish().as_ref().to_vec()
}

/// RFC 4648 §6, without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(BASE32[(bits >> held & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(char::from(BASE32[(bits << (5 - held) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId::from_bytes([7; 16]);

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, SHA-1: the last six of eight digits.
        let secret = b"12345678901234567890";
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(secret, time / STEP_S), code, "{time}");
        }
    }

    #[test]
    fn one_step_around_is_accepted_and_named() {
        let secret = [3; SECRET_BYTES];
        let now = 1_000 * STEP_S;
        for step in 999..=1_001 {
            assert_eq!(find_step(&secret, &code_at(&secret, step), now), Some(step));
        }
        assert_eq!(find_step(&secret, &code_at(&secret, 998), now), None);
        assert_eq!(find_step(&secret, &code_at(&secret, 1_002), now), None);
        assert_eq!(find_step(&secret, "", now), None);
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn recovery_codes_are_read_however_they_are_typed() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        let typed = Typed::read(&codes[0], USER);
        assert!(typed == Typed::read(&codes[0].to_lowercase().replace('-', " "), USER));
        assert!(typed != Typed::read(&codes[1], USER));
        assert!(typed != Typed::read(&codes[0], UserId::from_bytes([8; 16])));
        assert!(Typed::read("123 456", USER) == Typed::Totp("123456".to_owned()));
    }
}
