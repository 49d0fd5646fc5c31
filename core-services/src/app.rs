//! Wiring: what a running services process consists of. Each service has a worker loop of its own; they share the
//! pool, the directory and the admin port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hub_protocol::Service;
use hub_protocol::seal::Sealer;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use redis::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::auth::Auth;
use crate::backbone;
use crate::chat::Chat;
use crate::config::{Config, redact};
use crate::delivery::Deliverer;
use crate::service::Handler;
use crate::store::{Meta, Store};
use crate::user::Profiles;
use crate::worker::{Status, Worker};
use crate::{keys, metric, migrate, store};

/// Counts, from 1 to what a read holds.
const COUNT_BUCKETS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];
/// Seconds, from half a millisecond to what nobody waits for.
const SECOND_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 3.0, 10.0,
];
const BYTE_BUCKETS: [f64; 7] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What all workers of a process are made from.
struct Parts {
    config: Config,
    store: Store,
    meta: Meta,
    client: Client,
    sealer: Arc<Sealer>,
    deliverer: Deliverer,
}

/// Runs services until SIGTERM or SIGINT. Returns one line per precondition that is missing.
pub async fn run(services: &[Service], config: Config) -> Result<(), Vec<String>> {
    let metrics = install_metrics().map_err(one)?;
    let mut problems = Vec::new();
    let mut keep = |problem: String| problems.push(problem);

    let sealer = keys::load_sealer(&config.keys_dir)
        .map_err(|error| keep(format!("keys: {error}")))
        .ok();
    let client = Client::open(config.redis_url.as_str())
        .map_err(|error| keep(format!("redis.url cannot be read: {error}")))
        .ok();
    let redis = match &client {
        Some(client) => backbone::connect(client, Duration::ZERO)
            .await
            .map_err(|error| {
                keep(format!(
                    "Redis at {} does not answer: {error}",
                    redact(&config.redis_url)
                ));
            })
            .ok(),
        None => None,
    };
    let address = config.admin.unwrap_or_else(|| default_admin(services));
    let listener = admin::bind(address)
        .await
        .map_err(|error| keep(format!("admin port {address} cannot be opened: {error}")))
        .ok();
    let database = open_store(&config)
        .await
        .map_err(|error| keep(format!("PostgreSQL at {}: {error}", redact(&config.store.url))))
        .ok();
    let (Some(sealer), Some(client), Some(mut redis), Some(listener), Some((store, meta))) =
        (sealer, client, redis, listener, database)
    else {
        return Err(problems);
    };
    migrate::publish(&mut redis, &meta)
        .await
        .map_err(|error| one(format!("hub:meta cannot be written: {error}")))?;

    let deliverer = Deliverer::new(config.node_entries_max, config.directory_reuse);
    let parts = Parts {
        config,
        store,
        meta,
        client,
        sealer: Arc::new(sealer),
        deliverer,
    };
    let ending = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut workers = Vec::new();
    for service in services {
        workers.push(start(*service, &parts, &tasks, &ending).map_err(one)?);
    }
    tokio::spawn(tidy_metrics(metrics.clone()));
    let admin = Admin {
        metrics,
        store: parts.store.clone(),
        workers,
        ending: ending.clone(),
    };
    tokio::spawn(admin.serve(listener));
    tracing::info!(admin = %address, "services are running");

    end_requested()
        .await
        .map_err(|error| one(format!("signals cannot be received: {error}")))?;
    tracing::info!("ending: finishing what was begun");
    ending.cancel();
    tasks.close();
    tasks.wait().await;
    tracing::info!("ended");
    Ok(())
}

/// Starts the worker of one service.
fn start(
    service: Service,
    parts: &Parts,
    tasks: &TaskTracker,
    ending: &CancellationToken,
) -> Result<Arc<Status>, String> {
    match service {
        Service::Auth => {
            let signing =
                keys::load_signing(&parts.config.keys_dir).map_err(|error| format!("keys: {error}"))?;
            let auth = Auth::new(parts.store.clone(), &parts.meta, &parts.config.auth, signing)?;
            Ok(spawn(auth, parts, tasks, ending))
        }
        Service::Chat => Ok(spawn(
            Chat::new(parts.store.clone(), &parts.meta),
            parts,
            tasks,
            ending,
        )),
        Service::User => Ok(spawn(Profiles::new(parts.store.clone()), parts, tasks, ending)),
    }
}

fn spawn<H: Handler>(
    handler: H,
    parts: &Parts,
    tasks: &TaskTracker,
    ending: &CancellationToken,
) -> Arc<Status> {
    let status = Status::new(handler.service());
    let worker = Worker::new(
        parts.client.clone(),
        handler,
        parts.deliverer.clone(),
        Arc::clone(&parts.sealer),
        parts.meta.clone(),
        parts.config.worker.clone(),
        Arc::clone(&status),
    );
    tasks.spawn(worker.run(ending.clone()));
    status
}

async fn open_store(config: &Config) -> Result<(Store, Meta), store::StoreError> {
    let store = Store::connect(&config.store).await?;
    let meta = store.meta().await?;
    Ok((store, meta))
}

fn default_admin(services: &[Service]) -> SocketAddr {
    let port = match services {
        [Service::Auth] => 9081,
        [Service::Chat] => 9082,
        [Service::User] => 9083,
        _ => 9084,
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn install_metrics() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECOND_BUCKETS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTE_BUCKETS)
        })
        .and_then(|builder| builder.set_buckets(&COUNT_BUCKETS));
    let handle = builder
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics cannot be kept: {error}"))?;
    metric::describe();
    store::describe();
    Ok(handle)
}

/// Samples are folded into their buckets when somebody reads the metrics; nobody may, so we do too.
async fn tidy_metrics(metrics: PrometheusHandle) {
    let mut every = tokio::time::interval(METRICS_UPKEEP);
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

async fn end_requested() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn one(problem: String) -> Vec<String> {
    vec![problem]
}
