//! Requests and responses on a stream.

use std::time::{Duration, Instant};

use super::response::Response;
use crate::stream::{Read, Stream};

/// A body up to this long is sent together with its head, bytes.
const TOGETHER_BYTES: usize = 16 * 1024;
/// After the last response this much of what still comes is read and thrown away: closing with unread bytes resets the
/// connection, and the client would not see why (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// And for this long.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Reads until `len` bytes are there.
pub(super) async fn read_until(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    len: usize,
    within: Duration,
) -> Read {
    let deadline = Instant::now() + within;
    while buffer.len() < len {
        match stream.read(buffer, deadline).await {
            Read::More => {}
            ended => return ended,
        }
    }
    Read::More
}

/// Lets a client read the last response, see [`LINGER_BYTES_MAX`].
pub(super) async fn linger(stream: &mut Stream) {
    if !stream.shutdown(LINGER).await {
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

/// Sends a response; false if the connection broke, or took nothing for as long as `within`.
pub(super) async fn write(
    stream: &mut Stream,
    response: Response,
    is_keep_alive: bool,
    within: Duration,
) -> bool {
    let (mut head, body) = response.into_parts(is_keep_alive);
    if body.len() <= TOGETHER_BYTES {
        head.extend_from_slice(&body);
        return stream.write_all(head, within).await;
    }
    stream.write_all(head, within).await && stream.write_all(body, within).await
}
