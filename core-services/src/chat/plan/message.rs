//! What changes to messages do: the rows of the messages, of their edits, reactions, pins and threads.
//!
//! A change is an event of its own, and the row of the message becomes what it is afterwards.
//!
//! Invariant: a transaction that changes a message several times leaves what the same changes would leave one
//! after the other.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use hub_protocol::api::event::{
    DeletedData, EditedData, Event, HIDDEN, HiddenData, Kind, PinnedData, ReactedData,
};
use hub_protocol::api::message::{Delete, DeleteFor, Edit, Origin, Pin, React, Send};
use hub_protocol::api::room::Changed;
use hub_protocol::error::ErrorBody;
use hub_protocol::{Op, RoomId, UserId};
use serde::Serialize;

use super::{Known, Planned, Planner};
use crate::call::json;
use crate::chat::command::{About, Write};
use crate::chat::extras::{self, Extras};
use crate::chat::log::LogEvent;
use crate::chat::room::{Head, Room, Stay};
use crate::chat::rules::message as rules;
use crate::chat::rules::{may_send, member};
use crate::service::{Audience, Delivery, Outcome};

/// Names a message.
pub(in crate::chat) type MessageKey = (RoomId, i64);

/// What is known of the messages that the calls of a transaction are about, and what becomes of them.
#[derive(Debug, Default)]
pub(in crate::chat) struct Messages {
    /// Events that are named in the calls.
    pub(in crate::chat) events: HashMap<MessageKey, LogEvent>,
    /// Who may see which source of a forwarded message.
    pub(in crate::chat) sources: HashSet<(UserId, MessageKey)>,
    /// How often a message was edited.
    pub(in crate::chat) edit_counts: HashMap<MessageKey, usize>,
    /// How many users reacted to a message with each emoji.
    pub(in crate::chat) kinds: HashMap<MessageKey, HashMap<String, i64>>,
    /// Reactions of the callers.
    pub(in crate::chat) reactions: HashSet<(MessageKey, UserId, String)>,
    /// What is pinned in a room.
    pub(in crate::chat) pins: HashMap<RoomId, HashSet<i64>>,
}

/// A row of `edits`.
#[derive(Debug)]
pub(in crate::chat) struct EditRow {
    pub(in crate::chat) edit_seq: i64,
    pub(in crate::chat) body: String,
    pub(in crate::chat) extras: Option<String>,
    pub(in crate::chat) until: i64,
}

/// What a thread gained.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::chat) struct ThreadGain {
    pub(in crate::chat) count: i64,
    pub(in crate::chat) last_seq: i64,
    pub(in crate::chat) last_at: i64,
}

/// Rows that a plan writes because of changes to messages, each as it is to be in the end.
#[derive(Debug, Default)]
pub(in crate::chat) struct MessageRows {
    /// Messages that were there before or are new, as they are now.
    pub(in crate::chat) changed: HashMap<MessageKey, LogEvent>,
    pub(in crate::chat) edits: HashMap<MessageKey, Vec<EditRow>>,
    /// Messages that were taken away: their edits, reactions and pins go, the events of their edits lose the text.
    pub(in crate::chat) purged: Vec<MessageKey>,
    /// The event that told of a reaction; `None`: it is taken back.
    pub(in crate::chat) reactions: HashMap<(MessageKey, UserId, String), Option<i64>>,
    /// Reactions more or less, and the event of the first new one.
    pub(in crate::chat) kinds: HashMap<(MessageKey, String), (i64, i64)>,
    /// By whom and when; `None`: not pinned any more.
    pub(in crate::chat) pins: HashMap<MessageKey, Option<(UserId, i64)>>,
    pub(in crate::chat) threads: HashMap<MessageKey, ThreadGain>,
    pub(in crate::chat) hidden: HashSet<(UserId, MessageKey)>,
}

impl MessageRows {
    /// True if there is nothing to write.
    pub(in crate::chat) fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.reactions.is_empty()
            && self.pins.is_empty()
            && self.threads.is_empty()
            && self.hidden.is_empty()
    }
}

/// The data of `message.edited` once the message was taken away.
pub(in crate::chat) fn emptied(body: &str) -> String {
    let Ok(data) = serde_json::from_str::<EditedData>(body) else {
        return "null".to_owned();
    };
    text(&EditedData {
        text: String::new(),
        entities: Vec::new(),
        ..data
    })
}

fn text<D: Serialize>(data: &D) -> String {
    serde_json::to_string(data).expect("our types have string keys only")
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

impl Planner {
    /// A message that carries more than its text.
    pub(super) fn send_rich(
        &mut self,
        write: &Write,
        send: &Send,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        may_send(room, write.actor, &self.facts)?;
        let of = |seq: Option<u64>| seq.and_then(|seq| self.find((write.room, number(seq))));
        rules::refer(room, write.actor, send, of(send.reply_to), of(send.thread))?;
        let mut extras = Extras {
            reply_to: send.reply_to.map(number),
            thread: send.thread.map(number),
            ..Extras::default()
        };
        let body = match send.forward {
            None => {
                extras.mentions = rules::mentions(room, write.actor, extras::mentions(&send.entities))?;
                extras.entities.clone_from(&send.entities);
                send.text.clone()
            }
            Some(source) => {
                let key = (source.room, number(source.seq));
                let event = self
                    .find(key)
                    .filter(|event| event.kind == Kind::MessageCreated && !event.is_deleted())
                    .filter(|_| self.messages.sources.contains(&(write.actor, key)))
                    .ok_or_else(rules::no_such_message)?;
                let carried = event.extras.as_deref();
                extras.entities = carried.map(|extras| extras.entities.clone()).unwrap_or_default();
                // What was forwarded before keeps the name of its first author.
                extras.forward = carried.and_then(|extras| extras.forward).or(Some(Origin {
                    room: event.room,
                    seq: event.seq.unsigned_abs(),
                    sender: event.actor,
                    created_at: event.created_at,
                }));
                event.body.clone()
            }
        };
        let created_at = head.next_at(self.now);
        if let Some(root) = extras.thread {
            let gain = self.plan.messages.threads.entry((write.room, root)).or_default();
            gain.count += 1;
            gain.last_seq = head.seq + 1;
            gain.last_at = created_at;
        }
        self.sent(write, room, created_at);
        let receivers = Arc::clone(room.receivers());
        let extras = (extras != Extras::default()).then(|| Box::new(extras));
        let outcome = self.append(
            write,
            head,
            Kind::MessageCreated,
            (body, extras),
            created_at,
            receivers,
        );
        Ok(Planned::Done(outcome))
    }

    /// A change to a message that is there.
    pub(super) fn about(
        &mut self,
        write: &Write,
        about: &About,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        let key = (write.room, number(about.seq()));
        let op = write.op.expect("a change to a message has an op").0;
        match about {
            About::Edit(edit) => self.edit(write, edit, key, op, head, room),
            About::Delete(delete) if delete.whom == DeleteFor::Me => self.hide(write, delete, key, room),
            About::Delete(_) => self.take_away(write, key, op, head, room),
            About::React(react) => self.react(write, react, key, op, head, room),
            About::Pin(pin) => self.pin(write, *pin, key, op, head, room),
        }
    }

    fn edit(
        &mut self,
        write: &Write,
        edit: &Edit,
        key: MessageKey,
        op: Op,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        let edits = self.messages.edit_counts.get(&key).copied().unwrap_or(0);
        let mut event = rules::edit(room, write.actor, self.find(key), edits, &self.facts)?.clone();
        let mentions = rules::mentions(room, write.actor, extras::mentions(&edit.entities))?;
        let at = head.next_at(self.now);
        let mut changed = event.extras.take().unwrap_or_default();
        self.plan.messages.edits.entry(key).or_default().push(EditRow {
            edit_seq: head.seq + 1,
            body: std::mem::replace(&mut event.body, edit.text.clone()),
            extras: changed.stored(),
            until: at,
        });
        changed.entities.clone_from(&edit.entities);
        changed.mentions = mentions;
        changed.edited_at = Some(at);
        event.extras = Some(changed);
        self.replace(key, event);
        *self.messages.edit_counts.entry(key).or_default() += 1;
        let data = EditedData {
            seq: edit.seq,
            text: edit.text.clone(),
            entities: edit.entities.clone(),
            edited_at: at,
            op,
            by: write.actor,
        };
        // Whoever came after the message was written does not see it, so he does not see its new text either.
        let sees = |stay: &&Stay| stay.from_seq <= key.1;
        let receivers = if room.stays().iter().all(|stay| sees(&stay)) {
            Arc::clone(room.receivers())
        } else {
            room.stays().iter().filter(sees).map(|stay| stay.user).collect()
        };
        let body = (text(&data), None);
        Ok(Planned::Done(self.append(
            write,
            head,
            Kind::MessageEdited,
            body,
            at,
            receivers,
        )))
    }

    fn take_away(
        &mut self,
        write: &Write,
        key: MessageKey,
        op: Op,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        let Some(event) = rules::delete(room, write.actor, self.find(key), self.now)? else {
            return Ok(self.needless(write));
        };
        let mut event = event.clone();
        let at = head.next_at(self.now);
        let before = event.extras.take().unwrap_or_default();
        if let Some(root) = before.thread {
            self.plan
                .messages
                .threads
                .entry((write.room, root))
                .or_default()
                .count -= 1;
        }
        event.body = String::new();
        event.hash = Default::default();
        event.extras = Some(Box::new(Extras {
            reply_to: before.reply_to,
            thread: before.thread,
            deleted_at: Some(at),
            ..Extras::default()
        }));
        self.replace(key, event);
        self.purge(key);
        let data = DeletedData {
            seq: key.1.unsigned_abs(),
            deleted_at: at,
            op,
            by: write.actor,
        };
        Ok(self.tell(write, head, Kind::MessageDeleted, &data, at, room))
    }

    /// What belongs to a message that was taken away goes with it.
    fn purge(&mut self, key: MessageKey) {
        self.plan.messages.purged.push(key);
        if let Some(pins) = self.messages.pins.get_mut(&key.0) {
            pins.remove(&key.1);
        }
        self.messages.kinds.remove(&key);
        // Edits of this very transaction.
        for row in self.plan.messages.edits.remove(&key).unwrap_or_default() {
            let of_edit = |event: &&mut LogEvent| event.room == key.0 && event.seq == row.edit_seq;
            let Some(event) = self.plan.events.iter_mut().find(of_edit) else {
                continue;
            };
            event.body = emptied(&event.body);
            if let Some(Known::Event(known, _)) = self.known.get_mut(&(event.room, event.actor, event.op)) {
                known.body.clone_from(&event.body);
            }
        }
    }

    /// Takes a message away for the caller alone: no event, his other devices are told.
    fn hide(
        &mut self,
        write: &Write,
        delete: &Delete,
        key: MessageKey,
        room: &Room,
    ) -> Result<Planned, ErrorBody> {
        rules::seen(&member(room, write.actor)?, self.find(key))?;
        self.plan.messages.hidden.insert((write.actor, key));
        let result = |duplicate| json(&Changed { seq: 0, duplicate });
        self.remember(write, &result(true));
        let mut outcome = Outcome::result(result(false));
        let event = Event {
            event: HIDDEN.to_owned(),
            room: Some(write.room),
            seq: None,
            data: HiddenData { seq: delete.seq },
        };
        outcome.deliveries.push(Delivery {
            room: write.room,
            seq: None,
            audience: Audience::Users(Arc::from([write.actor])),
            body: json(&event),
        });
        Ok(Planned::Done(outcome))
    }

    fn react(
        &mut self,
        write: &Write,
        react: &React,
        key: MessageKey,
        op: Op,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        let kinds = self.messages.kinds.get(&key);
        let others = match (kinds, react.remove) {
            (Some(kinds), false) if !kinds.contains_key(&react.emoji) => kinds.len(),
            _ => 0,
        };
        rules::react(room, write.actor, self.find(key), others, &self.facts)?;
        let own = (key, write.actor, react.emoji.clone());
        if self.messages.reactions.contains(&own) != react.remove {
            return Ok(self.needless(write));
        }
        let event_seq = head.seq + 1;
        let counts = self.messages.kinds.entry(key).or_default();
        let count = counts.entry(react.emoji.clone()).or_default();
        let gain = self
            .plan
            .messages
            .kinds
            .entry((key, react.emoji.clone()))
            .or_insert((0, event_seq));
        if react.remove {
            (*count, gain.0) = (*count - 1, gain.0 - 1);
            if *count <= 0 {
                counts.remove(&react.emoji);
            }
            self.messages.reactions.remove(&own);
            self.plan.messages.reactions.insert(own, None);
        } else {
            (*count, gain.0) = (*count + 1, gain.0 + 1);
            self.messages.reactions.insert(own.clone());
            self.plan.messages.reactions.insert(own, Some(event_seq));
        }
        let at = head.next_at(self.now);
        let data = ReactedData {
            seq: react.seq,
            emoji: react.emoji.clone(),
            removed: react.remove,
            op,
            by: write.actor,
            created_at: at,
        };
        Ok(self.tell(write, head, Kind::MessageReacted, &data, at, room))
    }

    fn pin(
        &mut self,
        write: &Write,
        pin: Pin,
        key: MessageKey,
        op: Op,
        head: Head,
        room: &Arc<Room>,
    ) -> Result<Planned, ErrorBody> {
        let pins = self.messages.pins.get(&write.room);
        let is_pinned = pins.is_some_and(|pins| pins.contains(&key.1));
        let others = match pins {
            Some(pins) if pin.pinned && !is_pinned => pins.len(),
            _ => 0,
        };
        rules::pin(room, write.actor, self.find(key), others, &self.facts)?;
        if is_pinned == pin.pinned {
            return Ok(self.needless(write));
        }
        let at = head.next_at(self.now);
        let pins = self.messages.pins.entry(write.room).or_default();
        if pin.pinned {
            pins.insert(key.1);
        } else {
            pins.remove(&key.1);
        }
        self.plan
            .messages
            .pins
            .insert(key, pin.pinned.then_some((write.actor, at)));
        let data = PinnedData {
            seq: pin.seq,
            pinned: pin.pinned,
            op,
            by: write.actor,
            created_at: at,
        };
        Ok(self.tell(write, head, Kind::MessagePinned, &data, at, room))
    }

    /// A change of a message, told to the whole room.
    fn tell(
        &mut self,
        write: &Write,
        head: Head,
        kind: Kind,
        data: &impl Serialize,
        at: i64,
        room: &Room,
    ) -> Planned {
        let receivers = Arc::clone(room.receivers());
        Planned::Done(self.append(write, head, kind, (text(data), None), at, receivers))
    }

    /// It is so already: answered and remembered, no event.
    fn needless(&mut self, write: &Write) -> Planned {
        let json = json(&Changed {
            seq: 0,
            duplicate: true,
        });
        self.remember(write, &json);
        Planned::Done(Outcome::result(json))
    }

    /// A message as it is at this point of the plan.
    fn find(&self, key: MessageKey) -> Option<&LogEvent> {
        let loaded = || self.messages.events.get(&key);
        let new = || {
            self.plan
                .events
                .iter()
                .rev()
                .find(|event| (event.room, event.seq) == key)
        };
        self.plan.messages.changed.get(&key).or_else(loaded).or_else(new)
    }

    fn replace(&mut self, key: MessageKey, event: LogEvent) {
        // A repeat of the message within this transaction is delivered as the message is now.
        if let Some(Known::Event(known, _)) = self.known.get_mut(&(event.room, event.actor, event.op)) {
            *known = event.clone();
        }
        self.plan.messages.changed.insert(key, event);
    }
}
