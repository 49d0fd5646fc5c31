//! Messages and rooms: from one client through PostgreSQL to the others.

use anyhow::{Context, Result};
use hub_e2e::{Connection, Options, Stack, op, sender, wait};
use hub_protocol::api::room::direct_room;
use serde_json::json;

/// Sends, and checks what the sender, another member and the history see of it.
async fn seen_by_all(
    stack: &Stack,
    room: hub_protocol::RoomId,
    sender: &mut Connection,
    receiver: &mut Connection,
    account: &hub_e2e::Account,
) -> Result<()> {
    let op = op();
    let text = "Grüße 👋, \"so\" \\ to \u{2028} you";
    let sent = sender
        .ok(
            "message.send",
            Some(room),
            json!({"client_message_id": op, "text": text}),
        )
        .await?;
    assert_eq!(sent["duplicate"], false);
    assert_eq!(sent["message"]["text"], text);
    let mine = sender.event_named("message.created").await?;
    let theirs = receiver.event_named("message.created").await?;
    assert_eq!(mine, theirs, "all members see the same event");
    assert_eq!(theirs["seq"], sent["seq"]);
    assert_eq!(theirs["data"], sent["message"]);
    let log = sender::history(stack.edge(0), account, room).await?;
    assert_eq!(
        log.last(),
        Some(&theirs),
        "the history has the shape of what is delivered"
    );
    Ok(())
}

#[tokio::test]
async fn a_message_reaches_a_member_on_another_shard() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let accounts = stack.accounts::<2>().await?;
    let room = stack.group(&accounts).await?;
    let [mut first, mut second] = stack.on_two_shards(&accounts[0], &accounts[1]).await?;
    seen_by_all(&stack, room, &mut first, &mut second, &accounts[0]).await?;
    seen_by_all(&stack, room, &mut second, &mut first, &accounts[1]).await?;
    first.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn a_message_reaches_a_member_on_another_node() -> Result<()> {
    let stack = Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await?;
    let accounts = stack.accounts::<2>().await?;
    let room = stack.group(&accounts).await?;
    let mut first = Connection::open(stack.edge(0), &accounts[0]).await?;
    let mut second = Connection::open(stack.edge(1), &accounts[1]).await?;
    seen_by_all(&stack, room, &mut first, &mut second, &accounts[0]).await?;
    seen_by_all(&stack, room, &mut second, &mut first, &accounts[1]).await?;
    stack.finish().await
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_is_delivered_again() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let accounts = stack.accounts::<2>().await?;
    let room = Some(stack.group(&accounts).await?);
    let mut first = Connection::open(stack.edge(0), &accounts[0]).await?;
    let mut second = Connection::open(stack.edge(0), &accounts[1]).await?;
    let params = json!({"client_message_id": op(), "text": "once"});

    let sent = first.ok("message.send", room, params.clone()).await?;
    let again = first.ok("message.send", room, params.clone()).await?;
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["message"], sent["message"]);
    let event = second.event_named("message.created").await?;
    assert_eq!(
        second.event_named("message.created").await?,
        event,
        "the event comes again"
    );

    let mut other = params;
    other["text"] = json!("something else");
    assert_eq!(first.refused("message.send", room, other).await?, "conflict");
    stack.finish().await
}

#[tokio::test]
async fn who_was_away_learns_everything_by_a_sync() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let accounts = stack.accounts::<2>().await?;
    let room = stack.group(&accounts).await?;
    let mut away = Connection::open(stack.edge(0), &accounts[1]).await?;
    let before = away.ok("sync", None, json!({})).await?;
    assert_eq!(before["rooms"][0]["seq"], 1, "{before}");
    away.close().await?;

    let mut first = Connection::open(stack.edge(0), &accounts[0]).await?;
    for number in 0..3 {
        let text = format!("message {number} for @{}", accounts[1].username);
        let mention = json!({"type": "mention", "offset": 14, "length": accounts[1].username.len() + 1, "user": accounts[1].user});
        first
            .ok(
                "message.send",
                Some(room),
                json!({"client_message_id": op(), "text": text, "entities": [mention]}),
            )
            .await?;
    }

    let mut back = Connection::open(stack.edge(0), &accounts[1]).await?;
    let now = back.ok("sync", None, json!({"cursor": before["cursor"]})).await?;
    let state = &now["rooms"][0];
    assert_eq!(now["reset"], false);
    assert_eq!((&state["seq"], &state["n"]), (&json!(4), &json!(3)), "{now}");
    assert_eq!(
        (&state["unread"], &state["mentions"]),
        (&json!(3), &json!(3)),
        "{now}"
    );
    let range = back
        .ok("message.history", Some(room), json!({"after": 1}))
        .await?;
    assert_eq!(range["events"].as_array().map(Vec::len), Some(3));

    // The mark goes to the head at most, and empties the count.
    assert_eq!(
        back.ok("receipt.read", Some(room), json!({"seq": 99})).await?["seq"],
        4
    );
    assert_eq!(
        back.ok("receipt.read", Some(room), json!({"seq": 2})).await?["seq"],
        4,
        "marks never go back"
    );
    let read = back.ok("sync", None, json!({"cursor": now["cursor"]})).await?;
    assert_eq!(read["rooms"][0]["unread"], 0, "{read}");
    stack.finish().await
}

#[tokio::test]
async fn a_removal_is_the_last_that_the_removed_sees() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let accounts = stack.accounts::<3>().await?;
    let room = Some(stack.group(&accounts[..2]).await?);
    let mut owner = Connection::open(stack.edge(0), &accounts[0]).await?;
    let mut removed = Connection::open(stack.edge(0), &accounts[1]).await?;
    let mut added = Connection::open(stack.edge(0), &accounts[2]).await?;

    let before = removed.ok("sync", None, json!({})).await?;
    owner
        .ok("member.add", room, json!({"op": op(), "user": accounts[2].user}))
        .await?;
    added.event_named("member.added").await?;
    removed.event_named("member.added").await?;
    owner
        .ok(
            "message.send",
            room,
            json!({"client_message_id": op(), "text": "for three"}),
        )
        .await?;
    removed.event_named("message.created").await?;

    let out = owner
        .ok(
            "member.remove",
            room,
            json!({"op": op(), "user": accounts[1].user}),
        )
        .await?;
    let last = removed.event_named("member.removed").await?;
    assert_eq!(last["seq"], out["seq"]);
    owner
        .ok(
            "message.send",
            room,
            json!({"client_message_id": op(), "text": "for two"}),
        )
        .await?;
    added
        .event("the second message", |event| event["data"]["text"] == "for two")
        .await?;

    let params = json!({"client_message_id": op(), "text": "still here?"});
    assert_eq!(removed.refused("message.send", room, params).await?, "not_found");
    assert_eq!(
        removed.unread_events().count(),
        0,
        "nothing comes after the removal"
    );
    let now = removed
        .ok("sync", None, json!({"cursor": before["cursor"]}))
        .await?;
    assert_eq!(now["left"][0], json!({"room": room, "seq": out["seq"]}), "{now}");

    // Who came later sees nothing of what was before, and is told so.
    let range = added.ok("message.history", room, json!({"after": 0})).await?;
    assert_eq!(range["hidden"], json!([[1, 1]]), "{range}");
    assert_eq!(range["events"][0]["event"], "member.added");
    stack.finish().await
}

#[tokio::test]
async fn two_users_who_write_to_each_other_at_once_get_one_room() -> Result<()> {
    let stack = Stack::start(Options {
        chats: 2,
        ..Options::default()
    })
    .await?;
    for _ in 0..4 {
        let accounts = stack.accounts::<2>().await?;
        let room = direct_room(accounts[0].user, accounts[1].user);
        let create = |me: usize, other: usize| {
            let params = json!({"op": op(), "id": room, "kind": "direct", "members": [accounts[other].user]});
            let (account, edge) = (accounts[me].clone(), stack.edge(0));
            tokio::spawn(async move { account.call(edge, "room.create", Some(room), params).await })
        };
        let (one, other) = (create(0, 1), create(1, 0));
        let (one, other) = (one.await??, other.await??);
        assert_eq!(one.result()?["room"], other.result()?["room"]);
        let duplicates = [&one, &other].map(|answer| answer.body["result"]["duplicate"] == true);
        assert_ne!(
            duplicates[0], duplicates[1],
            "one of them made it: {one:?} {other:?}"
        );
        assert_eq!(sender::history(stack.edge(0), &accounts[0], room).await?.len(), 1);
    }
    stack.finish().await
}

#[tokio::test]
async fn typing_and_marks_pass_by_and_are_not_stored() -> Result<()> {
    let stack = Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await?;
    let accounts = stack.accounts::<2>().await?;
    let room = stack.group(&accounts).await?;
    let mut first = Connection::open(stack.edge(0), &accounts[0]).await?;
    let mut second = Connection::open(stack.edge(1), &accounts[1]).await?;
    // Ephemerals may be lost, so that the sender repeats it as a client does while somebody types.
    let typing = wait::until("a typing event arrives", async || {
        first
            .ok("typing.set", Some(room), json!({"typing": true}))
            .await
            .ok()?;
        let event = second.event_named("typing");
        tokio::time::timeout(std::time::Duration::from_secs(2), event)
            .await
            .ok()?
            .ok()
    })
    .await;
    assert_eq!(typing["data"], json!({"user": accounts[0].user, "typing": true}));
    assert_eq!(typing.get("seq"), None);
    let log = sender::history(stack.edge(0), &accounts[0], room).await?;
    assert_eq!(log.len(), 1, "only the room's creation is stored");
    log.first().context("the creation")?;
    stack.finish().await
}
