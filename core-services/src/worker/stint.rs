//! One stint: the work on one pair of Redis connections, until one of them fails or the program ends.
//!
//! ```text
//!            ┌──────────── reads, side by side ───────────┐
//! XREAD ─> intake ─> queue ─> one transaction ─> outbox ─> delivery ─> ledger ─> XDEL
//! ```
//!
//! All of it is one task that drives a [`Slot`] per step: while one read is delivered, the next transaction runs
//! and the one after it is read. A slot holds one piece of work, so each step keeps the order, and the same task
//! renews the leases: a worker that hangs loses them.
//!
//! Invariant: read → transaction → deliver → delete. After a failed transaction nothing is said, and everything
//! starts again at the beginning of the streams.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_protocol::batch::BatchError;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::LEASE_RENEW_MS;
use hub_protocol::{ErrorCode, keys};
use metrics::{counter, histogram};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::dead::DeadLetter;
use super::intake;
use super::lease::{self, Leases, Upkeep};
use super::ledger::{EntryKey, Ledger};
use super::slot::Slot;
use super::split::Poison;
use super::work::{self, Item, Out, Read, Sent, Wrote, collect, minute, sleep_until};
use super::{Shared, dead};
use crate::backbone::{EntryId, RedisClock, StreamEntry, stream};
use crate::metric::float;
use crate::mutants::Mutant;
use crate::service::{Call, Handler, WorkError};

const BACKOFF_MS_MIN: u64 = 100;
const BACKOFF_MS_MAX: u64 = 3_000;

/// The state of one stint.
pub(super) struct Stint<H: Handler> {
    shared: Arc<Shared<H>>,
    redis: MultiplexedConnection,
    reader: MultiplexedConnection,
    leases: Leases,
    ledger: Ledger,
    clock: Option<RedisClock>,
    /// Bound: `envelopes_max` and one read more.
    queue: VecDeque<Item>,
    /// Bound: like `queue`.
    waiting: VecDeque<(Call, EntryKey)>,
    outbox: Option<Out>,
    answered: Out,
    failures: u32,
    resume_at: Instant,
    upkeep_at: Instant,
    rotation: usize,

    reading: Slot<RedisResult<Value>>,
    writing: Slot<Wrote>,
    delivering: Slot<Sent>,
    answering: Slot<Sent>,
    deleting: Slot<RedisResult<()>>,
    upkeeping: Slot<RedisResult<Upkeep>>,
    reads: JoinSet<Read>,
}

impl<H: Handler> Stint<H> {
    pub(super) fn new(
        shared: Arc<Shared<H>>,
        redis: MultiplexedConnection,
        reader: MultiplexedConnection,
        leases: Leases,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            redis,
            reader,
            leases,
            ledger: Ledger::default(),
            clock: None,
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            outbox: None,
            answered: Out::default(),
            failures: 0,
            resume_at: now,
            upkeep_at: now,
            rotation: 0,
            reading: Slot::new(),
            writing: Slot::new(),
            delivering: Slot::new(),
            answering: Slot::new(),
            deleting: Slot::new(),
            upkeeping: Slot::new(),
            reads: JoinSet::new(),
        }
    }

    /// Works until `cancel` (then gives the leases back and returns) or until Redis fails.
    pub(super) async fn run(mut self, cancel: &CancellationToken) -> RedisResult<()> {
        let mut ending = false;
        loop {
            if ending {
                // What was not begun stays in its stream for the next owner.
                self.queue.clear();
                self.waiting.clear();
                self.reading.clear();
                if self.is_at_rest() {
                    return self.leases.release_all(&mut self.redis).await;
                }
            }
            self.start(ending);
            let wake = self.wake_at();
            tokio::select! {
                // The order is that of the path backwards, so that what is nearly done is done first.
                biased;
                () = cancel.cancelled(), if !ending => ending = true,
                done = self.upkeeping.next() => self.on_upkeep(&done?),
                done = self.deleting.next() => done?,
                done = self.delivering.next() => self.on_sent(done)?,
                done = self.answering.next() => self.on_sent(done)?,
                wrote = self.writing.next() => self.on_written(wrote),
                Some(read) = self.reads.join_next() => self.on_answered(read),
                reply = self.reading.next() => self.on_read(reply?).await?,
                () = sleep_until(wake) => {}
            }
        }
    }

    /// When something begins that nothing else would wake us for: an upkeep, or the end of a pause.
    fn wake_at(&self) -> Option<Instant> {
        let upkeep = self.upkeeping.is_empty().then_some(self.upkeep_at);
        let resume = (self.resume_at > Instant::now()).then_some(self.resume_at);
        [upkeep, resume].into_iter().flatten().min()
    }

    fn is_at_rest(&self) -> bool {
        self.writing.is_empty()
            && self.outbox.is_none()
            && self.delivering.is_empty()
            && self.answering.is_empty()
            && self.answered.entries.is_empty()
            && self.reads.is_empty()
            && self.deleting.is_empty()
            && !self.ledger.has_deletable()
            && self.upkeeping.is_empty()
    }

    /// Begins whatever can begin.
    fn start(&mut self, ending: bool) {
        let now = Instant::now();
        if self.upkeeping.is_empty() && now >= self.upkeep_at && !ending {
            self.upkeep_at = now + Duration::from_millis(LEASE_RENEW_MS);
            let order = self.leases.order(&self.ledger, &self.shared.meta);
            self.upkeeping.set(lease::upkeep(self.redis.clone(), order));
        }
        if self.delivering.is_empty()
            && let Some(out) = self.outbox.take()
        {
            self.delivering.set(self.send(out));
        }
        if self.answering.is_empty() && !(self.answered.entries.is_empty() && self.answered.flush.is_empty())
        {
            let out = std::mem::take(&mut self.answered);
            self.answering.set(self.send(out));
        }
        if self.writing.is_empty() && self.outbox.is_none() && !self.queue.is_empty() && now >= self.resume_at
        {
            let items = self.next_batch();
            self.writing
                .set(work::write(Arc::clone(&self.shared.handler), items));
        }
        while self.reads.len() < self.shared.options.reads_max {
            let Some((call, entry)) = self.waiting.pop_front() else {
                break;
            };
            self.reads
                .spawn(work::read(Arc::clone(&self.shared.handler), call, entry));
        }
        if self.deleting.is_empty() && self.ledger.has_deletable() {
            self.deleting.set(work::delete(
                self.redis.clone(),
                self.shared.service(),
                self.ledger.take_deletable(),
            ));
        }
        let has_space = self.queue.len() < self.shared.options.envelopes_max
            && self.waiting.len() < self.shared.options.envelopes_max;
        if self.reading.is_empty() && has_space && !ending && now >= self.resume_at {
            self.read();
        }
    }

    /// One XREAD over all partitions, from the last id of each.
    fn read(&mut self) {
        let service = self.shared.service();
        let mut sources: Vec<(u16, EntryId)> = self
            .leases
            .owned
            .iter()
            .filter(|(_, owned)| owned.is_reading())
            .map(|(partition, owned)| (*partition, owned.last))
            .collect();
        if sources.is_empty() || self.clock.is_none() {
            return;
        }
        // When a read is cut at its bound, it is another partition's turn to be last.
        self.rotation = self.rotation.wrapping_add(1);
        let first = self.rotation % sources.len();
        sources.rotate_left(first);
        let count = (self.shared.options.read_entries_max / sources.len()).max(1);
        let block = u64::try_from(self.shared.options.block.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(count)
            .arg("BLOCK")
            .arg(block)
            .arg("STREAMS");
        for (partition, _) in &sources {
            command.arg(keys::requests(service, *partition));
        }
        for (_, last) in &sources {
            command.arg(last.to_string());
        }
        let mut reader = self.reader.clone();
        self.reading
            .set(async move { command.query_async(&mut reader).await });
    }

    async fn on_read(&mut self, reply: Value) -> RedisResult<()> {
        let service = self.shared.service();
        let streams = stream::read_reply(reply);
        if streams.is_empty() {
            return Ok(());
        }
        let mut notes = Vec::new();
        let mut found: Vec<(u16, Vec<StreamEntry>)> = Vec::new();
        for (key, entries) in streams {
            let partition = self
                .leases
                .owned
                .keys()
                .copied()
                .find(|p| keys::requests(service, *p) == key);
            let Some(partition) = partition else { continue };
            let owned = self
                .leases
                .owned
                .get_mut(&partition)
                .expect("found among the owned ones");
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                continue;
            };
            if let Some((entry, tries)) = owned.begin(first.id, last.id) {
                if owned.alone_until.is_some() {
                    tracing::warn!(service = service.name(), partition, %entry, tries, "owners died at an entry, it is worked on alone");
                }
                notes.push((partition, entry, tries));
            }
            found.push((partition, entries));
        }
        if !notes.is_empty() {
            // Before the work: an entry that kills its owner must have been noted by then.
            lease::note(&mut self.redis, service, &notes).await?;
        }
        let before = self.queue.len() + self.waiting.len();
        let mut letters = Vec::new();
        for (partition, entries) in found {
            for entry in entries {
                if self.queue.len() >= self.shared.options.envelopes_max
                    || self.waiting.len() >= self.shared.options.envelopes_max
                    || !self.take_in(partition, entry, &mut letters)
                {
                    break;
                }
            }
        }
        let taken = self.queue.len() + self.waiting.len() - before;
        histogram!("hub_services_read_envelopes", "service" => service.name()).record(float(taken));
        dead::bury(&mut self.redis, service, &letters).await
    }

    /// Takes one entry in. False: the partition stops here.
    fn take_in(&mut self, partition: u16, entry: StreamEntry, letters: &mut Vec<DeadLetter>) -> bool {
        let service = self.shared.service();
        let Some(owned) = self.leases.owned.get_mut(&partition) else {
            return false;
        };
        if !owned.is_reading() {
            return false;
        }
        if entry.id <= owned.last {
            return true;
        }
        let age_ms = self
            .clock
            .map_or(0, |clock| clock.age_ms(entry.id, Instant::now()));
        let batch = entry.batch.unwrap_or_default();
        let (sealer, now) = (&self.shared.sealer, minute());
        match intake::read(&batch, service, sealer, now, age_ms) {
            Ok(intake) => {
                owned.last = entry.id;
                let alone = owned.alone_until.is_some_and(|until| entry.id <= until);
                let key = self.ledger.add(partition, entry.id, intake.len());
                let name = service.name();
                counter!("hub_services_envelopes_total", "service" => name).increment(intake.len() as u64);
                counter!("hub_services_dropped_total", "service" => name).increment(intake.dropped as u64);
                self.queue.extend(intake.writes.into_iter().map(|call| Item {
                    call,
                    entry: key,
                    alone,
                }));
                self.waiting
                    .extend(intake.reads.into_iter().map(|call| (call, key)));
                for (header, refusal) in intake.refused {
                    self.answered
                        .flush
                        .answers
                        .extend(answer(&header, Err(refusal), sealer, now));
                    self.answered.entries.push(key);
                }
                if Mutant::DeleteFirst.is_on() {
                    self.ledger.add(partition, entry.id, 0);
                }
                true
            }
            Err(BatchError::Version(version)) => {
                owned.halted = true;
                let name = service.name();
                tracing::error!(service = name, partition, entry = %entry.id, version,
                    "a batch of an unknown version: the partition stops until a service that understands it takes over");
                counter!("hub_services_unknown_versions_total", "service" => name).increment(1);
                false
            }
            Err(error) => {
                owned.last = entry.id;
                tracing::warn!(service = service.name(), partition, entry = %entry.id, %error, "an entry is no batch of ours");
                letters.extend(DeadLetter::of_entry(partition, &batch, error, sealer, now));
                self.ledger.add(partition, entry.id, 0);
                true
            }
        }
    }

    /// The calls of the next transaction: as many as there are, but one entry at a time after repeated deaths.
    fn next_batch(&mut self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        while let Some(next) = self.queue.front() {
            let fits = match items.last() {
                None => true,
                Some(last) if last.alone || next.alone => last.entry == next.entry,
                Some(_) => items.len() < self.shared.options.envelopes_max,
            };
            if !fits {
                break;
            }
            items.extend(self.queue.pop_front());
        }
        histogram!("hub_services_transaction_calls", "service" => self.shared.service().name())
            .record(float(items.len()));
        items
    }

    fn on_written(&mut self, Wrote { calls, written }: Wrote) {
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.on_failure(&error);
                return;
            }
        };
        self.failures = 0;
        self.shared.status.set(None);
        let (sealer, now) = (&self.shared.sealer, minute());
        let mut out = Out::default();
        for ((header, body, entry), outcome) in calls.iter().zip(written) {
            out.entries.push(*entry);
            match outcome {
                Ok(outcome) => collect(&mut out.flush, header, outcome, sealer, now),
                Err(poison) => {
                    let refusal = match &poison {
                        Poison::Data(why) => {
                            tracing::warn!(method = header.method.name(), why, "a call cannot be stored");
                            ErrorBody::new(ErrorCode::BadRequest, "the data of this call cannot be stored")
                        }
                        Poison::Panic => {
                            ErrorBody::new(ErrorCode::Internal, "the call could not be worked on")
                        }
                    };
                    out.dead.extend(DeadLetter::of_call(
                        entry.partition,
                        header,
                        body,
                        &poison,
                        sealer,
                        now,
                    ));
                    out.flush
                        .answers
                        .extend(answer(header, Err(refusal), sealer, now));
                }
            }
        }
        self.outbox = Some(out);
    }

    /// Nothing is known of the calls of a transaction: everything starts again, after a pause.
    fn on_failure(&mut self, error: &WorkError) {
        let service = self.shared.service().name();
        let pause = (BACKOFF_MS_MIN << self.failures.min(5)).min(BACKOFF_MS_MAX);
        let pause = rand::random_range(pause / 2..=pause);
        self.failures = self.failures.saturating_add(1);
        tracing::warn!(service, %error, pause_ms = pause, "a transaction failed, starts again at the beginning of the streams");
        counter!("hub_services_restarts_total", "service" => service, "why" => "store").increment(1);
        self.shared.status.set(Some(error.to_string()));
        self.resume_at = Instant::now() + Duration::from_millis(pause);
        self.queue.clear();
        self.waiting.clear();
        self.reads.abort_all();
        self.reading.clear();
        self.answered = Out::default();
        self.ledger.forget_open();
        self.leases.rewind();
        self.shared.handler.forget();
    }

    fn on_answered(&mut self, read: Result<Read, tokio::task::JoinError>) {
        // Only reads of a run before end without a result: their entries come again.
        let Ok(Read {
            header,
            entry,
            outcome,
        }) = read
        else {
            return;
        };
        let (sealer, now) = (&self.shared.sealer, minute());
        self.answered.entries.push(entry);
        match outcome {
            Ok(outcome) => collect(&mut self.answered.flush, &header, outcome, sealer, now),
            Err(error) => {
                let refusal = match &error {
                    WorkError::Data(_) => {
                        ErrorBody::new(ErrorCode::BadRequest, "the data of this call cannot be read")
                    }
                    WorkError::System(_) => {
                        self.shared.status.set(Some(error.to_string()));
                        ErrorBody::new(ErrorCode::Unavailable, "the database does not answer")
                            .retry_after_ms(1_000)
                    }
                };
                tracing::warn!(method = header.method.name(), %error, "a read failed");
                self.answered
                    .flush
                    .answers
                    .extend(answer(&header, Err(refusal), sealer, now));
            }
        }
    }

    fn send(&self, out: Out) -> impl Future<Output = Sent> + Send + use<H> {
        let (deliverer, service) = (self.shared.deliverer.clone(), self.shared.service());
        let now_ms = self.clock.map_or(0, |clock| clock.now_ms(Instant::now()));
        work::send(self.redis.clone(), deliverer, service, out, now_ms)
    }

    fn on_sent(&mut self, Sent { entries, outcome }: Sent) -> RedisResult<()> {
        outcome?;
        let service = self.shared.service().name();
        let now = Instant::now();
        let mut last = None;
        for entry in entries {
            if let Some(clock) = self.clock
                && last != Some(entry)
            {
                let age = Duration::from_millis(clock.age_ms(entry.id, now));
                histogram!("hub_services_delivery_seconds", "service" => service).record(age.as_secs_f64());
                last = Some(entry);
            }
            self.ledger.done(entry);
        }
        Ok(())
    }

    fn on_upkeep(&mut self, upkeep: &Upkeep) {
        self.clock = Some(upkeep.clock);
        self.answered.flush.deliveries.extend(self.shared.handler.due());
        if self.leases.apply(upkeep, &self.ledger) {
            self.shared.handler.forget();
        }
        let lost = self.leases.take_lost();
        for partition in &lost {
            self.ledger.forget(*partition);
        }
        // What is lost may be ours again already: then it is read again from its beginning.
        let owned = &self.leases.owned;
        let stays = |partition: u16| owned.contains_key(&partition) && !lost.contains(&partition);
        self.queue.retain(|item| stays(item.entry.partition));
        self.waiting.retain(|(_, entry)| stays(entry.partition));
        if self.failures == 0 {
            self.shared.status.set(None);
        }
    }
}
