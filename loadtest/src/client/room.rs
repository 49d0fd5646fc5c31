//! One room of one client: its rule, its outbox, and the range that is under way.

use super::outbox::Outbox;
use super::rule::{Need, Rule, Seen};
use super::wire::Delivered;
use super::{Context, Timer};
use crate::oracle::{ReceiverId, Shown};
use crate::units::MS;

/// A hole may close by itself for this long.
const HOLD: u64 = 500 * MS;
/// Receivers of one room do not all ask in the same moment.
const HOLD_JITTER: u64 = 200 * MS;

/// The range behind `last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Fetch {
    /// Not wanted.
    #[default]
    Idle,
    /// To be asked for then, if still missing.
    Due(u64),
    /// Asked for; overdue then.
    Asked { id: u64, due: u64 },
}

#[derive(Debug)]
pub(super) struct Room {
    /// The room's index in the world.
    pub(super) index: u32,
    /// What is shown; nothing before the first sync says where the room stands.
    view: Option<(ReceiverId, Rule<Delivered>)>,
    pub(super) outbox: Outbox,
    pub(super) fetch: Fetch,
    /// Ranges that brought nothing, one after the other.
    pub(super) futile: u32,
}

impl Room {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            view: None,
            outbox: Outbox::default(),
            fetch: Fetch::Idle,
            futile: 0,
        }
    }

    /// Starts to show what comes behind `last`.
    pub(super) fn join(&mut self, user: u32, last: u64, context: &mut Context<'_>) {
        let receiver = context.recorder.join(user, self.index, last);
        self.view = Some((receiver, Rule::new(last)));
    }

    pub(super) fn is_joined(&self) -> bool {
        self.view.is_some()
    }

    /// True if everything that is known to exist was shown.
    pub(super) fn is_caught_up(&self) -> bool {
        self.view
            .as_ref()
            .is_some_and(|(_, rule)| rule.need() == Need::Nothing)
    }

    pub(super) fn last(&self) -> u64 {
        self.view.as_ref().map_or(0, |(_, rule)| rule.last())
    }

    /// An event was delivered.
    pub(super) fn on_event(&mut self, slot: u16, seq: u64, event: Delivered, context: &mut Context<'_>) {
        let index = self.index;
        let Some((receiver, rule)) = &mut self.view else {
            return;
        };
        let before = rule.last();
        let is_new = rule.on_event(seq, event, &mut |seen| show(index, *receiver, seen, context));
        if !is_new {
            context.stats.counts.redelivered += 1;
        } else if rule.last() == before {
            context.stats.counts.held += 1;
        }
        self.check(slot, HOLD, context);
    }

    /// A sync or a bump says how far the room is; what is missing may be on its way for `patience`.
    pub(super) fn on_head(&mut self, slot: u16, seq: u64, patience: u64, context: &mut Context<'_>) {
        if let Some((_, rule)) = &mut self.view {
            rule.on_head(seq);
        }
        self.check(slot, patience, context);
    }

    /// A range came. Returns whether it brought anything.
    pub(super) fn on_range(
        &mut self,
        events: Vec<(u64, Delivered)>,
        hidden: &[[u64; 2]],
        context: &mut Context<'_>,
    ) -> bool {
        let index = self.index;
        let Some((receiver, rule)) = &mut self.view else {
            return false;
        };
        let before = rule.last();
        if !rule.on_range(events, hidden, &mut |seen| show(index, *receiver, seen, context)) {
            context.stats.counts.ranges_broken += 1;
        }
        rule.last() > before
    }

    /// Plans a range if something is missing and none is planned; forgets the plan if nothing is.
    pub(super) fn check(&mut self, slot: u16, patience: u64, context: &mut Context<'_>) {
        match (self.fetch, self.is_caught_up()) {
            (Fetch::Due(_), true) => self.fetch = Fetch::Idle,
            (Fetch::Idle, false) if self.is_joined() => self.plan(slot, patience, context),
            (Fetch::Due(due), false) if due > context.now + patience + HOLD_JITTER => {
                self.plan(slot, patience, context);
            }
            (Fetch::Idle | Fetch::Due(_) | Fetch::Asked { .. }, _) => {}
        }
    }

    /// Plans a range after `patience` and some jitter.
    pub(super) fn plan(&mut self, slot: u16, patience: u64, context: &mut Context<'_>) {
        let due = context.now + patience + context.part_of(HOLD_JITTER.min(patience.max(20 * MS)));
        self.fetch = Fetch::Due(due);
        context.set(due, Timer::Range(slot));
    }
}

/// How long a hole may take to close by itself.
pub(super) const fn hold() -> u64 {
    HOLD
}

fn show(room: u32, receiver: ReceiverId, seen: Seen<Delivered>, context: &mut Context<'_>) {
    match seen {
        Seen::Hidden(from, to) => context.recorder.hidden(receiver, from, to),
        Seen::Event(seq, Delivered { op, ours }) => {
            context.recorder.shown(
                receiver,
                seq,
                Shown {
                    op,
                    is_ours: ours.is_some(),
                },
            );
            context.stats.counts.delivered += 1;
            let Some(ours) = ours else { return };
            context.stats.counts.delivered_ours += 1;
            if !ours.is_intact {
                context.recorder.corrupt(room, seq, op);
            } else if context.world.is_measured(ours.intended) {
                context
                    .stats
                    .delivery
                    .record(context.now.saturating_sub(ours.intended));
            }
        }
    }
}
