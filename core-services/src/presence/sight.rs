//! Who may see what of whom, from PostgreSQL. Also when users were last seen.

use hub_protocol::api::presence::{Presence, State};
use hub_protocol::api::user::Visible;
use hub_protocol::{RoomId, UserId};
use uuid::Uuid;

use super::state::Fields;
use crate::store::{Store, StoreError};

/// What one user may see of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sight {
    /// One of the two has blocked the other.
    pub(super) is_blocked: bool,
    /// Whether he may know when the other was last seen.
    pub(super) sees_last: bool,
    /// When that was, as far as it is stored, µs.
    pub(super) last_seen: Option<i64>,
}

impl Sight {
    /// What he is told.
    pub(super) fn view(self, user: UserId, state: State, fields: &Fields) -> Presence {
        if self.is_blocked {
            let (state, last_seen) = (State::Offline, None);
            return Presence {
                user,
                state,
                last_seen,
            };
        }
        let is_told = state == State::Offline && self.sees_last;
        let last_seen = fields.seen.max(self.last_seen).filter(|_| is_told);
        Presence {
            user,
            state,
            last_seen,
        }
    }
}

/// What watchers may see of users, pair by pair; `None` if there is no such user (any more).
pub(super) async fn sights(
    store: &Store,
    pairs: &[(UserId, UserId)],
) -> Result<Vec<Option<Sight>>, StoreError> {
    const SQL: &str = "SELECT w.i, u.last_seen_visible, s.at, \
             EXISTS (SELECT FROM contacts c WHERE c.user_id = u.id AND c.contact = w.watcher), \
             EXISTS (SELECT FROM blocks b WHERE b.user_id = u.id AND b.blocked = w.watcher) \
             OR EXISTS (SELECT FROM blocks b WHERE b.user_id = w.watcher AND b.blocked = u.id) \
         FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (user_id, watcher, i) \
         JOIN users u ON u.id = w.user_id AND u.deleted_at IS NULL \
         LEFT JOIN last_seen s ON s.user_id = u.id";
    let users: Vec<Uuid> = pairs.iter().map(|(user, _)| user.0).collect();
    let watchers: Vec<Uuid> = pairs.iter().map(|(_, watcher)| watcher.0).collect();
    let mut sights = vec![None; pairs.len()];
    for row in store.query("presence.sight", SQL, &[&users, &watchers]).await? {
        let position: i64 = row.get(0);
        let visible = Visible::find(row.get(1)).unwrap_or(Visible::Nobody);
        let sees_last = match visible {
            Visible::Everyone => true,
            Visible::Contacts => row.get(3),
            Visible::Nobody => false,
        };
        let place = usize::try_from(position - 1).ok();
        let place = place.and_then(|place| sights.get_mut(place));
        *place.expect("an ordinal counts the rows that were sent") = Some(Sight {
            is_blocked: row.get(4),
            sees_last,
            last_seen: row.get(2),
        });
    }
    Ok(sights)
}

/// Some members of a room, if `user` is one of them: at most `limit`, in no particular order.
pub(super) async fn members(
    store: &Store,
    room: RoomId,
    user: UserId,
    limit: i64,
) -> Result<Vec<UserId>, StoreError> {
    const SQL: &str = "SELECT m.user_id FROM members m WHERE m.room = $1 AND m.to_seq IS NULL \
         AND EXISTS (SELECT FROM members o WHERE o.room = $1 AND o.user_id = $2 AND o.to_seq IS NULL) LIMIT $3";
    let rows = store
        .query("presence.members", SQL, &[&room.0, &user.0, &limit])
        .await?;
    Ok(rows.iter().map(|row| UserId(row.get(0))).collect())
}

/// Stores when users were last seen; never goes back.
pub(super) async fn store_last_seen(store: &Store, seen: &[(UserId, i64)]) -> Result<(), StoreError> {
    // In id order, so that two processes wait for each other instead of dying of a deadlock.
    const SQL: &str = "INSERT INTO last_seen AS s (user_id, at) \
         SELECT u.id, w.at FROM unnest($1::uuid[], $2::bigint[]) AS w (user_id, at) \
         JOIN users u ON u.id = w.user_id AND u.deleted_at IS NULL ORDER BY u.id \
         ON CONFLICT (user_id) DO UPDATE SET at = EXCLUDED.at WHERE s.at < EXCLUDED.at";
    let users: Vec<Uuid> = seen.iter().map(|(user, _)| user.0).collect();
    let times: Vec<i64> = seen.iter().map(|(_, at)| *at).collect();
    let (users, times) = (&users, &times);
    store
        .run_tx("presence.last_seen", |tx| async move {
            tx.execute(SQL, &[users, times]).await?;
            Ok(())
        })
        .await
}
