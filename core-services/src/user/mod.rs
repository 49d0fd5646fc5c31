//! Step 10 for profiles, and for reads that span a user's rooms.
//!
//! | module | holds |
//! |---|---|
//! | `sync` | what changed since a cursor |
//! | `cursor` | the text of a cursor |

mod cursor;
mod sync;

use hub_protocol::api::Empty;
use hub_protocol::api::message::Messages;
use hub_protocol::api::room::{List, Room, RoomKind, Rooms};
use hub_protocol::api::user::{Get, Me, User, Users};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{SYNC_ROOMS_MAX, USER_GET_MAX};
use hub_protocol::{ErrorCode, Method, RoomId, Service, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::call::{json, params, refuse};
use crate::chat::search;
use crate::service::{Call, Handler, Outcome, WorkError};
use crate::store::{Store, StoreError};

/// The user service.
#[derive(Debug)]
pub struct Profiles {
    store: Store,
}

impl Profiles {
    /// The service on a database.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn me(&self, call: &Call) -> Result<Result<Me, ErrorBody>, StoreError> {
        if let Err(error) = params::<Empty>(call) {
            return Ok(Err(error));
        }
        let found = self.find(&[call.header.user.0]).await?.pop();
        Ok(found
            .map(|user| Me { user })
            .ok_or_else(|| refuse(ErrorCode::NotFound, "the account is gone")))
    }

    async fn get(&self, call: &Call) -> Result<Result<Users, ErrorBody>, StoreError> {
        let asked: Get = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        if asked.users.len() > USER_GET_MAX {
            return Ok(Err(refuse(ErrorCode::TooLarge, "at most 200 users in one call")));
        }
        let ids: Vec<Uuid> = asked.users.iter().map(|user| user.0).collect();
        Ok(Ok(Users {
            users: self.find(&ids).await?,
        }))
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Vec<User>, StoreError> {
        const SQL: &str = "SELECT id, username, display_name, created_at FROM users WHERE id = ANY($1)";
        let rows = self.store.query("user.get", SQL, &[&ids]).await?;
        let user = |row: &Row| User {
            id: UserId(row.get(0)),
            username: row.get(1),
            display_name: row.get(2),
            created_at: row.get(3),
        };
        Ok(rows.iter().map(user).collect())
    }

    async fn search(&self, call: &Call) -> Result<Result<Messages, ErrorBody>, StoreError> {
        match params(call) {
            Ok(asked) => search::everywhere(&self.store, call.header.user, asked).await,
            Err(error) => Ok(Err(error)),
        }
    }

    async fn rooms(&self, call: &Call) -> Result<Result<Rooms, ErrorBody>, StoreError> {
        const SQL: &str = "SELECT r.id, r.kind, r.name, r.created_by, r.created_at, \
                 r.topic, r.avatar, r.settings::text \
             FROM members m JOIN rooms r ON r.id = m.room \
             WHERE m.user_id = $1 AND m.to_seq IS NULL AND m.room > $2 ORDER BY m.room LIMIT $3";
        let asked: List = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        let limit = asked.limit.unwrap_or(SYNC_ROOMS_MAX).clamp(1, SYNC_ROOMS_MAX);
        let after = asked.after.unwrap_or(RoomId::NIL);
        // One more than asked for tells whether there is more.
        let wanted = i64::from(limit) + 1;
        let rows = self
            .store
            .query("room.list", SQL, &[&call.header.user.0, &after.0, &wanted])
            .await?;
        let mut rooms: Vec<Room> = rows.iter().map(|row| room(row, 5)).collect();
        let more = rooms.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if more {
            rooms.pop();
        }
        Ok(Ok(Rooms { rooms, more }))
    }
}

/// A room from the first five columns (id, kind, name, `created_by`, `created_at`) and three more (topic, avatar,
/// settings as JSON text).
fn room(row: &Row, more: usize) -> Room {
    Room {
        id: RoomId(row.get(0)),
        // The column has a check of its own.
        kind: RoomKind::find(row.get(1)).unwrap_or(RoomKind::Group),
        name: row.get(2),
        created_by: UserId(row.get(3)),
        created_at: row.get(4),
        topic: row.get(more),
        avatar: row.get(more + 1),
        settings: serde_json::from_str(row.get(more + 2)).unwrap_or_default(),
    }
}

impl Handler for Profiles {
    fn service(&self) -> Service {
        Service::User
    }

    async fn write(&self, calls: &[Call]) -> Result<Vec<Outcome>, WorkError> {
        let refusal = || Outcome::refused(refuse(ErrorCode::BadRequest, "not a method of the user service"));
        Ok(calls.iter().map(|_| refusal()).collect())
    }

    async fn read(&self, call: &Call) -> Result<Outcome, WorkError> {
        fn outcome<T: serde::Serialize>(done: Result<T, ErrorBody>) -> Outcome {
            match done {
                Ok(result) => Outcome::result(json(&result)),
                Err(error) => Outcome::refused(error),
            }
        }
        if call.header.user.is_nil() {
            return Ok(Outcome::refused(refuse(ErrorCode::Unauthenticated, "no session")));
        }
        Ok(match call.header.method {
            Method::UserMe => outcome(self.me(call).await?),
            Method::UserGet => outcome(self.get(call).await?),
            Method::RoomList => outcome(self.rooms(call).await?),
            Method::Sync => outcome(self.sync(call).await?),
            Method::Search => outcome(self.search(call).await?),
            _ => Outcome::refused(refuse(ErrorCode::BadRequest, "not a method of the user service")),
        })
    }

    fn forget(&self) {}
}
