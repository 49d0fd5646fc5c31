//! Two chat services share the partitions, and one takes over when the other dies.

use std::collections::HashMap;

use anyhow::Result;
use hub_e2e::{Connection, Options, Stack, op, wait};
use serde_json::json;

/// How many partitions each live worker holds, by the leases in Redis.
async fn leases(stack: &Stack) -> Result<HashMap<String, usize>> {
    let mut redis = stack.redis_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("hub:lease:{chat.*}")
        .query_async(&mut redis)
        .await?;
    let mut shares = HashMap::new();
    for key in keys {
        let value: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut redis).await?;
        if let Some(owner) = value.as_deref().and_then(|value| value.split(' ').next()) {
            *shares.entry(owner.to_owned()).or_default() += 1;
        }
    }
    Ok(shares)
}

#[tokio::test]
async fn two_workers_share_the_partitions_and_the_survivor_takes_all() -> Result<()> {
    let mut stack = Stack::start(Options {
        chats: 2,
        ..Options::default()
    })
    .await?;
    let shared = wait::until("both workers hold four of eight partitions", async || {
        let shares = leases(&stack).await.ok()?;
        (shares.len() == 2 && shares.values().all(|&share| share == 4)).then_some(shares)
    })
    .await;

    // Rooms of all partitions are served.
    let accounts = stack.accounts::<2>().await?;
    let mut rooms = Vec::new();
    for _ in 0..16 {
        rooms.push(stack.group(&accounts).await?);
    }
    stack.chats[0].kill()?;
    let mut connection = Connection::open(stack.edge(0), &accounts[0]).await?;
    let mut receiver = Connection::open(stack.edge(0), &accounts[1]).await?;
    for &room in &rooms {
        let params = json!({"client_message_id": op(), "text": "hello"});
        connection.ok("message.send", Some(room), params).await?;
    }
    for _ in &rooms {
        receiver.event_named("message.created").await?;
    }
    let shares = wait::until("one worker holds all partitions", async || {
        let shares = leases(&stack).await.ok()?;
        (shares.values().collect::<Vec<_>>() == [&8]).then_some(shares)
    })
    .await;
    assert!(
        shares.keys().all(|owner| shared.contains_key(owner)),
        "{shared:?} {shares:?}"
    );

    // A new one gets its fair share back.
    stack.chats[0].start()?;
    wait::until("the new worker has its share", async || {
        let shares = leases(&stack).await.ok()?;
        (shares.len() == 2 && shares.values().all(|&share| share == 4)).then_some(())
    })
    .await;
    stack.finish().await
}
