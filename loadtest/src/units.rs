//! Time as the harness counts it: nanoseconds since one origin that all threads share.

use std::time::{Duration, Instant};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const S: u64 = 1_000 * MS;

/// The one clock of a run (`CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at zero.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    /// The instant of a reading.
    pub fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_nanos(at)
    }
}

/// A duration in nanoseconds; 584 years are enough.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as milliseconds with their fraction.
pub fn as_ms(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e3
}

/// Nanoseconds as seconds with their fraction.
pub fn as_s(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

/// A count for a division; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// `part / whole`, and 1 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        as_f64(part) / as_f64(whole)
    }
}

/// A list's length as a count.
pub fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// An index that fits 32 bits, which every table of the harness does.
pub fn index(at: usize) -> u32 {
    u32::try_from(at).expect("tables of the harness have fewer than 2^32 rows")
}

/// A row number as an index.
pub fn at(index: u32) -> usize {
    usize::try_from(index).expect("usize has at least 32 bits on the platforms with io_uring")
}
