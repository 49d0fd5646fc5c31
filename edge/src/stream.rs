//! Steps 2 and 3: the bytes of a connection while a monoio task has it, plain or under TLS, with deadlines. An operation
//! is cancelled and then awaited, never dropped: what it took meanwhile counts.

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monoio::buf::IoBuf;
use monoio::io::{AsyncWriteRent, CancelableAsyncReadRent, CancelableAsyncWriteRent, Canceller};
use monoio::net::TcpStream;
use rustls::ServerConfig;

use crate::tls::Session;

/// Bytes of one read.
const READ_BYTES: usize = 4096;

/// A connection.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Session>>,
    /// Ciphertext to send; empty between calls.
    out: Vec<u8>,
}

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// There are more bytes.
    More,
    /// The client has sent everything it had, or the connection is broken.
    End,
    /// The deadline has passed.
    Late,
}

impl Stream {
    /// A connection without TLS.
    pub fn plain(tcp: TcpStream) -> Self {
        Self {
            tcp,
            tls: None,
            out: Vec::new(),
        }
    }

    /// Does the handshake of a new connection; what the client sent behind it is appended to `buffer`. `None` if it
    /// failed, or was not complete in time; the connection is closed then.
    ///
    /// # Cancel safety
    /// Not to be dropped: a read may be pending.
    pub async fn accept(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        buffer: &mut Vec<u8>,
        within: Duration,
    ) -> Option<Self> {
        let deadline = Instant::now() + within;
        let mut stream = Self {
            tcp,
            tls: Some(Box::new(Session::new(config).ok()?)),
            out: Vec::new(),
        };
        while stream.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if stream.read_once(buffer, deadline).await != Read::More {
                return None;
            }
        }
        Some(stream)
    }

    /// The protocol version and whether the handshake resumed a session; `None` without TLS.
    pub fn tls_kind(&self) -> Option<(&'static str, bool)> {
        self.tls.as_ref().map(|tls| tls.kind())
    }

    /// Appends what comes next to `buffer`.
    pub async fn read(&mut self, buffer: &mut Vec<u8>, deadline: Instant) -> Read {
        let before = buffer.len();
        loop {
            let read = self.read_once(buffer, deadline).await;
            // Some records hold nothing for us.
            if read != Read::More || buffer.len() > before {
                return read;
            }
        }
    }

    /// One read of the socket, which under TLS may bring no plaintext.
    async fn read_once(&mut self, buffer: &mut Vec<u8>, deadline: Instant) -> Read {
        let within = deadline.saturating_duration_since(Instant::now());
        if within.is_zero() {
            return Read::Late;
        }
        let mut is_late = false;
        let canceller = Canceller::new();
        let chunk = Vec::with_capacity(READ_BYTES);
        let (result, mut chunk) = {
            let mut read = pin!(self.tcp.cancelable_read(chunk, canceller.handle()));
            monoio::select! {
                done = &mut read => done,
                () = monoio::time::sleep(within) => {
                    is_late = true;
                    canceller.cancel();
                    read.await
                }
            }
        };
        let read = match result {
            Ok(count) if count > 0 => Read::More,
            _ if is_late => Read::Late,
            _ => Read::End,
        };
        let Some(tls) = &mut self.tls else {
            buffer.extend_from_slice(&chunk);
            return read;
        };
        let result = tls.receive(&mut chunk, buffer, &mut self.out);
        let is_closed = tls.is_peer_closed();
        if let Err(error) = &result {
            metrics::counter!("hub_edge_tls_failures_total").increment(1);
            tracing::debug!(%error, "a connection is closed");
        }
        let is_sent = self.send_out(within).await;
        if result.is_err() || !is_sent || is_closed {
            return Read::End;
        }
        read
    }

    /// Sends all of it; false if the connection broke, or took nothing for as long as `within`.
    pub async fn write_all<B: IoBuf + AsRef<[u8]>>(&mut self, bytes: B, within: Duration) -> bool {
        let Some(tls) = &mut self.tls else {
            return write_all(&mut self.tcp, bytes, within).await.is_some();
        };
        tls.encrypt(bytes.as_ref(), &mut self.out).is_ok() && self.send_out(within).await
    }

    async fn send_out(&mut self, within: Duration) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let Some(mut out) = write_all(&mut self.tcp, std::mem::take(&mut self.out), within).await else {
            return false;
        };
        out.clear();
        self.out = out;
        true
    }

    /// Nothing more will be sent; false as for [`write_all`](Self::write_all).
    pub async fn shutdown(&mut self, within: Duration) -> bool {
        if let Some(tls) = &mut self.tls {
            let _ = tls.close(&mut self.out);
            if !self.send_out(within).await {
                return false;
            }
        }
        self.tcp.shutdown().await.is_ok()
    }

    /// The socket and its keys, for the data ring.
    pub fn into_parts(self) -> (OwnedFd, Option<Box<Session>>) {
        (hub_ring::from_monoio(self.tcp), self.tls)
    }
}

/// Sends bytes and gives their memory back; `None` if the connection broke or took nothing for as long as `within`.
async fn write_all<B: IoBuf>(tcp: &mut TcpStream, mut bytes: B, within: Duration) -> Option<B> {
    let mut at = 0;
    while at < bytes.bytes_init() {
        let mut is_late = false;
        let canceller = Canceller::new();
        let mut write = pin!(tcp.cancelable_write(bytes.slice(at..), canceller.handle()));
        let (result, rest) = monoio::select! {
            done = &mut write => done,
            () = monoio::time::sleep(within) => {
                is_late = true;
                canceller.cancel();
                write.await
            }
        };
        bytes = rest.into_inner();
        match result {
            Ok(count) if count > 0 => at += count,
            _ => {
                if is_late {
                    metrics::counter!("hub_edge_unread_responses_total").increment(1);
                }
                return None;
            }
        }
    }
    Some(bytes)
}
