//! Second factors.

use hub_protocol::UserId;

use crate::auth::audit::{self, Kind, Who};
use crate::auth::otp::{Typed, find_step};
use crate::store::{Store, StoreError, Tx};

/// Takes a code or a recovery code; false if it does not fit, or was used.
pub(super) async fn check(tx: &Tx, user: UserId, typed: &Typed, now: i64) -> Result<bool, StoreError> {
    const FIND: &str =
        "SELECT secret, last_step FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL FOR UPDATE";
    const STEP: &str = "UPDATE totp SET last_step = $2 WHERE user_id = $1";
    const RECOVERY: &str =
        "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND hash = $2 AND used_at IS NULL";
    let Some(row) = tx.query_opt(FIND, &[&user.0]).await? else {
        return Ok(false);
    };
    match typed {
        Typed::Totp(code) => {
            let (secret, last_step): (Vec<u8>, i64) = (row.get(0), row.get(1));
            // RFC 6238 §5.2: a code that was accepted is not accepted again.
            match find_step(&secret, code, now / 1_000_000).filter(|step| *step > last_step) {
                Some(step) => Ok(tx.execute(STEP, &[&user.0, &step]).await? == 1),
                None => Ok(false),
            }
        }
        Typed::Recovery(hash) => Ok(tx.execute(RECOVERY, &[&user.0, hash, &now]).await? == 1),
    }
}

/// Stores a secret that is not in force yet, in place of one that never was; false if one is in force.
pub(in crate::auth) async fn enroll(
    store: &Store,
    who: &Who,
    user: UserId,
    secret: &[u8],
    recovery: &[Vec<u8>],
    now: i64,
) -> Result<bool, StoreError> {
    const SECRET: &str = "INSERT INTO totp (user_id, secret, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id) DO UPDATE SET secret = $2, created_at = $3, last_step = 0 \
         WHERE totp.confirmed_at IS NULL";
    const CLEAR: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
    const RECOVERY: &str = "INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[])";
    store
        .run_tx("totp.enroll", |tx| async move {
            if tx.execute(SECRET, &[&user.0, &secret, &now]).await? == 0 {
                return Ok(false);
            }
            tx.execute(CLEAR, &[&user.0]).await?;
            tx.execute(RECOVERY, &[&user.0, &recovery]).await?;
            audit::write(&tx, now, who, Kind::TotpEnrolled, "").await?;
            Ok(true)
        })
        .await
}

/// What came of a first code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::auth) enum Confirmation {
    /// The factor is in force, now or since the same code came before.
    Done,
    /// The code does not fit.
    BadCode,
    /// There is nothing to confirm: no secret, or one in force.
    Nothing,
}

/// Puts a secret into force.
pub(in crate::auth) async fn confirm(
    store: &Store,
    who: &Who,
    user: UserId,
    code: &str,
    now: i64,
) -> Result<Confirmation, StoreError> {
    const FIND: &str = "SELECT secret, last_step, confirmed_at FROM totp WHERE user_id = $1 FOR UPDATE";
    const CONFIRM: &str = "UPDATE totp SET confirmed_at = $2, last_step = $3 WHERE user_id = $1";
    store
        .run_tx("totp.confirm", |tx| async move {
            let Some(row) = tx.query_opt(FIND, &[&user.0]).await? else {
                return Ok(Confirmation::Nothing);
            };
            let (secret, last_step): (Vec<u8>, i64) = (row.get(0), row.get(1));
            let step = find_step(&secret, code, now / 1_000_000);
            if row.get::<_, Option<i64>>(2).is_some() {
                let is_same = step == Some(last_step);
                return Ok(if is_same {
                    Confirmation::Done
                } else {
                    Confirmation::Nothing
                });
            }
            let Some(step) = step else {
                return Ok(Confirmation::BadCode);
            };
            tx.execute(CONFIRM, &[&user.0, &now, &step]).await?;
            audit::write(&tx, now, who, Kind::TotpConfirmed, "").await?;
            Ok(Confirmation::Done)
        })
        .await
}

/// Takes the second factor away; false if the code does not fit.
pub(in crate::auth) async fn disable(
    store: &Store,
    who: &Who,
    user: UserId,
    typed: &Typed,
    now: i64,
) -> Result<bool, StoreError> {
    const SECRET: &str = "DELETE FROM totp WHERE user_id = $1";
    const CODES: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
    store
        .run_tx("totp.disable", |tx| async move {
            if !check(&tx, user, typed, now).await? {
                return Ok(false);
            }
            tx.execute(SECRET, &[&user.0]).await?;
            tx.execute(CODES, &[&user.0]).await?;
            audit::write(&tx, now, who, Kind::TotpDisabled, "").await?;
            Ok(true)
        })
        .await
}
