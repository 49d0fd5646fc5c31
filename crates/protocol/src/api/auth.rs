//! `auth.*` and `totp.*`: accounts, logins, tokens, second factors.
//!
//! What holds a secret prints without it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use uuid::Uuid;

use super::user::User;
use crate::ids::{LoginId, UserId};

/// `reason` of a refusal: the password fits, and the account has a second factor. Ask for a code.
pub const REASON_TOTP_REQUIRED: &str = "totp_required";
/// `reason` of a refusal: the code of the second factor is wrong, too old or used.
pub const REASON_TOTP_INVALID: &str = "totp_invalid";
/// `reason` of a refusal: the one-time code is wrong, too old, used, or was tried too often.
pub const REASON_CODE_INVALID: &str = "code_invalid";

/// Arguments of `auth.register` and `auth.login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`.
    pub username: String,
    /// 8 to 256 bytes.
    pub password: String,
    /// What the user calls this device in his list of logins, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
    /// What an earlier login on this device returned: a known device has tries of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<String>,
    /// `auth.login` only: six digits of the second factor, or a recovery code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
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
    /// Makes this device a known one; kept over logouts. Not in the result of `auth.refresh`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<String>,
}

/// Arguments of `auth.refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The latest refresh token of the login.
    pub refresh_token: String,
}

/// One device on which a user is logged in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// Its name for `auth.revoke_login`.
    pub id: LoginId,
    /// What the user calls the device; may be empty.
    pub device: String,
    /// When the user logged in there.
    pub created_at: i64,
    /// When the device renewed its login for the last time.
    pub last_used_at: i64,
    /// When it ends, unless it is renewed.
    pub expires_at: i64,
    /// True for the login that asks.
    pub current: bool,
}

/// Result of `auth.logins`: what the owner of an account may know of its protection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Logins {
    /// At most 200, the one that was used last first.
    pub logins: Vec<Login>,
    /// Where one-time codes go, once it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
    /// True while a second factor is in force.
    pub totp: bool,
    /// Recovery codes that are not used yet.
    pub recovery_codes_left: u32,
}

/// Arguments of `auth.revoke_login`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeLogin {
    /// A login of the caller.
    pub login: LoginId,
}

/// Arguments of `auth.change_password`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one so far.
    pub password: String,
    /// 8 to 256 bytes.
    pub new_password: String,
}

/// Arguments of `auth.request_reset`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestReset {
    /// Whose password was forgotten.
    pub username: String,
    /// See [`Credentials::device_token`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<String>,
}

/// Result of `auth.request_reset`, whether or not the account exists, and of `auth.set_email`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// What the code belongs to: without it the code is worth nothing.
    pub challenge: Uuid,
    /// Life of the code, seconds.
    pub expires_in: u64,
}

/// Arguments of `auth.reset_password`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// From `auth.request_reset`.
    pub challenge: Uuid,
    /// The digits that were sent.
    pub code: String,
    /// 8 to 256 bytes.
    pub password: String,
}

/// Arguments of `auth.set_email`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEmail {
    /// The password again.
    pub password: String,
    /// Where one-time codes shall go, at most 254 bytes; null takes the address away.
    pub email: Option<String>,
}

/// Arguments of `auth.confirm_email`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEmail {
    /// From `auth.set_email`.
    pub challenge: Uuid,
    /// The digits that were sent.
    pub code: String,
}

/// Arguments of `auth.delete_account` and `totp.disable`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The password again.
    pub password: String,
    /// A code of the second factor or a recovery code, if one is in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
}

/// Arguments of `totp.enroll`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The password again.
    pub password: String,
}

/// Result of `totp.enroll`. Not in force before `totp.confirm`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// The shared secret, base32 without padding (RFC 4648 §6).
    pub secret: String,
    /// The same for a QR code: `otpauth://totp/…`.
    pub uri: String,
    /// Each is good once, in place of a code. Shown this one time.
    pub recovery_codes: Vec<String>,
}

/// Arguments of `totp.confirm`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Six digits.
    pub code: String,
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

macro_rules! redacted {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}

redacted!(Refresh ChangePassword RequestReset Challenge ResetPassword SetEmail ConfirmEmail Proof Enroll Enrolled Confirm);
