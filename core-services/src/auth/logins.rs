//! `auth.logins`, `auth.revoke_login`, `auth.logout`: where a user is logged in, and the end of that.

use hub_protocol::ErrorCode;
use hub_protocol::api::Empty;
use hub_protocol::api::auth::RevokeLogin;

use super::accounts::{Accounts, Stop, caller};
use super::store::login;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    pub(super) async fn logins(&self, call: &Call) -> Result<Outcome, Stop> {
        let Empty {} = params(call)?;
        let (user, current) = caller(call)?;
        let logins = login::list(&self.store, user, current, now_us()).await?;
        Ok(Outcome::result(json(&logins)))
    }

    /// Ends another login; its device is not known any more.
    pub(super) async fn revoke_login(&self, call: &Call) -> Result<Outcome, Stop> {
        let RevokeLogin { login } = params(call)?;
        let (user, _) = caller(call)?;
        if !login::revoke(&self.store, &self.who(call), (user, login), true, now_us()).await? {
            return Err(refuse(ErrorCode::NotFound, "no such login").into());
        }
        Ok(Outcome {
            revoked: vec![login],
            ..Outcome::result(json(&Empty {}))
        })
    }

    /// Ends the calling login; its device stays a known one.
    pub(super) async fn logout(&self, call: &Call) -> Result<Outcome, Stop> {
        let Empty {} = params(call)?;
        let (user, login) = caller(call)?;
        login::revoke(&self.store, &self.who(call), (user, login), false, now_us()).await?;
        Ok(Outcome {
            revoked: vec![login],
            ..Outcome::result(json(&Empty {}))
        })
    }
}
