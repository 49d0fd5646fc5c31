//! The client's side of the opening handshake (RFC 6455 §4.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::head::find_end;
use super::upgrade::accept_key;
use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// A server's answer that opens the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// Length of the answer; frames follow.
    pub len: usize,
}

/// Why the connection is not open.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ResponseError {
    /// The server said no; its status.
    #[error("refused with status {0}")]
    Status(u16),
    /// Not the answer to our request.
    #[error("not a WebSocket handshake: {0}")]
    Malformed(&'static str),
}

/// The request that opens a connection. `nonce` is random; `extra` are whole header lines, each with its CRLF.
pub fn write_request(
    host: &str,
    target: &str,
    nonce: [u8; 16],
    protocol: Option<&str>,
    extra: &str,
) -> String {
    let key = STANDARD.encode(nonce);
    let mut text = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    );
    if let Some(protocol) = protocol {
        text.push_str("Sec-WebSocket-Protocol: ");
        text.push_str(protocol);
        text.push_str("\r\n");
    }
    text.push_str(extra);
    text.push_str("\r\n");
    text
}

/// Reads the answer to [`write_request`] from the front of `bytes`; `None` if it is not complete.
pub fn read_response(
    bytes: &[u8],
    nonce: [u8; 16],
    protocol: Option<&str>,
) -> Result<Option<Response>, ResponseError> {
    let Some(len) = find_end(bytes, 0) else {
        return if bytes.len() > HEAD_BYTES_MAX {
            Err(ResponseError::Malformed("too long"))
        } else {
            Ok(None)
        };
    };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    if !matches!(response.parse(bytes), Ok(httparse::Status::Complete(_))) {
        return Err(ResponseError::Malformed("no HTTP"));
    }
    match response.code {
        Some(101) => {}
        code => return Err(ResponseError::Status(code.unwrap_or(0))),
    }
    let find = |name: &str| {
        let mut values = response
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = values
            .next()
            .and_then(|header| std::str::from_utf8(header.value).ok());
        if values.next().is_some() { None } else { value }
    };
    if !find("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(ResponseError::Malformed("Upgrade"));
    }
    if find("sec-websocket-accept") != Some(&accept_key(STANDARD.encode(nonce).as_bytes())) {
        return Err(ResponseError::Malformed("Sec-WebSocket-Accept"));
    }
    if find("sec-websocket-protocol") != protocol {
        return Err(ResponseError::Malformed("Sec-WebSocket-Protocol"));
    }
    if find("sec-websocket-extensions").is_some() {
        return Err(ResponseError::Malformed("an extension that was not offered"));
    }
    Ok(Some(Response { len }))
}

#[cfg(test)]
mod tests {
    use super::super::{Head, Upgrade};
    use super::*;

    const NONCE: [u8; 16] = *b"the sample nonce";

    fn answer(protocol: Option<&str>) -> String {
        let request = write_request("h", "/v1/ws", NONCE, protocol, "X: y\r\n");
        let (head, _) = Head::read(request.as_bytes()).unwrap().unwrap();
        Upgrade::check(&head, &["a", "b"]).unwrap().response()
    }

    #[test]
    fn both_sides_understand_each_other() {
        let text = answer(Some("b")) + "frames";
        assert_eq!(
            read_response(text.as_bytes(), NONCE, Some("b")),
            Ok(Some(Response { len: text.len() - 6 }))
        );
        for cut in 0..text.len() - 6 {
            assert_eq!(read_response(&text.as_bytes()[..cut], NONCE, Some("b")), Ok(None));
        }
    }

    #[test]
    fn another_answer_is_refused() {
        let text = answer(None);
        assert!(read_response(text.as_bytes(), [0; 16], None).is_err());
        assert!(read_response(text.as_bytes(), NONCE, Some("a")).is_err());
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
        assert_eq!(
            read_response(refusal, NONCE, None),
            Err(ResponseError::Status(503))
        );
    }
}
