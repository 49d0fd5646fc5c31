//! The other end of the admin port: what `hub-edge top`, `drain` and `undrain` ask a running node.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

/// A node that does not answer within this time is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens, or the connection broke.
    #[error("{address}: {error}")]
    Io {
        /// The admin port.
        address: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// What came back is no HTTP response.
    #[error("{0}: who answers there does not speak HTTP")]
    NotHttp(SocketAddr),
    /// The node refused.
    #[error("{address}: status {status}: {text}")]
    Refused {
        /// The admin port.
        address: SocketAddr,
        /// The HTTP status.
        status: u16,
        /// The answer's text.
        text: String,
    },
}

/// Sends one request without a body and returns the text of the answer, if its status is a success.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> Result<String, AskError> {
    let response = exchange(address, method, path).map_err(|error| AskError::Io { address, error })?;
    let (status, text) = read_response(&response).ok_or(AskError::NotHttp(address))?;
    if (200..300).contains(&status) {
        Ok(text.to_owned())
    } else {
        Err(AskError::Refused {
            address,
            status,
            text: text.trim_end().to_owned(),
        })
    }
}

/// Takes a shard out of service, its sessions having `within` to move; returns what the node says.
pub fn drain(address: SocketAddr, shard: u16, within: Option<Duration>) -> Result<String, AskError> {
    let window = within.map_or_else(String::new, |within| format!("&within_ms={}", within.as_millis()));
    ask(address, "POST", &format!("/drain?shard={shard}{window}"))
}

/// Takes a shard back into service; returns what the node says.
pub fn undrain(address: SocketAddr, shard: u16) -> Result<String, AskError> {
    ask(address, "POST", &format!("/undrain?shard={shard}"))
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // The admin port closes after each answer.
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(response)
}

fn read_response(response: &[u8]) -> Option<(u16, &str)> {
    let response = std::str::from_utf8(response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_its_status_and_its_body() {
        let response = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n";
        assert_eq!(read_response(response), Some((503, "busy\n")));
        for damaged in [
            &b""[..],
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"\xFF\r\n\r\n",
        ] {
            assert_eq!(read_response(damaged), None);
        }
    }
}
