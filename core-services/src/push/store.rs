//! The SQL of push subscriptions.

use aws_lc_rs::digest;
use bytes::Bytes;
use hub_protocol::api::push::Subscribed;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::PUSH_SUBSCRIPTIONS_MAX;
use hub_protocol::{ErrorCode, LoginId, UserId};
use uuid::Uuid;

use super::endpoint::Device;
use crate::call::{json, refuse};
use crate::store::{Store, StoreError, Tx};

/// A subscription as its owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    pub(crate) login: LoginId,
    pub(crate) endpoint: String,
    pub(crate) created_at: i64,
}

/// Stores a device, or what is new about it. An endpoint belongs to whoever subscribed it last.
pub(crate) async fn subscribe(
    tx: &Tx,
    user: UserId,
    login: LoginId,
    device: &Device,
    now: i64,
) -> Result<Result<Bytes, ErrorBody>, StoreError> {
    const COUNT: &str = "SELECT count(*) FROM push_subscriptions WHERE user_id = $1 AND digest <> $2";
    const SQL: &str = "INSERT INTO push_subscriptions \
             (id, user_id, login, endpoint, digest, p256dh, auth, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (digest) DO UPDATE SET user_id = EXCLUDED.user_id, login = EXCLUDED.login, \
             p256dh = EXCLUDED.p256dh, auth = EXCLUDED.auth, created_at = EXCLUDED.created_at \
         RETURNING id";
    let digest = digest::digest(&digest::SHA256, device.endpoint.as_bytes());
    let digest = digest.as_ref();
    let others = tx.query_opt(COUNT, &[&user.0, &digest]).await?;
    if others.is_some_and(|row| row.get::<_, i64>(0) >= PUSH_SUBSCRIPTIONS_MAX) {
        return Ok(Err(refuse(ErrorCode::TooLarge, "at most 20 devices")));
    }
    let id = Uuid::now_v7();
    let row = tx
        .query_opt(
            SQL,
            &[
                &id,
                &user.0,
                &login.0,
                &device.endpoint,
                &digest,
                &device.p256dh,
                &device.auth,
                &now,
            ],
        )
        .await?;
    Ok(Ok(json(&Subscribed {
        id: row.map_or(id, |row| row.get(0)),
        duplicate: false,
    })))
}

/// Ends a subscription of a user, if he has it.
pub(crate) async fn unsubscribe(tx: &Tx, user: UserId, id: Uuid) -> Result<(), StoreError> {
    const SQL: &str = "DELETE FROM push_subscriptions WHERE user_id = $1 AND id = $2";
    tx.execute(SQL, &[&user.0, &id]).await?;
    Ok(())
}

/// The subscriptions of a user, the oldest first.
pub(crate) async fn list(store: &Store, user: UserId) -> Result<Vec<Listed>, StoreError> {
    const SQL: &str = "SELECT id, login, endpoint, created_at FROM push_subscriptions \
         WHERE user_id = $1 ORDER BY id LIMIT $2";
    let rows = store
        .query("push.list", SQL, &[&user.0, &PUSH_SUBSCRIPTIONS_MAX])
        .await?;
    let listed = rows.iter().map(|row| Listed {
        id: row.get(0),
        login: LoginId(row.get(1)),
        endpoint: row.get(2),
        created_at: row.get(3),
    });
    Ok(listed.collect())
}
