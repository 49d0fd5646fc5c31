//! How often somebody may try: token buckets in memory, bounded. Pure: time is an argument.
//!
//! Nobody can lock the owner of an account out of a device that he uses: a device that logged in before has a bucket
//! of its own, and strangers share one per account and one per network address. Buckets do not depend on whether an
//! account exists. Each process counts by itself.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, LoginId, UserId};
use uuid::Uuid;

use crate::call::refuse;
use crate::config::{Allowance, AuthConfig};

/// Buckets that are not full. Above it the fuller half is forgotten.
const BUCKETS_MAX: usize = 200_000;
const MILLI: u64 = 1_000;

/// Whose tries are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Key {
    /// Unknown devices at the account of a name, by its keyed hash.
    Account([u8; 16]),
    /// A network address.
    Address(Ipv6Addr),
    /// A known device.
    Device(Uuid),
    /// A login that shows its password or a code again.
    Login(LoginId),
    /// Codes of the second factor from unknown devices.
    Totp(UserId),
    /// One-time codes asked for by unknown devices for the account of a name.
    Mail([u8; 16]),
    /// One-time codes asked for by somebody who showed the password, or by a known device.
    OwnMail(Uuid),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a try.
    milli: u64,
    filled_us: i64,
}

/// The buckets of a process.
#[derive(Debug)]
pub(super) struct Limits {
    account: Allowance,
    address: Allowance,
    device: Allowance,
    codes: Allowance,
    buckets: Mutex<HashMap<Key, Bucket>>,
}

impl Limits {
    pub(super) fn new(config: &AuthConfig) -> Self {
        Self {
            account: config.account_attempts,
            address: config.address_attempts,
            device: config.device_attempts,
            codes: config.account_codes,
            buckets: Mutex::default(),
        }
    }

    /// Takes one try out of each bucket, or says when to come back; the buckets before the empty one keep what they
    /// gave. A try that proves good is given [back](Self::give_back).
    pub(super) fn take(&self, keys: &[Key], now_us: i64) -> Result<(), ErrorBody> {
        for &key in keys {
            self.take_one(key, now_us)?;
        }
        Ok(())
    }

    fn take_one(&self, key: Key, now_us: i64) -> Result<(), ErrorBody> {
        let allowance = self.allowance(key);
        if allowance.burst == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets();
        let full = full(allowance);
        let bucket = buckets.entry(key).or_insert(full_at(full, now_us));
        fill(bucket, allowance, now_us);
        if bucket.milli < MILLI {
            let every_ms = u64::try_from(allowance.every.as_millis()).unwrap_or(u64::MAX);
            let wait_ms = ((MILLI - bucket.milli).saturating_mul(every_ms) / MILLI).max(1);
            let error = refuse(ErrorCode::RateLimited, "too many tries, wait");
            return Err(error.retry_after_ms(u32::try_from(wait_ms).unwrap_or(u32::MAX)));
        }
        bucket.milli -= MILLI;
        if buckets.len() > BUCKETS_MAX {
            self.sweep(&mut buckets, now_us);
        }
        Ok(())
    }

    /// The try was a good one and does not count.
    pub(super) fn give_back(&self, keys: &[Key]) {
        let mut buckets = self.buckets();
        for key in keys {
            let full = full(self.allowance(*key));
            if let Some(bucket) = buckets.get_mut(key) {
                bucket.milli = (bucket.milli + MILLI).min(full);
            }
        }
    }

    /// Forgets buckets that are full again; if that is not enough, the fuller half.
    fn sweep(&self, buckets: &mut HashMap<Key, Bucket>, now_us: i64) {
        buckets.retain(|key, bucket| {
            let allowance = self.allowance(*key);
            fill(bucket, allowance, now_us);
            bucket.milli < full(allowance)
        });
        if buckets.len() > BUCKETS_MAX / 2 {
            let share = |key: &Key, bucket: &Bucket| bucket.milli * MILLI / full(self.allowance(*key)).max(1);
            let mut shares: Vec<u64> = buckets.iter().map(|(key, bucket)| share(key, bucket)).collect();
            let (_, middle, _) = shares.select_nth_unstable(BUCKETS_MAX / 2);
            let middle = *middle;
            buckets.retain(|key, bucket| share(key, bucket) < middle);
        }
    }

    fn allowance(&self, key: Key) -> Allowance {
        match key {
            Key::Account(_) | Key::Totp(_) => self.account,
            Key::Address(_) => self.address,
            Key::Device(_) | Key::Login(_) => self.device,
            Key::Mail(_) | Key::OwnMail(_) => self.codes,
        }
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<Key, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full(allowance: Allowance) -> u64 {
    u64::from(allowance.burst) * MILLI
}

fn full_at(milli: u64, now_us: i64) -> Bucket {
    Bucket {
        milli,
        filled_us: now_us,
    }
}

fn fill(bucket: &mut Bucket, allowance: Allowance, now_us: i64) {
    let every_us = u64::try_from(allowance.every.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let elapsed_us = u64::try_from(now_us - bucket.filled_us).unwrap_or(0);
    let gained =
        u64::try_from(u128::from(elapsed_us) * u128::from(MILLI) / u128::from(every_us)).unwrap_or(u64::MAX);
    if gained > 0 {
        bucket.milli = bucket.milli.saturating_add(gained).min(full(allowance));
        bucket.filled_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn limits() -> Limits {
        Limits::new(&AuthConfig::default())
    }

    #[test]
    fn a_burst_passes_and_time_gives_more() {
        let limits = limits();
        let key = [Key::Account([1; 16])];
        for _ in 0..10 {
            assert!(limits.take(&key, 0).is_ok());
        }
        let refused = limits.take(&key, 30 * S).unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after_ms),
            (ErrorCode::RateLimited, Some(30_000))
        );
        assert!(limits.take(&key, 60 * S).is_ok());
        assert!(limits.take(&key, 60 * S).is_err());
        // Others are not concerned.
        assert!(limits.take(&[Key::Account([2; 16])], 60 * S).is_ok());
        assert!(limits.take(&[Key::Device(Uuid::nil())], 60 * S).is_ok());
    }

    #[test]
    fn a_good_try_does_not_count() {
        let limits = limits();
        let key = [Key::Account([1; 16])];
        for _ in 0..100 {
            assert!(limits.take(&key, 0).is_ok());
            limits.give_back(&key);
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_emptiest() {
        let limits = limits();
        let worst = [Key::Account([0xFF; 16])];
        while limits.take(&worst, 0).is_ok() {}
        for number in 0..=(BUCKETS_MAX as u128) {
            let _ = limits.take(&[Key::Account(number.to_le_bytes())], 0);
        }
        assert!(limits.buckets().len() <= BUCKETS_MAX);
        assert!(limits.take(&worst, 0).is_err());
    }

    #[test]
    fn zero_is_off() {
        let off = Allowance {
            burst: 0,
            every: std::time::Duration::from_secs(1),
        };
        let config = AuthConfig {
            account_attempts: off,
            ..AuthConfig::default()
        };
        let limits = Limits::new(&config);
        assert!((0..1_000).all(|_| limits.take(&[Key::Account([1; 16])], 0).is_ok()));
        limits.give_back(&[Key::Account([1; 16])]);
    }
}
