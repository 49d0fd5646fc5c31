//! Step 10 for accounts: registration, logins, tokens.
//!
//! | module | holds |
//! |---|---|
//! | `password` | argon2id, a few at a time |
//! | `token` | access and refresh tokens |
//! | `store` | the only SQL |
//!
//! Calls run one after the other, each with a transaction of its own: hashing stays outside of transactions, and a
//! repeat is harmless (a registration that was stored logs in, a refresh gives the same successor).

mod password;
mod store;
pub(crate) mod token;

use aws_lc_rs::hmac;
use hub_protocol::api::Empty;
use hub_protocol::api::auth::{Credentials, Refresh, Tokens};
use hub_protocol::api::user::User;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{
    PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, TOKEN_BYTES_MAX, USERNAME_BYTES_MAX, USERNAME_BYTES_MIN,
};
use hub_protocol::{ErrorCode, LoginId, Method, Service, UserId};
use uuid::Uuid;

use crate::call::{json, now_us, params, refuse};
use crate::config::AuthConfig;
use crate::keys::SigningKey;
use crate::service::{Call, Handler, Outcome, WorkError};
use crate::store::{Meta, Store};
use password::Passwords;
use store::Rotation;
use token::{RefreshToken, access_token};

/// A registration whose answer was lost may be repeated for this long, µs.
const REGISTER_AGAIN_US: i64 = 10 * 60 * 1_000_000;

/// The auth service.
#[derive(Debug)]
pub struct Auth {
    store: Store,
    passwords: Passwords,
    signing: SigningKey,
    refresh_key: hmac::Key,
    access_token_s: u64,
    refresh_token_us: i64,
}

impl Auth {
    /// The service on a database.
    pub fn new(store: Store, meta: &Meta, config: &AuthConfig, signing: SigningKey) -> Result<Self, String> {
        Ok(Self {
            store,
            passwords: Passwords::new(config)?,
            signing,
            refresh_key: hmac::Key::new(hmac::HMAC_SHA256, &meta.refresh_key),
            access_token_s: config.access_token.as_secs(),
            refresh_token_us: i64::try_from(config.refresh_token.as_micros()).unwrap_or(i64::MAX),
        })
    }

    async fn call(&self, call: &Call) -> Result<Outcome, WorkError> {
        let done = match call.header.method {
            Method::AuthRegister => self.register(call).await?,
            Method::AuthLogin => self.login(call).await?,
            Method::AuthRefresh => return self.refresh(call).await,
            Method::AuthLogout => return self.logout(call).await,
            _ => Err(refuse(ErrorCode::BadRequest, "not a method of the auth service")),
        };
        Ok(match done {
            Ok(tokens) => Outcome::result(json(&tokens)),
            Err(error) => Outcome::refused(error),
        })
    }

    async fn register(&self, call: &Call) -> Result<Result<Tokens, ErrorBody>, WorkError> {
        let credentials = match params::<Credentials>(call).and_then(check) {
            Ok(credentials) => credentials,
            Err(error) => return Ok(Err(error)),
        };
        let Some(hash) = self.passwords.hash(&credentials.password).await else {
            return Ok(Err(refuse(
                ErrorCode::Internal,
                "the password could not be hashed",
            )));
        };
        let user = User {
            id: UserId(Uuid::now_v7()),
            username: credentials.username.clone(),
            display_name: credentials.username.clone(),
            created_at: now_us(),
        };
        if store::insert_user(&self.store, &user, &hash).await? {
            return self.open_login(user).await;
        }
        // The name is taken; by this very call, if its first answer was lost.
        let taken = || Err(refuse(ErrorCode::Conflict, "the user name is taken"));
        let Some((known, hash)) = store::find_by_name(&self.store, &credentials.username).await? else {
            return Ok(taken());
        };
        let is_recent = now_us() - known.created_at < REGISTER_AGAIN_US;
        if is_recent && self.passwords.verify(&credentials.password, Some(hash)).await {
            return self.open_login(known).await;
        }
        Ok(taken())
    }

    async fn login(&self, call: &Call) -> Result<Result<Tokens, ErrorBody>, WorkError> {
        let credentials: Credentials = match params(call) {
            Ok(credentials) => credentials,
            Err(error) => return Ok(Err(error)),
        };
        let found = store::find_by_name(&self.store, &credentials.username).await?;
        let (user, hash) = found.unzip();
        // The same work and the same answer for a wrong name and a wrong password.
        let fits = credentials.password.len() <= PASSWORD_BYTES_MAX
            && self.passwords.verify(&credentials.password, hash).await;
        match user.filter(|_| fits) {
            Some(user) => self.open_login(user).await,
            None => Ok(Err(refuse(
                ErrorCode::Unauthenticated,
                "user name or password is wrong",
            ))),
        }
    }

    async fn open_login(&self, user: User) -> Result<Result<Tokens, ErrorBody>, WorkError> {
        let login = LoginId(Uuid::now_v7());
        let Some(token) = RefreshToken::first(login) else {
            return Ok(Err(refuse(ErrorCode::Internal, "no random bytes")));
        };
        let now = now_us();
        store::insert_login(
            &self.store,
            login,
            user.id,
            token.hash(),
            now,
            now + self.refresh_token_us,
        )
        .await?;
        Ok(self.tokens(user, login, &token))
    }

    async fn refresh(&self, call: &Call) -> Result<Outcome, WorkError> {
        let invalid = || {
            Outcome::refused(refuse(
                ErrorCode::Unauthenticated,
                "the refresh token is invalid or used",
            ))
        };
        let asked: Refresh = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Outcome::refused(error)),
        };
        let token = Some(asked.refresh_token)
            .filter(|text| text.len() <= TOKEN_BYTES_MAX)
            .and_then(|text| RefreshToken::read(&text, &self.refresh_key));
        let Some(token) = token else { return Ok(invalid()) };
        let next = token.successor(&self.refresh_key);
        let now = now_us();
        let rotation = store::rotate(
            &self.store,
            token.login,
            token.hash(),
            next.hash(),
            now,
            now + self.refresh_token_us,
        );
        match rotation.await? {
            Rotation::Rotated(user) => Ok(match self.tokens(user, token.login, &next) {
                Ok(tokens) => Outcome::result(json(&tokens)),
                Err(error) => Outcome::refused(error),
            }),
            Rotation::Unknown => Ok(invalid()),
            Rotation::Reused => {
                tracing::warn!(login = %token.login, "a used refresh token came back; the login is revoked");
                Ok(Outcome {
                    revoked: vec![token.login],
                    ..invalid()
                })
            }
        }
    }

    async fn logout(&self, call: &Call) -> Result<Outcome, WorkError> {
        let login = call.header.login;
        if login.is_nil() {
            return Ok(Outcome::refused(refuse(ErrorCode::Unauthenticated, "no login")));
        }
        store::revoke(&self.store, login, call.header.user, now_us()).await?;
        Ok(Outcome {
            revoked: vec![login],
            ..Outcome::result(json(&Empty {}))
        })
    }

    fn tokens(&self, user: User, login: LoginId, refresh: &RefreshToken) -> Result<Tokens, ErrorBody> {
        let now_s = u64::try_from(now_us() / 1_000_000).unwrap_or(0);
        let access_token = access_token(&self.signing, user.id, login, now_s, self.access_token_s)
            .ok_or_else(|| refuse(ErrorCode::Internal, "the token could not be signed"))?;
        Ok(Tokens {
            user,
            access_token,
            refresh_token: refresh.write(&self.refresh_key),
            expires_in: self.access_token_s,
        })
    }
}

impl Handler for Auth {
    fn service(&self) -> Service {
        Service::Auth
    }

    async fn write(&self, calls: &[Call]) -> Result<Vec<Outcome>, WorkError> {
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            outcomes.push(self.call(call).await?);
        }
        Ok(outcomes)
    }

    async fn read(&self, call: &Call) -> Result<Outcome, WorkError> {
        self.call(call).await
    }

    fn forget(&self) {}
}

/// What a new account's name and password must be.
fn check(credentials: Credentials) -> Result<Credentials, ErrorBody> {
    let name = credentials.username.as_bytes();
    let is_allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if !(USERNAME_BYTES_MIN..=USERNAME_BYTES_MAX).contains(&name.len()) || !name.iter().all(is_allowed) {
        let rule = "username: 3 to 32 characters of a-z 0-9 _ . -";
        return Err(refuse(ErrorCode::BadRequest, rule));
    }
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&credentials.password.len()) {
        return Err(refuse(ErrorCode::BadRequest, "password: 8 to 256 bytes"));
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(username: &str, password: &str) -> Option<ErrorCode> {
        let credentials = Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        check(credentials).err().map(|error| error.code)
    }

    #[test]
    fn names_and_passwords_have_their_rules() {
        assert_eq!(code("ada.l-1_", "12345678"), None);
        for name in ["", "ab", "Ada", "a b", "ä-la", &"a".repeat(33), "a\0bc"] {
            assert_eq!(code(name, "12345678"), Some(ErrorCode::BadRequest), "{name}");
        }
        assert_eq!(code("ada", "1234567"), Some(ErrorCode::BadRequest));
        assert_eq!(code("ada", &"1".repeat(257)), Some(ErrorCode::BadRequest));
    }
}
