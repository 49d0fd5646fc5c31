//! Says to push services whose pushes these are (RFC 8292).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

/// A token of ours is good for this long, seconds; RFC 8292 §2 allows a day.
const TOKEN_S: i64 = 12 * 3_600;

/// The key by which push services and browsers know this system.
#[derive(Debug)]
pub struct VapidKey {
    pair: EcdsaKeyPair,
}

impl VapidKey {
    /// From a private key in PKCS#8; `None` if it is none of P-256.
    pub fn read(pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        Some(Self { pair })
    }

    /// A new private key in PKCS#8.
    pub fn make() -> Option<Vec<u8>> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Some(made.ok()?.as_ref().to_vec())
    }

    /// The public key in base64url, which browsers call `applicationServerKey`.
    pub fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    /// The `Authorization` header for pushes to an origin. `subject` says whom to ask about them, and may be empty.
    pub(super) fn authorization(&self, origin: &str, subject: &str, now_s: i64) -> Option<String> {
        let mut claims = json!({"aud": origin, "exp": now_s + TOKEN_S});
        if !subject.is_empty() {
            claims["sub"] = json!(subject);
        }
        let text = |value: String| BASE64_URL_SAFE_NO_PAD.encode(value);
        let head = text(json!({"typ": "JWT", "alg": "ES256"}).to_string());
        let signed = format!("{head}.{}", text(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref());
        Some(format!("vapid t={signed}.{signature}, k={}", self.public()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_push_service_can_check_the_token_with_the_key_beside_it() {
        let key = VapidKey::read(&VapidKey::make().unwrap()).unwrap();
        let header = key
            .authorization("https://push.example.com", "mailto:a@example.com", 1_000)
            .unwrap();
        let (token, public) = header
            .strip_prefix("vapid t=")
            .unwrap()
            .split_once(", k=")
            .unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(public, key.public());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(public))
            .verify(signed.as_bytes(), &decode(signature))
            .unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
        assert_eq!(
            claims,
            json!({"aud": "https://push.example.com", "exp": 44_200, "sub": "mailto:a@example.com"})
        );
        assert!(VapidKey::read(b"x").is_none());
    }
}
