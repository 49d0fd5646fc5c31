//! Bad input: each kind has its error code, and none of them costs more than itself.

use anyhow::Result;
use hub_e2e::{Connection, Options, Stack, http, op, room_id};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn each_bad_request_gets_its_code_and_the_session_goes_on() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let accounts = stack.accounts::<3>().await?;
    let room = stack.group(&accounts[..2]).await?;
    let foreign = stack.group(&accounts[2..]).await?;
    let mut connection = Connection::open(stack.edge(0), &accounts[0]).await?;
    let stored = op();
    let first = json!({"client_message_id": stored, "text": "stored"});
    connection.ok("message.send", Some(room), first).await?;

    let send = |text: Value| json!({"client_message_id": op(), "text": text});
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let cases: Vec<(&str, &str, Option<hub_protocol::RoomId>, Value, &str)> = vec![
        (
            "a room of others",
            "message.send",
            Some(foreign),
            send(json!("hi")),
            "not_found",
        ),
        (
            "a room that is none",
            "message.send",
            Some(room_id()),
            send(json!("hi")),
            "not_found",
        ),
        (
            "the history of others",
            "message.history",
            Some(foreign),
            json!({}),
            "not_found",
        ),
        ("no room", "message.send", None, send(json!("hi")), "bad_request"),
        (
            "a text that is a number",
            "message.send",
            Some(room),
            send(json!(7)),
            "bad_request",
        ),
        (
            "an empty text",
            "message.send",
            Some(room),
            send(json!("")),
            "bad_request",
        ),
        (
            "a NUL in a text",
            "message.send",
            Some(room),
            send(json!("a\u{0}b")),
            "bad_request",
        ),
        (
            "a text that is too long",
            "message.send",
            Some(room),
            send(json!("x".repeat(16 * 1024 + 1))),
            "too_large",
        ),
        (
            "a member that does not exist",
            "message.send",
            Some(room),
            json!({"client_message_id": op(), "text": "x", "txt": "x"}),
            "bad_request",
        ),
        (
            "an op that is none",
            "message.send",
            Some(room),
            json!({"client_message_id": "7", "text": "x"}),
            "bad_request",
        ),
        (
            "an op with another text",
            "message.send",
            Some(room),
            json!({"client_message_id": stored, "text": "other"}),
            "conflict",
        ),
        (
            "deep nesting",
            "message.send",
            Some(room),
            send(serde_json::from_str(&deep)?),
            "bad_request",
        ),
        (
            "an unknown method",
            "message.sned",
            Some(room),
            send(json!("hi")),
            "bad_request",
        ),
        (
            "both ends of a range",
            "message.history",
            Some(room),
            json!({"after": 1, "before": 3}),
            "bad_request",
        ),
        (
            "a negative range",
            "message.history",
            Some(room),
            json!({"after": -1}),
            "bad_request",
        ),
        (
            "too many users",
            "user.get",
            None,
            json!({"users": vec![accounts[0].user; 201]}),
            "too_large",
        ),
        (
            "a kind that does not exist",
            "room.create",
            Some(foreign),
            json!({"op": op(), "id": foreign, "kind": "party"}),
            "bad_request",
        ),
        (
            "a direct room under another id",
            "room.create",
            Some(room),
            json!({"op": op(), "id": room, "kind": "direct", "members": [accounts[1].user]}),
            "bad_request",
        ),
    ];
    for (what, method, room, params, wanted) in cases {
        let answer = connection.call(method, room, params).await?;
        assert_eq!(answer["error"]["code"], wanted, "{what}: {answer}");
        assert_eq!(answer["error"]["retryable"], false, "{what}: {answer}");
    }
    // Who is no member is removed already: no fault, and no event.
    let stranger = json!({"op": op(), "user": accounts[2].user});
    let removed = connection.ok("member.remove", Some(room), stranger).await?;
    assert_eq!(removed, json!({"seq": 0, "duplicate": true}));
    let member = Connection::open(stack.edge(0), &accounts[1])
        .await?
        .refused(
            "member.remove",
            Some(room),
            json!({"op": op(), "user": accounts[0].user}),
        )
        .await?;
    assert_eq!(member, "forbidden", "a plain member manages nobody");

    // None of it was stored, and none of it ended the session.
    let range = connection.ok("message.history", Some(room), json!({})).await?;
    assert_eq!(range["events"].as_array().map(Vec::len), Some(2), "{range}");
    stack.finish().await
}

#[tokio::test]
async fn texts_that_are_no_request_are_answered_without_an_id() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let mut connection = Connection::open(stack.edge(0), &account).await?;
    for text in [
        "",
        "{",
        "7",
        "[]",
        "null",
        "\"text\"",
        "{\"id\":}",
        "{\"id\":1,\"method\":\"user.me\"",
        "{\"id\":1,\"method\":\"user.me\",\"params\":{}} trailing",
    ] {
        connection.send_text(text).await?;
        let answer = connection.next_answer().await?;
        assert_eq!(answer["error"]["code"], "bad_request", "{text:?}: {answer}");
    }
    for text in [
        r#"{"id":-1,"method":"user.me","params":{}}"#,
        r#"{"id":"1","method":"user.me","params":{}}"#,
        r#"{"method":"user.me","params":{}}"#,
        r#"{"id":1,"params":{}}"#,
        r#"{"id":1,"method":7,"params":{}}"#,
    ] {
        connection.send_text(text).await?;
        let answer = connection.next_answer().await?;
        assert_eq!(answer["error"]["code"], "bad_request", "{text}: {answer}");
    }
    connection.ok("user.me", None, json!({})).await?;

    for body in ["", "{", "[]", r#"{"id":1}"#] {
        let answer = http::post(stack.edge(0), Some(&account.access_token), body).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "bad_request"),
            "{body:?}: {answer:?}"
        );
    }
    stack.finish().await
}

#[tokio::test]
async fn what_is_too_large_or_no_text_ends_the_connection_with_its_code() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;

    let mut large = Connection::open(stack.edge(0), &account).await?;
    large.send_text(" ".repeat(64 * 1024 + 1)).await?;
    assert_eq!(large.closed().await?, 1009);

    let mut binary = Connection::open(stack.edge(0), &account).await?;
    binary.send(Message::binary(b"{}".to_vec())).await?;
    assert_eq!(binary.closed().await?, 1003);

    let answer = http::post(
        stack.edge(0),
        Some(&account.access_token),
        &" ".repeat(64 * 1024 + 1),
    )
    .await?;
    assert_eq!(answer.status, 413, "{answer:?}");
    stack.finish().await
}
