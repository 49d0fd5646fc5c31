//! Which partitions a worker owns. A lease saves double work and guarantees nothing: two owners at once are slow,
//! never wrong.
//!
//! ```text
//! free ──ACQUIRE──> owned ──RENEW each second──> owned
//!   ^                 │  │
//!   └──── 3 s ────────┘  └── above the fair share: leaving ──RELEASE when idle──> free
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use hub_protocol::limits::{LEASE_MS, LEASE_RENEW_MS};
use hub_protocol::{Service, keys};
use metrics::{counter, gauge};
use rand::seq::SliceRandom;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult};

use super::ledger::Ledger;
use crate::backbone::{EntryId, RedisClock, scripts};
use crate::metric::float;
use crate::migrate;
use crate::store::Meta;

/// A worker that did not say so for this long does not count.
const WORKER_LIVE_MS: u64 = 3 * LEASE_RENEW_MS;
/// How long it is remembered which entry an owner began with.
const NOTE_MS: u64 = 10 * 60 * 1_000;
/// An entry with which this many owners began in vain is worked on alone.
pub(super) const TRIES_MAX: u32 = 3;

const _: () = assert!(
    WORKER_LIVE_MS <= LEASE_MS,
    "a dead worker's leases are free when it stops counting"
);

/// What an owner knows of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    /// The last entry that was read.
    pub(super) last: EntryId,
    /// The entry with which the owner before began, and how many did.
    pub(super) noted: Option<(EntryId, u32)>,
    /// False until the first entry after becoming owner was compared with the note.
    pub(super) began: bool,
    /// How many owners began with the present first entry.
    pub(super) tries: u32,
    /// Entries up to here are worked on one by one.
    pub(super) alone_until: Option<EntryId>,
    /// An entry here is not understood: nothing is read until somebody else takes over.
    pub(super) halted: bool,
    /// To be given back when idle: nothing is read any more.
    pub(super) leaving: bool,
}

impl Owned {
    /// Starts again at the beginning of the stream.
    pub(super) fn rewind(&mut self) {
        self.last = EntryId::default();
    }

    /// True if entries are to be read.
    pub(super) const fn is_reading(&self) -> bool {
        !self.halted && !self.leaving
    }

    /// Compares the first entry with the note: how often owners began with it, this one included. Returns what is
    /// to be noted.
    pub(super) fn begin(&mut self, first: EntryId, last: EntryId) -> Option<(EntryId, u32)> {
        if self.began {
            return None;
        }
        self.began = true;
        self.tries = match self.noted {
            Some((entry, tries)) if entry == first => tries.saturating_add(1),
            _ => 1,
        };
        if self.tries >= TRIES_MAX {
            self.alone_until = Some(last);
        }
        Some((first, self.tries))
    }
}

/// Partitions that a worker owns.
#[derive(Debug)]
pub(super) struct Leases {
    service: Service,
    partitions: u16,
    worker: String,
    pub(super) owned: BTreeMap<u16, Owned>,
    lost: Vec<u16>,
}

/// What an upkeep found and did.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) clock: RedisClock,
    live: usize,
    lost: Vec<u16>,
    released: Vec<u16>,
    acquired: Vec<(u16, Option<(EntryId, u32)>)>,
}

/// What an upkeep needs to know, taken at its start.
#[derive(Debug)]
pub(super) struct Order {
    service: Service,
    partitions: u16,
    worker: String,
    held: Vec<(u16, EntryId, u32)>,
    release: Vec<u16>,
    meta: Meta,
}

impl Leases {
    pub(super) const fn new(service: Service, partitions: u16, worker: String) -> Self {
        Self {
            service,
            partitions,
            worker,
            owned: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// The upkeep that is due now.
    pub(super) fn order(&self, ledger: &Ledger, meta: &Meta) -> Order {
        let mut held = Vec::new();
        let mut release = Vec::new();
        for (&partition, owned) in &self.owned {
            if owned.leaving && ledger.is_idle(partition) {
                release.push(partition);
            } else {
                held.push((
                    partition,
                    ledger.oldest(partition).unwrap_or_default(),
                    owned.tries,
                ));
            }
        }
        let (service, partitions, worker) = (self.service, self.partitions, self.worker.clone());
        Order {
            service,
            partitions,
            worker,
            held,
            release,
            meta: meta.clone(),
        }
    }

    /// Takes over what an upkeep found; returns true if partitions came, so that what is cached may be stale.
    pub(super) fn apply(&mut self, upkeep: &Upkeep, ledger: &Ledger) -> bool {
        let name = self.service.name();
        for partition in &upkeep.lost {
            self.lost.push(*partition);
            if self.owned.remove(partition).is_some() {
                tracing::warn!(service = name, partition, "lost a lease");
                counter!("hub_services_lease_changes_total", "service" => name, "change" => "lost")
                    .increment(1);
            }
        }
        for partition in &upkeep.released {
            self.owned.remove(partition);
            counter!("hub_services_lease_changes_total", "service" => name, "change" => "released")
                .increment(1);
        }
        for (partition, noted) in &upkeep.acquired {
            tracing::info!(service = name, partition, "owns a partition");
            counter!("hub_services_lease_changes_total", "service" => name, "change" => "acquired")
                .increment(1);
            self.owned.insert(
                *partition,
                Owned {
                    noted: *noted,
                    ..Owned::default()
                },
            );
        }
        let fair = fair_share(self.partitions, upkeep.live);
        let staying = self.owned.values().filter(|owned| !owned.leaving).count();
        if staying > fair {
            // One per second, an idle one first.
            let choice = self
                .owned
                .iter()
                .filter(|(_, owned)| !owned.leaving)
                .max_by_key(|(partition, _)| ledger.is_idle(**partition))
                .map(|(partition, _)| *partition);
            if let Some(owned) = choice.and_then(|partition| self.owned.get_mut(&partition)) {
                owned.leaving = true;
            }
        }
        gauge!("hub_services_partitions_owned", "service" => name).set(float(self.owned.len()));
        gauge!("hub_services_workers_live", "service" => name).set(float(upkeep.live));
        let halted = self.owned.values().filter(|owned| owned.halted).count();
        gauge!("hub_services_partitions_halted", "service" => name).set(float(halted));
        !upkeep.acquired.is_empty()
    }

    /// Partitions that were lost since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.lost)
    }

    /// Everything starts again at the beginning of its stream.
    pub(super) fn rewind(&mut self) {
        for owned in self.owned.values_mut() {
            owned.rewind();
        }
    }

    /// Gives all leases back and says goodbye.
    pub(super) async fn release_all(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        for partition in std::mem::take(&mut self.owned).into_keys() {
            release(&mut pipe, self.service, partition, &self.worker);
        }
        pipe.cmd("ZREM")
            .arg(keys::WORKERS)
            .arg(member(self.service, &self.worker));
        pipe.query_async(redis).await
    }
}

/// How many partitions each of `live` workers should own.
fn fair_share(partitions: u16, live: usize) -> usize {
    usize::from(partitions).div_ceil(live.max(1))
}

fn member(service: Service, worker: &str) -> String {
    format!("{}:{worker}", service.name())
}

fn release(pipe: &mut Pipeline, service: Service, partition: u16, worker: &str) {
    pipe.cmd("EVAL")
        .arg(scripts::RELEASE)
        .arg(1)
        .arg(keys::lease(service, partition))
        .arg(worker);
}

/// One upkeep: heartbeat, renewals, what is to be given back, what may be taken.
pub(super) async fn upkeep(mut redis: MultiplexedConnection, order: Order) -> RedisResult<Upkeep> {
    let redis = &mut redis;
    let Order {
        service,
        partitions,
        worker,
        held,
        release: giving,
        meta,
    } = order;
    let asked = Instant::now();
    let mut pipe = redis::pipe();
    pipe.cmd("EVAL")
        .arg(scripts::HEARTBEAT)
        .arg(1)
        .arg(keys::WORKERS)
        .arg(member(service, &worker))
        .arg(format!("{}:", service.name()))
        .arg(WORKER_LIVE_MS);
    let ((now_ms, live),): ((u64, usize),) = pipe.query_async(redis).await?;
    if migrate::publish_if_missing(redis, &meta).await? {
        tracing::warn!("hub:meta was missing and was written again");
    }

    let mut pipe = redis::pipe();
    for (partition, entry, tries) in &held {
        pipe.cmd("EVAL")
            .arg(scripts::RENEW)
            .arg(1)
            .arg(keys::lease(service, *partition));
        pipe.arg(&worker).arg(LEASE_MS).arg(entry.to_string()).arg(tries);
    }
    for partition in &giving {
        release(&mut pipe, service, *partition, &worker);
    }
    let mut results: Vec<u8> = Vec::new();
    if !pipe.is_empty() {
        results = pipe.query_async(redis).await?;
    }
    let lost: Vec<u16> = held
        .iter()
        .zip(&results)
        .filter(|(_, result)| **result == 0)
        .map(|((partition, ..), _)| *partition)
        .collect();

    // Somebody else may hold any of these; it costs one question to know.
    let mine = held.len() - lost.len();
    let wanted = fair_share(partitions, live).saturating_sub(mine);
    let mut acquired = Vec::new();
    if wanted > 0 {
        let mut free: Vec<u16> = (0..partitions)
            .filter(|partition| {
                !held.iter().any(|(held, ..)| held == partition) && !giving.contains(partition)
            })
            .collect();
        free.shuffle(&mut rand::rng());
        for partition in free {
            if acquired.len() == wanted {
                break;
            }
            let mut pipe = redis::pipe();
            pipe.cmd("EVAL")
                .arg(scripts::ACQUIRE)
                .arg(1)
                .arg(keys::lease(service, partition));
            pipe.arg(&worker).arg(LEASE_MS);
            pipe.cmd("GET").arg(keys::note(service, partition));
            let (taken, note): (u8, Option<String>) = pipe.query_async(redis).await?;
            if taken == 1 {
                acquired.push((partition, note.as_deref().and_then(read_note)));
            }
        }
    }
    Ok(Upkeep {
        clock: RedisClock::new(now_ms, asked),
        live,
        lost,
        released: giving,
        acquired,
    })
}

/// Notes with which entry an owner begins, so that one that kills its owners is found.
pub(super) async fn note(
    redis: &mut MultiplexedConnection,
    service: Service,
    notes: &[(u16, EntryId, u32)],
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for (partition, entry, tries) in notes {
        let text = format!("{entry} {tries}");
        pipe.cmd("SET")
            .arg(keys::note(service, *partition))
            .arg(text)
            .arg("PX")
            .arg(NOTE_MS)
            .ignore();
    }
    pipe.query_async(redis).await
}

fn read_note(text: &str) -> Option<(EntryId, u32)> {
    let (entry, tries) = text.split_once(' ')?;
    Some((entry.parse().ok()?, tries.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, n: 0 }
    }

    #[test]
    fn shares_add_up_to_all_partitions() {
        for partitions in 1..40 {
            for live in 0..12 {
                let share = fair_share(partitions, live);
                assert!(share * live.max(1) >= usize::from(partitions));
            }
        }
    }

    #[test]
    fn an_entry_that_three_owners_began_with_is_worked_on_alone() {
        let mut noted = None;
        for tries in 1..=TRIES_MAX {
            let mut owned = Owned {
                noted,
                ..Owned::default()
            };
            noted = owned.begin(id(7), id(9));
            assert_eq!(noted, Some((id(7), tries)));
            assert_eq!(owned.alone_until.is_some(), tries == TRIES_MAX);
            assert_eq!(owned.begin(id(8), id(9)), None);
        }
        let mut owned = Owned {
            noted,
            ..Owned::default()
        };
        assert_eq!(owned.begin(id(8), id(9)), Some((id(8), 1)));
        assert_eq!(read_note("7-0 3"), Some((id(7), 3)));
    }
}
