//! `presence.watch`: whom a connection looks at, and how they are now.

use hub_protocol::api::presence::{RoomPresence, State, Watch, Watched};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{PRESENCE_RENEW_MS, PRESENCE_ROOM_MAX, PRESENCE_WATCH_MAX};
use hub_protocol::{ErrorCode, UserId, keys};
use rand::seq::SliceRandom as _;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::look::{self, Nodes, Seen, Watcher};
use super::state::TOLD;
use super::teller::{KEEP_OFFLINE_S, KEEP_S};
use super::{Moment, Presence, sight};
use crate::call::refuse;
use crate::service::{Call, WorkError};

/// Members of a large room that an estimate looks at.
const SAMPLE: usize = 500;
/// Members of a room that are counted; a larger one is taken as this large.
const MEMBERS_MAX: i64 = 20_000;

impl Presence {
    /// Replaces what the calling connection watches; answers how they are.
    pub(crate) async fn watch(
        &self,
        call: &Call,
        asked: Watch,
    ) -> Result<Result<Watched, ErrorBody>, WorkError> {
        let me = call.header.user;
        let mut room = None;
        let mut users = match (asked.users, asked.room) {
            (Some(users), None) if users.len() <= PRESENCE_WATCH_MAX => users,
            (Some(_), None) => return Ok(Err(refuse(ErrorCode::TooLarge, "at most 200 users"))),
            (None, Some(id)) => {
                let mut members = sight::members(&self.store, id, me, MEMBERS_MAX).await?;
                if members.is_empty() {
                    return Ok(Err(refuse(ErrorCode::NotFound, "no such room")));
                }
                if members.len() > PRESENCE_ROOM_MAX {
                    let room = Some(self.estimate(&mut members).await.map_err(failed)?);
                    let (users, renew_ms) = (Vec::new(), PRESENCE_RENEW_MS);
                    return Ok(Ok(Watched {
                        users,
                        renew_ms,
                        room,
                    }));
                }
                room = Some(members.len());
                members
            }
            _ => {
                return Ok(Err(refuse(ErrorCode::BadRequest, "either `users` or `room`")));
            }
        };
        users.sort_unstable();
        users.dedup();
        let pairs: Vec<(UserId, UserId)> = users.iter().map(|user| (*user, me)).collect();
        let sights = sight::sights(&self.store, &pairs).await?;
        let known: Vec<_> = users
            .into_iter()
            .zip(sights)
            .filter_map(|(user, sight)| Some((user, sight?)))
            .collect();
        let users: Vec<UserId> = known.iter().map(|(user, _)| *user).collect();
        let watcher = (!call.header.session.is_nil()).then_some(Watcher {
            address: call.header.address,
            user: me,
        });
        let seen = self.look(watcher, &users).await.map_err(failed)?;
        let mut views = Vec::with_capacity(known.len());
        for ((user, sight), seen) in known.iter().zip(&seen) {
            let told = seen.fields.told.unwrap_or(seen.state);
            if told != seen.state {
                self.note(Moment::Stale(*user));
            }
            views.push(sight.view(*user, told, &seen.fields));
        }
        let room = room.map(|members| {
            let online = views.iter().filter(|view| view.state != State::Offline).count();
            count(members, online, true)
        });
        Ok(Ok(Watched {
            users: views,
            renew_ms: PRESENCE_RENEW_MS,
            room,
        }))
    }

    /// Writes the watch list first: a change that comes later is told, one that came before is read.
    async fn look(&self, watcher: Option<Watcher>, users: &[UserId]) -> RedisResult<Vec<Seen>> {
        self.link
            .run(async |redis| {
                if let Some(watcher) = watcher {
                    look::replace_watch(redis, watcher, users).await?;
                }
                let mut seen = look::states(redis, &Nodes::default(), users).await?;
                if watcher.is_some() {
                    keep_told(redis, users, &mut seen).await?;
                }
                Ok(seen)
            })
            .await
    }

    async fn estimate(&self, members: &mut [UserId]) -> RedisResult<RoomPresence> {
        let all = members.len();
        let (sample, _) = members.partial_shuffle(&mut rand::rng(), SAMPLE);
        let sample: &[UserId] = sample;
        let online = self
            .link
            .run(async |redis| look::count(redis, sample).await)
            .await?;
        Ok(count(all, online * all / sample.len().max(1), false))
    }
}

/// From now on somebody knows how these users are: what he is told is written down, unless it was before.
async fn keep_told(
    redis: &mut MultiplexedConnection,
    users: &[UserId],
    seen: &mut [Seen],
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    let mut is_empty = true;
    for (user, seen) in users.iter().zip(seen.iter_mut()) {
        let (key, is_offline) = (keys::presence(*user), seen.state == State::Offline);
        let is_new = seen.fields.told.is_none();
        if is_new {
            seen.fields.told = Some(seen.state);
            pipe.cmd("HSETNX")
                .arg(&key)
                .arg(TOLD)
                .arg(seen.state.name())
                .ignore();
        }
        if is_new || is_offline {
            let keep_s = if is_offline { KEEP_OFFLINE_S } else { KEEP_S };
            pipe.cmd("EXPIRE").arg(&key).arg(keep_s).ignore();
            is_empty = false;
        }
    }
    if is_empty {
        return Ok(());
    }
    pipe.query_async(redis).await
}

fn count(members: usize, online: usize, exact: bool) -> RoomPresence {
    RoomPresence {
        members: u32::try_from(members).unwrap_or(u32::MAX),
        online: u32::try_from(online).unwrap_or(u32::MAX),
        exact,
    }
}

fn failed(error: redis::RedisError) -> WorkError {
    WorkError::System(error.into())
}
