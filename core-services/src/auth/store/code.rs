//! One-time codes. One that nobody got is stored and tried like any other, so that trying tells nothing.

use aws_lc_rs::constant_time;
use hub_protocol::limits::CODE_TRIES_MAX;
use hub_protocol::{LoginId, UserId};
use uuid::Uuid;

use super::login::revoke_all;
use crate::auth::audit::{self, Kind, Who};
use crate::store::{Store, StoreError, Tx};

/// A code that was used may be sent again for this long, because its answer was lost, µs.
const AGAIN_US: i64 = 10 * 60 * 1_000_000;

/// What a code is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::auth) enum Purpose {
    Reset,
    Email,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Email => "email",
        }
    }
}

/// A code as it is stored, and as it is shown again: by what belongs to it, never itself.
pub(in crate::auth) struct Sealed {
    /// SHA-256 of the challenge.
    pub(in crate::auth) id: Vec<u8>,
    /// Keyed hash of challenge and digits.
    pub(in crate::auth) hash: Vec<u8>,
}

/// Stores a code for the address of an account, and returns where it goes; without account or address one that
/// nobody gets.
pub(in crate::auth) async fn insert_reset(
    store: &Store,
    who: &Who,
    name: &str,
    code: &Sealed,
    (now, expires_at): (i64, i64),
) -> Result<Option<String>, StoreError> {
    const FIND: &str = "SELECT u.id, c.email FROM users u JOIN credentials c ON c.user_id = u.id \
         WHERE u.username = $1 AND c.email IS NOT NULL";
    let name = if name.contains('\0') { " " } else { name };
    store
        .run_tx("auth.request_reset", |tx| async move {
            let row = tx.query_opt(FIND, &[&name]).await?;
            let user = row.as_ref().map(|row| UserId(row.get(0)));
            insert(&tx, Purpose::Reset, user, code, None, expires_at).await?;
            audit::write(&tx, now, &who.with(user, None), Kind::ResetRequested, "").await?;
            Ok(row.map(|row| row.get(1)))
        })
        .await
}

/// Stores a code that confirms an address.
pub(in crate::auth) async fn insert_email(
    store: &Store,
    who: &Who,
    user: UserId,
    email: &str,
    code: &Sealed,
    (now, expires_at): (i64, i64),
) -> Result<(), StoreError> {
    store
        .run_tx("auth.set_email", |tx| async move {
            insert(&tx, Purpose::Email, Some(user), code, Some(email), expires_at).await?;
            audit::write(&tx, now, who, Kind::EmailAsked, "").await
        })
        .await
}

async fn insert(
    tx: &Tx,
    purpose: Purpose,
    user: Option<UserId>,
    code: &Sealed,
    email: Option<&str>,
    expires_at: i64,
) -> Result<(), StoreError> {
    const SQL: &str =
        "INSERT INTO codes (id, kind, user_id, hash, email, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let user = user.map(|user| user.0);
    tx.execute(
        SQL,
        &[&code.id, &purpose.name(), &user, &code.hash, &email, &expires_at],
    )
    .await?;
    Ok(())
}

/// What came of a code.
enum Taken {
    /// It fits, and is used now.
    Good(UserId, Option<String>),
    /// It fits, and was used a moment ago.
    Again(UserId),
    /// It does not fit, or not any more.
    Bad(Option<UserId>),
}

async fn take(tx: &Tx, purpose: Purpose, code: &Sealed, now: i64) -> Result<Taken, StoreError> {
    const FIND: &str = "SELECT user_id, hash, email, tries, expires_at, used_at FROM codes WHERE id = $1 AND kind = $2 FOR UPDATE";
    const MISS: &str = "UPDATE codes SET tries = tries + 1 WHERE id = $1";
    const USE: &str = "UPDATE codes SET used_at = $2 WHERE id = $1";
    let Some(row) = tx.query_opt(FIND, &[&code.id, &purpose.name()]).await? else {
        return Ok(Taken::Bad(None));
    };
    let user = row.get::<_, Option<Uuid>>(0).map(UserId);
    let hash: Vec<u8> = row.get(1);
    let (tries, expires_at, used_at): (i16, i64, Option<i64>) = (row.get(3), row.get(4), row.get(5));
    let fits = constant_time::verify_slices_are_equal(&hash, &code.hash).is_ok();
    if let Some(used_at) = used_at {
        return Ok(match user {
            Some(user) if fits && now - used_at <= AGAIN_US => Taken::Again(user),
            _ => Taken::Bad(user),
        });
    }
    if tries >= CODE_TRIES_MAX || expires_at <= now {
        return Ok(Taken::Bad(user));
    }
    match user {
        Some(user) if fits => {
            tx.execute(USE, &[&code.id, &now]).await?;
            Ok(Taken::Good(user, row.get(2)))
        }
        _ => {
            tx.execute(MISS, &[&code.id]).await?;
            Ok(Taken::Bad(user))
        }
    }
}

/// What came of a reset.
pub(in crate::auth) enum Reset {
    /// The password is another one, and these logins ended.
    Done(Vec<LoginId>),
    /// The code was used a moment ago, for this user.
    Again(UserId),
    /// The code does not fit.
    Bad,
}

/// Replaces a forgotten password; ends all logins, and no device is known any more.
pub(in crate::auth) async fn reset_password(
    store: &Store,
    who: &Who,
    code: &Sealed,
    password_hash: &str,
    now: i64,
) -> Result<Reset, StoreError> {
    const PASSWORD: &str = "UPDATE credentials SET password_hash = $2, changed_at = $3 WHERE user_id = $1";
    const DEVICES: &str = "DELETE FROM devices WHERE user_id = $1";
    const CODES: &str = "DELETE FROM codes WHERE user_id = $1 AND kind = 'reset' AND used_at IS NULL";
    store
        .run_tx("auth.reset_password", |tx| async move {
            let user = match take(&tx, Purpose::Reset, code, now).await? {
                Taken::Good(user, _) => user,
                Taken::Again(user) => return Ok(Reset::Again(user)),
                Taken::Bad(user) => {
                    audit::write(&tx, now, &who.with(user, None), Kind::ResetFailed, "").await?;
                    return Ok(Reset::Bad);
                }
            };
            tx.execute(PASSWORD, &[&user.0, &password_hash, &now]).await?;
            tx.execute(DEVICES, &[&user.0]).await?;
            tx.execute(CODES, &[&user.0]).await?;
            let revoked = revoke_all(&tx, user, None, now).await?;
            audit::write(&tx, now, &who.with(Some(user), None), Kind::PasswordReset, "").await?;
            Ok(Reset::Done(revoked))
        })
        .await
}

/// Sets the address that a code was sent to; false if the code does not fit.
pub(in crate::auth) async fn confirm_email(
    store: &Store,
    who: &Who,
    user: UserId,
    code: &Sealed,
    now: i64,
) -> Result<bool, StoreError> {
    const SQL: &str = "UPDATE credentials SET email = $2 WHERE user_id = $1";
    store
        .run_tx("auth.confirm_email", |tx| async move {
            match take(&tx, Purpose::Email, code, now).await? {
                Taken::Good(owner, email) if owner == user => {
                    tx.execute(SQL, &[&user.0, &email]).await?;
                    audit::write(&tx, now, who, Kind::EmailSet, "").await?;
                    Ok(true)
                }
                Taken::Again(owner) => Ok(owner == user),
                Taken::Good(..) | Taken::Bad(_) => {
                    audit::write(&tx, now, who, Kind::EmailFailed, "").await?;
                    Ok(false)
                }
            }
        })
        .await
}
