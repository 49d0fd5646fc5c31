//! Step 9: owns partitions of one service, reads their entries, and keeps the order
//! read → transaction → deliver → delete.
//!
//! | module | holds |
//! |---|---|
//! | `lease` | which partitions this worker owns |
//! | `stint` | the loop, on one pair of connections |
//! | `intake` | entries into calls; pure |
//! | `split` | one transaction, or several if some call is poison |
//! | `answer` | the texts that go back; pure |
//! | `ledger` | which entries may be deleted; pure |
//! | `dead` | dead letters |
//! | `work`, `slot` | pieces of work, and one of them under way |
//!
//! There are no consumer groups: an entry that stands in its stream is undone, and whoever becomes owner begins at
//! the beginning.

mod answer;
mod dead;
mod intake;
mod lease;
mod ledger;
mod slot;
mod split;
mod stint;
mod work;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hub_protocol::Service;
use hub_protocol::seal::Sealer;
use metrics::counter;
use redis::{Client, RedisResult};
use tokio_util::sync::CancellationToken;

use crate::backbone;
use crate::delivery::Deliverer;
use crate::service::Handler;
use crate::store::Meta;
use lease::Leases;
use stint::Stint;

const RECONNECT_MS_MIN: u64 = 50;
const RECONNECT_MS_MAX: u64 = 2_000;

/// Bounds of a worker.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Entries of one read, over all partitions.
    pub read_entries_max: usize,
    /// Calls of one transaction.
    pub envelopes_max: usize,
    /// Reads that run side by side.
    pub reads_max: usize,
    /// How long an idle read waits at Redis.
    pub block: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            read_entries_max: 128,
            envelopes_max: 1_024,
            reads_max: 16,
            block: Duration::from_millis(250),
        }
    }
}

/// Why a worker is not able to work, if so. Read by `/readyz`.
#[derive(Debug)]
pub struct Status {
    service: Service,
    trouble: Mutex<Option<String>>,
}

impl Status {
    /// A worker that has not begun.
    pub fn new(service: Service) -> Arc<Self> {
        Arc::new(Self {
            service,
            trouble: Mutex::new(Some("not connected to Redis yet".to_owned())),
        })
    }

    /// One line that says what is wrong.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble
            .as_ref()
            .map(|text| format!("{}: {text}", self.service.name()))
    }

    fn set(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// What all stints of a worker share.
struct Shared<H> {
    handler: Arc<H>,
    deliverer: Deliverer,
    sealer: Arc<Sealer>,
    meta: Meta,
    options: WorkerOptions,
    status: Arc<Status>,
}

impl<H: Handler> Shared<H> {
    fn service(&self) -> Service {
        self.handler.service()
    }
}

/// A worker of one service.
pub struct Worker<H: Handler> {
    client: Client,
    id: String,
    shared: Arc<Shared<H>>,
}

impl<H: Handler> std::fmt::Debug for Worker<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<H: Handler> Worker<H> {
    /// A worker with a random id. It does nothing until [`run`](Self::run).
    pub fn new(
        client: Client,
        handler: H,
        deliverer: Deliverer,
        sealer: Arc<Sealer>,
        meta: Meta,
        options: WorkerOptions,
        status: Arc<Status>,
    ) -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        let handler = Arc::new(handler);
        Self {
            client,
            id,
            shared: Arc::new(Shared {
                handler,
                deliverer,
                sealer,
                meta,
                options,
                status,
            }),
        }
    }

    /// Works until `cancel`: finishes what it began, gives its leases back, returns. Redis may come and go.
    pub async fn run(self, cancel: CancellationToken) {
        let service = self.shared.service();
        let mut failures = 0_u32;
        tracing::info!(service = service.name(), worker = self.id, "worker begins");
        while !cancel.is_cancelled() {
            let began = std::time::Instant::now();
            let ended = Box::pin(self.stint(&cancel)).await;
            let Err(error) = ended else { break };
            if began.elapsed() > Duration::from_secs(10) {
                failures = 0;
            }
            let pause = (RECONNECT_MS_MIN << failures.min(6)).min(RECONNECT_MS_MAX);
            failures = failures.saturating_add(1);
            let pause = rand::random_range(pause / 2..=pause);
            tracing::warn!(service = service.name(), %error, pause_ms = pause, "Redis failed, starts again");
            counter!("hub_services_restarts_total", "service" => service.name(), "why" => "redis")
                .increment(1);
            self.shared.status.set(Some(format!("Redis: {error}")));
            self.shared.handler.forget();
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            }
        }
        tracing::info!(service = service.name(), worker = self.id, "worker ended");
    }

    async fn stint(&self, cancel: &CancellationToken) -> RedisResult<()> {
        let redis = backbone::connect(&self.client, Duration::ZERO).await?;
        let reader = backbone::connect(&self.client, self.shared.options.block).await?;
        self.shared.status.set(None);
        let service = self.shared.service();
        let partitions = self.shared.meta.partitions.of(service);
        let leases = Leases::new(service, partitions, self.id.clone());
        Stint::new(Arc::clone(&self.shared), redis, reader, leases)
            .run(cancel)
            .await
    }
}
