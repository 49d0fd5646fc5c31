//! `auth.set_email` and `auth.confirm_email`: the address that one-time codes go to.

use hub_protocol::ErrorCode;
use hub_protocol::api::Empty;
use hub_protocol::api::auth::{Challenge, ConfirmEmail, REASON_CODE_INVALID, SetEmail};
use hub_protocol::limits::{CODE_S, EMAIL_BYTES_MAX};
use uuid::Uuid;

use super::accounts::{Accounts, Stop, caller};
use super::limits::Key;
use super::reset::{code_end, make_code, seal};
use super::store::{account, code};
use crate::call::{json, now_us, params, refuse};
use crate::mail::Message;
use crate::service::{Call, Outcome};

impl Accounts {
    /// Sends a code to an address; it becomes the account's when the code comes back. Null takes it away at once.
    pub(super) async fn set_email(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: SetEmail = params(call)?;
        if let Some(email) = &asked.email {
            let is_address = email.len() <= EMAIL_BYTES_MAX && email.parse::<lettre::Address>().is_ok();
            if !is_address {
                return Err(refuse(ErrorCode::BadRequest, "email: an address like name@example.org").into());
            }
            self.check_outbox()?;
        }
        let account = self.prove(call, &asked.password).await?;
        let user = account.user.id;
        let Some(email) = asked.email else {
            account::remove_email(&self.store, &self.who(call), user, now_us()).await?;
            return Ok(Outcome::result(json(&Empty {})));
        };
        self.limits.take(&[Key::OwnMail(user.0)], now_us())?;
        let challenge = Uuid::new_v4();
        let code = make_code().ok_or_else(|| refuse(ErrorCode::Internal, "no random bytes"))?;
        let sealed = seal(&self.refresh_key, challenge, &code);
        let now = now_us();
        code::insert_email(
            &self.store,
            &self.who(call),
            user,
            &email,
            &sealed,
            (now, code_end(now)),
        )
        .await?;
        self.mailer.offer(Message {
            to: email,
            subject: "Your code for this address",
            text: format!(
                "Your code for this address: {code}\n\nIt is good for 15 minutes. If you did not ask for it, do \
                 nothing.\n"
            ),
        });
        Ok(Outcome::result(json(&Challenge {
            challenge,
            expires_in: CODE_S,
        })))
    }

    pub(super) async fn confirm_email(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: ConfirmEmail = params(call)?;
        let (user, login) = caller(call)?;
        let key = [Key::Login(login)];
        self.limits.take(&key, now_us())?;
        let sealed = seal(&self.refresh_key, asked.challenge, &asked.code);
        if !code::confirm_email(&self.store, &self.who(call), user, &sealed, now_us()).await? {
            let error = refuse(ErrorCode::Forbidden, "the code is wrong, too old or used");
            return Err(error.reason(REASON_CODE_INVALID).into());
        }
        self.limits.give_back(&key);
        Ok(Outcome::result(json(&Empty {})))
    }
}
