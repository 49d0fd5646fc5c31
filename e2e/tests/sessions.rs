//! Sessions: opened once, with a good token, in time.

use anyhow::Result;
use hub_e2e::{Connection, Options, Stack, http};
use serde_json::json;

#[tokio::test]
async fn a_connection_without_a_session_is_closed() -> Result<()> {
    let deadline = ("HUB_EDGE__LIMITS__SESSION_OPEN_MS".to_owned(), "2000".to_owned());
    let stack = Stack::start(Options {
        edge_env: vec![deadline],
        ..Options::default()
    })
    .await?;
    let [account] = stack.accounts().await?;
    let mut silent = Connection::connect(stack.edge(0)).await?;
    let mut open = Connection::open(stack.edge(0), &account).await?;
    assert_eq!(silent.closed().await?, 4504);
    open.ok("user.me", None, json!({})).await?;
    stack.finish().await
}

#[tokio::test]
async fn nothing_is_answered_before_the_session_is_open() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let mut connection = Connection::connect(stack.edge(0)).await?;
    assert_eq!(
        connection.refused("user.me", None, json!({})).await?,
        "unauthenticated"
    );
    let opened = connection
        .ok("session.open", None, json!({"token": account.access_token}))
        .await?;
    assert_eq!(opened["user"], json!(account.user));
    assert_eq!(opened["heartbeat_ms"], 25_000);
    assert_eq!(opened["limits"]["message_bytes"], 65_536);
    connection.ok("user.me", None, json!({})).await?;
    let again = connection
        .refused("session.open", None, json!({"token": account.access_token}))
        .await?;
    assert_eq!(again, "conflict");
    let renewed = connection
        .ok("session.refresh", None, json!({"token": account.access_token}))
        .await?;
    assert_eq!(renewed["session"], opened["session"]);
    stack.finish().await
}

#[tokio::test]
async fn a_bad_token_is_refused_and_ends_the_connection() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account, other] = stack.accounts().await?;
    let (head, signature) = account
        .access_token
        .rsplit_once('.')
        .expect("a token has three parts");
    let (_, foreign) = other
        .access_token
        .rsplit_once('.')
        .expect("a token has three parts");
    for token in [
        String::new(),
        "x".to_owned(),
        format!("{head}.{foreign}"),
        format!("{head}."),
        format!(".{signature}"),
    ] {
        let mut connection = Connection::connect(stack.edge(0)).await?;
        let code = connection
            .refused("session.open", None, json!({"token": token}))
            .await?;
        assert_eq!(code, "unauthenticated");
        assert_eq!(connection.closed().await?, 4500);
        let request = json!({"id": 1, "method": "user.me", "params": {}});
        let answer = http::rpc(stack.edge(0), Some(&token), request).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "unauthenticated"),
            "{answer:?}"
        );
    }
    let answer = http::rpc(
        stack.edge(0),
        None,
        json!({"id": 1, "method": "user.me", "params": {}}),
    )
    .await?;
    assert_eq!(
        (answer.status, answer.code()),
        (401, "unauthenticated"),
        "{answer:?}"
    );
    stack.finish().await
}

#[tokio::test]
async fn a_session_cannot_become_that_of_another_user() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account, other] = stack.accounts().await?;
    let mut connection = Connection::open(stack.edge(0), &account).await?;
    let answer = connection
        .call("session.refresh", None, json!({"token": other.access_token}))
        .await?;
    assert_eq!(answer["error"]["retryable"], false, "{answer}");
    stack.finish().await
}

#[tokio::test]
async fn an_edge_that_is_told_to_end_sends_its_clients_away_and_exits_in_order() -> Result<()> {
    let mut stack = Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await?;
    let [account] = stack.accounts().await?;
    let mut connection = Connection::open(stack.edge(1), &account).await?;
    let edge = &mut stack.edges[1];
    edge.signal("TERM")?;
    connection.event_named("system.migrate").await?;
    assert_eq!(connection.closed().await?, 4000);
    let code = edge.terminate().await;
    // The second signal may come too late: what counts is the exit.
    assert!(code.is_err() || code.is_ok_and(|code| code == Some(0)));
    stack.finish().await
}
