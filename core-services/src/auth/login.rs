//! `auth.login`: a password, a code if there is a second factor, and tokens.

use hub_protocol::api::auth::{Credentials, REASON_TOTP_INVALID, REASON_TOTP_REQUIRED};
use hub_protocol::api::user::User;
use hub_protocol::{ErrorCode, LoginId};
use uuid::Uuid;

use super::accounts::{Accounts, Stop};
use super::device::DeviceToken;
use super::limits::Key;
use super::otp::Typed;
use super::register::check_device;
use super::store::{account, login};
use super::token::RefreshToken;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    pub(super) async fn login(&self, call: &Call) -> Result<Outcome, Stop> {
        let credentials: Credentials = params(call)?;
        check_device(&credentials)?;
        let device = credentials.device_token.as_deref().and_then(DeviceToken::read);
        let found = account::find_by_name(&self.store, &credentials.username, device.as_ref()).await?;
        let known = found.as_ref().and_then(|account| account.device);
        // A known device has tries of its own: nobody else can use them up.
        let keys = match known {
            Some(device) => vec![Key::Device(device)],
            None => Self::stranger(call, Key::Account(self.name_hash(&credentials.username))),
        };
        self.limits.take(&keys, now_us())?;
        // The same work and the same answer for a wrong name and a wrong password.
        let hash = found.as_ref().map(|account| account.hash.as_str());
        let fits = self.verify(&credentials.password, hash).await;
        let Some(account) = found.as_ref().filter(|_| fits) else {
            let user = found.as_ref().map(|account| account.user.id);
            let who = self.who(call).with(user, None);
            account::note_failure(&self.store, &who, "password", now_us()).await?;
            return Err(refuse(ErrorCode::Unauthenticated, "user name or password is wrong").into());
        };
        self.limits.give_back(&keys);
        let mut typed = None;
        let mut factor_keys = Vec::new();
        if account.has_totp {
            let Some(code) = &credentials.code else {
                let error = refuse(
                    ErrorCode::Unauthenticated,
                    "a code of the second factor is needed",
                );
                return Err(error.reason(REASON_TOTP_REQUIRED).into());
            };
            factor_keys.push(known.map_or(Key::Totp(account.user.id), Key::Device));
            self.limits.take(&factor_keys, now_us())?;
            typed = Some(Typed::read(code, account.user.id));
        }
        let device = device.filter(|_| known.is_some());
        let opened = self
            .open_login(call, account.user.clone(), &credentials, device, typed)
            .await?;
        if matches!(opened.reply, Some(Ok(_))) {
            self.limits.give_back(&factor_keys);
        }
        Ok(opened)
    }

    /// Opens a login of a user who has proved himself, but for the second factor.
    pub(super) async fn open_login(
        &self,
        call: &Call,
        user: User,
        credentials: &Credentials,
        known: Option<DeviceToken>,
        typed: Option<Typed>,
    ) -> Result<Outcome, Stop> {
        let no_random = || refuse(ErrorCode::Internal, "no random bytes");
        let id = LoginId(Uuid::now_v7());
        let token = RefreshToken::first(id).ok_or_else(no_random)?;
        let is_new = known.is_none();
        let device = known.or_else(DeviceToken::make).ok_or_else(no_random)?;
        let now = now_us();
        let opening = login::Opening {
            login: id,
            user: user.id,
            token_hash: token.hash(),
            device: credentials.device.as_deref().unwrap_or_default(),
            device_id: device.id,
            device_hash: is_new.then(|| device.hash()),
            typed,
            now,
            expires_at: now + self.refresh_token_us,
        };
        if !login::open(&self.store, &self.who(call), &opening).await? {
            let error = refuse(ErrorCode::Unauthenticated, "the code is wrong or used");
            return Ok(Outcome::refused(error.reason(REASON_TOTP_INVALID)));
        }
        let mut tokens = self.tokens(user, id, &token)?;
        tokens.device_token = Some(device.write());
        Ok(Outcome::result(json(&tokens)))
    }
}
