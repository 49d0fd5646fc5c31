//! The operators' port: `/healthz`, `/readyz`, `/metrics`, `/drain`, `/undrain`. Runs on the backbone's thread.

use std::sync::Arc;
use std::time::Duration;

use hub_ring::Engine;
use hub_ws::handshake::{HEAD_BYTES_MAX, Head};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backbone::Health;
use crate::counters::SharedCounters;
use crate::exposition;
use crate::mailbox::{BackboneEnd, ToShard};

/// A scrape has to ask within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest window of a drain, milliseconds: a day.
const WITHIN_MS_MAX: u64 = 24 * 3600 * 1000;

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    health: Arc<Health>,
    shards: Shards,
    metrics: PrometheusHandle,
}

/// The shards of the node, as operators see and steer them.
#[derive(Clone)]
pub struct Shards {
    counters: Vec<Arc<SharedCounters>>,
    ends: Arc<Vec<BackboneEnd>>,
    /// The window of a drain that names none.
    drain: Duration,
}

impl Shards {
    /// Shards with their counters and mailboxes, each in the order of their numbers.
    pub fn new(counters: Vec<Arc<SharedCounters>>, ends: Arc<Vec<BackboneEnd>>, drain: Duration) -> Self {
        Self {
            counters,
            ends,
            drain,
        }
    }

    /// Handles `/drain` and `/undrain`.
    fn steer(&self, target: &str) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let find = |name| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(found, value)| (found == name).then_some(value))
        };
        let Some(shard) = find("shard").and_then(|shard| shard.parse::<usize>().ok()) else {
            return ("400 Bad Request", "shard=N is missing\n".to_owned());
        };
        let Some(end) = self.ends.get(shard) else {
            return (
                "404 Not Found",
                format!("there are {} shards, from 0\n", self.ends.len()),
            );
        };
        if path == "/undrain" {
            tracing::info!(shard, "a shard is taken back into service");
            end.notice(ToShard::Undrain);
            end.wake();
            return ("202 Accepted", format!("shard {shard} takes connections\n"));
        }
        let default_ms = u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX);
        let within_ms = find("within_ms").map_or(Ok(default_ms), str::parse);
        let Some(within_ms) = within_ms.ok().filter(|ms| *ms <= WITHIN_MS_MAX) else {
            return (
                "400 Bad Request",
                format!("within_ms: from 0 to {WITHIN_MS_MAX}\n"),
            );
        };
        tracing::info!(shard, within_ms, "a shard is taken out of service");
        end.notice(ToShard::DrainShard { within_ms });
        end.wake();
        (
            "202 Accepted",
            format!("shard {shard} drains within {within_ms} ms\n"),
        )
    }

    fn are_drained(&self) -> bool {
        self.counters.iter().all(|shard| shard.is_draining())
    }
}

/// Status and text.
type Reply = (&'static str, String);

impl Admin {
    /// Shows these.
    pub fn new(engine: Engine, health: Arc<Health>, shards: Shards, metrics: PrometheusHandle) -> Self {
        describe();
        metrics::gauge!("hub_edge_engine", "engine" => engine.name()).set(1.0);
        Self {
            health,
            shards,
            metrics,
        }
    }

    /// Serves until the process ends.
    pub async fn run(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = self.clone();
                    tokio::task::spawn_local(async move {
                        let _ = tokio::time::timeout(PATIENCE, admin.serve(stream)).await;
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Histograms keep what they were given until this is called.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.metrics.run_upkeep();
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        let (status, body) = loop {
            match Head::read(&buffer) {
                Ok(Some((head, _))) => break self.answer(&head),
                Ok(None) if buffer.len() < HEAD_BYTES_MAX => {}
                Ok(None) | Err(_) => break ("400 Bad Request", "bad request\n".to_owned()),
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }

    fn answer(&self, head: &Head<'_>) -> Reply {
        match (head.method, head.path()) {
            ("GET", "/healthz") => ("200 OK", "alive\n".to_owned()),
            ("GET", "/readyz") => match self.health.reason() {
                None if self.shards.are_drained() => {
                    ("503 Service Unavailable", "all shards are drained\n".to_owned())
                }
                None => ("200 OK", "ready\n".to_owned()),
                Some(reason) => ("503 Service Unavailable", format!("{reason}\n")),
            },
            ("GET", "/metrics") => ("200 OK", self.render()),
            // A web page that an operator has open must not steer his node.
            ("POST", _) if head.find("origin").is_some() => {
                ("403 Forbidden", "not for web pages\n".to_owned())
            }
            ("POST", "/drain" | "/undrain") => self.shards.steer(head.target),
            ("GET", "/drain" | "/undrain") => ("405 Method Not Allowed", "only POST\n".to_owned()),
            ("GET" | "POST", _) => ("404 Not Found", "there is nothing here\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET and POST\n".to_owned()),
        }
    }

    fn render(&self) -> String {
        let shards = exposition::render(self.shards.counters.iter().map(AsRef::as_ref));
        shards + &self.metrics.render()
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

fn describe() {
    for (name, help) in [
        (
            "hub_edge_refused_connections_total",
            "Connections refused by admission; the reason is a label",
        ),
        (
            "hub_edge_accept_errors_total",
            "Accepts that failed: the connection had ended, or descriptors ran out",
        ),
        (
            "hub_edge_refused_origins_total",
            "Upgrades refused because of the page's origin",
        ),
        (
            "hub_edge_refused_upgrades_total",
            "Upgrades refused because the table of the shard or the memory of the process is full",
        ),
        (
            "hub_edge_rate_limited_calls_total",
            "HTTP requests above the rate of their connection",
        ),
        (
            "hub_edge_late_requests_total",
            "HTTP requests that did not come in time",
        ),
        (
            "hub_edge_silent_connections_total",
            "Connections closed because no request came in time",
        ),
        (
            "hub_edge_unread_responses_total",
            "Connections closed because they did not read an HTTP response",
        ),
        (
            "hub_edge_task_panics_total",
            "Connections that ended by a panic of their task; each is a bug",
        ),
        ("hub_edge_xadds_total", "Uplink batches that reached their stream"),
        ("hub_edge_xadd_envelopes_total", "Envelopes in these batches"),
        (
            "hub_edge_damaged_batches_total",
            "Downlink batches that could not be read",
        ),
        (
            "hub_edge_misdirected_batches_total",
            "Downlink batches for another name of the node",
        ),
        (
            "hub_edge_mailbox_lost_batches_total",
            "Downlink batches dropped because a shard's mailbox was full",
        ),
    ] {
        metrics::describe_counter!(name, help);
    }
    metrics::describe_histogram!(
        "hub_edge_backbone_roundtrip_seconds",
        "Time of one pipeline to Redis and back"
    );
    metrics::describe_gauge!("hub_edge_resident_bytes", "Resident memory of the process");
    metrics::describe_gauge!(
        "hub_edge_memory_over",
        "1 while the process is above its memory ceiling, else 0"
    );
    metrics::describe_gauge!("hub_edge_backbone_up", "1 while Redis answers, else 0");
    metrics::gauge!("hub_edge_backbone_up").set(0.0);
    metrics::describe_gauge!(
        "hub_edge_engine",
        "Always 1; what carries the connections is a label"
    );
    metrics::describe_gauge!("hub_edge_build_info", "Always 1; the version is a label");
    metrics::gauge!("hub_edge_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
