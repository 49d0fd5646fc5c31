//! What is counted and measured, per thread; merged for reports.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hub_protocol::ErrorCode;

use crate::units::as_ms;

/// The longest latency that is told apart, microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A latency histogram, microseconds with three digits.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Self(histogram.expect("the bounds are valid constants"))
    }
}

impl Latency {
    /// Notes one latency, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1_000).max(1));
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in milliseconds; 0 of nothing.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        as_ms(self.0.value_at_quantile(quantile) * 1_000)
    }

    /// The largest in milliseconds.
    pub fn max_ms(&self) -> f64 {
        as_ms(self.0.max() * 1_000)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Plain counts.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counts {
            /// Adds those of another thread.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Names and values, in the order of their meaning.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Sends that were offered.
    offered,
    /// Sends that were answered with their place.
    acked,
    /// Of these: answers that said the op was known already.
    acked_duplicate,
    /// Sends that were refused for good.
    refused_final,
    /// Sends that were given up.
    given_up,
    /// Sends written again: no answer, or a new connection.
    resends,
    /// Events shown.
    delivered,
    /// Events of this run shown.
    delivered_ours,
    /// Events that came again and were dropped.
    redelivered,
    /// Events held behind a hole.
    held,
    /// Ranges fetched.
    ranges,
    /// Ranges that left a place out.
    ranges_broken,
    /// Syncs completed.
    syncs,
    /// `system.sync` notices.
    sync_notices,
    /// `room.bump` events.
    bumps,
    /// `system.migrate` notices.
    migrate_notices,
    /// Ephemeral events.
    ephemerals,
    /// Texts that could not be understood.
    malformed,
    /// Connections tried.
    connects,
    /// Of these: ones that replaced a session that had been open.
    reconnects,
    /// Connections that never opened a session.
    connects_failed,
    /// Clients that may not come back by themselves.
    stopped,
    /// Tokens renewed.
    renewals,
}

/// Everything that one thread counts.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Plain counts.
    pub counts: Counts,
    /// From the intended time of a send to its answer.
    pub ack: Latency,
    /// From the intended time of a send to its showing, for every receiver.
    pub delivery: Latency,
    /// `ack` since the last look of the live view, warm-up included.
    pub ack_recent: Latency,
    /// Refusals by code, retryable ones included.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Ends of connections by close code; 1006 is an end without one.
    pub closes: BTreeMap<u16, u64>,
}

impl Stats {
    /// Counts a refusal.
    pub fn refusal(&mut self, code: ErrorCode) {
        *self.refusals.entry(code.name()).or_default() += 1;
    }

    /// Counts the end of a connection.
    pub fn close(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.ack.merge(&other.ack);
        self.delivery.merge(&other.delivery);
        self.ack_recent.merge(&other.ack_recent);
        for (code, count) in &other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        for (code, count) in &other.closes {
            *self.closes.entry(*code).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MS;

    #[test]
    fn quantiles_survive_merging() {
        let (mut odd, mut even) = (Stats::default(), Stats::default());
        for ms in 1..=1_000 {
            let half = if ms % 2 == 1 { &mut odd } else { &mut even };
            half.ack.record(ms * MS);
            half.counts.acked += 1;
            half.close(1006);
        }
        odd.merge(&even);
        assert_eq!(
            (odd.counts.acked, odd.ack.count(), odd.closes[&1006]),
            (1_000, 1_000, 1_000)
        );
        assert!((odd.ack.quantile_ms(0.5) - 500.0).abs() < 1.0);
        assert!((odd.ack.quantile_ms(0.99) - 990.0).abs() < 1.0);
        assert!((odd.ack.max_ms() - 1_000.0).abs() < 1.0);
    }
}
