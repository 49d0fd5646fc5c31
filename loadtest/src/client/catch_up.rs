//! How a client learns what it was not delivered: sync tells how far its rooms are, ranges bring what is missing.

use hub_protocol::Method;
use hub_protocol::api::message::Range;
use hub_protocol::api::sync::{Sync, Synced};
use hub_protocol::limits::{HISTORY_EVENTS_MAX, SYNC_ROOMS_MAX};
use serde_json::value::RawValue;

use super::room::{Fetch, hold};
use super::session::{ANSWER, Client, Phase, json};
use super::wire::{self, Call, Delivered, Incoming};
use super::{Context, Timer};
use crate::units::S;

/// Syncs of a client that nothing else makes sync.
const PERIODIC_SYNC: u64 = 15 * 60 * S;

/// A sync that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) due: u64,
    page: Option<String>,
    /// The first one of a connection: what is missing is fetched at once.
    is_first: bool,
}

impl Client {
    pub(super) fn want_sync(&mut self, due: u64, context: &mut Context<'_>) {
        let due = self.sync_due.map_or(due, |earlier| earlier.min(due));
        self.sync_due = Some(due);
        context.set(due, Timer::Sync);
    }

    pub(super) fn check_sync(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Open {
            return;
        }
        if let Some(asked) = &self.asked {
            if asked.due <= context.now {
                let Asked { page, is_first, .. } = *self.asked.take().expect("tested above");
                self.ask_sync(page, is_first, context);
            }
        } else if self.sync_due.is_some_and(|due| due <= context.now) {
            self.sync_due = None;
            self.ask_sync(None, false, context);
        }
    }

    pub(super) fn ask_sync(&mut self, page: Option<String>, is_first: bool, context: &mut Context<'_>) {
        let id = Call::Sync.id(self.request_number());
        let cursor = self.cursor.as_deref().map(str::to_owned);
        let params = json(&Sync {
            cursor,
            page: page.clone(),
            limit: Some(SYNC_ROOMS_MAX),
        });
        context.texts.push(wire::request(id, Method::Sync, &params));
        let due = context.now + ANSWER + context.part_of(S);
        self.asked = Some(Box::new(Asked {
            id,
            due,
            page,
            is_first,
        }));
        context.set(due, Timer::Sync);
    }

    pub(super) fn on_synced(&mut self, id: u64, result: &RawValue, context: &mut Context<'_>) -> Option<()> {
        let synced: Synced = serde_json::from_str(result.get()).ok()?;
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else {
            return Some(());
        };
        let patience = if asked.is_first { 0 } else { hold() };
        for state in &synced.rooms {
            let Some(slot) = self.slot_of(state.room.id, context) else {
                continue;
            };
            let room = &mut self.rooms[usize::from(slot)];
            if !room.is_joined() {
                room.join(self.user, state.seq, context);
            }
            room.on_head(slot, state.seq, patience, context);
        }
        if let Some(next) = synced.next {
            self.ask_sync(Some(next), asked.is_first, context);
            return Some(());
        }
        self.cursor = Some(synced.cursor.into_boxed_str());
        context.stats.counts.syncs += 1;
        self.is_synced = true;
        for (slot, room) in (0_u16..).zip(&mut self.rooms) {
            room.check(slot, patience, context);
        }
        let periodic = context.now + PERIODIC_SYNC + context.part_of(PERIODIC_SYNC / 10);
        self.want_sync(periodic, context);
        Some(())
    }

    pub(super) fn check_range(&mut self, slot: u16, context: &mut Context<'_>) {
        let room = &self.rooms[usize::from(slot)];
        let (Fetch::Due(due) | Fetch::Asked { due, .. }) = room.fetch else {
            return;
        };
        if due > context.now {
            return;
        }
        if self.phase != Phase::Open || room.is_caught_up() {
            self.rooms[usize::from(slot)].fetch = Fetch::Idle;
            return;
        }
        self.ask_range(slot, context);
    }

    fn ask_range(&mut self, slot: u16, context: &mut Context<'_>) {
        let id = Call::Range(slot).id(self.request_number());
        let room = &mut self.rooms[usize::from(slot)];
        let params = format!(r#"{{"after":{},"limit":{HISTORY_EVENTS_MAX}}}"#, room.last());
        let room_id = context.world.room_id(room.index);
        context
            .texts
            .push(wire::room_request(id, Method::MessageHistory, room_id, &params));
        context.stats.counts.ranges += 1;
        let due = context.now + ANSWER + context.part_of(S);
        room.fetch = Fetch::Asked { id, due };
        context.set(due, Timer::Range(slot));
    }

    pub(super) fn on_range(
        &mut self,
        slot: u16,
        id: u64,
        result: &RawValue,
        context: &mut Context<'_>,
    ) -> Option<()> {
        let range: Range = serde_json::from_str(result.get()).ok()?;
        let room = self.rooms.get_mut(usize::from(slot))?;
        if !matches!(room.fetch, Fetch::Asked { id: asked, .. } if asked == id) {
            return Some(());
        }
        let events: Option<Vec<(u64, Delivered)>> = range
            .events
            .iter()
            .map(|text| {
                let event: Incoming<'_> = serde_json::from_str(text.get()).ok()?;
                Some((
                    event.seq?,
                    wire::read_event(event.data?.get(), context.world.nonce())?,
                ))
            })
            .collect();
        room.fetch = Fetch::Idle;
        let Some(events) = events else {
            room.plan(slot, hold() * 4, context);
            return None;
        };
        let has_progress = room.on_range(events, &range.hidden, context);
        if room.is_caught_up() {
            room.futile = 0;
        } else if has_progress {
            room.futile = 0;
            self.ask_range(slot, context);
        } else {
            room.futile += 1;
            let pause = context.pause(room.futile, 500, 5_000);
            room.plan(slot, pause, context);
        }
        Some(())
    }
}
