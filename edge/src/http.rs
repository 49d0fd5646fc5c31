//! Step 3: request heads on a short monoio task: an upgrade leaves for the data ring, a call is answered here.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hub_protocol::ErrorCode;
use hub_protocol::api::{PATH_RPC, PATH_WS, SUBPROTOCOL};
use hub_protocol::error::ErrorBody;
use hub_ws::handshake::{Body, HEAD_BYTES_MAX, Head, HeadError, Refusal, Upgrade, find_end};
use monoio::net::TcpStream;
use rustls::ServerConfig;

use crate::admission::{Gate, Ticket};
use crate::auth::{Caller, Verifier};
use crate::shard::{Agreed, Answer, Mode, Shard};
use crate::stream::{Read, Stream};

/// After a refusal this much of what still comes is read and thrown away: closing with unread bytes resets the
/// connection, and the client would not see why (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// And for this long.
const LINGER: Duration = Duration::from_secs(1);
/// Where the echo for tests and measuring is.
const PATH_ECHO: &str = "/echo";

/// What tasks of a shard's thread need.
#[derive(Debug)]
pub struct Env {
    /// The shard of this thread.
    pub shard: Shard,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Admission.
    pub gate: Arc<Gate>,
    /// Certificates and keys, if connections are encrypted.
    pub tls: Option<Arc<ServerConfig>>,
    /// Deadline of a TLS handshake.
    pub handshake: Duration,
    /// Deadline of a head and of its body.
    pub header: Duration,
    /// One body, bytes.
    pub body_bytes_max: usize,
    /// Whether `/echo` is served.
    pub echo: bool,
    /// Whether permessage-deflate is negotiated.
    pub deflate: bool,
}

/// What a request asks for, after its head.
enum Request {
    Upgrade {
        response: String,
        caller: Option<Caller>,
        agreed: Agreed,
    },
    Call {
        caller: Option<Caller>,
        body_bytes: usize,
        is_keep_alive: bool,
    },
    /// Answered by the head alone; the connection ends.
    Refused(Response),
}

struct Response {
    status: u16,
    body: Vec<u8>,
    /// More header lines, each with its CRLF.
    extra: String,
}

impl Response {
    fn refused(status: u16, code: ErrorCode, message: &str) -> Self {
        let body = Answer::refused(None, ErrorBody::new(code, message)).body;
        Self {
            status,
            body,
            extra: String::new(),
        }
    }

    fn with(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push_str("\r\n");
        self
    }

    fn to_bytes(&self, is_keep_alive: bool) -> Vec<u8> {
        let connection = if is_keep_alive { "keep-alive" } else { "close" };
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {connection}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n{}\r\n",
            self.status,
            reason(self.status),
            self.body.len(),
            self.extra,
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Serves one connection until it is upgraded or ends.
///
/// # Cancel safety
/// Not to be dropped: reads may be pending. It ends by itself, at the latest with a deadline.
pub async fn serve(stream: TcpStream, ticket: Ticket, env: Rc<Env>) {
    let mut buffer = Vec::new();
    let mut stream = match &env.tls {
        None => Stream::plain(stream),
        Some(config) => {
            let deadline = Instant::now() + env.handshake;
            let accepted = Stream::accept(stream, Arc::clone(config), &mut buffer, deadline).await;
            let Some(accepted) = accepted else { return };
            accepted
        }
    };
    if let Some((version, is_resumed)) = stream.tls_kind() {
        let resumed = if is_resumed { "yes" } else { "no" };
        metrics::counter!("hub_edge_tls_handshakes_total", "version" => version, "resumed" => resumed)
            .increment(1);
    }
    loop {
        let Some((request, head_bytes)) = read_head(&mut stream, &mut buffer, &env).await else {
            return;
        };
        let mut is_refused = false;
        let (response, is_keep_alive) = match request {
            Request::Upgrade {
                response,
                caller,
                agreed,
            } => {
                if stream.write_all(response.into_bytes()).await {
                    let early = buffer.split_off(head_bytes);
                    let (socket, tls) = stream.into_parts();
                    let agreed = Agreed { tls, ..agreed };
                    if let Err(error) = env.shard.adopt(socket, &early, caller, agreed, ticket) {
                        tracing::debug!(%error, "an upgraded connection is closed");
                    }
                }
                return;
            }
            Request::Refused(response) => {
                is_refused = true;
                (response, false)
            }
            Request::Call {
                caller,
                body_bytes,
                is_keep_alive,
            } => {
                let end = head_bytes + body_bytes;
                match read_until(&mut stream, &mut buffer, end, env.header).await {
                    Read::More => {}
                    Read::End => return,
                    Read::Late => {
                        let _ = stream.write_all(late().to_bytes(false)).await;
                        return;
                    }
                }
                let rest = buffer.split_off(end);
                let body = std::mem::replace(&mut buffer, rest).split_off(head_bytes);
                let answer = env.shard.call(caller, body).await;
                let mut response = Response {
                    status: answer.status,
                    body: answer.body,
                    extra: String::new(),
                };
                if let Some(ms) = answer.retry_after_ms {
                    response = response.with(&format!("Retry-After: {}", ms.div_ceil(1000)));
                }
                (response, is_keep_alive && !env.shard.is_draining())
            }
        };
        let is_sent = stream.write_all(response.to_bytes(is_keep_alive)).await;
        if is_sent && is_refused {
            linger(&mut stream).await;
        }
        if !is_sent || !is_keep_alive {
            return;
        }
    }
}

/// Reads until a head is complete; `None` if the connection ended or the deadline passed.
async fn read_head(stream: &mut Stream, buffer: &mut Vec<u8>, env: &Env) -> Option<(Request, usize)> {
    let deadline = Instant::now() + env.header;
    // Bytes that hold no end of a head: a head that comes byte by byte costs linear time.
    let mut searched = 0;
    loop {
        if buffer.len() >= HEAD_BYTES_MAX || find_end(buffer, searched).is_some() {
            match Head::read(buffer) {
                Ok(Some((head, len))) => return Some((route(&head, env), len)),
                Ok(None) => {}
                Err(error) => return Some((Request::Refused(refused_head(error)), 0)),
            }
        }
        searched = buffer.len();
        match stream.read(buffer, deadline).await {
            Read::More => {}
            Read::Late if !buffer.is_empty() => return Some((Request::Refused(late()), 0)),
            Read::Late | Read::End => return None,
        }
    }
}

/// Reads until `len` bytes are there.
async fn read_until(stream: &mut Stream, buffer: &mut Vec<u8>, len: usize, within: Duration) -> Read {
    let deadline = Instant::now() + within;
    while buffer.len() < len {
        match stream.read(buffer, deadline).await {
            Read::More => {}
            ended => return ended,
        }
    }
    Read::More
}

/// Lets a refused client read why, see [`LINGER_BYTES_MAX`].
async fn linger(stream: &mut Stream) {
    if !stream.shutdown().await {
        return;
    }
    let deadline = Instant::now() + LINGER;
    let mut thrown_away = Vec::new();
    let mut left = LINGER_BYTES_MAX;
    while left > 0 && stream.read(&mut thrown_away, deadline).await == Read::More {
        left = left.saturating_sub(thrown_away.len());
        thrown_away.clear();
    }
}

fn late() -> Response {
    Response::refused(408, ErrorCode::BadRequest, "the request did not come in time")
}

fn refused_head(error: HeadError) -> Response {
    let code = if error == HeadError::TooLarge {
        ErrorCode::TooLarge
    } else {
        ErrorCode::BadRequest
    };
    Response::refused(error.status(), code, &error.to_string())
}

fn route(head: &Head<'_>, env: &Env) -> Request {
    let mode = match head.path() {
        PATH_WS => Mode::Chat,
        PATH_ECHO if env.echo => Mode::Echo,
        PATH_RPC => return route_call(head, env),
        _ => {
            let response = Response::refused(404, ErrorCode::NotFound, "there is nothing here");
            return Request::Refused(response);
        }
    };
    let caller = match bearer(head, env) {
        Ok(caller) => caller,
        Err(response) => return Request::Refused(response),
    };
    if env.shard.is_draining() {
        let response = Response::refused(503, ErrorCode::Unavailable, "the node ends, connect again");
        return Request::Refused(response.with("Retry-After: 1"));
    }
    match Upgrade::check(head, &[SUBPROTOCOL]) {
        Ok(mut upgrade) => {
            upgrade.deflate = upgrade.deflate.filter(|_| env.deflate);
            Request::Upgrade {
                response: upgrade.response(),
                caller,
                agreed: Agreed {
                    mode,
                    deflate: upgrade.deflate,
                    tls: None,
                },
            }
        }
        Err(refusal) => {
            let response = Response::refused(refusal.status(), ErrorCode::BadRequest, &refusal.to_string());
            Request::Refused(match refusal {
                Refusal::Method => response.with("Allow: GET"),
                Refusal::NotAnUpgrade | Refusal::Version => response
                    .with("Upgrade: websocket")
                    .with("Sec-WebSocket-Version: 13"),
                Refusal::Malformed(_) => response,
            })
        }
    }
}

fn route_call(head: &Head<'_>, env: &Env) -> Request {
    let refused = |status, code, message: &str| Request::Refused(Response::refused(status, code, message));
    if head.method != "POST" {
        let response = Response::refused(405, ErrorCode::BadRequest, "calls are made with POST");
        return Request::Refused(response.with("Allow: POST"));
    }
    let body_bytes = match head.body() {
        Ok(Body::Length(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX),
        Ok(Body::None) => return refused(411, ErrorCode::BadRequest, "Content-Length is needed"),
        Err(error) => return Request::Refused(refused_head(error)),
    };
    if body_bytes > env.body_bytes_max {
        return refused(413, ErrorCode::TooLarge, "the request is too large");
    }
    match bearer(head, env) {
        Ok(caller) => Request::Call {
            caller,
            body_bytes,
            is_keep_alive: head.is_keep_alive(),
        },
        Err(response) => Request::Refused(response),
    }
}

/// Who the `Authorization` header names; a header that names nobody is refused.
fn bearer(head: &Head<'_>, env: &Env) -> Result<Option<Caller>, Response> {
    if head.all("authorization").next().is_none() {
        return Ok(None);
    }
    let refused = || {
        Response::refused(401, ErrorCode::Unauthenticated, "the token is invalid or expired")
            .with("WWW-Authenticate: Bearer")
    };
    let value = head.find("authorization").ok_or_else(refused)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused());
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    match env.verifier.verify(token.trim(), now) {
        Ok(caller) => Ok(Some(caller)),
        Err(_) => Err(refused()),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
