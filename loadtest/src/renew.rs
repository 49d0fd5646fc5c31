//! Renews access tokens by `auth.refresh` over HTTP, one after the other on a thread of its own, and remembers what
//! it got: a refresh token is good for one renewal only.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hub_protocol::api::auth::{Refresh, Tokens};
use hub_protocol::api::{Failure, Request, Success};
use hub_protocol::{ErrorCode, Method};

use crate::engine::{Command, Desks};
use crate::target::Target;

/// Longest wait for one step of a call.
const PATIENCE: Duration = Duration::from_secs(12);
/// Tries of one renewal; what still fails then is worth another connection first.
const TRIES_MAX: u32 = 20;
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Tokens by user index.
pub type Renewed = Arc<Mutex<HashMap<u32, (String, String)>>>;

/// Takes orders for renewals.
#[derive(Clone, Debug)]
pub struct Renewer(Sender<u32>);

impl Renewer {
    /// Starts the thread; it ends with the last clone of the renewer. `refresh_tokens` is by user index.
    pub fn start(target: Target, refresh_tokens: Vec<String>, desks: Desks) -> (Self, Renewed) {
        let (orders, inbox) = mpsc::channel();
        let renewed = Renewed::default();
        let results = Arc::clone(&renewed);
        std::thread::spawn(move || serve(&target, refresh_tokens, &desks, &inbox, &results));
        (Self(orders), renewed)
    }

    /// Orders a new token for a user; the thread of his client is told.
    pub fn renew(&self, user: u32) {
        // The thread outlives every renewer.
        let _ = self.0.send(user);
    }
}

fn serve(
    target: &Target,
    mut refresh: Vec<String>,
    desks: &Desks,
    orders: &Receiver<u32>,
    renewed: &Renewed,
) {
    while let Ok(user) = orders.recv() {
        let Some(current) = refresh.get_mut(crate::units::at(user)) else {
            continue;
        };
        let token = persist(target, current);
        if let Some(tokens) = &token {
            current.clone_from(&tokens.refresh_token);
            let pair = (tokens.access_token.clone(), tokens.refresh_token.clone());
            renewed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(user, pair);
        }
        let (thread, client) = desks.seat(user);
        let token = token.map(|tokens| tokens.access_token.into());
        desks
            .desk(thread)
            .give(&mut vec![Command::Token { client, token }]);
    }
}

/// Tries until the hub says yes or no for good.
fn persist(target: &Target, refresh_token: &str) -> Option<Tokens> {
    for _ in 0..TRIES_MAX {
        match call(target, refresh_token) {
            Ok(Ok(tokens)) => return Some(tokens),
            Ok(Err(code)) if !code.is_retryable() => return None,
            Ok(Err(_)) | Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
    None
}

/// One `auth.refresh`: new tokens, or the hub's refusal.
pub fn call(target: &Target, refresh_token: &str) -> Result<Result<Tokens, ErrorCode>> {
    let request = Request {
        id: 1,
        method: Method::AuthRefresh.name().to_owned(),
        room: None,
        params: Refresh {
            refresh_token: refresh_token.to_owned(),
        },
    };
    let (status, body) = post(target, &serde_json::to_vec(&request)?)?;
    if status == 200 {
        let answer: Success<Tokens> =
            serde_json::from_slice(&body).context("not the result of auth.refresh")?;
        return Ok(Ok(answer.result));
    }
    let answer: Failure = serde_json::from_slice(&body).with_context(|| format!("status {status}"))?;
    Ok(Err(answer.error.code))
}

/// One POST on a connection of its own: status and body.
fn post(target: &Target, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&target.address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        target.path,
        target.host,
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read_answer(&answer)
}

fn read_answer(answer: &[u8]) -> Result<(u16, Vec<u8>)> {
    let end = hub_ws::handshake::find_end(answer, 0).context("no HTTP answer")?;
    let head = std::str::from_utf8(&answer[..end]).context("no HTTP answer")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no HTTP status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let body = &answer[end..];
    match length {
        Some(length) if body.len() < length => bail!("the answer is cut short"),
        Some(length) => Ok((status, body[..length].to_vec())),
        None => Ok((status, body.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_their_length() {
        let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}x";
        assert_eq!(read_answer(answer).unwrap(), (401, b"{}".to_vec()));
        assert!(read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").is_err());
        assert!(read_answer(b"").is_err());
    }
}
