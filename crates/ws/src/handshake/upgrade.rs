//! The server's side of the opening handshake (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

use super::head::{Body, Head};
use crate::deflate::Deflate;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that may be upgraded.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    accept: String,
    /// The subprotocol that both sides speak, if the client offered any of ours.
    pub protocol: Option<&'b str>,
    /// Where the page came from that opens the connection (§10.2); absent for programs.
    pub origin: Option<&'b str>,
    /// Compression that the client offered and we can do; the caller may take it out.
    pub deflate: Option<Deflate>,
}

/// Why a request is not upgraded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// Not `GET`.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// Something that §4.2.1 asks for is missing or wrong.
    #[error("not a WebSocket handshake: {0}")]
    Malformed(&'static str),
    /// Not a handshake at all.
    #[error("this address speaks WebSocket")]
    NotAnUpgrade,
    /// Another version than 13.
    #[error("WebSocket version 13 is spoken here")]
    Version,
}

impl Refusal {
    /// The status to answer with. 426 is sent with `Upgrade: websocket` and `Sec-WebSocket-Version: 13` (§4.4).
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Malformed(_) => 400,
            Self::NotAnUpgrade | Self::Version => 426,
        }
    }
}

/// `Sec-WebSocket-Accept` of a key (§4.2.2, 5.4).
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

impl<'b> Upgrade<'b> {
    /// Checks a request against §4.2.1. Of the client's subprotocols the first that is in `protocols` is chosen.
    pub fn check(head: &Head<'b>, protocols: &[&str]) -> Result<Self, Refusal> {
        if head.method != "GET" {
            return Err(Refusal::Method);
        }
        if !head.has_token("upgrade", "websocket") {
            return Err(Refusal::NotAnUpgrade);
        }
        if !head.is_http_1_1() {
            return Err(Refusal::Malformed("HTTP/1.1 is needed"));
        }
        if !head.has_token("connection", "upgrade") {
            return Err(Refusal::Malformed("Connection: Upgrade is missing"));
        }
        if head.body() != Ok(Body::None) {
            return Err(Refusal::Malformed("a handshake has no body"));
        }
        if head.find("sec-websocket-version") != Some("13") {
            return Err(Refusal::Version);
        }
        let key = head
            .find("sec-websocket-key")
            .ok_or(Refusal::Malformed("one Sec-WebSocket-Key is needed"))?;
        if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            return Err(Refusal::Malformed("Sec-WebSocket-Key is not 16 bytes in base64"));
        }
        Ok(Self {
            accept: accept_key(key.as_bytes()),
            protocol: head
                .list("sec-websocket-protocol")
                .find(|offered| protocols.contains(offered)),
            origin: head.find("origin"),
            deflate: Deflate::negotiate(head),
        })
    }

    /// The answer that opens the connection (§4.2.2).
    pub fn response(&self) -> String {
        let mut text =
            String::from("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        text.push_str("Sec-WebSocket-Accept: ");
        text.push_str(&self.accept);
        if let Some(protocol) = self.protocol {
            text.push_str("\r\nSec-WebSocket-Protocol: ");
            text.push_str(protocol);
        }
        if let Some(deflate) = self.deflate {
            text.push_str("\r\nSec-WebSocket-Extensions: ");
            text.push_str(&deflate.to_string());
        }
        text.push_str("\r\n\r\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn check(text: &str) -> Result<String, Refusal> {
        let (head, _) = Head::read(text.as_bytes()).unwrap().unwrap();
        Upgrade::check(&head, &["superchat"]).map(|upgrade| upgrade.response())
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 6455 §1.3.
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        let response = check(GOOD).unwrap();
        assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.ends_with("\r\nSec-WebSocket-Protocol: superchat\r\n\r\n"));
    }

    #[test]
    fn every_missing_part_has_its_refusal() {
        for (from, to, status) in [
            ("GET /chat", "POST /chat", 405),
            ("Upgrade: websocket", "Upgrade: h2c", 426),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("keep-alive, Upgrade", "keep-alive", 400),
            ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "!", 400),
            (
                "Origin:",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin:",
                400,
            ),
            ("Origin:", "Content-Length: 5\r\nOrigin:", 400),
        ] {
            assert!(GOOD.contains(from));
            let refusal = check(&GOOD.replace(from, to)).unwrap_err();
            assert_eq!(refusal.status(), status, "{to:?}: {refusal}");
        }
    }
}
