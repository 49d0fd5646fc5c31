//! `auth.refresh`: one refresh token for the next one and an access token.

use hub_protocol::ErrorCode;
use hub_protocol::api::auth::Refresh;
use hub_protocol::limits::TOKEN_BYTES_MAX;

use super::accounts::{Accounts, Stop};
use super::store::login::{self, Rotation};
use super::token::RefreshToken;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome};

impl Accounts {
    pub(super) async fn refresh(&self, call: &Call) -> Result<Outcome, Stop> {
        let invalid = || refuse(ErrorCode::Unauthenticated, "the refresh token is invalid or used");
        let asked: Refresh = params(call)?;
        let token = Some(asked.refresh_token)
            .filter(|text| text.len() <= TOKEN_BYTES_MAX)
            .and_then(|text| RefreshToken::read(&text, &self.refresh_key));
        let token = token.ok_or_else(invalid)?;
        let next = token.successor(&self.refresh_key);
        let now = now_us();
        let hashes = (token.hash(), next.hash());
        let expires_at = now + self.refresh_token_us;
        match login::rotate(&self.store, &self.who(call), token.login, hashes, now, expires_at).await? {
            Rotation::Rotated(user) => Ok(Outcome::result(json(&self.tokens(user, token.login, &next)?))),
            Rotation::Unknown => Err(invalid().into()),
            Rotation::Reused => {
                tracing::warn!(login = %token.login, "a used refresh token came back; the login is revoked");
                Ok(Outcome {
                    revoked: vec![token.login],
                    ..Outcome::refused(invalid())
                })
            }
        }
    }
}
