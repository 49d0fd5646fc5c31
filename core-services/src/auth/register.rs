//! `auth.register`.

use hub_protocol::api::auth::Credentials;
use hub_protocol::api::user::User;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{DEVICE_NAME_BYTES_MAX, USERNAME_BYTES_MAX, USERNAME_BYTES_MIN};
use hub_protocol::{ErrorCode, UserId};
use uuid::Uuid;

use super::accounts::{Accounts, Stop, check_password};
use super::limits::Key;
use super::store::account;
use crate::call::{now_us, params, refuse};
use crate::service::{Call, Outcome};

/// A registration whose answer was lost may be repeated for this long, µs.
const REGISTER_AGAIN_US: i64 = 10 * 60 * 1_000_000;

impl Accounts {
    pub(super) async fn register(&self, call: &Call) -> Result<Outcome, Stop> {
        let credentials = check(params::<Credentials>(call)?)?;
        if let Some(address) = call.header.origin() {
            self.limits.take(&[Key::Address(address)], now_us())?;
        }
        let hash = self.hash(&credentials.password).await?;
        let name_hash = self.name_hash(&credentials.username);
        let user = User {
            id: UserId(Uuid::now_v7()),
            username: credentials.username.clone(),
            display_name: credentials.username.clone(),
            created_at: now_us(),
        };
        if account::insert(&self.store, &user, &hash, &name_hash, &self.who(call)).await? {
            return self.open_login(call, user, &credentials, None, None).await;
        }
        // The name is taken; by this very call, if its first answer was lost.
        let taken = || Stop::from(refuse(ErrorCode::Conflict, "the user name is taken"));
        self.limits.take(&[Key::Account(name_hash)], now_us())?;
        let known = account::find_by_name(&self.store, &credentials.username, None).await?;
        let known = known.ok_or_else(taken)?;
        let is_recent = now_us() - known.user.created_at < REGISTER_AGAIN_US;
        if is_recent && !known.has_totp && self.verify(&credentials.password, Some(&known.hash)).await {
            return self.open_login(call, known.user, &credentials, None, None).await;
        }
        Err(taken())
    }
}

/// What a new account's name and password must be.
fn check(credentials: Credentials) -> Result<Credentials, ErrorBody> {
    let name = credentials.username.as_bytes();
    let is_allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if !(USERNAME_BYTES_MIN..=USERNAME_BYTES_MAX).contains(&name.len()) || !name.iter().all(is_allowed) {
        let rule = "username: 3 to 32 characters of a-z 0-9 _ . -";
        return Err(refuse(ErrorCode::BadRequest, rule));
    }
    check_password(&credentials.password)?;
    check_device(&credentials)?;
    if credentials.code.is_some() {
        return Err(refuse(
            ErrorCode::BadRequest,
            "code: a new account has no second factor",
        ));
    }
    Ok(credentials)
}

/// What a device may be called.
pub(super) fn check_device(credentials: &Credentials) -> Result<(), ErrorBody> {
    let name = credentials.device.as_deref().unwrap_or_default();
    if name.len() > DEVICE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(refuse(
            ErrorCode::BadRequest,
            "device: at most 64 bytes, no control characters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(username: &str, password: &str, device: Option<&str>) -> Option<ErrorCode> {
        let credentials = Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
            device: device.map(str::to_owned),
            device_token: None,
            code: None,
        };
        check(credentials).err().map(|error| error.code)
    }

    #[test]
    fn names_and_passwords_have_their_rules() {
        assert_eq!(code("ada.l-1_", "12345678", Some("Ada's téléphone")), None);
        for name in ["", "ab", "Ada", "a b", "ä-la", &"a".repeat(33), "a\0bc", "~ada"] {
            assert_eq!(
                code(name, "12345678", None),
                Some(ErrorCode::BadRequest),
                "{name}"
            );
        }
        assert_eq!(code("ada", "1234567", None), Some(ErrorCode::BadRequest));
        assert_eq!(code("ada", &"1".repeat(257), None), Some(ErrorCode::BadRequest));
        for device in ["a\0b", "a\nb", &"a".repeat(65)] {
            assert_eq!(
                code("ada", "12345678", Some(device)),
                Some(ErrorCode::BadRequest),
                "{device}"
            );
        }
    }
}
