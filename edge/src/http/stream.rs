//! Reads and writes with deadlines. An operation is cancelled and then awaited, never dropped: what it took meanwhile
//! counts.

use std::pin::pin;
use std::time::{Duration, Instant};

use monoio::buf::IoBuf;
use monoio::io::{AsyncWriteRent, CancelableAsyncReadRent, CancelableAsyncWriteRent, Canceller};
use monoio::net::TcpStream;

use super::response::Response;

/// Bytes of one read while a head or body comes in.
const READ_BYTES: usize = 4096;
/// A body up to this long is sent together with its head, bytes.
const TOGETHER_BYTES: usize = 16 * 1024;
/// After the last response this much of what still comes is read and thrown away: closing with unread bytes resets the
/// connection, and the client would not see why (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// And for this long.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// There are more bytes.
    More,
    /// The client has sent everything it had, or the connection is broken.
    End,
    /// The deadline has passed.
    Late,
}

/// One read.
pub(super) async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>, deadline: Instant) -> Read {
    let within = deadline.saturating_duration_since(Instant::now());
    if within.is_zero() {
        return Read::Late;
    }
    let mut is_late = false;
    let canceller = Canceller::new();
    let chunk = Vec::with_capacity(READ_BYTES);
    let mut read = pin!(stream.cancelable_read(chunk, canceller.handle()));
    let (result, chunk) = monoio::select! {
        done = &mut read => done,
        () = monoio::time::sleep(within) => {
            is_late = true;
            canceller.cancel();
            read.await
        }
    };
    buffer.extend_from_slice(&chunk);
    match result {
        Ok(count) if count > 0 => Read::More,
        _ if is_late => Read::Late,
        _ => Read::End,
    }
}

/// Reads until `len` bytes are there.
pub(super) async fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    len: usize,
    within: Duration,
) -> Read {
    let deadline = Instant::now() + within;
    while buffer.len() < len {
        match read_more(stream, buffer, deadline).await {
            Read::More => {}
            ended => return ended,
        }
    }
    Read::More
}

/// Lets a client read the last response, see [`LINGER_BYTES_MAX`].
pub(super) async fn linger(stream: &mut TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let deadline = Instant::now() + LINGER;
    let mut thrown_away = Vec::new();
    let mut left = LINGER_BYTES_MAX;
    while left > 0 && read_more(stream, &mut thrown_away, deadline).await == Read::More {
        left = left.saturating_sub(thrown_away.len());
        thrown_away.clear();
    }
}

/// Sends a response; false if the connection broke, or took nothing for as long as `within`.
pub(super) async fn write(
    stream: &mut TcpStream,
    response: Response,
    is_keep_alive: bool,
    within: Duration,
) -> bool {
    let (mut head, body) = response.into_parts(is_keep_alive);
    if body.len() <= TOGETHER_BYTES {
        head.extend_from_slice(&body);
        return write_all(stream, head, within).await;
    }
    write_all(stream, head, within).await && write_all(stream, body, within).await
}

/// Sends bytes; false as for [`write`].
pub(super) async fn write_all<B: IoBuf>(stream: &mut TcpStream, mut bytes: B, within: Duration) -> bool {
    let mut at = 0;
    while at < bytes.bytes_init() {
        let mut is_late = false;
        let canceller = Canceller::new();
        let mut write = pin!(stream.cancelable_write(bytes.slice(at..), canceller.handle()));
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
                return false;
            }
        }
    }
    true
}
