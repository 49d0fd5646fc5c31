//! The task that notices how users are and tells those who watch them: once per second, so that a connection gets
//! at most one event per second and process.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use hub_protocol::api::event::{Event, PRESENCE};
use hub_protocol::api::presence::{Activity, PresenceData, State};
use hub_protocol::{Address, UserId, keys};
use metrics::counter;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::look::{self, Nodes, Seen, Watcher};
use super::state::{SEEN, TOLD, write_mark};
use super::{Moment, Times, sight};
use crate::backbone::{Link, redis_time_ms};
use crate::call::{json, now_us};
use crate::delivery::{Deliverer, Told};
use crate::service::WorkError;
use crate::store::Store;

/// Life of what Redis holds of a user who is there or watched, seconds.
pub(super) const KEEP_S: u64 = 2 * 24 * 3_600;
/// Life of it when he is gone and nobody watches him: by then PostgreSQL knows when he was seen, seconds.
pub(super) const KEEP_OFFLINE_S: u64 = 600;
/// Users that wait for being looked at.
const DUE_MAX: usize = 65_536;
/// Users that are looked at in one step.
const STEP: usize = 512;
/// Pairs of user and watcher that are told in one tick; more are told by their next watch.
const PAIRS_MAX: usize = 20_000;
/// Pairs in one statement.
const PAIRS_STEP: usize = 2_000;
/// Users whose last time waits for that.
const SEEN_MAX: usize = 65_536;

/// A user, one who watches him, and how he is.
type Pair = (UserId, Watcher, Seen);

pub(super) struct Teller {
    link: Arc<Link>,
    store: Store,
    deliverer: Deliverer,
    queue: mpsc::Receiver<Moment>,
    nodes: Nodes,
    /// Who is looked at, and when. Bound: `DUE_MAX`.
    due: HashMap<UserId, Instant>,
    /// What clients said and where sessions ended, not written yet. Bound: the queue.
    marks: HashMap<(UserId, Address), Option<Activity>>,
    /// Pairs that see each other no more, or again. Bound: the queue.
    blocks: HashSet<(UserId, UserId)>,
    /// When sessions ended, µs. Bound: like `due`.
    closed: HashMap<UserId, i64>,
    /// When users were last seen, not stored yet. Bound: `SEEN_MAX`.
    seen: HashMap<UserId, i64>,
    stored_at: Instant,
    times: Times,
}

impl Teller {
    pub(super) fn new(
        link: Arc<Link>,
        store: Store,
        deliverer: Deliverer,
        queue: mpsc::Receiver<Moment>,
        times: Times,
    ) -> Self {
        Self {
            link,
            store,
            deliverer,
            queue,
            nodes: Nodes::default(),
            due: HashMap::new(),
            marks: HashMap::new(),
            blocks: HashSet::new(),
            closed: HashMap::new(),
            seen: HashMap::new(),
            stored_at: Instant::now(),
            times,
        }
    }

    /// Works until `cancel`, then stores when users were last seen.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(self.times.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.take(Instant::now());
            if let Err(error) = self.tick().await {
                // Who was due stays due. What clients said and what watchers were not told comes with the next watch.
                counter!("hub_services_presence_dropped_total", "what" => "tick").increment(1);
                tracing::warn!(%error, "presence could not be told");
            }
            if self.stored_at.elapsed() >= self.times.store || self.seen.len() >= SEEN_MAX {
                self.store_seen().await;
            }
        }
        self.store_seen().await;
    }

    /// Everything that has happened since the last tick.
    fn take(&mut self, now: Instant) {
        let later = now + self.times.linger;
        // Bound: what waits in the queue at this moment.
        for _ in 0..self.queue.len() {
            let Ok(moment) = self.queue.try_recv() else { break };
            match moment {
                Moment::Opened(user) => {
                    self.look_at(user, now);
                }
                Moment::Closed(user, address) => {
                    self.marks.insert((user, address), None);
                    if self.look_at(user, later) {
                        self.closed.insert(user, now_us());
                    }
                }
                Moment::Said(user, address, activity) => {
                    self.marks.insert((user, address), Some(activity));
                    self.look_at(user, now);
                }
                Moment::Stale(user) => {
                    self.look_at(user, later);
                }
                Moment::Blocks(one, other) => {
                    self.blocks.extend([(one, other), (other, one)]);
                }
            }
        }
    }

    /// Has a user looked at; false if too many wait. Who is to be looked at earlier is looked at again later, for
    /// then more may have happened.
    fn look_at(&mut self, user: UserId, at: Instant) -> bool {
        if self.due.len() >= DUE_MAX && !self.due.contains_key(&user) {
            counter!("hub_services_presence_dropped_total", "what" => "user").increment(1);
            return false;
        }
        let due = self.due.entry(user).or_insert(at);
        *due = at.min(*due);
        true
    }

    async fn tick(&mut self) -> Result<(), WorkError> {
        let marks = std::mem::take(&mut self.marks);
        let blocks = std::mem::take(&mut self.blocks);
        let now = Instant::now();
        let mut users: Vec<UserId> = Vec::new();
        self.due.retain(|user, at| {
            let is_due = *at <= now;
            if is_due {
                users.push(*user);
            }
            !is_due
        });
        if marks.is_empty() && blocks.is_empty() && users.is_empty() {
            return Ok(());
        }
        let link = Arc::clone(&self.link);
        let looked = link
            .run(async |redis| self.look(redis, &marks, &users, &blocks).await)
            .await;
        let pairs = match looked {
            Ok(pairs) => pairs,
            Err(error) => {
                self.due
                    .extend(users.into_iter().map(|user| (user, now + self.times.tick)));
                return Err(failed(error));
            }
        };
        if pairs.is_empty() {
            return Ok(());
        }
        self.tell(pairs).await
    }

    /// Writes what was said, finds what changed and who watches it.
    async fn look(
        &mut self,
        redis: &mut MultiplexedConnection,
        marks: &HashMap<(UserId, Address), Option<Activity>>,
        users: &[UserId],
        blocks: &HashSet<(UserId, UserId)>,
    ) -> RedisResult<Vec<Pair>> {
        write_marks(redis, marks).await?;
        let mut pairs = Vec::new();
        for users in users.chunks(STEP) {
            let seen = look::states(redis, &self.nodes, users).await?;
            let mut changed = Vec::new();
            let mut pipe = redis::pipe();
            pipe.cmd("PING").ignore();
            for (user, mut seen) in users.iter().zip(seen) {
                let key = keys::presence(*user);
                let ended = self.closed.remove(user).filter(|_| seen.state == State::Offline);
                if let Some(at) = ended {
                    self.seen.insert(*user, at);
                    seen.fields.seen = Some(at);
                    pipe.cmd("HSET").arg(&key).arg(SEEN).arg(at).ignore();
                    pipe.cmd("EXPIRE").arg(&key).arg(KEEP_OFFLINE_S).ignore();
                }
                // Nobody knows how he is: nobody is told.
                if seen.fields.told.is_some_and(|told| told != seen.state) {
                    pipe.cmd("HSET")
                        .arg(&key)
                        .arg(TOLD)
                        .arg(seen.state.name())
                        .ignore();
                    if seen.state != State::Offline {
                        pipe.cmd("EXPIRE").arg(&key).arg(KEEP_S).ignore();
                    }
                    changed.push((*user, seen));
                }
            }
            pipe.query_async::<()>(redis).await?;
            let names: Vec<UserId> = changed.iter().map(|(user, _)| *user).collect();
            let watchers = watchers(redis, &names).await?;
            for ((user, seen), watchers) in changed.into_iter().zip(watchers) {
                pairs.extend(watchers.into_iter().map(|watcher| (user, watcher, seen.clone())));
            }
        }
        let blocks: Vec<(UserId, UserId)> = blocks.iter().copied().collect();
        for blocks in blocks.chunks(STEP) {
            let users: Vec<UserId> = blocks.iter().map(|(user, _)| *user).collect();
            let found = watchers(redis, &users).await?;
            let seen = look::states(redis, &self.nodes, &users).await?;
            for (((user, other), watchers), seen) in blocks.iter().zip(found).zip(seen) {
                let his = watchers.into_iter().filter(|watcher| watcher.user == *other);
                pairs.extend(his.map(|watcher| (*user, watcher, seen.clone())));
            }
        }
        Ok(pairs)
    }

    /// One event per connection.
    async fn tell(&self, mut pairs: Vec<Pair>) -> Result<(), WorkError> {
        let over = pairs.len().saturating_sub(PAIRS_MAX);
        counter!("hub_services_presence_dropped_total", "what" => "watcher").increment(over as u64);
        pairs.truncate(PAIRS_MAX);
        let mut events: HashMap<Watcher, PresenceData> = HashMap::new();
        for pairs in pairs.chunks(PAIRS_STEP) {
            let names: Vec<(UserId, UserId)> = pairs
                .iter()
                .map(|(user, watcher, _)| (*user, watcher.user))
                .collect();
            let sights = sight::sights(&self.store, &names).await?;
            for ((user, watcher, seen), sight) in pairs.iter().zip(sights) {
                let Some(sight) = sight else { continue };
                let event = events
                    .entry(*watcher)
                    .or_insert_with(|| PresenceData { users: Vec::new() });
                event.users.push(sight.view(*user, seen.state, &seen.fields));
            }
        }
        counter!("hub_services_presence_told_total").increment(events.len() as u64);
        let told = events.into_iter().map(|(watcher, data)| Told {
            address: watcher.address,
            user: watcher.user,
            body: json(&Event {
                event: PRESENCE.to_owned(),
                room: None,
                seq: None,
                data,
            }),
        });
        let told: Vec<Told> = told.collect();
        self.link
            .run(async |redis| self.deliverer.tell(redis, &told).await)
            .await
            .map_err(failed)
    }

    async fn store_seen(&mut self) {
        self.stored_at = Instant::now();
        if self.seen.is_empty() {
            return;
        }
        let seen: Vec<(UserId, i64)> = self.seen.drain().collect();
        if let Err(error) = sight::store_last_seen(&self.store, &seen).await {
            counter!("hub_services_presence_dropped_total", "what" => "last_seen")
                .increment(seen.len() as u64);
            tracing::warn!(%error, users = seen.len(), "when users were last seen could not be stored");
        }
    }
}

async fn watchers(redis: &mut MultiplexedConnection, users: &[UserId]) -> RedisResult<Vec<Vec<Watcher>>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    look::watchers(redis, users).await
}

/// Writes what clients said of themselves, and takes away what ended sessions had said.
async fn write_marks(
    redis: &mut MultiplexedConnection,
    marks: &HashMap<(UserId, Address), Option<Activity>>,
) -> RedisResult<()> {
    if marks.is_empty() {
        return Ok(());
    }
    let now_ms = redis_time_ms(redis).await?;
    let mut pipe = redis::pipe();
    for ((user, address), mark) in marks {
        let key = keys::presence(*user);
        match mark {
            Some(activity) => {
                let mark = write_mark(*activity, now_ms);
                pipe.cmd("HSET")
                    .arg(&key)
                    .arg(address.to_string())
                    .arg(mark)
                    .ignore();
                pipe.cmd("EXPIRE").arg(&key).arg(KEEP_S).ignore();
            }
            None => {
                pipe.cmd("HDEL").arg(&key).arg(address.to_string()).ignore();
            }
        }
    }
    pipe.query_async(redis).await
}

fn failed(error: redis::RedisError) -> WorkError {
    WorkError::System(error.into())
}
