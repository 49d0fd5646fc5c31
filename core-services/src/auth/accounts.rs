//! What all calls of accounts share: keys, limits, who calls, and the proof that he knows the password.

use std::sync::Arc;

use aws_lc_rs::hmac;
use hub_protocol::api::auth::Tokens;
use hub_protocol::api::user::User;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use hub_protocol::{ErrorCode, LoginId, Method, UserId};
use tokio::sync::mpsc;

use super::audit::Who;
use super::hash::Passwords;
use super::limits::{Key, Limits};
use super::reset::{self, Job};
use super::store::account::{self, Account};
use super::token::{RefreshToken, access_token};
use crate::call::{now_us, refuse};
use crate::config::AuthConfig;
use crate::keys::Signer;
use crate::mail::Mailer;
use crate::service::{Call, Outcome, WorkError};
use crate::store::{Meta, Store, StoreError};

/// `reason` of a refusal: the caller is logged in, and the password that he shows again is wrong.
const REASON_PASSWORD: &str = "password_invalid";

/// What the calls share.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) store: Store,
    pub(super) passwords: Passwords,
    pub(super) limits: Limits,
    pub(super) mailer: Mailer,
    pub(super) resets: mpsc::Sender<Job>,
    pub(super) refresh_key: hmac::Key,
    pub(super) refresh_token_us: i64,
    /// Hashes names and addresses.
    name_key: hmac::Key,
    signer: Arc<Signer>,
    access_token_s: u64,
}

/// Why a call has no result.
pub(super) enum Stop {
    /// The client is told.
    Refused(ErrorBody),
    /// Nothing is known.
    Failed(WorkError),
}

impl From<ErrorBody> for Stop {
    fn from(error: ErrorBody) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Accounts {
    pub(super) fn new(
        store: Store,
        meta: &Meta,
        config: &AuthConfig,
        signer: Arc<Signer>,
        mailer: Mailer,
    ) -> Result<Self, String> {
        let refresh_key = hmac::Key::new(hmac::HMAC_SHA256, &meta.refresh_key);
        Ok(Self {
            passwords: Passwords::new(config)?,
            limits: Limits::new(config),
            resets: reset::start(store.clone(), mailer.clone(), refresh_key.clone()),
            mailer,
            store,
            refresh_key,
            refresh_token_us: i64::try_from(config.refresh_token.as_micros()).unwrap_or(i64::MAX),
            name_key: hmac::Key::new(hmac::HMAC_SHA256, &meta.op_hash_key),
            signer,
            access_token_s: config.access_token.as_secs(),
        })
    }

    pub(super) async fn call(&self, call: &Call) -> Result<Outcome, WorkError> {
        let done = match call.header.method {
            Method::AuthRegister => self.register(call).await,
            Method::AuthLogin => self.login(call).await,
            Method::AuthRefresh => self.refresh(call).await,
            Method::AuthLogout => self.logout(call).await,
            Method::AuthLogins => self.logins(call).await,
            Method::AuthRevokeLogin => self.revoke_login(call).await,
            Method::AuthChangePassword => self.change_password(call).await,
            Method::AuthRequestReset => self.request_reset(call).await,
            Method::AuthResetPassword => self.reset_password(call).await,
            Method::AuthSetEmail => self.set_email(call).await,
            Method::AuthConfirmEmail => self.confirm_email(call).await,
            Method::AuthDeleteAccount => self.delete_account(call).await,
            Method::TotpEnroll => self.totp_enroll(call).await,
            Method::TotpConfirm => self.totp_confirm(call).await,
            Method::TotpDisable => self.totp_disable(call).await,
            _ => Err(refuse(ErrorCode::BadRequest, "not a method of the auth service").into()),
        };
        match done {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Refused(error)) => Ok(Outcome::refused(error)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Who calls, for the audit log.
    pub(super) fn who(&self, call: &Call) -> Who {
        let header = &call.header;
        let address = header.origin();
        Who {
            user: Some(header.user).filter(|user| !user.is_nil()),
            login: Some(header.login).filter(|login| !login.is_nil()),
            address: address.map(|address| self.keyed("address", &address.octets()).to_vec()),
        }
    }

    /// What stands for the name of an account where the name itself must not.
    pub(super) fn name_hash(&self, name: &str) -> [u8; 16] {
        self.keyed("name", name.as_bytes())
    }

    fn keyed(&self, what: &str, bytes: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.name_key);
        context.update(what.as_bytes());
        context.update(bytes);
        let mut cut = [0; 16];
        cut.copy_from_slice(&context.sign().as_ref()[..16]);
        cut
    }

    /// The buckets of somebody who is not known.
    pub(super) fn stranger(call: &Call, key: Key) -> Vec<Key> {
        let address = call.header.origin().map(Key::Address);
        address.into_iter().chain([key]).collect()
    }

    /// The account of a caller who shows his password again. Its tries are his login's own.
    pub(super) async fn prove(&self, call: &Call, password: &str) -> Result<Account, Stop> {
        let (user, login) = caller(call)?;
        let key = [Key::Login(login)];
        self.limits.take(&key, now_us())?;
        let account = account::find_by_id(&self.store, user).await?;
        let account = account.ok_or_else(|| refuse(ErrorCode::Unauthenticated, "the account is gone"))?;
        if !self.verify(password, Some(&account.hash)).await {
            account::note_failure(&self.store, &self.who(call), "password again", now_us()).await?;
            return Err(refuse(ErrorCode::Forbidden, "the password is wrong")
                .reason(REASON_PASSWORD)
                .into());
        }
        self.limits.give_back(&key);
        Ok(account)
    }

    /// True if the password belongs to the hash; takes as long without one.
    pub(super) async fn verify(&self, password: &str, hash: Option<&str>) -> bool {
        password.len() <= PASSWORD_BYTES_MAX && self.passwords.verify(password, hash.map(str::to_owned)).await
    }

    /// The PHC string of a password that follows the rules.
    pub(super) async fn hash(&self, password: &str) -> Result<String, ErrorBody> {
        check_password(password)?;
        let hash = self.passwords.hash(password).await;
        hash.ok_or_else(|| refuse(ErrorCode::Internal, "the password could not be hashed"))
    }

    pub(super) fn tokens(
        &self,
        user: User,
        login: LoginId,
        refresh: &RefreshToken,
    ) -> Result<Tokens, ErrorBody> {
        let now_s = u64::try_from(now_us() / 1_000_000).unwrap_or(0);
        let access_token = access_token(&self.signer.current(), user.id, login, now_s, self.access_token_s)
            .ok_or_else(|| refuse(ErrorCode::Internal, "the token could not be signed"))?;
        Ok(Tokens {
            user,
            access_token,
            refresh_token: refresh.write(&self.refresh_key),
            expires_in: self.access_token_s,
            device_token: None,
        })
    }
}

/// Who calls. The edge lets nobody through without a token.
pub(super) fn caller(call: &Call) -> Result<(UserId, LoginId), ErrorBody> {
    let (user, login) = (call.header.user, call.header.login);
    if user.is_nil() || login.is_nil() {
        return Err(refuse(ErrorCode::Unauthenticated, "no login"));
    }
    Ok((user, login))
}

pub(super) fn check_password(password: &str) -> Result<(), ErrorBody> {
    if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Ok(());
    }
    Err(refuse(ErrorCode::BadRequest, "password: 8 to 256 bytes"))
}
