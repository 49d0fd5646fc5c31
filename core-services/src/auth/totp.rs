//! `totp.*`: a second factor (RFC 6238).

use hub_protocol::api::Empty;
use hub_protocol::api::auth::{Confirm, Enroll, Enrolled, Proof, REASON_TOTP_INVALID, REASON_TOTP_REQUIRED};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, UserId};

use super::accounts::{Accounts, Stop, caller};
use super::limits::Key;
use super::otp::{SECRET_BYTES, Typed, base32, random, recovery_codes};
use super::store::totp::{self, Confirmation};
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    /// Makes a secret, in place of one that was never confirmed.
    pub(super) async fn totp_enroll(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: Enroll = params(call)?;
        let account = self.prove(call, &asked.password).await?;
        let user = account.user.id;
        let made = random::<SECRET_BYTES>().zip(recovery_codes());
        let (secret, codes) = made.ok_or_else(|| refuse(ErrorCode::Internal, "no random bytes"))?;
        let mut hashes = Vec::new();
        for code in &codes {
            if let Typed::Recovery(hash) = Typed::read(code, user) {
                hashes.push(hash);
            }
        }
        if !totp::enroll(&self.store, &self.who(call), user, &secret, &hashes, now_us()).await? {
            return Err(in_force().into());
        }
        let text = base32(&secret);
        Ok(Outcome::result(json(&Enrolled {
            uri: format!(
                "otpauth://totp/Socket-Hub:{}?secret={text}&issuer=Socket-Hub&algorithm=SHA1&digits=6&period=30",
                account.user.username
            ),
            secret: text,
            recovery_codes: codes,
        })))
    }

    pub(super) async fn totp_confirm(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: Confirm = params(call)?;
        let (user, login) = caller(call)?;
        let key = [Key::Login(login)];
        self.limits.take(&key, now_us())?;
        let confirmed = match Typed::read(&asked.code, user) {
            Typed::Totp(code) => totp::confirm(&self.store, &self.who(call), user, &code, now_us()).await?,
            Typed::Recovery(_) => Confirmation::BadCode,
        };
        match confirmed {
            Confirmation::Done => {
                self.limits.give_back(&key);
                Ok(Outcome::result(json(&Empty {})))
            }
            Confirmation::BadCode => Err(bad_code().into()),
            Confirmation::Nothing => Err(in_force().into()),
        }
    }

    pub(super) async fn totp_disable(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: Proof = params(call)?;
        let account = self.prove(call, &asked.password).await?;
        if !account.has_totp {
            return Ok(Outcome::result(json(&Empty {})));
        }
        let typed = self.typed(call, &asked, account.user.id)?;
        if !totp::disable(&self.store, &self.who(call), account.user.id, &typed, now_us()).await? {
            return Err(bad_code().into());
        }
        self.factor_fits(call);
        Ok(Outcome::result(json(&Empty {})))
    }

    /// The code of a caller whose account has a second factor. Its tries are his login's own.
    pub(super) fn typed(&self, call: &Call, asked: &Proof, user: UserId) -> Result<Typed, Stop> {
        let Some(code) = &asked.code else {
            let error = refuse(ErrorCode::Forbidden, "a code of the second factor is needed");
            return Err(error.reason(REASON_TOTP_REQUIRED).into());
        };
        self.limits.take(&[Key::Login(call.header.login)], now_us())?;
        Ok(Typed::read(code, user))
    }

    /// The code of [`typed`](Self::typed) was a good one.
    pub(super) fn factor_fits(&self, call: &Call) {
        self.limits.give_back(&[Key::Login(call.header.login)]);
    }
}

pub(super) fn bad_code() -> ErrorBody {
    refuse(ErrorCode::Forbidden, "the code is wrong or used").reason(REASON_TOTP_INVALID)
}

fn in_force() -> ErrorBody {
    refuse(
        ErrorCode::Conflict,
        "there is no second factor to confirm, or one is in force: totp.disable",
    )
}
