//! Device tokens: what a device keeps to be known as one on which its user has logged in before. It opens nothing.
//!
//! ```text
//! device token = "hubd." device "." base64url(secret (32 bytes))
//! ```

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_protocol::limits::TOKEN_BYTES_MAX;
use uuid::Uuid;

const PREFIX: &str = "hubd.";
const SECRET_BYTES: usize = 32;

/// A device token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct DeviceToken {
    pub(super) id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl DeviceToken {
    /// The token of a new device.
    pub(super) fn make() -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self {
            id: Uuid::now_v7(),
            secret,
        })
    }

    /// Reads a token; `None` for every other text.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= TOKEN_BYTES_MAX)?;
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        Some(Self {
            id: Uuid::parse_str(id).ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    /// The text for the client.
    pub(super) fn write(&self) -> String {
        format!("{PREFIX}{}.{}", self.id, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// What the database holds of it.
    pub(super) fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.secret).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_else_is() {
        let token = DeviceToken::make().unwrap();
        let text = token.write();
        assert!(DeviceToken::read(&text) == Some(token));
        for other in [
            "",
            "hubd.",
            "hubd.x.y",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}AA"),
        ] {
            assert!(DeviceToken::read(other).is_none(), "{other}");
        }
    }
}
