//! Step 10 for accounts: registration, logins, tokens.
//!
//! | module | holds |
//! |---|---|
//! | `password` | argon2id, a few at a time |
//! | `token` | access and refresh tokens |
//! | `store` | the only SQL |
//!
//! Each call has a transaction of its own: hashing stays outside of transactions, and a repeat is harmless (a
//! registration that was stored logs in, a refresh gives the same successor). Calls with a password run side by
//! side, as many as there are threads for their hashes; those without do not wait for them.

mod password;
mod store;
pub(crate) mod token;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use hub_protocol::api::Empty;
use hub_protocol::api::auth::{Credentials, Refresh, Tokens};
use hub_protocol::api::user::User;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{
    CALL_WAIT_MS_MAX, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, TOKEN_BYTES_MAX, USERNAME_BYTES_MAX,
    USERNAME_BYTES_MIN,
};
use hub_protocol::{ErrorCode, LoginId, Method, Service, UserId};
use tokio::task::JoinSet;
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

/// Calls of one batch whose hash has not begun after this are refused with `busy`: in a storm of logins nobody
/// waits for the end of the queue any more.
const HASH_WAIT_MAX: Duration = Duration::from_secs(4);
const _: () = assert!(HASH_WAIT_MAX.as_secs() * 2_000 <= CALL_WAIT_MS_MAX);
/// When such a call may come again, milliseconds.
const BUSY_RETRY_MS: u32 = 2_000;

/// The auth service.
#[derive(Debug)]
pub struct Auth {
    accounts: Arc<Accounts>,
    /// Calls with a password that are under way at a time. Twice the hashes, so that no thread waits for SQL.
    side_by_side: usize,
}

/// What the calls share.
#[derive(Debug)]
struct Accounts {
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
        let accounts = Accounts {
            store,
            passwords: Passwords::new(config)?,
            signing,
            refresh_key: hmac::Key::new(hmac::HMAC_SHA256, &meta.refresh_key),
            access_token_s: config.access_token.as_secs(),
            refresh_token_us: i64::try_from(config.refresh_token.as_micros()).unwrap_or(i64::MAX),
        };
        Ok(Self {
            accounts: Arc::new(accounts),
            side_by_side: config.hash_threads * 2,
        })
    }

    /// Starts calls with a password until enough are under way or one would wait too long; refuses it then.
    fn start_hashing(
        &self,
        waiting: &mut VecDeque<(usize, Call)>,
        running: &mut JoinSet<(usize, Result<Outcome, WorkError>)>,
        waited: Duration,
    ) -> Vec<(usize, Outcome)> {
        let mut refused = Vec::new();
        while running.len() < self.side_by_side {
            let Some((place, call)) = waiting.pop_front() else {
                break;
            };
            if waited > HASH_WAIT_MAX {
                refused.push((place, busy()));
                continue;
            }
            let accounts = Arc::clone(&self.accounts);
            running.spawn(async move { (place, accounts.call(&call).await) });
        }
        refused
    }
}

impl Accounts {
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
        let began = Instant::now();
        let mut outcomes: Vec<Option<Outcome>> = calls.iter().map(|_| None).collect();
        // Bound: `side_by_side`. Dropped, it ends what it runs.
        let mut running = JoinSet::new();
        let is_hashed = |call: &Call| matches!(call.header.method, Method::AuthRegister | Method::AuthLogin);
        let (hashed, others): (Vec<_>, Vec<_>) =
            calls.iter().enumerate().partition(|(_, call)| is_hashed(call));
        let mut waiting: VecDeque<(usize, Call)> = hashed
            .into_iter()
            .map(|(place, call)| (place, call.clone()))
            .collect();
        self.start_hashing(&mut waiting, &mut running, Duration::ZERO);
        for (place, call) in others {
            outcomes[place] = Some(self.accounts.call(call).await?);
        }
        while let Some(done) = running.join_next().await {
            let (place, outcome) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            outcomes[place] = Some(outcome?);
            for (place, refused) in self.start_hashing(&mut waiting, &mut running, began.elapsed()) {
                outcomes[place] = Some(refused);
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every call ran, or was refused while another ended"))
            .collect())
    }

    async fn read(&self, call: &Call) -> Result<Outcome, WorkError> {
        self.accounts.call(call).await
    }

    fn forget(&self) {}
}

fn busy() -> Outcome {
    let refusal = refuse(ErrorCode::Busy, "too many people log in at the moment");
    Outcome::refused(refusal.retry_after_ms(BUSY_RETRY_MS))
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
