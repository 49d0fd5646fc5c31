//! Who is where: the addresses of users, read from Redis and reused for a moment.
//!
//! A client syncs when its session is open and once more a second later, so what is at most half a second old loses
//! nobody. The age is tested when a flush begins, and a flush begins after its commit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hub_protocol::{Address, NodeId, UserId, keys};
use metrics::counter;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use crate::mutants::Mutant;

/// Bound: entries that are kept; more are dropped when they are too old to be used.
const USERS_MAX: usize = 65_536;
/// Users in one pipeline.
const LOOKUPS_MAX: usize = 1_024;

/// Addresses of some users, as they were at one moment.
pub(super) type Addresses = HashMap<UserId, Arc<[Address]>>;

/// When a user was asked for, and what the answer was.
type Seen = HashMap<UserId, (Instant, Arc<[Address]>)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    reuse: Duration,
    seen: Mutex<Seen>,
}

impl Directory {
    pub(super) fn new(reuse: Duration) -> Self {
        let reuse = if Mutant::EarlyDirectory.is_on() {
            Duration::from_hours(1)
        } else {
            reuse
        };
        Self {
            reuse,
            seen: Mutex::default(),
        }
    }

    /// The addresses of these users. Each user is asked for once.
    pub(super) async fn find(
        &self,
        redis: &mut MultiplexedConnection,
        users: &[UserId],
    ) -> RedisResult<Addresses> {
        self.look_up(redis, users, self.reuse).await
    }

    /// The addresses of these users as they are after the call began.
    pub(super) async fn find_fresh(
        &self,
        redis: &mut MultiplexedConnection,
        users: &[UserId],
    ) -> RedisResult<Addresses> {
        // Entries of this very moment were asked for after the commit, too.
        self.look_up(redis, users, Duration::ZERO).await
    }

    async fn look_up(
        &self,
        redis: &mut MultiplexedConnection,
        users: &[UserId],
        reuse: Duration,
    ) -> RedisResult<Addresses> {
        let began = Instant::now();
        let mut found = Addresses::with_capacity(users.len());
        let mut missing = Vec::new();
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            for user in users {
                match seen.get(user) {
                    Some((at, addresses)) if began.saturating_duration_since(*at) <= reuse => {
                        found.insert(*user, Arc::clone(addresses));
                    }
                    _ => missing.push(*user),
                }
            }
        }
        counter!("hub_services_directory_reads_total", "outcome" => "reused").increment(found.len() as u64);
        counter!("hub_services_directory_reads_total", "outcome" => "read").increment(missing.len() as u64);
        for users in missing.chunks(LOOKUPS_MAX) {
            let mut pipe = redis::pipe();
            for user in users {
                pipe.cmd("HKEYS").arg(keys::directory(*user));
            }
            let fields: Vec<Vec<String>> = pipe.query_async(redis).await?;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            for (user, fields) in users.iter().zip(fields) {
                let addresses: Arc<[Address]> =
                    fields.iter().filter_map(|field| field.parse().ok()).collect();
                // The moment of asking, not of the answer: what was registered in between may be missing.
                seen.insert(*user, (began, Arc::clone(&addresses)));
                found.insert(*user, addresses);
            }
        }
        self.tidy(began);
        Ok(found)
    }

    /// Takes the addresses of a node that is gone out of the directory.
    pub(super) async fn forget(
        &self,
        redis: &mut MultiplexedConnection,
        addresses: &Addresses,
        gone: &[NodeId],
    ) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        let mut forgotten = 0_u64;
        for (user, addresses) in addresses {
            let dead: Vec<String> = addresses
                .iter()
                .filter(|address| gone.contains(&address.node))
                .map(ToString::to_string)
                .collect();
            if !dead.is_empty() {
                forgotten += dead.len() as u64;
                pipe.cmd("HDEL").arg(keys::directory(*user)).arg(dead).ignore();
                self.seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(user);
            }
        }
        if forgotten == 0 {
            return Ok(());
        }
        counter!("hub_services_addresses_forgotten_total").increment(forgotten);
        pipe.query_async(redis).await
    }

    fn tidy(&self, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > USERS_MAX {
            seen.retain(|_, (at, _)| now.saturating_duration_since(*at) <= self.reuse);
        }
    }
}
