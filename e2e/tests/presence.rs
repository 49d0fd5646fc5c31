//! Presence, profiles and blocks through the whole system: two nodes, real connections.

use anyhow::Result;
use hub_e2e::{Connection, Options, Stack};
use serde_json::{Value, json};
use uuid::Uuid;

fn op() -> Uuid {
    Uuid::now_v7()
}

/// Waits until a connection is told this state of somebody.
async fn told(connection: &mut Connection, user: &Value, state: &str) -> Result<Value> {
    let wanted = |view: &Value| view["user"] == *user && view["state"] == state;
    let is_wanted = |event: &Value| {
        let users = event["data"]["users"].as_array();
        event["event"] == "presence" && users.is_some_and(|users| users.iter().any(wanted))
    };
    let event = connection.event(&format!("presence {state}"), is_wanted).await?;
    let users = event["data"]["users"].as_array().cloned().unwrap_or_default();
    Ok(users.into_iter().find(|view| wanted(view)).unwrap_or_default())
}

#[tokio::test]
async fn a_watcher_on_another_node_sees_who_comes_changes_and_goes() -> Result<()> {
    let stack = Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await?;
    let [ada, bob] = stack.accounts().await?;
    let (ada_id, bob_id) = (json!(ada.user), json!(bob.user));
    let mut watcher = Connection::open(stack.edge(0), &ada).await?;
    let watch = json!({"users": [bob.user]});
    let watched = watcher.ok("presence.watch", None, watch.clone()).await?;
    assert_eq!(watched["users"], json!([{"user": bob_id, "state": "offline"}]));

    let mut other = Connection::open(stack.edge(1), &bob).await?;
    told(&mut watcher, &bob_id, "online").await?;
    other.ok("presence.set", None, json!({"state": "away"})).await?;
    told(&mut watcher, &bob_id, "away").await?;

    // Blocked, each is offline to the other; unblocked, they are back.
    other
        .ok("presence.watch", None, json!({"users": [ada.user]}))
        .await?;
    let block = json!({"op": op(), "user": ada.user});
    other.ok("block.add", None, block).await?;
    told(&mut watcher, &bob_id, "offline").await?;
    told(&mut other, &ada_id, "offline").await?;
    let unblock = json!({"op": op(), "user": ada.user});
    other.ok("block.remove", None, unblock).await?;
    told(&mut watcher, &bob_id, "away").await?;

    other.close().await?;
    let gone = told(&mut watcher, &bob_id, "offline").await?;
    assert!(gone["last_seen"].is_i64(), "{gone}");
    stack.finish().await
}

#[tokio::test]
async fn a_changed_profile_is_found_and_told() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [ada, bob] = stack.accounts().await?;
    let mut first = Connection::open(stack.edge(0), &ada).await?;
    let mut second = Connection::open(stack.edge(0), &bob).await?;
    let contact = json!({"op": op(), "user": ada.user, "alias": "A."});
    second.ok("contact.set", None, contact).await?;
    let update = json!({"op": op(), "display_name": "Ada Lovelace", "about": "Grüße"});
    let updated = first.ok("user.update", None, update.clone()).await?;
    assert_eq!(updated["duplicate"], false);
    for connection in [&mut first, &mut second] {
        let event = connection.event_named("user.updated").await?;
        assert_eq!(event["data"]["user"], updated["user"]);
    }
    let repeated = first.ok("user.update", None, update).await?;
    assert_eq!(
        (&repeated["duplicate"], &repeated["user"]),
        (&json!(true), &updated["user"])
    );
    let found = second.ok("user.search", None, json!({"query": "LOVE"})).await?;
    assert_eq!(found["users"], json!([updated["user"]]));
    // The operator's key was made with the others.
    let list = first.ok("push.list", None, json!({})).await?;
    let key = list["application_server_key"].as_str().unwrap_or_default();
    assert_eq!(key.len(), 87, "65 bytes in base64url: {list}");
    let inside = json!({"op": op(), "endpoint": "https://169.254.169.254/x", "p256dh": "", "auth": ""});
    assert_eq!(
        first.refused("push.subscribe", None, inside).await?,
        "bad_request"
    );
    stack.finish().await
}
