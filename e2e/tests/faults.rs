//! Kills: whatever dies while messages are sent, what was acknowledged is there once, in its place.
//!
//! Method: three senders in one room, each resending by the client rule. When a part of the messages is
//! acknowledged the victim gets SIGKILL and is started again, and all senders have to come to their end. The log is
//! then compared with every acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use hub_e2e::{Account, Connection, Options, Sender, Stack, sender, wait};
use hub_protocol::RoomId;
use serde_json::json;

const SENDERS: usize = 3;
const MESSAGES: usize = 60;

/// Runs senders, calls `fault` when a third of the messages is acknowledged, and checks the log.
async fn survives(
    stack: &mut Stack,
    fault: impl AsyncFnOnce(&mut Stack) -> Result<()>,
) -> Result<(RoomId, [Account; SENDERS])> {
    let accounts = stack.accounts::<SENDERS>().await?;
    let room = stack.group(&accounts).await?;
    let edges: Vec<_> = (0..stack.edges.len()).map(|number| stack.edge(number)).collect();
    let acked = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = accounts
        .iter()
        .map(|account| {
            let (sender, acked) = (
                Sender::new(account.clone(), edges.clone(), room),
                Arc::clone(&acked),
            );
            tokio::spawn(async move { sender.run(MESSAGES, &acked).await })
        })
        .collect();
    wait::until("a third of the messages is acknowledged", async || {
        (acked.load(Ordering::Relaxed) >= SENDERS * MESSAGES / 3).then_some(())
    })
    .await;
    fault(stack).await?;
    let mut all = Vec::new();
    for sender in senders {
        all.extend(sender.await??);
    }
    assert_eq!(all.len(), SENDERS * MESSAGES);
    let log = sender::history(stack.edge(0), &accounts[0], room).await?;
    sender::check(&log, &all)?;
    // One creation, and each message once: nothing is stored that nobody sent.
    assert_eq!(log.len(), 1 + SENDERS * MESSAGES);
    Ok((room, accounts))
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_chat_service_is_killed() -> Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    survives(&mut stack, async |stack| {
        stack.chats[0].kill()?;
        stack.chats[0].start()
    })
    .await?;
    stack.finish().await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_an_edge_is_killed() -> Result<()> {
    let mut stack = Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await?;
    survives(&mut stack, async |stack| {
        stack.edges[0].kill()?;
        stack.edges[0].start()?;
        stack.edges[0].ready().await
    })
    .await?;
    stack.finish().await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_redis_is_killed() -> Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    survives(&mut stack, async |stack| stack.restart_redis().await).await?;
    stack.ready().await?;
    stack.finish().await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed() -> Result<()> {
    let mut stack = Stack::start(Options {
        own_postgres: true,
        ..Options::default()
    })
    .await?;
    survives(&mut stack, async |stack| {
        stack.database.kill()?;
        stack.database.start().await
    })
    .await?;
    stack.finish().await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_flushall_and_all_are_told_to_sync() -> Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    let [watcher] = stack.accounts().await?;
    let mut watching = Connection::open(stack.edge(0), &watcher).await?;
    let (room, accounts) = survives(&mut stack, async |stack| {
        let mut redis = stack.redis_connection().await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
    })
    .await?;
    let notice = watching.event_named("system.sync").await?;
    assert!(notice["data"]["spread_ms"].is_u64(), "{notice}");

    // Everybody is in the directory again: an event arrives without a reconnect.
    let mut sender = Connection::open(stack.edge(0), &accounts[0]).await?;
    let add = json!({"op": hub_e2e::op(), "user": watcher.user});
    sender.ok("member.add", Some(room), add).await?;
    watching.event_named("member.added").await?;
    stack.finish().await
}

#[tokio::test]
async fn calls_are_refused_as_unavailable_while_redis_is_down() -> Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let mut connection = Connection::open(stack.edge(0), &account).await?;
    stack.redis.kill()?;
    // A call before the edge has noticed stays unanswered: its outcome is unknown.
    wait::until("the edge has noticed", async || {
        let up = stack.edge_metric(0, "hub_edge_backbone_up").await.ok()?;
        (up < 0.5).then_some(())
    })
    .await;
    wait::until("a call is refused", async || {
        let answer = connection.call("user.me", None, json!({})).await.ok()?;
        (answer["error"]["code"] == "unavailable").then_some(())
    })
    .await;
    // The connection has outlived it, and so does the session.
    stack.redis.start()?;
    wait::until("calls are answered again", async || {
        connection
            .call("user.me", None, json!({}))
            .await
            .ok()?
            .get("result")
            .map(|_| ())
    })
    .await;
    stack.finish().await
}
