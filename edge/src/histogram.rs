//! Times of a shard in buckets: plain integers on the shard, copied out like its counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, microseconds: from an idle turn to what a user notices. One more bucket holds the rest.
pub const BOUNDS_US: [u64; 13] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000,
];
/// Buckets of a histogram.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// How often something took how long. Times are microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// Times in each bucket, by [`BOUNDS_US`]; not cumulative.
    pub counts: [u64; BUCKETS],
    /// All times together.
    pub sum_us: u64,
}

/// The same, readable from other threads.
#[derive(Debug, Default)]
pub struct SharedHistogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += 1;
        self.sum_us += us;
    }
}

impl SharedHistogram {
    /// Publishes the histogram of a shard.
    pub fn publish(&self, histogram: &Histogram) {
        for (shared, count) in self.counts.iter().zip(histogram.counts) {
            shared.store(count, Ordering::Relaxed);
        }
        self.sum_us.store(histogram.sum_us, Ordering::Relaxed);
    }

    /// What was published last.
    pub fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_up_to_its_bound() {
        let mut histogram = Histogram::default();
        for us in [0, 10, 11, 1_000_000, 1_000_001] {
            histogram.record(us);
        }
        assert_eq!(histogram.counts[0], 2);
        assert_eq!(histogram.counts[1], 1);
        assert_eq!(histogram.counts[BUCKETS - 2..], [1, 1]);
        assert_eq!(histogram.sum_us, 2_000_022);
        let shared = SharedHistogram::default();
        shared.publish(&histogram);
        assert_eq!(shared.read(), histogram);
    }
}
