//! `auth.delete_account`.

use hub_protocol::api::Empty;
use hub_protocol::api::auth::Proof;
use hub_protocol::{ErrorCode, LoginId};

use super::accounts::{Accounts, Stop, caller};
use super::store::account::{self, Deletion};
use super::totp::bad_code;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    /// Ends the account: its logins, and everything that names a person. Its messages stay, by "deleted account".
    pub(super) async fn delete_account(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: Proof = params(call)?;
        let (user, _) = caller(call)?;
        // The same call once more: there is no password any more that could be shown.
        if let Some(revoked) = account::revoked_by_deletion(&self.store, user).await? {
            return Ok(done(revoked));
        }
        let known = self.prove(call, &asked.password).await?;
        let typed = if known.has_totp {
            Some(self.typed(call, &asked, user)?)
        } else {
            None
        };
        let name_hash = self.name_hash(&known.user.username);
        match account::delete(
            &self.store,
            &self.who(call),
            user,
            &name_hash,
            typed.as_ref(),
            now_us(),
        )
        .await?
        {
            Deletion::Done(revoked) => Ok(done(revoked)),
            Deletion::BadCode => Err(bad_code().into()),
            Deletion::Missing => Err(refuse(ErrorCode::Unauthenticated, "the account is gone").into()),
        }
    }
}

fn done(revoked: Vec<LoginId>) -> Outcome {
    Outcome {
        revoked,
        ..Outcome::result(json(&Empty {}))
    }
}
