//! Large rooms, seen from the chat service: who is told how, when a room becomes large or stops being so, and who is
//! attached. Pure, like the plan that it completes.
//!
//! Everything here is decided in the transaction that changes the membership, under the lock of the room's head, and
//! stands among the events of the room in that order. So an edge that obeys the entries of its stream one after the
//! other gives nobody an event of a time at which he was no member.

use std::sync::Arc;

use hub_protocol::api::Empty;
use hub_protocol::api::event::{BUMP, Event, Kind};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{ROOM_LARGE_ABOVE, ROOM_LARGE_BELOW};
use hub_protocol::{Address, Op, RoomId};

use super::command::{Command, Write};
use super::plan::{Known, LargeRow, Planned, Planner};
use super::room::{Moved, Room};
use super::rules;
use crate::call::json;
use crate::service::{Audience, Delivery, Notice, Outcome, Turn};

/// What was known of a call's room before the call was decided.
pub(super) struct Before {
    is_large: bool,
    /// The call was applied before, and led to this.
    known: Option<Known>,
}

impl Planner {
    pub(super) fn before(&self, write: &Write) -> Before {
        let is_large = self.rooms.get(&write.room).is_some_and(|room| room.is_large);
        Before {
            is_large,
            known: self.find_known(write).cloned(),
        }
    }

    /// Completes what a call led to by what its room's size demands.
    pub(super) fn complete(&mut self, write: &Write, before: Before, planned: Planned) -> Planned {
        let Some(room) = self.rooms.get(&write.room) else {
            return planned;
        };
        match planned {
            // What the many members of a large room have read is nobody else's business.
            Planned::Mark {
                room, user, is_read, ..
            } if before.is_large => Planned::Mark {
                room,
                user,
                is_read,
                receivers: Arc::from([user]),
            },
            Planned::Done(outcome) => match before.known {
                Some(known) => Planned::Done(self.repeat_notices(write, &known, outcome)),
                None if before.is_large || room.has_moved() => {
                    Planned::Done(self.first_notices(write, before.is_large, outcome))
                }
                None => Planned::Done(outcome),
            },
            planned @ Planned::Mark { .. } => planned,
        }
    }

    /// The attachment of one connection: decided at the head as it is under the lock.
    pub(super) fn attach(&self, write: &Write, address: Address, nonce: u64) -> Result<Planned, ErrorBody> {
        let head = self.heads.get(&write.room).filter(|head| head.seq > 0);
        let (Some(head), Some(room)) = (head, self.rooms.get(&write.room)) else {
            return Err(rules::no_such_room());
        };
        rules::member(room, write.actor)?;
        let turn = Turn::Attached {
            address,
            user: write.actor,
            nonce,
            is_large: room.is_large,
        };
        Ok(Planned::Done(Outcome {
            reply: None,
            deliveries: Vec::new(),
            notices: vec![notice(write.room, head.seq, turn)],
            revoked: Vec::new(),
        }))
    }

    fn first_notices(&mut self, write: &Write, was_large: bool, mut outcome: Outcome) -> Outcome {
        let id = write.room;
        let seq = self.heads.get(&id).map_or(0, |head| head.seq);
        let is_partial = self.is_partial(write);
        let (Some(room), Some((op, _hash))) = (self.rooms.get_mut(&id), write.op) else {
            return outcome;
        };
        if was_large {
            to_room(&mut outcome, id, is_partial);
        }
        let room = Arc::make_mut(room);
        for moved in room.take_moved() {
            if was_large {
                let turn = match moved {
                    Moved::In(user) => Turn::Large {
                        users: Arc::from([user]),
                    },
                    Moved::Out(user) => Turn::Detach { user },
                };
                tell_himself(&mut outcome, moved);
                outcome.notices.push(notice(id, seq, turn));
            }
        }
        if let Some(is_large) = switched(room) {
            outcome
                .notices
                .push(notice(id, seq, set_large(room, is_large, seq, op)));
            self.plan.large.retain(|row| row.room != id);
            self.plan.large.push(LargeRow {
                room: id,
                is_large,
                seq,
                op,
            });
        }
        outcome
    }

    /// True if some member may not see what the event of this call shows: an edit of a message before his time.
    fn is_partial(&self, write: &Write) -> bool {
        let (Some(Known::Event(event, _)), Some(room)) =
            (self.find_known(write), self.rooms.get(&write.room))
        else {
            return false;
        };
        let seen_with = event.seen_with();
        seen_with < event.seq && room.stays().iter().any(|stay| stay.from_seq > seen_with)
    }

    /// A repeat tells what the first time told, by the room as it is now.
    fn repeat_notices(&self, write: &Write, known: &Known, mut outcome: Outcome) -> Outcome {
        let id = write.room;
        let (Some(room), Some((op, _hash))) = (self.rooms.get(&id), write.op) else {
            return outcome;
        };
        if outcome.reply.as_ref().is_some_and(Result::is_err) {
            return outcome;
        }
        let (seq, moved) = match known {
            Known::Event(event, _) => {
                let moved = match (event.kind, event.subject()) {
                    (Kind::MemberAdded, Some(user)) => Some(Moved::In(user)),
                    (Kind::MemberRemoved, Some(user)) => Some(Moved::Out(user)),
                    _ => None,
                };
                (event.seq, moved)
            }
            Known::Applied(..) => {
                let head = self.heads.get(&id).map_or(0, |head| head.seq);
                let is_member = room.find(write.actor).is_some();
                let moved = match write.command {
                    Command::Join if is_member => Some(Moved::In(write.actor)),
                    Command::Leave if !is_member => Some(Moved::Out(write.actor)),
                    _ => None,
                };
                (head, moved)
            }
        };
        let is_switch = room.switched_op == Some(op);
        if room.is_large && !is_switch && seq > room.switched_seq {
            to_room(&mut outcome, id, self.is_partial(write));
        }
        if room.is_large {
            if let Some(moved) = moved {
                tell_himself(&mut outcome, moved);
            }
            match moved {
                Some(Moved::In(user)) => outcome.notices.push(notice(
                    id,
                    seq,
                    Turn::Large {
                        users: Arc::from([user]),
                    },
                )),
                Some(Moved::Out(user)) => outcome.notices.push(notice(id, seq, Turn::Detach { user })),
                None => {}
            }
        }
        if is_switch {
            let turn = if room.is_large {
                Turn::Large { users: room.users() }
            } else {
                Turn::Small
            };
            outcome.notices.push(notice(id, seq, turn));
        }
        outcome
    }
}

fn notice(room: RoomId, seq: i64, turn: Turn) -> Notice {
    Notice {
        room,
        seq: seq.unsigned_abs(),
        turn,
    }
}

/// Whether the number of members asks for the other way of telling them.
fn switched(room: &Room) -> Option<bool> {
    let count = room.stays().len();
    match room.is_large {
        false if count > ROOM_LARGE_ABOVE => Some(true),
        true if count < ROOM_LARGE_BELOW => Some(false),
        _ => None,
    }
}

fn set_large(room: &mut Room, is_large: bool, seq: i64, op: Op) -> Turn {
    room.switched_seq = seq;
    room.switched_op = Some(op);
    room.set_large(is_large);
    if is_large {
        Turn::Large { users: room.users() }
    } else {
        Turn::Small
    }
}

/// Durable events go to whoever is attached; ephemeral ones to nobody but those who are named by them. Of a partial
/// event all hear that it is there: history tells each what he may see of it.
fn to_room(outcome: &mut Outcome, room: RoomId, is_partial: bool) {
    for delivery in &mut outcome.deliveries {
        if delivery.room == room && delivery.seq.is_some() {
            delivery.audience = Audience::Attached;
            if is_partial {
                delivery.body = json(&Event {
                    event: BUMP.to_owned(),
                    room: Some(room),
                    seq: delivery.seq,
                    data: Empty {},
                });
            }
        }
    }
}

/// Who comes is not attached yet, and who goes may have a connection that is not: both get the event by name, too.
fn tell_himself(outcome: &mut Outcome, moved: Moved) {
    let (Moved::In(user) | Moved::Out(user)) = moved;
    let of_room = |delivery: &&Delivery| matches!(delivery.audience, Audience::Attached);
    if let Some(delivery) = outcome.deliveries.iter().find(of_room) {
        let audience = Audience::Users(Arc::from([user]));
        let named = Delivery {
            audience,
            ..delivery.clone()
        };
        outcome.deliveries.push(named);
    }
}

/// All users of a list, for tests and logs.
#[cfg(test)]
pub(super) fn users_of(audience: &Audience) -> Vec<hub_protocol::UserId> {
    match audience {
        Audience::Users(users) => users.to_vec(),
        Audience::Attached => Vec::new(),
    }
}
