//! Access tokens (RFC 7519, RFC 9068) and refresh tokens (opaque).
//!
//! ```text
//! refresh token = "hubr." login "." base64url(secret (32 bytes) tag (16 bytes))
//! successor     = HMAC(key, "next" login secret)
//! tag           = HMAC(key, "tag" login secret), cut
//! ```
//!
//! The database holds SHA-256 of the secrets only. The tag tells a token that was once given out from a guess: only
//! the former revokes a login when it comes back.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_protocol::api::auth::{AUDIENCE, Claims, ISSUER, TOKEN_TYPE};
use hub_protocol::{LoginId, UserId};
use jsonwebtoken::{Algorithm, Header};
use uuid::Uuid;

use crate::keys::SigningKey;

const PREFIX: &str = "hubr.";
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// A refresh token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) login: LoginId,
    secret: [u8; SECRET_BYTES],
}

impl RefreshToken {
    /// The first token of a login.
    pub(crate) fn first(login: LoginId) -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self { login, secret })
    }

    /// Reads a token that we gave out; `None` for every other text.
    pub(crate) fn read(text: &str, key: &hmac::Key) -> Option<Self> {
        let (login, rest) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let login = login.parse().ok()?;
        let bytes = URL_SAFE_NO_PAD.decode(rest).ok()?;
        let (secret, tag) = bytes.split_first_chunk::<SECRET_BYTES>()?;
        let token = Self {
            login,
            secret: *secret,
        };
        constant_time::verify_slices_are_equal(tag, &token.tag(key)).ok()?;
        Some(token)
    }

    /// The text for the client.
    pub(crate) fn write(&self, key: &hmac::Key) -> String {
        let mut bytes = self.secret.to_vec();
        bytes.extend_from_slice(&self.tag(key));
        format!("{PREFIX}{}.{}", self.login, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The token that replaces this one: always the same.
    pub(crate) fn successor(&self, key: &hmac::Key) -> Self {
        let mut secret = [0; SECRET_BYTES];
        secret.copy_from_slice(self.derive("next", key).as_ref());
        Self {
            login: self.login,
            secret,
        }
    }

    /// What the database holds of it.
    pub(crate) fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.secret).as_ref().to_vec()
    }

    fn tag(&self, key: &hmac::Key) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&self.derive("tag", key).as_ref()[..TAG_BYTES]);
        tag
    }

    fn derive(&self, what: &str, key: &hmac::Key) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        context.update(what.as_bytes());
        context.update(self.login.as_bytes());
        context.update(&self.secret);
        context.sign()
    }
}

/// An access token of a login, valid from `now_s` for `life_s` seconds.
pub(crate) fn access_token(
    key: &SigningKey,
    user: UserId,
    login: LoginId,
    now_s: u64,
    life_s: u64,
) -> Option<String> {
    let header = Header {
        typ: Some(TOKEN_TYPE.to_owned()),
        kid: Some(key.kid.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user,
        sid: login,
        jti: Uuid::new_v4().to_string(),
        iat: now_s,
        nbf: now_s,
        exp: now_s.saturating_add(life_s),
    };
    jsonwebtoken::encode(&header, &claims, &key.key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    #[test]
    fn a_token_is_read_back_and_has_one_successor() {
        let token = RefreshToken::first(LoginId::from_bytes([7; 16])).unwrap();
        let text = token.write(&key(1));
        let read = RefreshToken::read(&text, &key(1)).unwrap();
        assert!(read == token);
        assert!(read.successor(&key(1)) == token.successor(&key(1)));
        assert!(read.successor(&key(1)) != token);
        assert_ne!(token.hash(), token.successor(&key(1)).hash());
    }

    #[test]
    fn guesses_are_no_tokens() {
        let token = RefreshToken::first(LoginId::from_bytes([7; 16])).unwrap();
        let text = token.write(&key(1));
        assert!(RefreshToken::read(&text, &key(2)).is_none());
        for guess in [
            "",
            "hubr.",
            "hubr.x.y",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
        ] {
            assert!(RefreshToken::read(guess, &key(1)).is_none(), "{guess}");
        }
    }
}
