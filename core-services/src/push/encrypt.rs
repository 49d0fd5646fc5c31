//! Encrypts a push for one device (RFC 8291, with the `aes128gcm` coding of RFC 8188: one record).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::endpoint::Device;

/// What a push service takes, bytes of plain text: one record of 4096 with padding and tag, and the header.
pub(super) const PLAIN_BYTES_MAX: usize = 3_900;
const RECORD_BYTES: u32 = 4_096;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// RFC 8188 §2: ends the last record.
const LAST_RECORD: u8 = 2;

/// A body for this device, under a new key; `None` if its keys are none, or the system gives no random bytes.
pub(super) fn encrypt(device: &Device, plain: &[u8]) -> Option<Vec<u8>> {
    let own = PrivateKey::generate(&agreement::ECDH_P256).ok()?;
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).ok()?;
    encrypt_with(device, plain, &own, salt)
}

fn encrypt_with(device: &Device, plain: &[u8], own: &PrivateKey, salt: [u8; SALT_BYTES]) -> Option<Vec<u8>> {
    if plain.len() > PLAIN_BYTES_MAX {
        return None;
    }
    let public = own.compute_public_key().ok()?;
    let peer = UnparsedPublicKey::new(&agreement::ECDH_P256, device.p256dh.as_slice());
    // RFC 8291 §3.4.
    let input = agreement::agree(own, peer, (), |shared| {
        let info = [b"WebPush: info\0", device.p256dh.as_slice(), public.as_ref()].concat();
        Ok(derive(&device.auth, shared, &info))
    })
    .ok()?;
    let key = derive(&salt, input.as_ref(), b"Content-Encoding: aes128gcm\0");
    let nonce = derive(&salt, input.as_ref(), b"Content-Encoding: nonce\0");
    let key = UnboundKey::new(&AES_128_GCM, key.as_ref().get(..KEY_BYTES)?).ok()?;
    let nonce = Nonce::try_assume_unique_for_key(nonce.as_ref().get(..NONCE_BYTES)?).ok()?;

    let mut sealed = plain.to_vec();
    sealed.push(LAST_RECORD);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
        .ok()?;
    // RFC 8188 §2.1: salt, record size, key id.
    let mut body = salt.to_vec();
    body.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    body.push(u8::try_from(public.as_ref().len()).ok()?);
    body.extend_from_slice(public.as_ref());
    body.extend_from_slice(&sealed);
    Some(body)
}

/// HKDF with SHA-256 (RFC 5869) for up to 32 bytes.
fn derive(salt: &[u8], input: &[u8], info: &[u8]) -> hmac::Tag {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), input);
    let key = hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref());
    hmac::sign(&key, &[info, &[1]].concat())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn device() -> Device {
        Device {
            endpoint: String::new(),
            p256dh: bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        }
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        // RFC 8291 §5 and appendix A.
        let own = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let own = PrivateKey::from_private_key(&agreement::ECDH_P256, &own).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let plain = b"When I grow up, I want to be a watermelon";
        let body = encrypt_with(&device(), plain, &own, salt).unwrap();
        assert_eq!(
            BASE64_URL_SAFE_NO_PAD.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6P\
             Bru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn two_pushes_share_no_key_and_too_long_ones_are_none() {
        let (one, two) = (
            encrypt(&device(), b"x").unwrap(),
            encrypt(&device(), b"x").unwrap(),
        );
        assert_ne!(one[..SALT_BYTES], two[..SALT_BYTES]);
        assert_ne!(one[21..86], two[21..86]);
        assert_eq!(encrypt(&device(), &[b'x'; PLAIN_BYTES_MAX + 1]), None);
        let full = encrypt(&device(), &[b'x'; PLAIN_BYTES_MAX]).unwrap();
        assert!(full.len() <= 4_096, "{}", full.len());
    }
}
