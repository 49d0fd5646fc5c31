//! The task that pushes: beside the chat worker, behind a queue that nobody waits for.
//!
//! ```text
//! deliveries after their commit ─> queue ─> collapse ─> who has devices ─> who is active, muted, blocked ─> post
//! ```

use std::collections::HashMap as Map;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use hub_protocol::api::event::{Kind, UNREAD};
use hub_protocol::api::push::Notification;
use hub_protocol::{RoomId, UserId, keys};
use metrics::counter;
use redis::{Client, RedisResult};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::collapse::{Collapse, Due, News};
use super::encrypt::encrypt;
use super::endpoint::Endpoints;
use super::http::{Answer, Poster};
use super::store::{self, Target};
use super::vapid::VapidKey;
use crate::backbone::{Link, redis_time_ms};
use crate::call::{json, now_us};
use crate::presence::{is_active, read_fields};
use crate::service::{Audience, Delivery, Outcome};
use crate::store::{Store, StoreError};

/// Characters of a message that a push shows.
const TEXT_CHARS_MAX: usize = 240;
/// Deliveries that are taken from the queue at once.
const STEP: usize = 256;
/// Held pushes are looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// Users without devices that are remembered.
const NONE_MAX: usize = 65_536;

/// How pushes are sent.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Whom push services may ask about our pushes: `mailto:` or `https:`; may be empty.
    pub subject: String,
    /// Which endpoints are used.
    pub endpoints: Endpoints,
    /// At most one push per user and room in this time.
    pub window: Duration,
    /// Deliveries that wait; more are left out.
    pub queue_max: usize,
    /// Requests at a time.
    pub requests_max: usize,
    /// A user without devices is not asked for again in this time: his first device gets pushes within it.
    pub none_reuse: Duration,
}

/// The way to the pusher. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Pushes {
    queue: mpsc::Sender<Delivery>,
}

impl Pushes {
    /// Pushes by this key, and the task that sends them, which ends after `cancel`.
    pub fn new(
        client: Client,
        store: Store,
        key: VapidKey,
        options: PushOptions,
        cancel: CancellationToken,
    ) -> std::io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let (queue, deliveries) = mpsc::channel(options.queue_max);
        let pusher = Pusher {
            link: Link::new(client),
            store,
            key,
            poster: Poster::new(options.endpoints)?,
            collapse: Collapse::new(options.window),
            none: HashMap::new(),
            some_at: None,
            options,
        };
        Ok((Self { queue }, pusher.run(deliveries, cancel)))
    }

    /// Passes on what a commit led to. Never waits: what finds no place is left out, and counted.
    pub(crate) fn offer(&self, outcomes: &[Outcome]) {
        for delivery in outcomes.iter().flat_map(|outcome| &outcome.deliveries) {
            if self.queue.try_send(delivery.clone()).is_err() {
                counter!("hub_services_pushes_total", "outcome" => "dropped").increment(1);
            }
        }
    }
}

struct Pusher {
    link: Link,
    store: Store,
    key: VapidKey,
    options: PushOptions,
    poster: Poster,
    collapse: Collapse,
    /// Users who had no device, and when that was. Bound: `NONE_MAX`.
    none: HashMap<UserId, Instant>,
    /// When it was asked last whether anybody has a device, and the answer.
    some_at: Option<(Instant, bool)>,
}

/// A request that ended: subscription, user, room, answer.
type Done = Result<(Uuid, UserId, RoomId, Answer), tokio::task::JoinError>;

/// What is read of a delivery.
#[derive(Deserialize)]
struct Told<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What is read of a message.
#[derive(Deserialize)]
struct Said {
    sender: UserId,
    #[serde(default)]
    text: String,
}

impl Pusher {
    async fn run(mut self, mut queue: mpsc::Receiver<Delivery>, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK.min(self.options.window));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut deliveries = Vec::with_capacity(STEP);
        loop {
            let mut due = tokio::select! {
                () = cancel.cancelled() => return,
                count = queue.recv_many(&mut deliveries, STEP) => {
                    if count == 0 {
                        return;
                    }
                    Vec::new()
                }
                _ = ticks.tick(), if !self.collapse.is_empty() => self.collapse.due(Instant::now()),
            };
            if !deliveries.is_empty() && !self.has_devices().await {
                deliveries.clear();
            }
            for delivery in deliveries.drain(..) {
                self.take(&delivery, &mut due);
            }
            if !due.is_empty()
                && let Err(error) = self.push(due).await
            {
                counter!("hub_services_pushes_total", "outcome" => "unavailable").increment(1);
                tracing::warn!(%error, "pushes could not be prepared");
            }
        }
    }

    /// Whether anybody has a device: where nobody has, a delivery costs nothing here.
    async fn has_devices(&mut self) -> bool {
        let now = Instant::now();
        if let Some((at, some)) = self.some_at
            && (some || now.saturating_duration_since(at) < self.options.none_reuse)
        {
            return some;
        }
        let some = store::has_any(&self.store).await.unwrap_or(true);
        self.some_at = Some((now, some));
        some
    }

    /// Finds in a delivery what is worth a push, or the end of one.
    fn take(&mut self, delivery: &Delivery, due: &mut Vec<Due>) {
        let now = Instant::now();
        let (none, reuse) = (&self.none, self.options.none_reuse);
        let has_none = |user: &UserId| {
            none.get(user)
                .is_some_and(|at| now.saturating_duration_since(*at) < reuse)
        };
        // Large rooms push nothing: their deliveries name nodes and not users.
        let Audience::Users(users) = &delivery.audience else {
            return;
        };
        // Most deliveries end here: nobody has a device to push to.
        if delivery.seq.is_some() && users.iter().all(has_none) {
            return;
        }
        let Ok(told) = serde_json::from_slice::<Told<'_>>(&delivery.body) else {
            return;
        };
        if told.event == UNREAD {
            // It goes to the user's own devices and says that he looked.
            for user in users.iter() {
                self.collapse.forget(*user, delivery.room);
            }
            return;
        }
        let (Some(seq), true) = (delivery.seq, told.event == Kind::MessageCreated.name()) else {
            return;
        };
        let Ok(said) = serde_json::from_str::<Said>(told.data.get()) else {
            return;
        };
        let news = News {
            seq,
            sender: said.sender,
            text: said.text.chars().take(TEXT_CHARS_MAX).collect(),
        };
        for user in users
            .iter()
            .filter(|user| **user != said.sender && !has_none(user))
        {
            due.extend(self.collapse.offer(*user, delivery.room, &news, now));
        }
    }

    /// Sends pushes to those who get any.
    async fn push(&mut self, mut due: Vec<Due>) -> Result<(), StoreError> {
        let now = Instant::now();
        let users: Vec<UserId> = due.iter().map(|due| due.user).collect();
        let targets = store::targets(&self.store, &users, now_us()).await?;
        let reuse = self.options.none_reuse;
        if self.none.len() >= NONE_MAX {
            self.none
                .retain(|_, at| now.saturating_duration_since(*at) < reuse);
        }
        for user in users {
            if !targets.contains_key(&user) && self.none.len() < NONE_MAX {
                self.none.insert(user, now);
            }
        }
        due.retain(|due| {
            let has_device = targets.contains_key(&due.user);
            if !has_device {
                self.collapse.forget(due.user, due.room);
            }
            has_device
        });
        if due.is_empty() {
            return Ok(());
        }
        let active = match self.active(&due).await {
            Ok(active) => active,
            Err(error) => {
                // Better one push too many than none.
                tracing::warn!(%error, "nobody knows who is active");
                HashSet::new()
            }
        };
        let quiet = store::quiet(&self.store, &due, now_us()).await?;
        due.retain(|due| {
            let is_active = active.contains(&due.user);
            if is_active {
                // Looked at already; the next message is a new one.
                self.collapse.forget(due.user, due.room);
            }
            !is_active && !quiet.contains(&(due.user, due.room))
        });
        if due.is_empty() {
            return Ok(());
        }
        let names = store::names(&self.store, &due).await?;
        let gone = self.post(&due, &targets, &names).await;
        if !gone.is_empty() {
            counter!("hub_services_push_subscriptions_gone_total").increment(gone.len() as u64);
            store::remove(&self.store, &gone).await?;
        }
        Ok(())
    }

    /// Users who look at one of their devices.
    async fn active(&self, due: &[Due]) -> RedisResult<HashSet<UserId>> {
        self.link
            .run(async |redis| {
                let now_ms = redis_time_ms(redis).await?;
                let mut pipe = redis::pipe();
                for due in due {
                    pipe.cmd("HGETALL").arg(keys::presence(due.user));
                }
                let hashes: Vec<Map<String, String>> = pipe.query_async(redis).await?;
                let active = due.iter().zip(hashes);
                let active = active.filter(|(_, hash)| is_active(&read_fields(hash), now_ms));
                Ok(active.map(|(due, _)| due.user).collect())
            })
            .await
    }

    /// Posts all pushes, some at a time; returns the subscriptions that are gone.
    async fn post(
        &mut self,
        due: &[Due],
        targets: &HashMap<UserId, Vec<Target>>,
        names: &store::Names,
    ) -> Vec<Uuid> {
        let mut running: JoinSet<(Uuid, UserId, RoomId, Answer)> = JoinSet::new();
        let mut gone = Vec::new();
        let now_s = now_us() / 1_000_000;
        for due in due {
            let text = json(&notification(due, names));
            for target in targets.get(&due.user).into_iter().flatten() {
                while running.len() >= self.options.requests_max {
                    self.posted(running.join_next().await, &mut gone);
                }
                let Some((authorization, body)) = self.prepare(target, &text, now_s) else {
                    continue;
                };
                let (poster, endpoint) = (self.poster.clone(), target.device.endpoint.clone());
                let (id, user, room) = (target.id, due.user, due.room);
                let topic = topic(&endpoint, room);
                running.spawn(async move {
                    let answer = poster.post(&endpoint, &authorization, &topic, body).await;
                    (id, user, room, answer)
                });
            }
        }
        while let Some(done) = running.join_next().await {
            self.posted(Some(done), &mut gone);
        }
        gone
    }

    fn prepare(&self, target: &Target, text: &Bytes, now_s: i64) -> Option<(String, Vec<u8>)> {
        // Looked at again: what was allowed once may not be any more.
        let origin = self.options.endpoints.origin(&target.device.endpoint)?;
        let authorization = self.key.authorization(&origin, &self.options.subject, now_s)?;
        Some((authorization, encrypt(&target.device, text)?))
    }

    fn posted(&mut self, done: Option<Done>, gone: &mut Vec<Uuid>) {
        // A task that panicked or was aborted has nothing to say.
        let Some((id, user, room, answer)) = done.and_then(Result::ok) else {
            return;
        };
        let outcome = match answer {
            Answer::Taken => "taken",
            Answer::Gone => {
                gone.push(id);
                "gone"
            }
            Answer::Failed => {
                self.collapse.forget(user, room);
                "failed"
            }
        };
        counter!("hub_services_pushes_total", "outcome" => outcome).increment(1);
    }
}

fn notification(due: &Due, names: &store::Names) -> Notification {
    Notification {
        room: due.room,
        room_name: names.rooms.get(&due.room).cloned().unwrap_or_default(),
        seq: due.news.seq,
        sender: due.news.sender,
        sender_name: names.users.get(&due.news.sender).cloned().unwrap_or_default(),
        text: due.news.text.clone(),
        count: due.count,
    }
}

/// Names a room to a push service without telling it which one (RFC 8030 §5.4): a newer push replaces an older one
/// of the same topic.
fn topic(endpoint: &str, room: RoomId) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(endpoint.as_bytes());
    hash.update(room.as_bytes());
    let hash = hash.finish();
    BASE64_URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fit_and_do_not_say_the_room() {
        let (one, two) = (RoomId::from_bytes([1; 16]), RoomId::from_bytes([2; 16]));
        let topic_one = topic("https://a/x", one);
        assert_eq!(topic_one, topic("https://a/x", one));
        assert_ne!(topic_one, topic("https://a/x", two));
        assert_ne!(topic_one, topic("https://a/y", one));
        // RFC 8030 §5.4: at most 32 characters of base64url.
        assert!(topic_one.len() <= 32);
    }

    #[test]
    fn the_longest_push_can_be_encrypted() {
        let news = News {
            seq: u64::MAX,
            sender: UserId::NIL,
            text: "\u{1}".repeat(TEXT_CHARS_MAX),
        };
        let due = Due {
            user: UserId::NIL,
            room: RoomId::NIL,
            news,
            count: u32::MAX,
        };
        let mut names = store::Names::default();
        names.users.insert(UserId::NIL, "\"".repeat(128));
        names.rooms.insert(RoomId::NIL, "\"".repeat(128));
        let text = json(&notification(&due, &names));
        assert!(
            text.len() <= super::super::encrypt::PLAIN_BYTES_MAX,
            "{}",
            text.len()
        );
    }
}
