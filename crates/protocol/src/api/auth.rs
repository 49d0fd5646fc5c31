//! `auth.*`: accounts, logins, tokens.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::User;
use crate::ids::{LoginId, UserId};

/// Arguments of `auth.register` and `auth.login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`.
    pub username: String,
    /// 8 to 256 bytes.
    pub password: String,
}

/// Result of `auth.register`, `auth.login` and `auth.refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Who logged in.
    pub user: User,
    /// Opens a session.
    pub access_token: String,
    /// Renews the login, once.
    pub refresh_token: String,
    /// Life of the access token, seconds.
    pub expires_in: u64,
}

/// Arguments of `auth.refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The latest refresh token of the login.
    pub refresh_token: String,
}

/// Claims of an access token (RFC 7519, RFC 9068): EdDSA, `typ: at+jwt`, `kid` in the header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The login.
    pub sid: LoginId,
    /// Unique per token.
    pub jti: String,
    /// Issued at, seconds since the Unix epoch.
    pub iat: u64,
    /// Not valid before, seconds since the Unix epoch.
    pub nbf: u64,
    /// Expires at, seconds since the Unix epoch.
    pub exp: u64,
}

/// `iss` of every access token.
pub const ISSUER: &str = "socket-hub";
/// `aud` of every access token.
pub const AUDIENCE: &str = "socket-hub-edge";
/// `typ` of every access token (RFC 9068 §2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresh([redacted])")
    }
}
