//! The admin port: `/healthz`, `/readyz`, `/metrics`. Read by operators and probes, never by clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::worker::Status;

const HEAD_BYTES_MAX: usize = 8 * 1024;
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// A database that takes longer to say `1` is not able to work.
const DATABASE_TIME_MAX: Duration = Duration::from_secs(2);
/// Bound: requests at a time.
const CONNECTIONS_MAX: usize = 32;

/// What the port shows.
#[derive(Clone)]
pub struct Admin {
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// The database.
    pub store: Store,
    /// The workers of this process.
    pub workers: Vec<Arc<Status>>,
    /// Set while the process ends.
    pub ending: CancellationToken,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Answers until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _peer)) => {
                    let admin = self.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(REQUEST_TIME_MAX, admin.answer(stream)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin port does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let (status, kind, body) = match path(&head) {
            Some("/healthz") => (200, "text/plain", "ok\n".to_owned()),
            Some("/readyz") => match self.trouble().await {
                None => (200, "text/plain", "ready\n".to_owned()),
                Some(why) => (503, "text/plain", format!("{why}\n")),
            },
            Some("/metrics") => (200, "text/plain; version=0.0.4", self.metrics.render()),
            Some(_) => (404, "text/plain", "not found\n".to_owned()),
            None => (405, "text/plain", "only GET\n".to_owned()),
        };
        let reason = match status {
            200 => "OK",
            404 => "Not Found",
            405 => "Method Not Allowed",
            _ => "Service Unavailable",
        };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }

    /// Why this process should get no work, in one line.
    async fn trouble(&self) -> Option<String> {
        if self.ending.is_cancelled() {
            return Some("the process is ending".to_owned());
        }
        let trouble: Vec<String> = self
            .workers
            .iter()
            .filter_map(|worker| worker.trouble())
            .collect();
        if !trouble.is_empty() {
            return Some(trouble.join("; ").replace(['\r', '\n'], " "));
        }
        let answers = tokio::time::timeout(DATABASE_TIME_MAX, self.store.is_ready()).await;
        (answers != Ok(true)).then(|| "the database does not answer".to_owned())
    }
}

/// Binds the admin port.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The path of a GET.
fn path(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    match words.next()? {
        "GET" => words
            .next()
            .map(|target| target.split('?').next().unwrap_or(target)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_get_is_found() {
        assert_eq!(
            path(b"GET /readyz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some("/readyz")
        );
        assert_eq!(path(b"POST /readyz HTTP/1.1\r\n\r\n"), None);
        assert_eq!(path(b"\xff\r\n\r\n"), None);
    }
}
