//! The SQL of accounts and logins.

use hub_protocol::api::user::User;
use hub_protocol::{LoginId, UserId};
use tokio_postgres::Row;

use crate::store::{Store, StoreError};

/// A refresh may be repeated for this long while its successor is unused, µs.
const GRACE_US: i64 = 60 * 1_000_000;

/// What became of a refresh.
pub(super) enum Rotation {
    /// The login goes on with the successor.
    Rotated(User),
    /// No such login, or it ended.
    Unknown,
    /// The token had been replaced before: the login is revoked.
    Reused,
}

/// Stores an account; false if the name is taken.
pub(super) async fn insert_user(store: &Store, user: &User, hash: &str) -> Result<bool, StoreError> {
    store
        .run_tx("auth.register", |tx| async move {
            const USER: &str = "INSERT INTO users (id, username, display_name, created_at) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (username) DO NOTHING";
            const CREDENTIALS: &str =
                "INSERT INTO credentials (user_id, password_hash, changed_at) VALUES ($1, $2, $3)";
            let inserted = tx
                .execute(
                    USER,
                    &[&user.id.0, &user.username, &user.display_name, &user.created_at],
                )
                .await?;
            if inserted == 1 {
                tx.execute(CREDENTIALS, &[&user.id.0, &hash, &user.created_at])
                    .await?;
            }
            Ok(inserted == 1)
        })
        .await
}

/// An account and its password hash.
pub(super) async fn find_by_name(store: &Store, name: &str) -> Result<Option<(User, String)>, StoreError> {
    const SQL: &str = "SELECT u.id, u.username, u.display_name, u.created_at, c.password_hash \
         FROM users u JOIN credentials c ON c.user_id = u.id WHERE u.username = $1";
    // A NUL is no text for PostgreSQL, and no user has one in his name.
    if name.contains('\0') {
        return Ok(None);
    }
    let rows = store.query("auth.find", SQL, &[&name]).await?;
    Ok(rows.first().map(|row| (user(row), row.get(4))))
}

/// Stores a login.
pub(super) async fn insert_login(
    store: &Store,
    login: LoginId,
    user: UserId,
    hash: Vec<u8>,
    now: i64,
    expires_at: i64,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO logins (id, user_id, token_hash, rotated_at, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $4, $5)";
    let hash = &hash;
    store
        .run_tx("auth.login", |tx| async move {
            tx.execute(SQL, &[&login.0, &user.0, hash, &now, &expires_at])
                .await?;
            Ok(())
        })
        .await
}

/// Replaces a login's refresh token by its successor, or finds that this has been done.
pub(super) async fn rotate(
    store: &Store,
    login: LoginId,
    presented: Vec<u8>,
    next: Vec<u8>,
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
            Ok(Rotation::Reused)
        })
        .await
}

/// Ends a login.
pub(super) async fn revoke(store: &Store, login: LoginId, user: UserId, now: i64) -> Result<(), StoreError> {
    const SQL: &str =
        "UPDATE logins SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL";
    store
        .run_tx("auth.logout", |tx| async move {
            tx.execute(SQL, &[&login.0, &user.0, &now]).await?;
            Ok(())
        })
        .await
}

fn user(row: &Row) -> User {
    User {
        id: UserId(row.get(0)),
        username: row.get(1),
        display_name: row.get(2),
        created_at: row.get(3),
    }
}
