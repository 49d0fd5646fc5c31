//! The threads of a node: one per shard, one for the backbone.

use std::cell::Cell;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use hub_ring::{Choice, Engine};
use metrics_exporter_prometheus::PrometheusBuilder;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::accept;
use crate::admin::{Admin, Shards};
use crate::admission::{Gate, descriptors_max};
use crate::auth::{self, Keyring, Verifier};
use crate::backbone::{Backbone, BackboneSettings, Health};
use crate::config::Config;
use crate::counters::SharedCounters;
use crate::http::{Env, Files};
use crate::mailbox::{BackboneEnd, MailboxEnd, ToShard, mailbox};
use crate::memory::Memory;
use crate::runtime;
use crate::shard::{Shard, ShardSettings};
use crate::tls;
use crate::uplink::UplinkLimits;

/// Bounds of the buckets of histograms, all of which are of seconds.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5];

/// What every shard of a node is given.
struct Parts {
    config: Config,
    verifier: Arc<Verifier>,
    sealer: Arc<hub_protocol::seal::Sealer>,
    gate: Arc<Gate>,
    tls: Option<Arc<ServerConfig>>,
    memory: Arc<Memory>,
    files: Option<Arc<Files>>,
}

/// Runs a node until SIGTERM or SIGINT and the drain that follows.
pub fn run(mut config: Config) -> Result<()> {
    let Choice { engine, fallback } = choose_engine(config.ring.engine)?;
    // All shards take what was found here.
    config.ring.engine = engine;
    let keyring = Keyring::load(&config.auth.keys_dir, SystemTime::now())?;
    let sealer = Arc::new(keyring.sealer(&config.auth.keys_dir)?);
    let verifier = Arc::new(Verifier::new(keyring.public, config.auth.leeway_s));
    auth::watch(
        config.auth.keys_dir.clone(),
        Arc::clone(&verifier),
        Arc::clone(&sealer),
    )
    .context("cannot start the thread that looks at the keys")?;
    let admin = TcpListener::bind(config.server.admin)
        .with_context(|| format!("cannot listen on {} (admin)", config.server.admin))?;
    admin.set_nonblocking(true)?;
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|_already| anyhow!("a metrics recorder is installed twice"))?;
    let files = config.server.web.as_deref().map(Files::load).transpose();
    let memory = Memory::new(config.limits.memory_bytes_max);
    let parts = Arc::new(Parts {
        tls: config.tls_dir.as_deref().map(tls::serve).transpose()?,
        verifier,
        sealer,
        gate: Gate::new(
            config.limits.connections_max,
            config.limits.connections_per_address,
            Arc::clone(&memory),
        ),
        memory: Arc::clone(&memory),
        files: files.context("server.web")?.map(Arc::new),
        config,
    });
    let notify = Arc::new(Notify::new());
    let mut ends = Vec::new();
    let mut counters = Vec::new();
    let (report, reports) = mpsc::channel();
    for index in 0..parts.config.server.shards {
        let (shard_end, backbone_end) = mailbox(Arc::clone(&notify));
        ends.push(backbone_end);
        let shared = Arc::new(SharedCounters::default());
        counters.push(Arc::clone(&shared));
        let (parts, report) = (Arc::clone(&parts), report.clone());
        thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || run_shard(index, &parts, shard_end, shared, &report))
            .context("cannot start a shard's thread")?;
    }
    drop(report);
    for _ in 0..parts.config.server.shards {
        reports.recv().context("a shard ended at its start")??;
    }
    tracing::info!(
        listen = %parts.config.server.listen,
        admin = %parts.config.server.admin,
        shards = parts.config.server.shards,
        pin = parts.config.server.pin,
        tls = parts.tls.is_some(),
        engine = engine.name(),
        fallback = fallback.map(|error| format!("{:#}", anyhow!(error))),
        "edge node is up"
    );
    run_backbone(&parts.config, ends, notify, admin, memory, |health, ends| {
        Admin::new(
            engine,
            health,
            Shards::new(counters, ends, parts.config.server.drain),
            handle,
        )
    })
}

/// What carries the connections of this node; the error names the setting that asked for what is not there.
fn choose_engine(wanted: Engine) -> Result<Choice> {
    hub_ring::choose(wanted).with_context(|| format!("ring.engine = \"{}\"", wanted.name()))
}

/// The body of a shard's thread. A shard that fails takes the process with it: its connections are gone anyway, and
/// whoever runs the node starts it again.
fn run_shard(
    index: u16,
    parts: &Parts,
    mailbox: MailboxEnd,
    shared: Arc<SharedCounters>,
    report: &Sender<Result<()>>,
) {
    if parts.config.server.pin {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let core = cores.get(usize::from(index)).copied();
        if !core.is_some_and(core_affinity::set_for_current) {
            tracing::warn!(
                shard = index,
                cores = cores.len(),
                "a shard has no core of its own"
            );
        }
    }
    let is_started = Cell::new(false);
    let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let work = shard(index, parts, mailbox, shared, || {
            is_started.set(true);
            // Where another shard has failed nobody listens any more.
            let _ = report.send(Ok(()));
        });
        runtime::block_on(parts.config.ring.engine, work).context("cannot start the runtime of a shard")?
    }));
    match work {
        Ok(Ok(())) => {}
        // The starter says why, for the first shard that fails.
        Ok(Err(error)) if !is_started.get() => {
            let _ = report.send(Err(anyhow!("shard {index}: {error:#}")));
        }
        Ok(Err(error)) => {
            tracing::error!(
                shard = index,
                error = format!("{error:#}"),
                "a shard failed, the node ends"
            );
            std::process::exit(1);
        }
        Err(_) => {
            tracing::error!(shard = index, "a shard panicked, the node ends");
            std::process::exit(101);
        }
    }
}

async fn shard(
    index: u16,
    parts: &Parts,
    mailbox: MailboxEnd,
    shared: Arc<SharedCounters>,
    on_start: impl FnOnce(),
) -> Result<()> {
    let config = &parts.config;
    let (verifier, sealer) = (Arc::clone(&parts.verifier), Arc::clone(&parts.sealer));
    let shard = Shard::new(
        settings(index, config, &parts.memory),
        Arc::clone(&verifier),
        sealer,
        mailbox,
        shared,
    )?;
    let listener = accept::listen(config.server.listen)
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let env = Env {
        shard: shard.clone(),
        verifier,
        gate: Arc::clone(&parts.gate),
        tls: parts.tls.clone(),
        handshake: config.limits.handshake,
        memory: Arc::clone(&parts.memory),
        origins: config.server.origins.clone(),
        files: parts.files.clone(),
        header: config.limits.header,
        keep_alive: config.limits.keep_alive,
        handshakes: config.limits.handshakes,
        calls: config.limits.calls,
        body_bytes_max: config.limits.message_bytes_max,
        echo: config.server.echo,
        deflate: config.deflate.enabled,
        descriptors_max: descriptors_max().context("/proc/self/limits")?,
        start: Instant::now(),
        told: Cell::new(0),
    };
    let accepting = monoio::spawn(accept::attend(
        listener,
        config.server.listen,
        std::rc::Rc::new(env),
    ));
    on_start();
    shard.run().await?;
    accepting.await;
    Ok(())
}

/// What a shard is told of the node's configuration.
pub fn settings(index: u16, config: &Config, memory: &Arc<Memory>) -> ShardSettings {
    let limits = &config.limits;
    ShardSettings {
        index,
        ring: config.ring.clone(),
        uplink: UplinkLimits {
            batch_envelopes_max: config.uplink.batch_envelopes_max,
            batch_bytes_max: config.uplink.batch_bytes_max,
            pending_bytes_max: config.uplink.pending_bytes_max,
        },
        message_bytes_max: limits.message_bytes_max,
        outbound_bytes_max: limits.outbound_bytes_max,
        outbound_shard_bytes_max: limits.outbound_shard_bytes_max,
        deflate: config.deflate,
        rate: limits.messages,
        byte_rate: limits.bytes,
        memory: Arc::clone(memory),
        message: limits.message,
        session_open: limits.session_open,
        ping: limits.ping,
        idle: limits.idle,
        call_wait: limits.call_wait,
        drain: config.server.drain,
    }
}

fn run_backbone(
    config: &Config,
    ends: Vec<BackboneEnd>,
    notify: Arc<Notify>,
    admin_listener: TcpListener,
    memory: Arc<Memory>,
    make_admin: impl FnOnce(Arc<Health>, Arc<Vec<BackboneEnd>>) -> Admin,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let health = Arc::new(Health::default());
        let ends = Arc::new(ends);
        let admin = make_admin(Arc::clone(&health), Arc::clone(&ends));
        let listener = tokio::net::TcpListener::from_std(admin_listener)?;
        tokio::task::spawn_local(admin.clone().run(listener));
        tokio::task::spawn_local(admin.upkeep());
        tokio::task::spawn_local(memory.watch());
        let settings = BackboneSettings {
            redis: redis::Client::open(config.redis.url.as_str()).context("redis.url")?,
            response_timeout: config.redis.response_timeout,
            linger: config.uplink.linger,
            stream_entries_max: config.uplink.stream_entries_max,
        };
        let mut backbone = Backbone::new(settings, Arc::clone(&ends), notify, Arc::clone(&health));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut asked = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ending = async {
            asked().await;
            let drain_ms = u64::try_from(config.server.drain.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(drain_ms, "the node drains");
            health.drain();
            for end in ends.iter() {
                end.notice(ToShard::Drain);
                end.wake();
            }
            tokio::select! {
                () = tokio::time::sleep(config.server.drain) => "it took longer than server.drain_ms",
                () = asked() => "it was asked to end a second time",
            }
        };
        tokio::select! {
            () = backbone.run() => {
                tracing::info!("the node is drained");
                Ok(())
            }
            why = ending => {
                // What was not written yet has no answer, so its clients ask again elsewhere.
                tracing::warn!(why, "the node ends without being drained");
                Ok(())
            }
        }
    })
}
