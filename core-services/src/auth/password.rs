//! `auth.change_password`.

use hub_protocol::api::Empty;
use hub_protocol::api::auth::ChangePassword;
use hub_protocol::{ErrorCode, LoginId};

use super::accounts::{Accounts, Stop, caller, check_password};
use super::limits::Key;
use super::store::account;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    /// Replaces the password; all other logins end. Whoever knows that the new one is in force already, repeats a
    /// call whose answer was lost.
    pub(super) async fn change_password(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: ChangePassword = params(call)?;
        check_password(&asked.new_password)?;
        let caller = caller(call)?;
        let first = match self.prove(call, &asked.password).await {
            Ok(account) => {
                let new = self.hash(&asked.new_password).await?;
                let who = self.who(call);
                let hashes = (account.hash.as_str(), new.as_str());
                let revoked = account::change_password(&self.store, &who, caller, hashes, now_us()).await?;
                match revoked {
                    Some(revoked) => return Ok(done(revoked)),
                    None => refuse(ErrorCode::Forbidden, "the password is wrong").into(),
                }
            }
            Err(stop) => stop,
        };
        let Stop::Refused(refusal) = first else {
            return Err(first);
        };
        if refusal.code != ErrorCode::Forbidden {
            return Err(refusal.into());
        }
        self.limits.take(&[Key::Login(caller.1)], now_us())?;
        let known = account::find_by_id(&self.store, caller.0).await?;
        let hash = known.as_ref().map(|account| account.hash.as_str());
        if self.verify(&asked.new_password, hash).await {
            self.limits.give_back(&[Key::Login(caller.1)]);
            return Ok(done(account::revoked_by_change(&self.store, caller.0).await?));
        }
        Err(refusal.into())
    }
}

fn done(revoked: Vec<LoginId>) -> Outcome {
    Outcome {
        revoked,
        ..Outcome::result(json(&Empty {}))
    }
}
