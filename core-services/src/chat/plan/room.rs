//! What changes of a room itself do, and how a user keeps it: rows, data of events, answers.

use std::sync::Arc;

use hub_protocol::UserId;
use hub_protocol::api::event::{Event, PREFERENCES, RoomDeletedData, UpdatedData};
use hub_protocol::api::setting::Preferred;

use super::member::Told;
use super::{Planned, Planner};
use crate::call::json;
use crate::chat::command::{Command, Write};
use crate::chat::log::body;
use crate::chat::room::Room;
use crate::chat::rules::room::updated;
use crate::service::{Audience, Delivery, Outcome};

impl Planner {
    pub(super) fn update(&mut self, write: &Write, room: &mut Arc<Room>, created_at: i64) -> Told {
        let Command::Update(update) = &write.command else {
            unreachable!("only room.update updates a room")
        };
        let info = updated(&room.info, update);
        Arc::make_mut(room).info = info.clone();
        self.updated.insert(write.room);
        let data = UpdatedData {
            op: update.op,
            room: info,
            by: write.actor,
            created_at,
        };
        (body(&data), Arc::clone(room.receivers()))
    }

    /// Ends all stays with this event, which is everybody's last one.
    pub(super) fn delete(&mut self, write: &Write, room: &mut Arc<Room>, seq: i64, created_at: i64) -> Told {
        let receivers = Arc::clone(room.receivers());
        for stay in Arc::make_mut(room).end() {
            self.keep(write.room, stay, Some(seq), 0);
        }
        self.updated.insert(write.room);
        let data = RoomDeletedData {
            op: write.op.map(|(op, _hash)| op).unwrap_or_default(),
            by: write.actor,
            created_at,
        };
        (body(&data), receivers)
    }

    pub(super) fn preferred(&mut self, write: &Write) -> Planned {
        let Command::Prefer(prefer) = &write.command else {
            unreachable!("only room.preferences sets preferences")
        };
        let of = (write.room, write.actor);
        let mut preferences = self.facts.preferences.get(&of).copied().unwrap_or_default();
        preferences.archived = prefer.archived.unwrap_or(preferences.archived);
        preferences.muted_until = prefer.muted_until.unwrap_or(preferences.muted_until);
        preferences.pinned_at = match prefer.pinned {
            Some(true) if preferences.pinned_at == 0 => self.now,
            Some(false) => 0,
            Some(true) | None => preferences.pinned_at,
        };
        self.facts.preferences.insert(of, preferences);
        self.plan.rows.preferences.insert(of, preferences);
        let result = |duplicate| {
            json(&Preferred {
                preferences,
                duplicate,
            })
        };
        self.remember(write, &result(true));
        let event = Event {
            event: PREFERENCES.to_owned(),
            room: Some(write.room),
            seq: None,
            data: preferences,
        };
        let users: Arc<[UserId]> = Arc::from([write.actor]);
        let mut outcome = Outcome::result(result(false));
        outcome.deliveries.push(Delivery {
            room: write.room,
            seq: None,
            audience: Audience::Users(users),
            body: json(&event),
        });
        Planned::Done(outcome)
    }
}
