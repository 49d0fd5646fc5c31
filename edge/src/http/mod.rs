//! Step 3: request heads on a short monoio task: an upgrade leaves for the data ring, calls and files are answered here.
//!
//! | module | holds |
//! |---|---|
//! | `route` | head → what is asked for |
//! | `origin` | which pages may open a WebSocket |
//! | `files` | the web app |
//! | `response` | what answers look like |
//! | `stream` | requests and responses on a stream |

mod files;
mod origin;
mod response;
mod route;
mod stream;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_protocol::ErrorCode;
use hub_protocol::error::ErrorBody;
use hub_ws::handshake::{HEAD_BYTES_MAX, Head, find_end};
use monoio::net::TcpStream;
use rustls::ServerConfig;

use crate::admission::{Gate, Refusal, Ticket};
use crate::auth::{Caller, Verifier};
use crate::bucket::{Bucket, Rate, Verdict};
use crate::memory::Memory;
use crate::shard::{Agreed, Answer, Shard};
use crate::stream::{Read, Stream};
use response::Response;
use route::Request;

pub use files::{Files, LoadError};
pub use origin::Origins;

/// Refused connections of one shard that are told why at the same time; the others are closed without a word.
const TOLD_MAX: u32 = 64;

/// The go-ahead for a body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What tasks of a shard's thread need.
#[derive(Debug)]
pub struct Env {
    /// The shard of this thread.
    pub shard: Shard,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Admission.
    pub gate: Arc<Gate>,
    /// The memory ceiling.
    pub memory: Arc<Memory>,
    /// Pages that may open a WebSocket.
    pub origins: Origins,
    /// The web app, if it is served.
    pub files: Option<Arc<Files>>,
    /// Certificates and keys, if connections are encrypted.
    pub tls: Option<Arc<ServerConfig>>,
    /// Deadline of a TLS handshake.
    pub handshake: Duration,
    /// Deadline of a head and of its body.
    pub header: Duration,
    /// Silence between two requests of a connection; zero ends it after the first.
    pub keep_alive: Duration,
    /// New connections.
    pub handshakes: Rate,
    /// Requests of one connection.
    pub calls: Rate,
    /// One body, bytes.
    pub body_bytes_max: usize,
    /// Whether `/echo` is served.
    pub echo: bool,
    /// Whether permessage-deflate is negotiated.
    pub deflate: bool,
    /// Descriptors from this number on are not for clients.
    pub descriptors_max: i32,
    /// Start of the clock that rates are measured with.
    pub start: Instant,
    /// Refused connections that are being told why.
    pub told: Cell<u32>,
}

impl Env {
    /// Milliseconds since the start of this shard's tasks.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Serves one connection until it is upgraded or ends.
///
/// # Cancel safety
/// Not to be dropped: reads may be pending. It ends by itself, at the latest with a deadline.
pub async fn serve(stream: TcpStream, ticket: Ticket, env: Rc<Env>) {
    let mut buffer = Vec::new();
    let Some(mut stream) = secure(stream, &mut buffer, &env).await else {
        return;
    };
    let mut calls = Bucket::new(env.calls, env.now_ms());
    let mut is_first = true;
    loop {
        let Some((request, head_bytes)) = read_head(&mut stream, &mut buffer, &env, is_first).await else {
            return;
        };
        is_first = false;
        let (response, mut is_keep_alive) = match request {
            Request::Upgrade {
                response,
                caller,
                agreed,
            } => {
                if stream.write_all(response.into_bytes(), env.header).await {
                    let early = buffer.split_off(head_bytes);
                    let (socket, tls) = stream.into_parts();
                    let agreed = Agreed { tls, ..agreed };
                    if let Err(error) = env.shard.adopt(socket, &early, caller, agreed, ticket) {
                        tracing::debug!(%error, "an upgraded connection is closed");
                    }
                }
                return;
            }
            Request::Refused(response) => (response, false),
            Request::File {
                response,
                is_keep_alive,
            } => {
                buffer.drain(..head_bytes);
                match limit(calls.take(env.calls, env.now_ms())) {
                    None => (response, is_keep_alive),
                    Some(refused) => refused,
                }
            }
            Request::Call {
                caller,
                body_bytes,
                is_asking,
                is_keep_alive,
            } => {
                let end = head_bytes + body_bytes;
                let is_due = is_asking && buffer.len() < end;
                if is_due && !stream.write_all(CONTINUE, env.header).await {
                    return;
                }
                match stream::read_until(&mut stream, &mut buffer, end, env.header).await {
                    Read::More => {}
                    Read::End => return,
                    Read::Late => {
                        stream::write(&mut stream, late(), false, env.header).await;
                        return;
                    }
                }
                let rest = buffer.split_off(end);
                let body = std::mem::replace(&mut buffer, rest).split_off(head_bytes);
                match limit(calls.take(env.calls, env.now_ms())) {
                    None => (answer(&env, caller, ticket.address(), body).await, is_keep_alive),
                    Some(refused) => refused,
                }
            }
        };
        is_keep_alive &= !env.keep_alive.is_zero() && !env.shard.is_draining();
        if !stream::write(&mut stream, response, is_keep_alive, env.header).await {
            return;
        }
        if !is_keep_alive {
            stream::linger(&mut stream).await;
            return;
        }
    }
}

/// Does the TLS handshake, if connections are encrypted; what the client sent behind it is appended to `buffer`. `None`
/// if it failed, or was not complete in time.
async fn secure(stream: TcpStream, buffer: &mut Vec<u8>, env: &Env) -> Option<Stream> {
    let Some(config) = &env.tls else {
        return Some(Stream::plain(stream));
    };
    let stream = Stream::accept(stream, Arc::clone(config), buffer, env.handshake).await?;
    if let Some((version, is_resumed)) = stream.tls_kind() {
        let resumed = if is_resumed { "yes" } else { "no" };
        metrics::counter!("hub_edge_tls_handshakes_total", "version" => version, "resumed" => resumed)
            .increment(1);
    }
    Some(stream)
}

/// Tells a connection that is not let in why, unless too many are being told already.
///
/// # Cancel safety
/// Not to be dropped: reads may be pending. It ends by itself, within about a second.
pub async fn tell(stream: TcpStream, refusal: Refusal, env: Rc<Env>) {
    // Under TLS only a handshake would let us say why, and that is what we have no time for.
    if env.told.get() >= TOLD_MAX || env.tls.is_some() {
        return;
    }
    let mut stream = Stream::plain(stream);
    env.told.set(env.told.get() + 1);
    let code = if refusal.status() == 429 {
        ErrorCode::RateLimited
    } else {
        ErrorCode::Busy
    };
    let response = Response::refused(refusal.status(), code, "too many connections").with("Retry-After: 1");
    if stream::write(&mut stream, response, false, stream::LINGER).await {
        stream::linger(&mut stream).await;
    }
    env.told.set(env.told.get() - 1);
}

async fn answer(env: &Env, caller: Option<Caller>, address: IpAddr, body: Vec<u8>) -> Response {
    let Answer {
        status,
        body,
        retry_after_ms,
    } = env.shard.call(caller, address, body).await;
    let response = Response::json(status, body);
    match retry_after_ms {
        Some(ms) => response.retry_after_ms(ms),
        None => response,
    }
}

/// The refusal of a request above its connection's rate; who goes on and on is closed.
fn limit(verdict: Verdict) -> Option<(Response, bool)> {
    let (ms, is_keep_alive) = match verdict {
        Verdict::Pass => return None,
        Verdict::Wait(ms) => (ms, true),
        Verdict::Abuse => (1000, false),
    };
    metrics::counter!("hub_edge_rate_limited_calls_total").increment(1);
    let error = ErrorBody::new(ErrorCode::RateLimited, "too many requests").retry_after_ms(ms);
    let response = Response::json(429, Answer::refused(None, error).body).retry_after_ms(ms);
    Some((response, is_keep_alive))
}

/// Reads until a head is complete; `None` if the connection ended or a deadline passed. The deadline of the first
/// head runs from the start, that of others from their first byte, which may take longer.
async fn read_head(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    env: &Env,
    is_first: bool,
) -> Option<(Request, usize)> {
    let mut deadline = Instant::now() + env.header;
    if buffer.is_empty() {
        let silence = if is_first { env.header } else { env.keep_alive };
        match stream::read_until(stream, buffer, 1, silence).await {
            Read::More => {}
            Read::Late => {
                metrics::counter!("hub_edge_silent_connections_total").increment(1);
                return None;
            }
            Read::End => return None,
        }
    }
    if !is_first {
        deadline = Instant::now() + env.header;
    }
    // Bytes that hold no end of a head: a head that comes byte by byte costs linear time.
    let mut searched = 0;
    loop {
        if buffer.len() >= HEAD_BYTES_MAX || find_end(buffer, searched).is_some() {
            match Head::read(buffer) {
                Ok(Some((head, len))) => return Some((route::route(&head, env), len)),
                Ok(None) => {}
                Err(error) => return Some((Request::Refused(route::refused_head(error)), 0)),
            }
        }
        searched = buffer.len();
        match stream.read(buffer, deadline).await {
            Read::More => {}
            Read::Late => return Some((Request::Refused(late()), 0)),
            Read::End => return None,
        }
    }
}

fn late() -> Response {
    metrics::counter!("hub_edge_late_requests_total").increment(1);
    Response::refused(408, ErrorCode::BadRequest, "the request did not come in time")
}
