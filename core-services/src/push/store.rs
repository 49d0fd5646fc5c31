//! The SQL of push subscriptions.

use aws_lc_rs::digest;
use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use hub_protocol::api::push::Subscribed;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::PUSH_SUBSCRIPTIONS_MAX;
use hub_protocol::{ErrorCode, LoginId, RoomId, UserId};
use uuid::Uuid;

use super::collapse::Due;
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

/// A device to push to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) id: Uuid,
    pub(super) device: Device,
}

/// Whether anybody has a device.
pub(super) async fn has_any(store: &Store) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT EXISTS (SELECT FROM push_subscriptions)";
    let rows = store.query("push.any", SQL, &[]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// The devices of users whose logins still hold.
pub(super) async fn targets(
    store: &Store,
    users: &[UserId],
    now: i64,
) -> Result<HashMap<UserId, Vec<Target>>, StoreError> {
    const SQL: &str = "SELECT s.user_id, s.id, s.endpoint, s.p256dh, s.auth FROM push_subscriptions s \
         JOIN logins l ON l.id = s.login AND l.user_id = s.user_id AND l.revoked_at IS NULL AND l.expires_at > $2 \
         WHERE s.user_id = ANY($1)";
    let users: Vec<Uuid> = users.iter().map(|user| user.0).collect();
    let mut targets: HashMap<UserId, Vec<Target>> = HashMap::new();
    for row in store.query("push.targets", SQL, &[&users, &now]).await? {
        targets.entry(UserId(row.get(0))).or_default().push(Target {
            id: row.get(1),
            device: Device {
                endpoint: row.get(2),
                p256dh: row.get(3),
                auth: row.get(4),
            },
        });
    }
    Ok(targets)
}

/// Users who want to hear nothing: of this room, or of this sender.
pub(super) async fn quiet(
    store: &Store,
    due: &[Due],
    now: i64,
) -> Result<HashSet<(UserId, RoomId)>, StoreError> {
    const SQL: &str = "SELECT w.user_id, w.room FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (user_id, room, sender) \
         JOIN blocks b ON b.user_id = w.user_id AND b.blocked = w.sender";
    let users: Vec<Uuid> = due.iter().map(|due| due.user.0).collect();
    let rooms: Vec<Uuid> = due.iter().map(|due| due.room.0).collect();
    let senders: Vec<Uuid> = due.iter().map(|due| due.news.sender.0).collect();
    let rows = store
        .query("push.quiet", SQL, &[&users, &rooms, &senders])
        .await?;
    let mut quiet: HashSet<_> = rows
        .iter()
        .map(|row| (UserId(row.get(0)), RoomId(row.get(1))))
        .collect();
    quiet.extend(muted(store, &users, &rooms, now).await?);
    Ok(quiet)
}

/// Users who have muted these rooms.
async fn muted(
    store: &Store,
    users: &[Uuid],
    rooms: &[Uuid],
    now: i64,
) -> Result<Vec<(UserId, RoomId)>, StoreError> {
    const SQL: &str = "SELECT p.user_id, p.room FROM unnest($1::uuid[], $2::uuid[]) AS w (user_id, room) \
         JOIN room_preferences p ON p.user_id = w.user_id AND p.room = w.room WHERE p.muted_until > $3";
    let (users, rooms) = (users.to_vec(), rooms.to_vec());
    let rows = store.query("push.muted", SQL, &[&users, &rooms, &now]).await?;
    let pair = |row: &tokio_postgres::Row| (UserId(row.get(0)), RoomId(row.get(1)));
    Ok(rows.iter().map(pair).collect())
}

/// What rooms and senders are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) users: HashMap<UserId, String>,
    pub(super) rooms: HashMap<RoomId, String>,
}

/// Names for these pushes.
pub(super) async fn names(store: &Store, due: &[Due]) -> Result<Names, StoreError> {
    const USERS: &str = "SELECT id, display_name FROM users WHERE id = ANY($1)";
    const ROOMS: &str = "SELECT id, name FROM rooms WHERE id = ANY($1)";
    let users: Vec<Uuid> = due.iter().map(|due| due.news.sender.0).collect();
    let rooms: Vec<Uuid> = due.iter().map(|due| due.room.0).collect();
    let users = store.query("push.names", USERS, &[&users]).await?;
    let rooms = store.query("push.names", ROOMS, &[&rooms]).await?;
    Ok(Names {
        users: users.iter().map(|row| (UserId(row.get(0)), row.get(1))).collect(),
        rooms: rooms.iter().map(|row| (RoomId(row.get(0)), row.get(1))).collect(),
    })
}

/// Removes subscriptions that their push service does not know any more.
pub(super) async fn remove(store: &Store, ids: &[Uuid]) -> Result<(), StoreError> {
    const SQL: &str = "DELETE FROM push_subscriptions WHERE id = ANY($1)";
    store
        .run_tx("push.remove", |tx| async move {
            tx.execute(SQL, &[&ids]).await?;
            Ok(())
        })
        .await
}
