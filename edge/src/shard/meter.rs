//! Beside the turn: what it cost. Two readings of the clock per turn, nothing per message.

use std::time::{Duration, Instant};

use rustix::thread::ClockId;
use rustix::time::clock_gettime;

use super::Now;
use crate::counters::Counters;

/// A peak is shown for at least this long, so that a scrape does not miss it, and at most twice as long.
const PEAK_MS: u64 = 5_000;

/// The greatest value of the last seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    present: u64,
    past: u64,
}

impl Peak {
    fn raise(&mut self, value: u64) {
        self.present = self.present.max(value);
    }

    fn rotate(&mut self) {
        self.past = std::mem::take(&mut self.present);
    }

    fn value(&self) -> u64 {
        self.present.max(self.past)
    }
}

/// Measures the turns of a shard.
#[derive(Debug, Default)]
pub(super) struct Meter {
    turn_us: Peak,
    completions: Peak,
    mailbox_items: Peak,
    rotated_ms: u64,
    /// Completions up to the last turn.
    completed: u64,
    /// When the backbone handed over the oldest downlink batch of this turn.
    downlink_since: Option<Instant>,
}

impl Meter {
    /// The turn found so many items in the mailbox.
    pub(super) fn on_mail(&mut self, items: usize) {
        self.mailbox_items.raise(u64::try_from(items).unwrap_or(u64::MAX));
    }

    /// The turn serves a downlink batch that was handed over at `since`. Batches come oldest first.
    pub(super) fn on_downlink(&mut self, since: Instant) {
        self.downlink_since.get_or_insert(since);
    }

    /// A turn from `start` to `end`; `completed` are the completions of all turns.
    pub(super) fn on_turn(&mut self, counters: &mut Counters, start: Now, end: Now, completed: u64) {
        let turn_us = micros(end.at - start.at);
        counters.busy_us += turn_us;
        counters.turn_time.record(turn_us);
        self.turn_us.raise(turn_us);
        self.completions.raise(completed.saturating_sub(self.completed));
        self.completed = completed;
        if let Some(since) = self.downlink_since.take() {
            counters
                .mailbox_wait
                .record(micros(start.at.saturating_duration_since(since)));
            counters
                .downlink_lag
                .record(micros(end.at.saturating_duration_since(since)));
        }
    }

    /// Fills in what is not counted turn by turn. Called by the shard's own thread, whose CPU time it reads.
    pub(super) fn fill(&mut self, counters: &mut Counters, now: Now) {
        counters.turn_max_us = self.turn_us.value();
        counters.turn_completions_max = self.completions.value();
        counters.mailbox_items_max = self.mailbox_items.value();
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        counters.cpu_us = Duration::try_from(cpu).map_or(0, micros);
        if now.ms >= self.rotated_ms + PEAK_MS {
            self.rotated_ms = now.ms;
            self.turn_us.rotate();
            self.completions.rotate();
            self.mailbox_items.rotate();
        }
    }
}

/// A length of time in whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(start: Instant, us: u64) -> Now {
        Now {
            at: start + Duration::from_micros(us),
            ms: us / 1000,
            wall_us: 0,
        }
    }

    #[test]
    fn a_turn_is_counted_with_its_time_completions_and_oldest_batch() {
        let start = Instant::now();
        let (mut meter, mut counters) = (Meter::default(), Counters::default());
        meter.on_turn(&mut counters, now(start, 0), now(start, 40), 10);
        meter.on_mail(3);
        meter.on_downlink(start + Duration::from_micros(60));
        meter.on_downlink(start + Duration::from_micros(70));
        meter.on_turn(&mut counters, now(start, 100), now(start, 400), 15);
        meter.fill(&mut counters, now(start, 400));
        assert_eq!((counters.busy_us, counters.turn_max_us), (340, 300));
        assert_eq!(counters.turn_completions_max, 10);
        assert_eq!(counters.mailbox_items_max, 3);
        assert_eq!(counters.mailbox_wait.sum_us, 40, "until the turn began");
        assert_eq!(counters.downlink_lag.sum_us, 340, "until the turn ended");
        assert_eq!(counters.turn_time.counts.iter().sum::<u64>(), 2);
    }

    #[test]
    fn a_peak_outlives_one_period_and_not_two() {
        let start = Instant::now();
        let (mut meter, mut counters) = (Meter::default(), Counters::default());
        meter.on_turn(&mut counters, now(start, 0), now(start, 900), 0);
        let mut shown = Vec::new();
        for period in 1..4 {
            meter.fill(&mut counters, now(start, period * PEAK_MS * 1000));
            shown.push(counters.turn_max_us);
        }
        assert_eq!(shown, [900, 900, 0]);
    }
}
