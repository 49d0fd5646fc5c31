//! A client that keeps sending whatever is killed, by the client rule of the protocol: one unanswered message at a
//! time, resent under the same name after a lost connection, a long silence or a retryable refusal.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hub_protocol::{Op, RoomId};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::Connection;
use crate::http::Account;
use crate::op;

/// Without an answer for so long a message is resent. Shorter than what clients use, for short tests.
const RESEND: Duration = Duration::from_secs(3);
/// Between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(50);
/// Tries for one message. Bound: with the pauses above more than a minute.
const TRIES_MAX: usize = 600;

/// A message that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Its name.
    pub op: Op,
    /// Its place in the room.
    pub seq: u64,
}

/// Sends into one room over any of several edges.
#[derive(Debug)]
pub struct Sender {
    account: Account,
    edges: Vec<SocketAddr>,
    room: RoomId,
    connection: Option<Connection>,
}

impl Sender {
    /// A sender that is not connected yet.
    pub fn new(account: Account, edges: Vec<SocketAddr>, room: RoomId) -> Self {
        Self {
            account,
            edges,
            room,
            connection: None,
        }
    }

    /// Sends `count` messages one after the other, adding to `acked` with each acknowledgement.
    pub async fn run(mut self, count: usize, acked: &AtomicUsize) -> Result<Vec<Acked>> {
        let mut done = Vec::with_capacity(count);
        for number in 0..count {
            let op = op();
            let seq = self
                .send(op, &format!("message {number} of {}", self.account.username))
                .await?;
            done.push(Acked { op, seq });
            acked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(done)
    }

    async fn send(&mut self, op: Op, text: &str) -> Result<u64> {
        let params = json!({"client_message_id": op, "text": text});
        for number in 0..TRIES_MAX {
            let Some(connection) = &mut self.connection else {
                let edge = self.edges[number % self.edges.len()];
                match timeout(RESEND, Connection::open(edge, &self.account)).await {
                    Ok(Ok(connection)) => self.connection = Some(connection),
                    _ => sleep(RECONNECT).await,
                }
                continue;
            };
            match timeout(
                RESEND,
                connection.call("message.send", Some(self.room), params.clone()),
            )
            .await
            {
                Ok(Ok(answer)) if answer.get("result").is_some() => {
                    let seq = answer["result"]["seq"].as_u64();
                    return seq.with_context(|| format!("an acknowledgement has a seq: {answer}"));
                }
                Ok(Ok(answer)) if answer["error"]["retryable"] == true => {
                    let pause = answer["error"]["retry_after_ms"].as_u64().unwrap_or(200);
                    sleep(Duration::from_millis(pause)).await;
                }
                Ok(Ok(answer)) => bail!("refused for good: {answer}"),
                // The connection is lost: its answer may be lost with it.
                Ok(Err(_)) => self.connection = None,
                // Silence: the same connection, the same name.
                Err(_) => {}
            }
        }
        bail!("{TRIES_MAX} tries for one message")
    }
}

/// Reads the whole log of a room, page by page.
pub async fn history(edge: SocketAddr, account: &Account, room: RoomId) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    loop {
        let after = events
            .last()
            .and_then(|event: &Value| event["seq"].as_u64())
            .unwrap_or(0);
        let params = json!({"after": after, "limit": 200});
        let answer = account.call(edge, "message.history", Some(room), params).await?;
        let range = answer.result()?;
        let page = range["events"].as_array().context("a list of events")?;
        ensure!(
            range["hidden"] == json!([]),
            "a member from the start misses nothing: {range}"
        );
        events.extend(page.iter().cloned());
        if range["more"] != true {
            return Ok(events);
        }
        ensure!(!page.is_empty(), "a page that is not the last one goes on");
    }
}

/// Checks a log against what was acknowledged: gapless from 1, no name twice, each acknowledgement in its place.
pub fn check(log: &[Value], acked: &[Acked]) -> Result<()> {
    let mut names = HashSet::new();
    let mut found = HashSet::new();
    for (at, event) in log.iter().enumerate() {
        ensure!(
            event["seq"] == at + 1,
            "the log has a hole or a repeat at {}: {event}",
            at + 1
        );
        if event["event"] == "message.created" {
            let name: Op = serde_json::from_value(event["data"]["client_message_id"].clone())?;
            ensure!(names.insert(name), "{name:?} is stored twice");
            found.insert((name, event["seq"].as_u64().context("a seq")?));
        }
    }
    for Acked { op, seq } in acked {
        ensure!(
            found.contains(&(*op, *seq)),
            "{op:?} was acknowledged at {seq} and is not there"
        );
    }
    Ok(())
}
