//! The operators' port: `/healthz`, `/readyz`, `/metrics`. Runs on the backbone's thread.

use std::sync::Arc;
use std::time::Duration;

use hub_ws::handshake::{HEAD_BYTES_MAX, Head};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backbone::Health;
use crate::counters::SharedCounters;

/// A scrape has to ask within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    health: Arc<Health>,
    shards: Vec<Arc<SharedCounters>>,
    metrics: PrometheusHandle,
}

impl Admin {
    /// Shows these.
    pub fn new(health: Arc<Health>, shards: Vec<Arc<SharedCounters>>, metrics: PrometheusHandle) -> Self {
        describe();
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
                Ok(Some((head, _))) => break self.answer(head.method, head.path()),
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

    fn answer(&self, method: &str, path: &str) -> (&'static str, String) {
        match (method, path) {
            ("GET", "/healthz") => ("200 OK", "alive\n".to_owned()),
            ("GET", "/readyz") => match self.health.reason() {
                None => ("200 OK", "ready\n".to_owned()),
                Some(reason) => ("503 Service Unavailable", format!("{reason}\n")),
            },
            ("GET", "/metrics") => ("200 OK", self.render()),
            ("GET", _) => ("404 Not Found", "there is nothing here\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
        }
    }

    fn render(&self) -> String {
        for (index, shard) in self.shards.iter().enumerate() {
            let label = index.to_string();
            for reading in shard.read() {
                if reading.is_gauge {
                    let value = u32::try_from(reading.value).map_or(f64::INFINITY, f64::from);
                    metrics::gauge!(reading.name, "shard" => label.clone()).set(value);
                } else {
                    metrics::counter!(reading.name, "shard" => label.clone()).absolute(reading.value);
                }
            }
        }
        self.metrics.render()
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
    for reading in SharedCounters::default().read() {
        if reading.is_gauge {
            metrics::describe_gauge!(reading.name, reading.help);
        } else {
            metrics::describe_counter!(reading.name, reading.help);
        }
    }
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
    metrics::describe_gauge!("hub_edge_build_info", "Always 1; the version is a label");
    metrics::gauge!("hub_edge_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
