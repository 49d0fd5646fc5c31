//! Events as they stand in the log, and the two texts that follow from each: what members are told, and what the
//! caller is answered. A repeat, a replay and a page of history use the same, so they cannot differ.

use bytes::Bytes;
use hub_protocol::api::event::{CreatedData, EditedData, Event, Kind, MemberData, UpdatedData};
use hub_protocol::api::message::{Message, Sent};
use hub_protocol::api::room::{Changed, Created, Member, Room};
use hub_protocol::{Op, RoomId, UserId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Hash;
use super::extras::Extras;
use crate::call::json;

/// One row of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LogEvent {
    pub(super) room: RoomId,
    pub(super) seq: i64,
    pub(super) n: Option<i64>,
    pub(super) kind: Kind,
    pub(super) actor: UserId,
    pub(super) op: Op,
    pub(super) hash: Hash,
    /// The text of a message; the JSON data of other events.
    pub(super) body: String,
    pub(super) created_at: i64,
    /// What a message carries beside its text.
    pub(super) extras: Option<Box<Extras>>,
}

/// The data of `room.created`, as it stands in the log. Also for whoever fills a database.
pub fn created_body(op: Op, room: &Room, members: &[Member]) -> String {
    let data = CreatedData {
        op,
        room: room.clone(),
        members: members.to_vec(),
    };
    serde_json::to_string(&data).expect("our types have string keys only")
}

/// Any data of our own, as it stands in the log.
pub(super) fn body<D: Serialize>(data: &D) -> String {
    serde_json::to_string(data).expect("our types have string keys only")
}

impl LogEvent {
    fn seq_u64(&self) -> u64 {
        self.seq.unsigned_abs()
    }

    /// True if it is a message that was taken away for all.
    pub(super) fn is_deleted(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| extras.deleted_at.is_some())
    }

    /// The message; of other events nonsense.
    pub(super) fn message(&self) -> Message {
        let mut message = Message {
            room: self.room,
            seq: self.seq_u64(),
            n: self.n.unwrap_or_default().unsigned_abs(),
            sender: self.actor,
            client_message_id: self.op,
            text: self.body.clone(),
            created_at: self.created_at,
            ..Message::default()
        };
        if let Some(extras) = &self.extras {
            extras.fill(&mut message);
        }
        message
    }

    /// The event's JSON text, as delivered and as in `message.history`.
    pub(super) fn text(&self) -> Bytes {
        match self.kind {
            Kind::MessageCreated => self.text_with(self.message()),
            _ => {
                match RawValue::from_string(self.body.clone()) {
                    Ok(data) => self.text_with(data),
                    // Only a hand that writes into the table can bring this about.
                    Err(_not_json) => self.text_with(()),
                }
            }
        }
    }

    fn text_with<D: Serialize>(&self, data: D) -> Bytes {
        json(&Event {
            event: self.kind.name().to_owned(),
            room: Some(self.room),
            seq: Some(self.seq_u64()),
            data,
        })
    }

    /// What the caller whose op this is gets as result.
    pub(super) fn result(&self, duplicate: bool) -> Bytes {
        let seq = self.seq_u64();
        match self.kind {
            Kind::MessageCreated => {
                let message = self.message();
                json(&Sent {
                    n: message.n,
                    message,
                    seq,
                    duplicate,
                })
            }
            Kind::RoomCreated => match serde_json::from_str::<CreatedData>(&self.body) {
                Ok(data) => json(&Created {
                    room: data.room,
                    seq,
                    duplicate,
                }),
                Err(_not_json) => json(&Changed { seq, duplicate }),
            },
            Kind::RoomUpdated => match serde_json::from_str::<UpdatedData>(&self.body) {
                Ok(data) => json(&Created {
                    room: data.room,
                    seq,
                    duplicate,
                }),
                Err(_not_json) => json(&Changed { seq, duplicate }),
            },
            _ => json(&Changed { seq, duplicate }),
        }
    }

    /// The user whom a change of membership is about.
    pub(super) fn subject(&self) -> Option<UserId> {
        match self.kind {
            Kind::MemberAdded | Kind::MemberRemoved => serde_json::from_str::<MemberData>(&self.body)
                .ok()
                .map(|data| data.user),
            _ => None,
        }
    }

    /// The first event that somebody must see to see this one: an edit shows what its message says.
    pub(super) fn seen_with(&self) -> i64 {
        if self.kind != Kind::MessageEdited {
            return self.seq;
        }
        let edited = serde_json::from_str::<EditedData>(&self.body);
        edited.map_or(self.seq, |data| i64::try_from(data.seq).unwrap_or(self.seq))
    }
}
