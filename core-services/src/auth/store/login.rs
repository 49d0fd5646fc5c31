//! Logins and known devices.

use hub_protocol::api::auth::{Login, Logins};
use hub_protocol::api::user::User;
use hub_protocol::limits::LOGINS_MAX;
use hub_protocol::{LoginId, UserId};
use uuid::Uuid;

use super::totp;
use super::user;
use crate::auth::audit::{self, Kind, Who};
use crate::auth::otp::Typed;
use crate::store::{Store, StoreError, Tx};

/// A refresh may be repeated for this long while its successor is unused, µs.
const GRACE_US: i64 = 60 * 1_000_000;
/// Known devices of one account; the ones that were used last stay.
const DEVICES_MAX: i64 = 50;

/// A login that begins.
pub(in crate::auth) struct Opening<'a> {
    pub(in crate::auth) login: LoginId,
    pub(in crate::auth) user: UserId,
    pub(in crate::auth) token_hash: Vec<u8>,
    /// What the user calls the device.
    pub(in crate::auth) device: &'a str,
    pub(in crate::auth) device_id: Uuid,
    /// For a device that is not known yet.
    pub(in crate::auth) device_hash: Option<Vec<u8>>,
    /// What must fit, if the account has a second factor.
    pub(in crate::auth) typed: Option<Typed>,
    pub(in crate::auth) now: i64,
    pub(in crate::auth) expires_at: i64,
}

/// Stores a login; false if the code of the second factor does not fit.
pub(in crate::auth) async fn open(
    store: &Store,
    who: &Who,
    opening: &Opening<'_>,
) -> Result<bool, StoreError> {
    const NEW_DEVICE: &str = "INSERT INTO devices (id, user_id, secret_hash, created_at, used_at) \
         VALUES ($1, $2, $3, $4, $4)";
    const PRUNE: &str = "DELETE FROM devices WHERE id IN \
         (SELECT id FROM devices WHERE user_id = $1 ORDER BY used_at DESC OFFSET $2)";
    const OLD_DEVICE: &str = "UPDATE devices SET used_at = $2 WHERE id = $1";
    const LOGIN: &str = "INSERT INTO logins \
         (id, user_id, token_hash, rotated_at, created_at, expires_at, device, device_id) \
         VALUES ($1, $2, $3, $4, $4, $5, $6, $7)";
    let o = opening;
    store
        .run_tx("auth.login", |tx| async move {
            if let Some(typed) = &o.typed
                && !totp::check(&tx, o.user, typed, o.now).await?
            {
                audit::write(
                    &tx,
                    o.now,
                    &who.with(Some(o.user), None),
                    Kind::LoginFailed,
                    "second factor",
                )
                .await?;
                return Ok(false);
            }
            if let Some(hash) = &o.device_hash {
                tx.execute(NEW_DEVICE, &[&o.device_id, &o.user.0, hash, &o.now])
                    .await?;
                tx.execute(PRUNE, &[&o.user.0, &DEVICES_MAX]).await?;
            } else {
                tx.execute(OLD_DEVICE, &[&o.device_id, &o.now]).await?;
            }
            tx.execute(
                LOGIN,
                &[
                    &o.login.0,
                    &o.user.0,
                    &o.token_hash,
                    &o.now,
                    &o.expires_at,
                    &o.device,
                    &o.device_id,
                ],
            )
            .await?;
            let who = who.with(Some(o.user), Some(o.login));
            audit::write(&tx, o.now, &who, Kind::LoggedIn, o.device).await?;
            Ok(true)
        })
        .await
}

/// What became of a refresh.
pub(in crate::auth) enum Rotation {
    /// The login goes on with the successor.
    Rotated(User),
    /// No such login, or it ended.
    Unknown,
    /// The token had been replaced before: the login is revoked.
    Reused,
}

/// Replaces a login's refresh token by its successor, or finds that this has been done.
pub(in crate::auth) async fn rotate(
    store: &Store,
    who: &Who,
    login: LoginId,
    (presented, next): (Vec<u8>, Vec<u8>),
    now: i64,
    expires_at: i64,
) -> Result<Rotation, StoreError> {
    const FIND: &str = "SELECT u.id, u.username, u.display_name, u.created_at, \
         l.token_hash, l.previous_hash, l.rotated_at \
         FROM logins l JOIN users u ON u.id = l.user_id \
         WHERE l.id = $1 AND l.revoked_at IS NULL AND l.expires_at > $2 FOR UPDATE OF l";
    const ROTATE: &str = "UPDATE logins SET previous_hash = token_hash, token_hash = $2, rotated_at = $3, \
         expires_at = $4 WHERE id = $1";
    const REVOKE: &str = "UPDATE logins SET revoked_at = $2 WHERE id = $1";
    let (presented, next) = (&presented, &next);
    store
        .run_tx("auth.refresh", |tx| async move {
            let Some(row) = tx.query_opt(FIND, &[&login.0, &now]).await? else {
                return Ok(Rotation::Unknown);
            };
            let (current, previous): (Vec<u8>, Option<Vec<u8>>) = (row.get(4), row.get(5));
            if current == *presented {
                tx.execute(ROTATE, &[&login.0, next, &now, &expires_at]).await?;
                return Ok(Rotation::Rotated(user(&row)));
            }
            // The successor is unused as long as it is the current one.
            let rotated_at: i64 = row.get(6);
            if previous.as_ref() == Some(presented) && now - rotated_at <= GRACE_US {
                return Ok(Rotation::Rotated(user(&row)));
            }
            tx.execute(REVOKE, &[&login.0, &now]).await?;
            let who = who.with(Some(UserId(row.get(0))), Some(login));
            audit::write(&tx, now, &who, Kind::TokenReused, "").await?;
            Ok(Rotation::Reused)
        })
        .await
}

/// Ends a login of a user; false if he has none of that id. One that ended before ends again without a change.
/// `forget_device`: the device is not known any more.
pub(in crate::auth) async fn revoke(
    store: &Store,
    who: &Who,
    (user, login): (UserId, LoginId),
    forget_device: bool,
    now: i64,
) -> Result<bool, StoreError> {
    const REVOKE: &str = "UPDATE logins SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL \
         RETURNING device_id";
    const FORGET: &str = "DELETE FROM devices WHERE id = $1 AND user_id = $2";
    const EXISTS: &str = "SELECT FROM logins WHERE id = $1 AND user_id = $2";
    store
        .run_tx("auth.revoke_login", |tx| async move {
            let Some(row) = tx.query_opt(REVOKE, &[&login.0, &user.0, &now]).await? else {
                return Ok(tx.query_opt(EXISTS, &[&login.0, &user.0]).await?.is_some());
            };
            let kind = if forget_device {
                tx.execute(FORGET, &[&row.get::<_, Option<Uuid>>(0), &user.0])
                    .await?;
                Kind::LoginRevoked
            } else {
                Kind::LoggedOut
            };
            audit::write(&tx, now, who, kind, &login.to_string()).await?;
            Ok(true)
        })
        .await
}

/// Ends all logins of a user but one; returns them.
pub(super) async fn revoke_all(
    tx: &Tx,
    user: UserId,
    but: Option<LoginId>,
    now: i64,
) -> Result<Vec<LoginId>, StoreError> {
    const SQL: &str = "UPDATE logins SET revoked_at = $3 \
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL RETURNING id";
    let but = but.map(|login| login.0);
    let rows = tx.query(SQL, &[&user.0, &but, &now]).await?;
    Ok(rows.iter().map(|row| LoginId(row.get(0))).collect())
}

/// What a user may know of the protection of his account.
pub(in crate::auth) async fn list(
    store: &Store,
    user: UserId,
    current: LoginId,
    now: i64,
) -> Result<Logins, StoreError> {
    const LOGINS: &str = "SELECT id, device, created_at, rotated_at, expires_at FROM logins \
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY rotated_at DESC, id LIMIT $3";
    const ACCOUNT: &str = "SELECT c.email, EXISTS (SELECT FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL), \
         (SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL) \
         FROM credentials c WHERE c.user_id = $1";
    store
        .run_read("auth.logins", |tx| async move {
            let rows = tx.query(LOGINS, &[&user.0, &now, &LOGINS_MAX]).await?;
            let logins = rows.iter().map(|row| {
                let id = LoginId(row.get(0));
                Login {
                    id,
                    device: row.get(1),
                    created_at: row.get(2),
                    last_used_at: row.get(3),
                    expires_at: row.get(4),
                    current: id == current,
                }
            });
            let logins = logins.collect();
            let account = tx.query_opt(ACCOUNT, &[&user.0]).await?;
            let totp = account.as_ref().is_some_and(|row| row.get(1));
            let left = account.as_ref().map_or(0, |row| row.get::<_, i64>(2));
            Ok(Logins {
                logins,
                email: account.and_then(|row| row.get(0)),
                totp,
                recovery_codes_left: if totp {
                    u32::try_from(left).unwrap_or(u32::MAX)
                } else {
                    0
                },
            })
        })
        .await
}
