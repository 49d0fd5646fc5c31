//! Step 10 for profiles, contacts and blocks, and for reads that span a user's rooms.
//!
//! | module | holds |
//! |---|---|
//! | `command` | what a change asks for, checked for itself |
//! | `store` | changes in one transaction |
//! | `lists` | users by id, by name, in lists |
//! | `words` | how users are found by words |
//! | `sync` | what changed since a cursor |
//! | `cursor` | the text of a cursor |
//! | `large` | the large rooms of a user, for the edge |

mod command;
mod cursor;
mod large;
mod lists;
mod store;
mod sync;
mod words;

use std::sync::Arc;

use aws_lc_rs::hmac;
use hub_protocol::api::Empty;
use hub_protocol::api::event::{Event, USER_UPDATED, UserData};
use hub_protocol::api::message::Messages;
use hub_protocol::api::presence::{self, Session, Set};
use hub_protocol::api::push::{Subscription, Subscriptions};
use hub_protocol::api::room::{List, Room, RoomKind, Rooms};
use hub_protocol::api::user::{Me, Profile};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::SYNC_ROOMS_MAX;
use hub_protocol::{ErrorCode, Method, RoomId, Service, UserId};
use tokio_postgres::Row;

use crate::call::{json, now_us, params, refuse};
use crate::chat::search;
use crate::presence::{Moment, Presence};
use crate::push::{self, Endpoints};
use crate::service::{Audience, Call, Delivery, Handler, Outcome, WorkError};
use crate::store::{Meta, Store, StoreError};
use store::{Effect, Written, profile, read_profile};

/// The user service.
#[derive(Debug)]
pub struct Profiles {
    store: Store,
    key: hmac::Key,
    push: Option<PushSettings>,
    presence: Option<Presence>,
}

/// What subscribers need.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The public key by which devices know whose pushes they get: base64url.
    pub application_server_key: String,
    /// Which endpoints are taken.
    pub endpoints: Endpoints,
}

impl Profiles {
    /// The service on a database; without pushes.
    pub fn new(store: Store, meta: &Meta) -> Self {
        Self {
            store,
            key: hmac::Key::new(hmac::HMAC_SHA256, &meta.op_hash_key),
            push: None,
            presence: None,
        }
    }

    /// The same, taking subscriptions for pushes.
    #[must_use]
    pub fn with_push(mut self, push: PushSettings) -> Self {
        self.push = Some(push);
        self
    }

    /// The same, telling who is there.
    #[must_use]
    pub fn with_presence(mut self, presence: Presence) -> Self {
        self.presence = Some(presence);
        self
    }

    async fn watch(&self, call: &Call) -> Result<Outcome, WorkError> {
        let Some(presence) = &self.presence else {
            return Ok(Outcome::refused(no_presence()));
        };
        let watched = match params(call) {
            Ok(asked) => presence.watch(call, asked).await?,
            Err(error) => Err(error),
        };
        Ok(match watched {
            Ok(watched) => Outcome::result(json(&watched)),
            Err(error) => Outcome::refused(error),
        })
    }

    /// `presence.set`: what a client says of itself.
    fn set_presence(&self, call: &Call) -> Outcome {
        let Some(presence) = &self.presence else {
            return Outcome::refused(no_presence());
        };
        let header = &call.header;
        match params::<Set>(call) {
            Ok(_) if header.session.is_nil() => {
                Outcome::refused(refuse(ErrorCode::BadRequest, "only a session has a presence"))
            }
            Ok(set) => {
                presence.note(Moment::Said(header.user, header.address, set.state));
                Outcome::result(json(&Empty {}))
            }
            Err(error) => Outcome::refused(error),
        }
    }

    /// `presence.session`: what an edge says of a session. Nobody waits for an answer.
    fn session(&self, call: &Call) -> Outcome {
        let (user, address) = (call.header.user, call.header.address);
        if let (Some(presence), Ok(session)) = (&self.presence, params::<Session>(call)) {
            presence.note(match session.state {
                presence::Moment::Open => Moment::Opened(user),
                presence::Moment::Closed => Moment::Closed(user, address),
            });
        }
        Outcome {
            reply: None,
            deliveries: Vec::new(),
            notices: Vec::new(),
            revoked: Vec::new(),
        }
    }

    async fn push_list(&self, call: &Call) -> Result<Result<Subscriptions, ErrorBody>, StoreError> {
        if let Err(error) = params::<Empty>(call) {
            return Ok(Err(error));
        }
        let Some(push) = &self.push else {
            return Ok(Err(no_push()));
        };
        let listed = push::store::list(&self.store, call.header.user).await?;
        let subscription = |listed: push::store::Listed| Subscription {
            id: listed.id,
            origin: push.endpoints.origin(&listed.endpoint).unwrap_or_default(),
            own: listed.login == call.header.login,
            created_at: listed.created_at,
        };
        Ok(Ok(Subscriptions {
            application_server_key: push.application_server_key.clone(),
            subscriptions: listed.into_iter().map(subscription).collect(),
        }))
    }

    fn parse(&self, call: &Call) -> Result<command::Write, ErrorBody> {
        let endpoints = match (&self.push, call.header.method) {
            (None, Method::PushSubscribe) => return Err(no_push()),
            (push, _) => push.as_ref().map(|push| push.endpoints).unwrap_or_default(),
        };
        command::parse(call, &self.key, endpoints)
    }

    /// What a change led to, for the worker.
    fn outcome(&self, written: Written) -> Outcome {
        let mut outcome = match written.reply {
            Ok(result) => Outcome::result(result),
            Err(error) => Outcome::refused(error),
        };
        match written.effect {
            Effect::None => {}
            Effect::Blocks(one, other) => {
                if let Some(presence) = &self.presence {
                    presence.note(Moment::Blocks(one, other));
                }
            }
            Effect::Profile(user, told) => outcome.deliveries.push(updated(user, told)),
        }
        outcome
    }

    async fn me(&self, call: &Call) -> Result<Result<Me, ErrorBody>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            profile!(),
            ", u.last_seen_visible FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL"
        );
        if let Err(error) = params::<Empty>(call) {
            return Ok(Err(error));
        }
        let rows = self.store.query("user.me", SQL, &[&call.header.user.0]).await?;
        let me = |row: &Row| Me {
            user: read_profile(row, 0),
            last_seen_visible: Some(store::visible(row, 7)),
        };
        Ok(rows
            .first()
            .map(me)
            .ok_or_else(|| refuse(ErrorCode::NotFound, "the account is gone")))
    }

    async fn search_messages(&self, call: &Call) -> Result<Result<Messages, ErrorBody>, StoreError> {
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

/// The event of a changed profile. Ephemeral: who misses it sees the profile when he asks for it.
fn updated(user: Profile, told: Vec<UserId>) -> Delivery {
    let event = Event {
        event: USER_UPDATED.to_owned(),
        room: None,
        seq: None,
        data: UserData { user },
    };
    Delivery {
        room: RoomId::NIL,
        seq: None,
        audience: Audience::Users(Arc::from(told)),
        body: json(&event),
    }
}

fn no_presence() -> ErrorBody {
    refuse(ErrorCode::Unavailable, "nobody keeps presence here")
}

fn no_push() -> ErrorBody {
    refuse(
        ErrorCode::NotFound,
        "this system sends no pushes: its operator has made no key for them",
    )
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
        let writes: Vec<_> = calls.iter().map(|call| self.parse(call)).collect();
        let writes = &writes;
        let written = self
            .store
            .run_tx("user.write", |tx| async move {
                store::apply(&tx, writes, now_us()).await
            })
            .await?;
        Ok(written.into_iter().map(|written| self.outcome(written)).collect())
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
            Method::PresenceWatch => self.watch(call).await?,
            Method::PresenceSet => self.set_presence(call),
            Method::PresenceSession => self.session(call),
            Method::UserMe => outcome(self.me(call).await?),
            Method::UserGet => outcome(self.get(call).await?),
            Method::UserSearch => outcome(self.search(call).await?),
            Method::ContactList => outcome(self.contacts(call).await?),
            Method::BlockList => outcome(self.blocked(call).await?),
            Method::PushList => outcome(self.push_list(call).await?),
            Method::RoomList => outcome(self.rooms(call).await?),
            Method::Sync => outcome(self.sync(call).await?),
            Method::RoomLarge => outcome(large::rooms(&self.store, call).await?),
            Method::Search => outcome(self.search_messages(call).await?),
            _ => Outcome::refused(refuse(ErrorCode::BadRequest, "not a method of the user service")),
        })
    }

    fn forget(&self) {}
}
