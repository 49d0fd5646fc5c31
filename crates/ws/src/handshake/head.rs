//! Request heads, read strictly: what two readers could understand differently is refused (RFC 9112 §11.2).

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use thiserror::Error;

use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// A request head.
#[derive(Debug)]
pub struct Head<'b> {
    /// `GET`, `POST`, …
    pub method: &'b str,
    /// What is asked for, with its query.
    pub target: &'b str,
    headers: Vec<(&'b str, &'b [u8])>,
    is_http_1_1: bool,
}

/// How the body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// There is none.
    None,
    /// That many bytes.
    Length(u64),
}

/// Why bytes are no request that we answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeadError {
    /// Not HTTP, or ambiguous.
    #[error("malformed request")]
    Malformed,
    /// Longer than [`HEAD_BYTES_MAX`], or more than [`HEADERS_MAX`] headers.
    #[error("request head too large")]
    TooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
    /// A transfer coding; bodies are to be sent with their length.
    #[error("transfer codings are not supported")]
    TransferEncoding,
}

impl HeadError {
    /// The status to answer with before closing.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 431,
            Self::Version => 505,
            Self::TransferEncoding => 501,
        }
    }
}

/// Where a head ends: the length up to and including its empty line. `from` is how many bytes an earlier call has
/// searched already, so that a head that comes byte by byte costs linear time.
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let rest = bytes.get(start..)?;
    let at = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(start.saturating_add(at).saturating_add(4))
}

impl<'b> Head<'b> {
    /// Reads a head from the front of `bytes`. `None` if it is not complete; otherwise the head and its length.
    pub fn read(bytes: &'b [u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let searched = bytes.get(..HEAD_BYTES_MAX.min(bytes.len())).unwrap_or(bytes);
        let Some(len) = find_end(searched, 0) else {
            return if bytes.len() >= HEAD_BYTES_MAX {
                Err(HeadError::TooLarge)
            } else {
                Ok(None)
            };
        };
        let head = bytes.get(..len).ok_or(HeadError::Malformed)?;
        // A lone LF ends a line for some readers and not for others.
        let mut before = 0;
        for &byte in head {
            if byte == b'\n' && before != b'\r' {
                return Err(HeadError::Malformed);
            }
            before = byte;
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(httparse::Error::Version) => return Err(HeadError::Version),
            Ok(httparse::Status::Partial) | Err(_) => return Err(HeadError::Malformed),
        }
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(HeadError::Malformed);
        };
        let headers = request
            .headers
            .iter()
            .map(|header| (header.name, header.value))
            .collect();
        let head = Self {
            method,
            target,
            headers,
            is_http_1_1: version == 1,
        };
        // RFC 9112 §3.2: exactly one Host in HTTP/1.1.
        let hosts = head.all("host").count();
        if hosts > 1 || (hosts == 0 && head.is_http_1_1) || !head.all("host").all(is_host) {
            return Err(HeadError::Malformed);
        }
        head.body()?;
        Ok(Some((head, len)))
    }

    /// The target without its query.
    pub fn path(&self) -> &'b str {
        self.target.split('?').next().unwrap_or(self.target)
    }

    /// True for HTTP/1.1, false for HTTP/1.0.
    pub fn is_http_1_1(&self) -> bool {
        self.is_http_1_1
    }

    /// Every value of a header; names are compared without case.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The value of a header that stands at most once; `None` if it is absent, repeated or not visible ASCII.
    pub fn find(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// The elements of a header that is a comma-separated list, over all its lines (RFC 9110 §5.6.1).
    pub fn list<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'b str> + use<'h, 'b> {
        self.all(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|element| !element.is_empty())
    }

    /// True if the list holds this token, compared without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token))
    }

    /// True if the connection may carry another request (RFC 9112 §9.3).
    pub fn is_keep_alive(&self) -> bool {
        if self.is_http_1_1 {
            !self.has_token("connection", "close")
        } else {
            self.has_token("connection", "keep-alive")
        }
    }

    /// How the body is delimited. Transfer codings, several lengths and lengths that are not digits are refused
    /// (RFC 9112 §6.3).
    pub fn body(&self) -> Result<Body, HeadError> {
        let has_length = self.all("content-length").next().is_some();
        if self.all("transfer-encoding").next().is_some() {
            return Err(if has_length {
                HeadError::Malformed
            } else {
                HeadError::TransferEncoding
            });
        }
        if !has_length {
            return Ok(Body::None);
        }
        let length = self.find("content-length").ok_or(HeadError::Malformed)?;
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HeadError::Malformed);
        }
        // Digits alone fail only when they are too many.
        length.parse().map(Body::Length).or(Err(HeadError::Malformed))
    }
}

/// A name or address and perhaps a port; percent-encoding has no place in either.
fn is_host(value: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    !value.is_empty() && value.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(Head<'_>, usize)>, HeadError> {
        Head::read(text.as_bytes())
    }

    #[test]
    fn a_request_is_read_with_its_length() {
        let text = "POST /v1/rpc?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: 1\r\nx: 2\r\n\r\nabc";
        let (head, len) = read(text).unwrap().unwrap();
        assert_eq!(
            (head.method, head.target, head.path()),
            ("POST", "/v1/rpc?x=1", "/v1/rpc")
        );
        assert_eq!(&text[len..], "abc");
        assert_eq!(head.body(), Ok(Body::Length(3)));
        assert_eq!(head.find("HOST"), Some("a"));
        assert_eq!(head.find("x"), None, "repeated");
        assert!(head.is_keep_alive());
    }

    #[test]
    fn an_incomplete_head_waits_at_every_byte() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..text.len() {
            assert!(matches!(read(&text[..cut]), Ok(None)), "{cut}");
        }
        assert!(matches!(read(text), Ok(Some(_))));
    }

    #[test]
    fn what_readers_could_understand_differently_is_refused() {
        for (text, error) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::Malformed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                HeadError::Malformed,
            ),
            ("GET / HTTP/1.1\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HeadError::Malformed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
                HeadError::Malformed,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", HeadError::Malformed),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                HeadError::Malformed,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
                HeadError::Malformed,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                HeadError::Malformed,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                HeadError::Malformed,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                HeadError::TransferEncoding,
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
            ("\x16\x03\x01\r\n\r\n", HeadError::Malformed),
        ] {
            match read(text) {
                Err(found) => assert_eq!(found, error, "{text:?}"),
                Ok(head) => panic!("{text:?} gave {head:?}"),
            }
        }
    }

    #[test]
    fn floods_are_refused() {
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS_MAX)
        );
        assert!(matches!(read(&many), Err(HeadError::TooLarge)));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert!(matches!(read(&long), Err(HeadError::TooLarge)));
    }

    #[test]
    fn the_end_is_found_however_the_head_comes() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for from in 0..text.len() - 6 {
            assert_eq!(find_end(text, from), Some(text.len() - 4));
        }
    }
}
