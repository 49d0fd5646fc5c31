//! Step 10 for rooms: commands, rules, the log.
//!
//! | module | holds |
//! |---|---|
//! | `command` | what a call asks for, checked for itself |
//! | `room`, `rules` | a room in memory, and who may do what in it |
//! | `plan` | repeats, decisions and numbers of one transaction |
//! | `log` | events, and the texts that follow from them |
//! | `large` | large rooms: who is told how, and who is attached |
//! | `extras` | what a message carries beside its text |
//! | `store` | the only SQL |
//! | `facts` | what else a plan knows: accounts, blocks, bans, links, preferences |
//! | `history` | which part of a log a caller sees |
//! | `lists` | members, bans and links, page by page |
//! | `messages`, `search` | the other reads of messages |
//! | `receipts` | marks that moved, merged |
//! | `cache` | rooms that were seen lately |
//!
//! Invariant: a message gets its sequence number in one place, `plan`, inside the transaction that stores it.

mod cache;
mod command;
mod extras;
mod facts;
mod history;
mod large;
mod lists;
mod log;
#[cfg(test)]
mod message_tests;
mod messages;
mod plan;
mod receipts;
mod room;
mod rules;
pub(crate) mod search;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::hmac;
use hub_protocol::api::Empty;
use hub_protocol::api::event::{Event, TYPING, TypingData};
use hub_protocol::api::message::{History, Typing};
use hub_protocol::api::room::{Got, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Method, RoomId, Service, UserId};

pub(crate) use extras::fill;
pub use log::created_body;

use crate::call::{json, now_us, params, refuse};
use crate::push::Pushes;
use crate::service::{Audience, Call, Delivery, Handler, Outcome, WorkError};
use crate::store::{Meta, Store};
use cache::Cache;
use command::Write;
use plan::Planned;
use receipts::Receipts;
use room::{Head, Room};

/// The chat service.
#[derive(Debug)]
pub struct Chat {
    store: Store,
    key: hmac::Key,
    cache: Arc<Cache>,
    pushes: Option<Pushes>,
    members_max: usize,
    receipts: Receipts,
}

impl Chat {
    /// The service on a database. A room takes `members_max` members.
    pub fn new(store: Store, meta: &Meta, members_max: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &meta.op_hash_key);
        Self {
            store,
            key,
            cache: Arc::new(Cache::default()),
            pushes: None,
            members_max,
            receipts: Receipts::default(),
        }
    }

    /// The same, with pushes to devices that nobody looks at.
    #[must_use]
    pub fn with_pushes(mut self, pushes: Pushes) -> Self {
        self.pushes = Some(pushes);
        self
    }

    async fn write_all(&self, writes: &[Result<Write, ErrorBody>]) -> Result<Vec<Outcome>, WorkError> {
        let cache = &self.cache;
        let valid: Vec<&Write> = writes.iter().filter_map(|write| write.as_ref().ok()).collect();
        if valid.is_empty() {
            return Ok(writes
                .iter()
                .filter_map(|write| write.as_ref().err().cloned())
                .map(Outcome::refused)
                .collect());
        }
        let valid = &valid;
        let (plan, stand) = self
            .store
            .run_tx("chat.write", |tx| async move {
                let now = now_us();
                let mut loaded = store::load(&tx, valid, cache, now).await?;
                loaded.members_max = self.members_max;
                let plan = plan::plan(writes, loaded, now);
                let stand = store::save(&tx, &plan, now).await?;
                Ok((plan, stand))
            })
            .await?;
        for (id, head, room) in plan.rooms {
            self.cache.put(id, head, room);
        }
        let mut told = vec![false; plan.marks.len()];
        let mut finish = |planned| match planned {
            Planned::Done(outcome) => outcome,
            Planned::Mark {
                room,
                user,
                is_read,
                receivers,
            } => {
                let found = plan
                    .marks
                    .binary_search_by_key(&(room, user), |(room, user, ..)| (*room, *user));
                let at = found.expect("every planned mark stands in the list");
                let stand = stand.get(at).copied().unwrap_or_default();
                let mut outcome = plan::marked(if is_read { stand.read } else { stand.delivered });
                // Several marks of one user in one read are one move.
                if stand.moved && !std::mem::replace(&mut told[at], true) {
                    self.receipts.note(room, user, &stand, receivers);
                    if stand.read_moved {
                        outcome.deliveries.push(receipts::unread(room, user, &stand));
                    }
                }
                outcome
            }
        };
        Ok(plan.planned.into_iter().map(&mut finish).collect())
    }

    /// The room as it was seen last, or as it is. For what may be a moment late.
    async fn recent(&self, id: RoomId) -> Result<Option<Arc<Room>>, WorkError> {
        if let Some((_head, room)) = self.cache.find(id) {
            return Ok(Some(room));
        }
        let found = self.load(id).await?;
        Ok(found.map(|(head, room)| {
            self.cache.put(id, head, Arc::clone(&room));
            room
        }))
    }

    async fn load(&self, id: RoomId) -> Result<Option<(Head, Arc<Room>)>, WorkError> {
        let found = self
            .store
            .run_read("chat.room", |tx| async move { store::room(&tx, id).await })
            .await?;
        // A head at 0 is never committed; whoever reads one reads a database of another origin.
        Ok(found.filter(|(head, _)| head.seq > 0))
    }

    async fn get(&self, call: &Call) -> Result<Outcome, WorkError> {
        if let Err(refusal) = params::<Empty>(call) {
            return Ok(Outcome::refused(refusal));
        }
        let Some((head, room)) = self.load(call.header.room).await? else {
            return Ok(Outcome::refused(rules::no_such_room()));
        };
        let is_member = room.find(call.header.user).is_some();
        if room.ended || !is_member && room.info.kind != RoomKind::Channel {
            return Ok(Outcome::refused(rules::no_such_room()));
        }
        // Anyone may look at a channel before joining it, but not at who reads it.
        let members = if is_member { room.members() } else { Vec::new() };
        let member_count = u32::try_from(room.stays().len()).unwrap_or(u32::MAX);
        let (seq, n) = (head.seq.unsigned_abs(), head.n.unsigned_abs());
        Ok(Outcome::result(json(&Got {
            room: room.info.clone(),
            members,
            member_count,
            seq,
            n,
        })))
    }

    async fn history(&self, call: &Call) -> Result<Outcome, WorkError> {
        let asked: History = match params(call) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Outcome::refused(refusal)),
        };
        let answer = history::history(&self.store, call.header.room, call.header.user, asked).await?;
        Ok(match answer {
            Ok(range) => Outcome::result(json(&range)),
            Err(refusal) => Outcome::refused(refusal),
        })
    }

    async fn typing(&self, call: &Call) -> Result<Outcome, WorkError> {
        let asked: Typing = match params(call) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Outcome::refused(refusal)),
        };
        let (id, user) = (call.header.room, call.header.user);
        let allowed = match self.recent(id).await? {
            Some(room) => rules::may_write(&room, user).map(|()| room),
            None => Err(rules::no_such_room()),
        };
        let peer = allowed.as_ref().ok().and_then(|room| room.peer(user));
        let allowed = match peer {
            Some(peer) if lists::is_blocked(&self.store, user, peer).await? => Err(rules::blocked()),
            _ => allowed,
        };
        Ok(match allowed {
            Err(refusal) => Outcome::refused(refusal),
            // Among so many somebody always types.
            Ok(room) if room.is_large => Outcome::result(json(&Empty {})),
            Ok(room) => {
                let data = TypingData {
                    user,
                    typing: asked.typing,
                };
                let event = Event {
                    event: TYPING.to_owned(),
                    room: Some(id),
                    seq: None,
                    data,
                };
                let others: Arc<[UserId]> = room
                    .receivers()
                    .iter()
                    .copied()
                    .filter(|other| *other != user)
                    .collect();
                let mut outcome = Outcome::result(json(&Empty {}));
                outcome.deliveries.push(Delivery {
                    room: id,
                    seq: None,
                    audience: Audience::Users(others),
                    body: json(&event),
                });
                outcome
            }
        })
    }
}

impl Handler for Chat {
    fn service(&self) -> Service {
        Service::Chat
    }

    async fn write(&self, calls: &[Call]) -> Result<Vec<Outcome>, WorkError> {
        let writes: Vec<_> = calls.iter().map(|call| command::parse(call, &self.key)).collect();
        let outcomes = self.write_all(&writes).await?;
        if let Some(pushes) = &self.pushes {
            pushes.offer(&outcomes);
        }
        Ok(outcomes)
    }

    async fn read(&self, call: &Call) -> Result<Outcome, WorkError> {
        if call.header.user.is_nil() {
            return Ok(Outcome::refused(refuse(ErrorCode::Unauthenticated, "no session")));
        }
        match call.header.method {
            Method::RoomGet => self.get(call).await,
            Method::MemberList => lists::members(&self.store, call).await,
            Method::MemberBans => lists::bans(&self.store, call).await,
            Method::InviteList => lists::invites(&self.store, call).await,
            Method::InviteLook => lists::look(&self.store, call).await,
            Method::MessageHistory => self.history(call).await,
            Method::TypingSet => self.typing(call).await,
            Method::MessageThread
            | Method::MessageSearch
            | Method::MessagePins
            | Method::MessageEdits
            | Method::MessageReactions
            | Method::ReceiptList => messages::read(&self.store, call).await,
            _ => Ok(Outcome::refused(refuse(
                ErrorCode::BadRequest,
                "this service does not read by this method",
            ))),
        }
    }

    fn due(&self) -> Vec<Delivery> {
        self.receipts.take()
    }

    fn forget(&self) {
        self.cache.clear();
    }
}
