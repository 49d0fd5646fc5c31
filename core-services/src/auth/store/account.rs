//! Accounts, passwords, the end of an account.

use hub_protocol::api::user::User;
use hub_protocol::{LoginId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::login::revoke_all;
use super::totp;
use super::user;
use crate::auth::audit::{self, Kind, Who};
use crate::auth::device::DeviceToken;
use crate::auth::otp::Typed;
use crate::store::{Store, StoreError};

/// An account with what proves that somebody owns it.
pub(in crate::auth) struct Account {
    pub(in crate::auth) user: User,
    /// PHC string.
    pub(in crate::auth) hash: String,
    pub(in crate::auth) has_totp: bool,
    /// The device of the token that was shown, if it is one of this account.
    pub(in crate::auth) device: Option<Uuid>,
}

macro_rules! select_account {
    ($condition:literal) => {
        concat!(
            "SELECT u.id, u.username, u.display_name, u.created_at, c.password_hash, ",
            "t.confirmed_at IS NOT NULL, d.id FROM users u JOIN credentials c ON c.user_id = u.id ",
            "LEFT JOIN totp t ON t.user_id = u.id ",
            "LEFT JOIN devices d ON d.id = $2 AND d.user_id = u.id AND d.secret_hash = $3 WHERE ",
            $condition
        )
    };
}

/// Stores an account; false if the name is taken, or belonged to an account that was deleted.
pub(in crate::auth) async fn insert(
    store: &Store,
    new: &User,
    hash: &str,
    name_hash: &[u8],
    who: &Who,
) -> Result<bool, StoreError> {
    const USER: &str = "INSERT INTO users (id, username, display_name, created_at) \
         SELECT $1::uuid, $2::text, $3::text, $4::bigint \
         WHERE NOT EXISTS (SELECT FROM reserved_names WHERE hash = $5) ON CONFLICT (username) DO NOTHING";
    const CREDENTIALS: &str =
        "INSERT INTO credentials (user_id, password_hash, changed_at) VALUES ($1, $2, $3)";
    store
        .run_tx("auth.register", |tx| async move {
            let inserted = tx
                .execute(
                    USER,
                    &[
                        &new.id.0,
                        &new.username,
                        &new.display_name,
                        &new.created_at,
                        &name_hash,
                    ],
                )
                .await?;
            if inserted == 0 {
                return Ok(false);
            }
            tx.execute(CREDENTIALS, &[&new.id.0, &hash, &new.created_at])
                .await?;
            audit::write(
                &tx,
                new.created_at,
                &who.with(Some(new.id), None),
                Kind::Registered,
                "",
            )
            .await?;
            Ok(true)
        })
        .await
}

/// The account of a name. The same statement for names that nobody has.
pub(in crate::auth) async fn find_by_name(
    store: &Store,
    name: &str,
    device: Option<&DeviceToken>,
) -> Result<Option<Account>, StoreError> {
    const SQL: &str = select_account!("u.username = $1");
    // A NUL is no text for PostgreSQL, and no user has one in his name: neither has one with a space.
    let name = if name.contains('\0') { " " } else { name };
    let (id, secret) = device.map(|device| (device.id, device.hash())).unzip();
    let rows = store.query("auth.find", SQL, &[&name, &id, &secret]).await?;
    Ok(rows.first().map(account))
}

/// The account of a user who is logged in.
pub(in crate::auth) async fn find_by_id(store: &Store, id: UserId) -> Result<Option<Account>, StoreError> {
    const SQL: &str = select_account!("u.id = $1");
    let rows = store
        .query("auth.find_by_id", SQL, &[&id.0, &None::<Uuid>, &None::<Vec<u8>>])
        .await?;
    Ok(rows.first().map(account))
}

fn account(row: &Row) -> Account {
    Account {
        user: user(row),
        hash: row.get(4),
        has_totp: row.get(5),
        device: row.get(6),
    }
}

/// Writes down that somebody was not let in.
pub(in crate::auth) async fn note_failure(
    store: &Store,
    who: &Who,
    detail: &str,
    now: i64,
) -> Result<(), StoreError> {
    store
        .run_tx("auth.login_failed", |tx| async move {
            audit::write(&tx, now, who, Kind::LoginFailed, detail).await
        })
        .await
}

/// Replaces the password, if it is still the one that was shown; ends all other logins and returns them. `None` if
/// somebody else was faster.
pub(in crate::auth) async fn change_password(
    store: &Store,
    who: &Who,
    (user, login): (UserId, LoginId),
    (old, new): (&str, &str),
    now: i64,
) -> Result<Option<Vec<LoginId>>, StoreError> {
    const SQL: &str = "UPDATE credentials SET password_hash = $3, changed_at = $4 \
         WHERE user_id = $1 AND password_hash = $2";
    store
        .run_tx("auth.change_password", |tx| async move {
            if tx.execute(SQL, &[&user.0, &old, &new, &now]).await? == 0 {
                return Ok(None);
            }
            let revoked = revoke_all(&tx, user, Some(login), now).await?;
            audit::write(&tx, now, who, Kind::PasswordChanged, "").await?;
            Ok(Some(revoked))
        })
        .await
}

/// Logins that ended with the last change of the password.
pub(in crate::auth) async fn revoked_by_change(
    store: &Store,
    user: UserId,
) -> Result<Vec<LoginId>, StoreError> {
    const SQL: &str = "SELECT l.id FROM logins l JOIN credentials c ON c.user_id = l.user_id \
         WHERE l.user_id = $1 AND l.revoked_at = c.changed_at";
    let rows = store.query("auth.revoked_by_change", SQL, &[&user.0]).await?;
    Ok(rows.iter().map(|row| LoginId(row.get(0))).collect())
}

/// Takes the address for one-time codes away.
pub(in crate::auth) async fn remove_email(
    store: &Store,
    who: &Who,
    user: UserId,
    now: i64,
) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE credentials SET email = NULL WHERE user_id = $1";
    store
        .run_tx("auth.remove_email", |tx| async move {
            tx.execute(SQL, &[&user.0]).await?;
            audit::write(&tx, now, who, Kind::EmailRemoved, "").await
        })
        .await
}

/// What became of an account that was to end.
pub(in crate::auth) enum Deletion {
    /// It is gone, and these logins with it.
    Done(Vec<LoginId>),
    /// The second factor does not fit.
    BadCode,
    /// There was none.
    Missing,
}

/// Ends an account: everything that proves or names a person goes, the row stays for its messages. Of the name a
/// keyed hash stays, so that nobody can take it and speak as the one who left.
pub(in crate::auth) async fn delete(
    store: &Store,
    who: &Who,
    user: UserId,
    name_hash: &[u8],
    typed: Option<&Typed>,
    now: i64,
) -> Result<Deletion, StoreError> {
    const USER: &str = "UPDATE users SET username = $2, display_name = 'deleted account', deleted_at = $3 \
         WHERE id = $1 AND deleted_at IS NULL";
    const NAME: &str =
        "INSERT INTO reserved_names (hash, reserved_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
    const REST: [&str; 6] = [
        "DELETE FROM credentials WHERE user_id = $1",
        "DELETE FROM totp WHERE user_id = $1",
        "DELETE FROM recovery_codes WHERE user_id = $1",
        "DELETE FROM devices WHERE user_id = $1",
        "DELETE FROM codes WHERE user_id = $1",
        "DELETE FROM blocks WHERE user_id = $1",
    ];
    // No user can register such a name. The digit that is the same in all ids of their kind is left out.
    let digits = user.0.simple().to_string();
    let name = &format!("~{}{}", &digits[..12], &digits[13..]);
    store
        .run_tx("auth.delete_account", |tx| async move {
            if let Some(typed) = typed
                && !totp::check(&tx, user, typed, now).await?
            {
                audit::write(&tx, now, who, Kind::LoginFailed, "second factor").await?;
                return Ok(Deletion::BadCode);
            }
            if tx.execute(USER, &[&user.0, name, &now]).await? == 0 {
                return Ok(Deletion::Missing);
            }
            tx.execute(NAME, &[&name_hash, &now]).await?;
            for sql in REST {
                tx.execute(sql, &[&user.0]).await?;
            }
            let revoked = revoke_all(&tx, user, None, now).await?;
            audit::write(&tx, now, who, Kind::AccountDeleted, "").await?;
            Ok(Deletion::Done(revoked))
        })
        .await
}

/// Logins that ended with their account; `None` if that was not deleted.
pub(in crate::auth) async fn revoked_by_deletion(
    store: &Store,
    user: UserId,
) -> Result<Option<Vec<LoginId>>, StoreError> {
    const SQL: &str = "SELECT l.id FROM users u LEFT JOIN logins l ON l.user_id = u.id AND l.revoked_at = u.deleted_at \
         WHERE u.id = $1 AND u.deleted_at IS NOT NULL";
    let rows = store.query("auth.revoked_by_deletion", SQL, &[&user.0]).await?;
    let ids = rows
        .iter()
        .filter_map(|row| row.get::<_, Option<Uuid>>(0).map(LoginId));
    Ok((!rows.is_empty()).then(|| ids.collect()))
}
