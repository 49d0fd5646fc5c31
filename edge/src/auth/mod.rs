//! Between steps 3 and 6: who a client is. Verifies access tokens; knows public keys and nothing about accounts.
//!
//! Policy, stricter than the token library's defaults: one algorithm (EdDSA), a known `kid`, `typ` of RFC 9068,
//! no `crit`, every claim present and of its type, a life of at most [`ACCESS_TOKEN_S`]. The library checks form
//! and signature, this module everything else, with the time as an argument.

mod keys;

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_protocol::api::auth::{AUDIENCE, Claims, ISSUER, TOKEN_TYPE};
use hub_protocol::limits::{ACCESS_TOKEN_S, TOKEN_BYTES_MAX};
use hub_protocol::{LoginId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

pub use keys::{Keyring, KeysError, watch};

/// Who calls, as an access token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The login that the token belongs to.
    pub login: LoginId,
    /// The token's end, seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Why a token is refused. For logs and metrics; a client learns only `unauthenticated`.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Above [`TOKEN_BYTES_MAX`].
    #[error("token too long")]
    TooLong,
    /// Not a token of ours: form, header or claims.
    #[error("token malformed")]
    Malformed,
    /// Signed with a key that this node does not have.
    #[error("token key unknown")]
    UnknownKey,
    /// The signature does not fit.
    #[error("token signature wrong")]
    Signature,
    /// Past its end.
    #[error("token expired")]
    Expired,
    /// From the future, or of a longer life than is given out.
    #[error("token times wrong")]
    Times,
    /// Of another issuer or for another audience.
    #[error("token not for this system")]
    Foreign,
}

/// Verifies access tokens. A rotation [replaces](Self::replace) its keys; nothing that is open notices.
pub struct Verifier {
    /// Read once per token, never per message.
    keys: RwLock<HashMap<String, DecodingKey>>,
    validation: Validation,
    leeway_s: u64,
}

/// What is read of a header. Repeated members are refused by the reader.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    /// RFC 7515 §4.1.11: extensions that must be understood; none is.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for a member that is there, `null` included.
fn present<'de, D: serde::Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

impl Verifier {
    /// Public keys by `kid`.
    pub fn new(keys: HashMap<String, DecodingKey>, leeway_s: u64) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // All times are judged by `judge`, on the caller's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        Self {
            keys: RwLock::new(keys),
            validation,
            leeway_s,
        }
    }

    /// Knows these public keys, and no others, from now on.
    pub fn replace(&self, keys: HashMap<String, DecodingKey>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> RwLockReadGuard<'_, HashMap<String, DecodingKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token this is, at `now_s` seconds since the Unix epoch.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Caller, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let header = read_header(token)?;
        if header.alg != "EdDSA" || header.typ != TOKEN_TYPE || header.crit {
            return Err(TokenError::Malformed);
        }
        // The name is a key of this map and nothing else: no path, no address, no fallback.
        let keys = self.keys();
        let key = keys.get(&header.kid).ok_or(TokenError::UnknownKey)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let claims = decoded.map_err(|error| refusal(&error))?.claims;
        self.judge(&claims, now_s)
    }

    fn judge(&self, claims: &Claims, now_s: u64) -> Result<Caller, TokenError> {
        if claims.iss != ISSUER || claims.aud != AUDIENCE {
            return Err(TokenError::Foreign);
        }
        if claims.sub.is_nil() || claims.sid.is_nil() || claims.jti.is_empty() {
            return Err(TokenError::Malformed);
        }
        let latest = now_s.saturating_add(self.leeway_s);
        if claims.iat > latest || claims.nbf > latest {
            return Err(TokenError::Times);
        }
        match claims.exp.checked_sub(claims.iat) {
            Some(life_s) if life_s <= ACCESS_TOKEN_S => {}
            _ => return Err(TokenError::Times),
        }
        if claims.exp.saturating_add(self.leeway_s) <= now_s {
            return Err(TokenError::Expired);
        }
        Ok(Caller {
            user: claims.sub,
            login: claims.sid,
            expires_at: claims.exp,
        })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys().keys()).finish()
    }
}

fn read_header(token: &str) -> Result<Header, TokenError> {
    let (header, _) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(header).or(Err(TokenError::Malformed))?;
    serde_json::from_slice(&json).or(Err(TokenError::Malformed))
}

fn refusal(error: &jsonwebtoken::errors::Error) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => TokenError::Foreign,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
