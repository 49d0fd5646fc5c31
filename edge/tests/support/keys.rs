//! A keys folder as `hub-services config keys` makes it, and tokens signed with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hub_protocol::{LoginId, UserId};
use tempfile::TempDir;

/// The name of the key.
pub const KID: &str = "20260101-00000001";
/// RFC 8410 §4: what stands before the 32 bytes of an Ed25519 key in its SPKI form.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Keys of one test.
pub struct Keys {
    folder: TempDir,
    signing: Ed25519KeyPair,
}

impl Keys {
    /// Makes a folder.
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let signing = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("32 bytes");
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend_from_slice(signing.public_key().as_ref());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(spki)
        );
        fs::create_dir(folder.path().join("public")).expect("a folder");
        fs::write(folder.path().join("public").join(format!("{KID}.pem")), pem).expect("writes");
        let seal = folder.path().join("seal");
        fs::create_dir(&seal).expect("a folder");
        let seal = seal.join(format!("{KID}.key"));
        fs::write(&seal, "5a".repeat(32)).expect("writes");
        fs::set_permissions(&seal, fs::Permissions::from_mode(0o600)).expect("is ours");
        Self { folder, signing }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An access token as the auth service signs them.
    pub fn token(&self, user: UserId, login: LoginId) -> String {
        self.token_until(user, login, now_s() + 900)
    }

    /// One that expires at this second since the Unix epoch.
    pub fn token_until(&self, user: UserId, login: LoginId, expires_at: u64) -> String {
        let now = expires_at - 900;
        let header = serde_json::json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KID});
        let claims = serde_json::json!({
            "iss": "socket-hub", "aud": "socket-hub-edge", "sub": user, "sid": login,
            "jti": "1", "iat": now, "nbf": now, "exp": expires_at,
        });
        self.sign(&header, &claims)
    }

    /// Any header and claims with a valid signature.
    pub fn sign(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let message = unsigned(header, claims);
        let signature = self.signing.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public key as it lies in the folder.
    pub fn public_pem(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("public").join(format!("{KID}.pem"))).expect("was written")
    }
}

/// What a signature of a token is over.
pub fn unsigned(header: &serde_json::Value, claims: &serde_json::Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

/// Seconds since the Unix epoch.
pub fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}
