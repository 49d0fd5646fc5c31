//! What answers look like.

use std::fmt::Write as _;

use bytes::Bytes;
use hub_protocol::ErrorCode;
use hub_protocol::error::ErrorBody;

use crate::shard::Answer;

/// Stands in every answer. The policy fits the web app and costs JSON nothing: no other origin gives or gets anything,
/// no script or style stands in a page itself.
const SECURITY: &str = "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'\r\n";

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    cache: &'static str,
    body: Bytes,
    /// The answer to `HEAD`: as long as the body would be, without it.
    is_head_only: bool,
    /// More header lines, each with its CRLF.
    extra: String,
}

impl Response {
    /// The answer of a call.
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self::new(status, "application/json", "no-store", body.into())
    }

    /// A refusal, as calls have them.
    pub(super) fn refused(status: u16, code: ErrorCode, message: &str) -> Self {
        Self::json(status, Answer::refused(None, ErrorBody::new(code, message)).body)
    }

    /// Anything.
    pub(super) fn new(status: u16, content_type: &'static str, cache: &'static str, body: Bytes) -> Self {
        Self {
            status,
            content_type,
            cache,
            body,
            is_head_only: false,
            extra: String::new(),
        }
    }

    /// With another header line.
    pub(super) fn with(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push_str("\r\n");
        self
    }

    /// When to ask again, in whole seconds.
    pub(super) fn retry_after_ms(self, ms: u32) -> Self {
        self.with(&format!("Retry-After: {}", ms.div_ceil(1000)))
    }

    /// The same without its body, for `HEAD`.
    pub(super) fn head_only(mut self) -> Self {
        self.is_head_only = true;
        self
    }

    /// Head and body as they are sent.
    pub(super) fn into_parts(self, is_keep_alive: bool) -> (Vec<u8>, Bytes) {
        let connection = if is_keep_alive { "keep-alive" } else { "close" };
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        // RFC 9110 §15.4.5: a 304 has no content, and its length would be that of the content it stands for.
        if self.status != 304 {
            let (content_type, length) = (self.content_type, self.body.len());
            let _ = write!(
                head,
                "Content-Type: {content_type}\r\nContent-Length: {length}\r\n"
            );
        }
        let (cache, extra) = (self.cache, self.extra);
        let _ = write!(
            head,
            "Connection: {connection}\r\nCache-Control: {cache}\r\n{SECURITY}{extra}\r\n"
        );
        let body = if self.is_head_only {
            Bytes::new()
        } else {
            self.body
        };
        (head.into_bytes(), body)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
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
