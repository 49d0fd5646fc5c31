//! Steps 1 to 6: how fast connections may come, and how fast one of them may talk.

/// A token bucket in thousandths of an event: a message, a call, a handshake. Twelve bytes per connection.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens_milli: u32,
    /// When it was last filled, milliseconds of the shard's clock, low 32 bits.
    filled_ms: u32,
    /// Refusals since the bucket was full for the last time.
    refusals: u32,
}

/// What a bucket allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Sustained events or bytes per second; 0 turns the limit off.
    pub per_second: u32,
    /// Events or bytes that may come at once.
    pub burst: u32,
}

/// Whether a message may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// It may.
    Pass,
    /// Not now; after this many milliseconds.
    Wait(u32),
    /// It went on and on after it was told to wait.
    Abuse,
}

/// Refused messages without a pause that fills the bucket.
const REFUSALS_MAX: u32 = 200;

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now_ms: u64) -> Self {
        Self {
            tokens_milli: rate.burst.saturating_mul(1000),
            filled_ms: low(now_ms),
            refusals: 0,
        }
    }

    /// Takes one message out, if there is one.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> Verdict {
        if rate.per_second == 0 {
            return Verdict::Pass;
        }
        let elapsed = low(now_ms).wrapping_sub(self.filled_ms);
        self.filled_ms = low(now_ms);
        // One millisecond is `per_second` thousandths of a message.
        let gained = elapsed.saturating_mul(rate.per_second);
        self.tokens_milli = self
            .tokens_milli
            .saturating_add(gained)
            .min(rate.burst.saturating_mul(1000));
        if self.tokens_milli == rate.burst.saturating_mul(1000) {
            self.refusals = 0;
        }
        if self.tokens_milli >= 1000 {
            self.tokens_milli -= 1000;
            return Verdict::Pass;
        }
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX {
            return Verdict::Abuse;
        }
        Verdict::Wait((1000 - self.tokens_milli).div_ceil(rate.per_second).max(1))
    }
}

/// A token bucket for bytes, which may fall into debt: what has come has come. Eight bytes per connection.
#[derive(Clone, Copy, Debug)]
pub struct ByteBucket {
    /// Negative while in debt.
    left: i32,
    /// Up to when it was filled, milliseconds of the shard's clock, low 32 bits.
    filled_ms: u32,
}

impl ByteBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now_ms: u64) -> Self {
        Self {
            left: int(rate.burst.into()),
            filled_ms: low(now_ms),
        }
    }

    /// Takes bytes that have come. In debt it is to be waited for; a debt of more than another burst is abuse.
    pub fn spend(&mut self, rate: Rate, bytes: usize, now_ms: u64) -> Verdict {
        if rate.per_second == 0 {
            return Verdict::Pass;
        }
        let elapsed = u64::from(low(now_ms).wrapping_sub(self.filled_ms));
        let gained = elapsed.saturating_mul(rate.per_second.into()) / 1000;
        let (left, burst) = (i64::from(self.left), i64::from(rate.burst));
        let filled = left.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX));
        if filled >= burst {
            self.filled_ms = low(now_ms);
        } else {
            // Time that was no whole byte is kept for the next one.
            let used_ms = gained.saturating_mul(1000) / u64::from(rate.per_second);
            self.filled_ms = self.filled_ms.wrapping_add(low(used_ms));
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let left = filled.min(burst).saturating_sub(bytes).max(-2 * burst);
        self.left = int(left);
        if left >= 0 {
            Verdict::Pass
        } else if left >= -burst {
            let debt = left.unsigned_abs().saturating_mul(1000);
            Verdict::Wait(low(debt.div_ceil(rate.per_second.into())).max(1))
        } else {
            Verdict::Abuse
        }
    }
}

fn int(bytes: i64) -> i32 {
    i32::try_from(bytes).expect("the configuration bounds a burst by 2^30")
}

fn low(ms: u64) -> u32 {
    u32::try_from(ms & u64::from(u32::MAX)).expect("masked")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 20,
        burst: 40,
    };

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut bucket = Bucket::new(RATE, 0);
        for _ in 0..40 {
            assert_eq!(bucket.take(RATE, 0), Verdict::Pass);
        }
        assert_eq!(bucket.take(RATE, 0), Verdict::Wait(50));
        assert_eq!(bucket.take(RATE, 49), Verdict::Wait(1));
        assert_eq!(bucket.take(RATE, 50), Verdict::Pass);
    }

    #[test]
    fn who_never_stops_is_told_so_and_waiting_makes_it_good() {
        let mut bucket = Bucket::new(RATE, 0);
        let verdicts: Vec<_> = (0..400).map(|_| bucket.take(RATE, 0)).collect();
        assert_eq!(verdicts.last(), Some(&Verdict::Abuse));
        assert_eq!(bucket.take(RATE, 10_000), Verdict::Pass);
        // Five a second above the rate, for a minute.
        let mut bucket = Bucket::new(RATE, 0);
        let verdicts: Vec<_> = (0..1500).map(|n| bucket.take(RATE, n * 40)).collect();
        assert!(verdicts.contains(&Verdict::Abuse));
    }

    #[test]
    fn bytes_fall_into_debt_and_time_pays_it() {
        let rate = Rate {
            per_second: 1000,
            burst: 500,
        };
        let mut bucket = ByteBucket::new(rate, 0);
        assert_eq!(bucket.spend(rate, 500, 0), Verdict::Pass);
        assert_eq!(bucket.spend(rate, 200, 0), Verdict::Wait(200));
        assert_eq!(bucket.spend(rate, 0, 150), Verdict::Wait(50));
        assert_eq!(bucket.spend(rate, 0, 200), Verdict::Pass);
        assert_eq!(bucket.spend(rate, 500, 200), Verdict::Wait(500));
        assert_eq!(bucket.spend(rate, 1, 200), Verdict::Abuse);
        // However much came, a pause makes it good.
        assert_eq!(bucket.spend(rate, usize::MAX, 200), Verdict::Abuse);
        assert_eq!(bucket.spend(rate, 500, 2000), Verdict::Pass);
    }

    #[test]
    fn a_slow_rate_fills_however_often_it_is_looked_at() {
        let rate = Rate {
            per_second: 10,
            burst: 10,
        };
        let mut bucket = ByteBucket::new(rate, 0);
        assert_eq!(bucket.spend(rate, 20, 0), Verdict::Wait(1000));
        for ms in 1..1000 {
            assert_ne!(bucket.spend(rate, 0, ms), Verdict::Pass, "{ms}");
        }
        assert_eq!(bucket.spend(rate, 0, 1000), Verdict::Pass);
    }

    #[test]
    fn zero_is_off() {
        let off = Rate {
            per_second: 0,
            burst: 0,
        };
        let mut bucket = Bucket::new(off, 0);
        assert!((0..10_000).all(|_| bucket.take(off, 0) == Verdict::Pass));
        let mut bytes = ByteBucket::new(off, 0);
        assert_eq!(bytes.spend(off, usize::MAX, 0), Verdict::Pass);
    }
}
