//! From a head to what it asks for.

use std::time::{SystemTime, UNIX_EPOCH};

use hub_protocol::ErrorCode;
use hub_protocol::api::{PATH_RPC, PATH_WS, SUBPROTOCOL};
use hub_ws::handshake::{Body, Head, HeadError, Refusal, Upgrade};

use super::Env;
use super::response::Response;
use crate::auth::Caller;
use crate::shard::{Agreed, Mode};

/// Where the echo for tests and measuring is.
const PATH_ECHO: &str = "/echo";
/// Below it are calls and sockets, never files.
const API: &str = "/v1/";

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Request {
    Upgrade {
        response: String,
        caller: Option<Caller>,
        agreed: Agreed,
    },
    Call {
        caller: Option<Caller>,
        body_bytes: usize,
        /// The client asks before it sends the body (RFC 9110 §10.1.1).
        is_asking: bool,
        is_keep_alive: bool,
    },
    /// Answered by the head alone.
    File { response: Response, is_keep_alive: bool },
    /// Answered by the head alone; the connection ends.
    Refused(Response),
}

pub(super) fn refused_head(error: HeadError) -> Response {
    let code = if error == HeadError::TooLarge {
        ErrorCode::TooLarge
    } else {
        ErrorCode::BadRequest
    };
    Response::refused(error.status(), code, &error.to_string())
}

pub(super) fn route(head: &Head<'_>, env: &Env) -> Request {
    match ask(head, env) {
        // RFC 9110 §9.3.2: no answer to HEAD has a body.
        Request::Refused(response) if head.method == "HEAD" => Request::Refused(response.head_only()),
        request => request,
    }
}

fn ask(head: &Head<'_>, env: &Env) -> Request {
    match head.path() {
        PATH_WS => route_upgrade(head, env, Mode::Chat),
        PATH_ECHO if env.echo => route_upgrade(head, env, Mode::Echo),
        PATH_RPC => route_call(head, env),
        path if !path.starts_with(API) => route_file(head, env),
        _ => nothing(),
    }
}

fn nothing() -> Request {
    Request::Refused(Response::refused(
        404,
        ErrorCode::NotFound,
        "there is nothing here",
    ))
}

fn route_upgrade(head: &Head<'_>, env: &Env, mode: Mode) -> Request {
    if !env.origins.allow(head) {
        metrics::counter!("hub_edge_refused_origins_total").increment(1);
        let response = Response::refused(403, ErrorCode::Forbidden, "pages of this origin are not let in");
        return Request::Refused(response);
    }
    let caller = match bearer(head, env) {
        Ok(caller) => caller,
        Err(response) => return Request::Refused(response),
    };
    if env.shard.is_draining() {
        let response = Response::refused(503, ErrorCode::Unavailable, "the node ends, connect again");
        return Request::Refused(response.with("Retry-After: 1"));
    }
    if env.memory.is_over() || env.shard.is_full() {
        metrics::counter!("hub_edge_refused_upgrades_total").increment(1);
        let response = Response::refused(503, ErrorCode::Busy, "the node is full");
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
            is_asking: head.is_http_1_1() && head.has_token("expect", "100-continue"),
            is_keep_alive: head.is_keep_alive(),
        },
        Err(response) => Request::Refused(response),
    }
}

fn route_file(head: &Head<'_>, env: &Env) -> Request {
    let Some(files) = &env.files else {
        return nothing();
    };
    if head.method != "GET" && head.method != "HEAD" {
        let response = Response::refused(405, ErrorCode::BadRequest, "files are only read");
        return Request::Refused(response.with("Allow: GET, HEAD"));
    }
    if !matches!(head.body(), Ok(Body::None | Body::Length(0))) {
        let response = Response::refused(400, ErrorCode::BadRequest, "GET has no body here");
        return Request::Refused(response);
    }
    match files.answer(head) {
        Some(response) => Request::File {
            response,
            is_keep_alive: head.is_keep_alive(),
        },
        None => nothing(),
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
