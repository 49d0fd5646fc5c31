//! Messages on a real database: what they carry, what happens to them, who sees it, and how far members are.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use bytes::Bytes;
use edge::{Device, Edge, Running, chat, group, op, text, users};
use futures_util::StreamExt as _;
use hub_protocol::batch::{DownlinkBatch, EnvelopeHeader};
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::service::{Call, Handler};
use hub_services::user::Profiles;
use serde_json::{Value, json};
use support::{Database, Redis};
use uuid::Uuid;

struct World {
    db: Database,
    redis: Redis,
    worker: Running,
    edge: Edge,
    devices: Vec<Device>,
    room: RoomId,
}

impl World {
    /// A group of the first device and all others but the last one.
    async fn start(count: u32) -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let worker = chat(&db, &redis);
        let mut edge = Edge::start(&redis, db.meta.partitions).await;
        let mut devices = Vec::new();
        for id in users(&db, count).await {
            devices.push(edge.open(id).await);
        }
        let others: Vec<UserId> = devices[1..devices.len() - 1]
            .iter()
            .map(|device| device.user)
            .collect();
        let room = group(&mut edge, devices[0], &others).await;
        Self {
            db,
            redis,
            worker,
            edge,
            devices,
            room,
        }
    }

    async fn call(&mut self, who: usize, method: Method, params: Value) -> Result<Value, String> {
        self.edge.call(self.devices[who], method, self.room, params).await
    }

    async fn ok(&mut self, who: usize, method: Method, params: Value) -> Value {
        self.call(who, method, params).await.unwrap()
    }

    async fn say(&mut self, who: usize, words: &str) -> u64 {
        let sent = self.ok(who, Method::MessageSend, text(op(), words)).await;
        sent["seq"].as_u64().unwrap()
    }

    async fn events(&mut self, who: usize, params: Value) -> Vec<Value> {
        let page = self.ok(who, Method::MessageHistory, params).await;
        page["events"].as_array().unwrap().clone()
    }

    /// The message at a seq as history shows it.
    async fn shown(&mut self, who: usize, seq: u64) -> Value {
        let events = self.events(who, json!({"after": seq - 1, "limit": 1})).await;
        events[0]["data"].clone()
    }

    async fn count(&self, sql: &str) -> i64 {
        self.db.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn user_call(&self, who: usize, method: Method, params: Value) -> Result<Value, String> {
        let header = EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user: self.devices[who].user,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        };
        let body = Bytes::from(json!({"id": 1, "params": params}).to_string());
        let outcome = Profiles::new(self.db.store.clone(), &self.db.meta)
            .read(&Call { header, body })
            .await
            .unwrap();
        match outcome.reply.unwrap() {
            Ok(result) => Ok(serde_json::from_slice(&result).unwrap()),
            Err(error) => Err(error.code.name().to_owned()),
        }
    }
}

fn refused(code: &str) -> Result<Value, String> {
    Err(code.to_owned())
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_an_event_and_the_message_says_its_new_text() {
    let mut world = World::start(4).await;
    let sent = text(op(), "first");
    let seq = world.ok(1, Method::MessageSend, sent.clone()).await["seq"]
        .as_u64()
        .unwrap();
    let bold = json!([{"type": "bold", "offset": 0, "length": 2}]);
    let edit = json!({"op": op(), "seq": seq, "text": "second", "entities": bold});
    let edited = world.ok(1, Method::MessageEdit, edit.clone()).await;
    assert_eq!(edited, json!({"seq": seq + 1, "duplicate": false}));
    assert_eq!(
        world.ok(1, Method::MessageEdit, edit.clone()).await,
        json!({"seq": seq + 1, "duplicate": true})
    );
    let mut other = edit;
    other["text"] = json!("third");
    assert_eq!(
        world.call(1, Method::MessageEdit, other).await,
        refused("conflict")
    );
    for who in [0, 2] {
        let edit = json!({"op": op(), "seq": seq, "text": "x"});
        assert_eq!(
            world.call(who, Method::MessageEdit, edit).await,
            refused("forbidden")
        );
    }
    let stranger = json!({"op": op(), "seq": seq, "text": "x"});
    assert_eq!(
        world.call(3, Method::MessageEdit, stranger).await,
        refused("not_found")
    );

    let events = world.events(0, json!({"after": seq - 1})).await;
    assert_eq!(seqs(&events), [seq, seq + 1]);
    assert_eq!(
        (&events[0]["data"]["text"], &events[0]["data"]["entities"]),
        (&json!("second"), &bold)
    );
    assert!(events[0]["data"]["edited_at"].is_i64());
    assert_eq!(
        (&events[1]["event"], &events[1]["data"]["text"]),
        (&json!("message.edited"), &json!("second"))
    );
    let again = world.ok(1, Method::MessageSend, sent).await;
    assert_eq!(
        (&again["duplicate"], &again["message"]["text"]),
        (&json!(true), &json!("second"))
    );
    // Former texts are for the author and those who keep order.
    for who in [0, 1] {
        let edits = world.ok(who, Method::MessageEdits, json!({"seq": seq})).await;
        assert_eq!(edits["edits"][0]["text"], "first");
    }
    assert_eq!(
        world.call(2, Method::MessageEdits, json!({"seq": seq})).await,
        refused("forbidden")
    );
    let device = world.devices[2];
    let room = world.room;
    world
        .edge
        .until("the edit at another member", |edge| {
            edge.seqs(device, room).contains(&(seq + 1))
        })
        .await;

    // Who comes later sees neither the message nor what an edit says of it.
    let late = world.devices[3].user;
    world
        .ok(0, Method::MemberAdd, json!({"op": op(), "user": late}))
        .await;
    world
        .ok(
            1,
            Method::MessageEdit,
            json!({"op": op(), "seq": seq, "text": "for old friends"}),
        )
        .await;
    let page = world.ok(3, Method::MessageHistory, json!({"after": 0})).await;
    assert_eq!(seqs(page["events"].as_array().unwrap()), [seq + 2]);
    assert_eq!(page["hidden"], json!([[1, seq + 1], [seq + 3, seq + 3]]));
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_for_all_leaves_a_place_and_nothing_else() {
    let mut world = World::start(4).await;
    let sent = text(op(), "secret");
    let seq = world.ok(1, Method::MessageSend, sent.clone()).await["seq"]
        .as_u64()
        .unwrap();
    world
        .ok(
            1,
            Method::MessageEdit,
            json!({"op": op(), "seq": seq, "text": "secret still"}),
        )
        .await;
    world
        .ok(
            2,
            Method::MessageReact,
            json!({"op": op(), "seq": seq, "emoji": "👍"}),
        )
        .await;
    world
        .ok(
            0,
            Method::MessagePin,
            json!({"op": op(), "seq": seq, "pinned": true}),
        )
        .await;
    let delete = |seq: u64| json!({"op": op(), "seq": seq, "for": "all"});
    assert_eq!(
        world.call(2, Method::MessageDelete, delete(seq)).await,
        refused("forbidden")
    );
    let deleted = world.ok(0, Method::MessageDelete, delete(seq)).await;
    assert_eq!(deleted["seq"], seq + 4);
    assert_eq!(
        world.ok(1, Method::MessageDelete, delete(seq)).await,
        json!({"seq": 0, "duplicate": true})
    );
    let events = world.events(2, json!({"after": seq - 1})).await;
    assert_eq!(seqs(&events), (seq..=seq + 4).collect::<Vec<_>>());
    assert_eq!(
        (&events[0]["data"]["text"], &events[0]["data"]["deleted"]),
        (&json!(""), &json!(true))
    );
    assert!(events[0]["data"].get("reactions").is_none());
    assert_eq!(events[4]["event"], "message.deleted");
    assert!(!json!(events).to_string().contains("secret"), "{events:?}");
    for table in ["edits", "reactions", "reaction_counts", "pins"] {
        assert_eq!(
            world.count(&format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE body LIKE '%secret%'")
            .await,
        0
    );
    // A repeat of it is a duplicate, not compared.
    let again = world.ok(1, Method::MessageSend, sent).await;
    assert_eq!(
        (&again["duplicate"], &again["message"]["deleted"]),
        (&json!(true), &json!(true))
    );
    let edit = json!({"op": op(), "seq": seq, "text": "x"});
    assert_eq!(
        world.call(1, Method::MessageEdit, edit).await,
        refused("not_found")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_for_me_is_hidden_from_me_alone() {
    let mut world = World::start(3).await;
    let (first, second) = (world.say(0, "one").await, world.say(0, "two").await);
    let mut events = world.redis_events().await;
    let delete = json!({"op": op(), "seq": first, "for": "me"});
    let done = world.ok(1, Method::MessageDelete, delete.clone()).await;
    assert_eq!(done, json!({"seq": 0, "duplicate": false}));
    assert_eq!(
        world.ok(1, Method::MessageDelete, delete).await["duplicate"],
        true
    );
    let (to, event) = events.next().await;
    assert_eq!(
        (to, &event["event"]),
        (vec![world.devices[1].user], &json!("message.hidden"))
    );
    let page = world.ok(1, Method::MessageHistory, json!({"after": 1})).await;
    assert_eq!(
        (seqs(page["events"].as_array().unwrap()), &page["hidden"]),
        (vec![second], &json!([[2, 2]]))
    );
    assert_eq!(seqs(&world.events(0, json!({"after": 1})).await), [first, second]);
    let synced = world.user_call(1, Method::Sync, json!({})).await.unwrap();
    assert_eq!(synced["rooms"][0]["unread"], 1);
    assert_eq!(
        world
            .call(
                2,
                Method::MessageDelete,
                json!({"op": op(), "seq": first, "for": "me"})
            )
            .await,
        refused("not_found")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_are_counted_once_per_user_and_listed() {
    let mut world = World::start(4).await;
    let seq = world.say(0, "hi").await;
    let react = |emoji: &str, remove: bool| json!({"op": op(), "seq": seq, "emoji": emoji, "remove": remove});
    assert_eq!(
        world.ok(1, Method::MessageReact, react("👍", false)).await["seq"],
        seq + 1
    );
    assert_eq!(
        world.ok(1, Method::MessageReact, react("👍", false)).await["seq"],
        0
    );
    world.ok(2, Method::MessageReact, react("👍", false)).await;
    world.ok(2, Method::MessageReact, react("🎉", false)).await;
    world.ok(0, Method::MessageReact, react("🎉", false)).await;
    world.ok(2, Method::MessageReact, react("🎉", true)).await;
    assert_eq!(
        world.call(3, Method::MessageReact, react("👍", false)).await,
        refused("not_found")
    );
    assert_eq!(
        world.call(1, Method::MessageReact, react("words", false)).await,
        refused("bad_request")
    );
    let shown = world.shown(1, seq).await;
    let expected = json!([{"emoji": "👍", "count": 2, "own": true}, {"emoji": "🎉", "count": 1}]);
    assert_eq!(shown["reactions"], expected);
    let list = world.ok(1, Method::MessageReactions, json!({"seq": seq})).await;
    let who: Vec<_> = list["reactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["user"].clone())
        .collect();
    assert_eq!(
        who,
        [
            json!(world.devices[1].user),
            json!(world.devices[2].user),
            json!(world.devices[0].user)
        ]
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_threads_and_forwards_name_what_they_come_from() {
    let mut world = World::start(4).await;
    let root = world.say(0, "root").await;
    let send = |words: &str, more: Value| {
        let mut params = text(op(), words);
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let first = world
        .ok(
            1,
            Method::MessageSend,
            send("r1", json!({"thread": root, "reply_to": root})),
        )
        .await;
    assert_eq!(
        (&first["message"]["thread"], &first["message"]["reply_to"]),
        (&json!(root), &json!(root))
    );
    let first = first["seq"].as_u64().unwrap();
    let second = world
        .ok(2, Method::MessageSend, send("r2", json!({"thread": root})))
        .await["seq"]
        .as_u64()
        .unwrap();
    let inside = send("x", json!({"thread": first}));
    assert_eq!(
        world.call(1, Method::MessageSend, inside).await,
        refused("bad_request")
    );
    for wrong in [1, 99] {
        let wrong = send("x", json!({"reply_to": wrong}));
        assert_eq!(
            world.call(1, Method::MessageSend, wrong).await,
            refused("not_found")
        );
    }
    assert_eq!(world.shown(0, root).await["replies"]["count"], 2);
    let thread = world
        .ok(0, Method::MessageThread, json!({"root": root, "limit": 1}))
        .await;
    assert_eq!(
        (&thread["messages"][0]["seq"], &thread["more"]),
        (&json!(second), &json!(true))
    );
    world
        .ok(
            0,
            Method::MessageDelete,
            json!({"op": op(), "seq": second, "for": "all"}),
        )
        .await;
    let replies = world.shown(0, root).await["replies"].clone();
    assert_eq!(
        (&replies["count"], &replies["last_seq"]),
        (&json!(1), &json!(second))
    );

    let elsewhere = group(&mut world.edge, world.devices[1], &[world.devices[3].user]).await;
    let forward = json!({"client_message_id": op(), "forward": {"room": world.room, "seq": first}});
    let sent = world
        .edge
        .call(world.devices[1], Method::MessageSend, elsewhere, forward.clone())
        .await
        .unwrap();
    assert_eq!(sent["message"]["text"], "r1");
    let origin = &sent["message"]["forward"];
    assert_eq!(
        (&origin["room"], &origin["seq"], &origin["sender"]),
        (&json!(world.room), &json!(first), &json!(world.devices[1].user))
    );
    let again = world
        .edge
        .call(world.devices[1], Method::MessageSend, elsewhere, forward.clone())
        .await
        .unwrap();
    assert_eq!(
        (&again["duplicate"], &again["message"]),
        (&json!(true), &sent["message"])
    );
    // The stranger of the first room does not see the source.
    let mut theirs = forward;
    theirs["client_message_id"] = json!(op());
    assert_eq!(
        world
            .edge
            .call(world.devices[3], Method::MessageSend, elsewhere, theirs)
            .await,
        refused("not_found")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_for_those_who_keep_order() {
    let mut world = World::start(3).await;
    let (first, second) = (world.say(1, "one").await, world.say(1, "two").await);
    let pin = |seq: u64, pinned: bool| json!({"op": op(), "seq": seq, "pinned": pinned});
    assert_eq!(
        world.call(1, Method::MessagePin, pin(first, true)).await,
        refused("forbidden")
    );
    assert_eq!(
        world.ok(0, Method::MessagePin, pin(first, true)).await["seq"],
        second + 1
    );
    assert_eq!(world.ok(0, Method::MessagePin, pin(first, true)).await["seq"], 0);
    world.ok(0, Method::MessagePin, pin(second, true)).await;
    let pins = world.ok(1, Method::MessagePins, json!({})).await;
    let pinned: Vec<_> = pins["pins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pin| pin["message"]["seq"].clone())
        .collect();
    assert_eq!(pinned, [json!(second), json!(first)]);
    world.ok(0, Method::MessagePin, pin(second, false)).await;
    assert_eq!(
        world.ok(1, Method::MessagePins, json!({})).await["pins"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        world.call(2, Method::MessagePins, json!({})).await,
        refused("not_found")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_find_words_where_the_caller_may_look() {
    let mut world = World::start(3).await;
    for words in ["Grüße aus Köln", "the quick brown fox", "a quick answer"] {
        world.say(0, words).await;
    }
    let hidden = world.say(0, "quick and hidden").await;
    world
        .ok(
            1,
            Method::MessageDelete,
            json!({"op": op(), "seq": hidden, "for": "me"}),
        )
        .await;
    let gone = world.say(0, "quick and gone").await;
    world
        .ok(
            0,
            Method::MessageDelete,
            json!({"op": op(), "seq": gone, "for": "all"}),
        )
        .await;
    let words = |page: &Value| -> Vec<String> {
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = world
        .ok(1, Method::MessageSearch, json!({"query": "QUICK"}))
        .await;
    assert_eq!(words(&found), ["a quick answer", "the quick brown fox"]);
    let page = world
        .ok(1, Method::MessageSearch, json!({"query": "quick", "limit": 1}))
        .await;
    assert_eq!(
        (words(&page), &page["more"]),
        (vec!["a quick answer".to_owned()], &json!(true))
    );
    let before = page["messages"][0]["seq"].clone();
    let page = world
        .ok(
            1,
            Method::MessageSearch,
            json!({"query": "quick", "limit": 1, "before": before}),
        )
        .await;
    assert_eq!(
        (words(&page), &page["more"]),
        (vec!["the quick brown fox".to_owned()], &json!(false))
    );
    assert_eq!(
        words(
            &world
                .ok(
                    1,
                    Method::MessageSearch,
                    json!({"query": "\"brown fox\" -answer"})
                )
                .await
        ),
        ["the quick brown fox"]
    );
    assert_eq!(
        words(&world.ok(1, Method::MessageSearch, json!({"query": "köln"})).await),
        ["Grüße aus Köln"]
    );
    assert_eq!(
        world.call(1, Method::MessageSearch, json!({"query": "-"})).await,
        refused("bad_request")
    );
    assert_eq!(
        world
            .call(2, Method::MessageSearch, json!({"query": "quick"}))
            .await,
        refused("not_found")
    );

    // Over all rooms: in pages, and nothing of rooms of others, nor of the time before the own stay.
    let other = group(&mut world.edge, world.devices[1], &[]).await;
    world
        .edge
        .call(
            world.devices[1],
            Method::MessageSend,
            other,
            text(op(), "quick elsewhere"),
        )
        .await
        .unwrap();
    let page = world
        .user_call(1, Method::Search, json!({"query": "quick", "limit": 2}))
        .await
        .unwrap();
    assert_eq!(words(&page), ["quick elsewhere", "a quick answer"]);
    let page = world
        .user_call(
            1,
            Method::Search,
            json!({"query": "quick", "limit": 2, "page": page["next"]}),
        )
        .await
        .unwrap();
    assert_eq!(
        (words(&page), &page["more"]),
        (vec!["the quick brown fox".to_owned()], &json!(false))
    );
    let late = world.devices[2].user;
    world
        .ok(0, Method::MemberAdd, json!({"op": op(), "user": late}))
        .await;
    let page = world
        .user_call(2, Method::Search, json!({"query": "quick"}))
        .await
        .unwrap();
    assert_eq!(words(&page), Vec::<String>::new());
    assert_eq!(
        words(
            &world
                .ok(2, Method::MessageSearch, json!({"query": "quick"}))
                .await
        ),
        Vec::<String>::new()
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_and_counts_are_those_of_the_server() {
    let mut world = World::start(3).await;
    let mut params = text(op(), "hi you");
    params["entities"] =
        json!([{"type": "mention", "offset": 3, "length": 3, "user": world.devices[1].user}]);
    let first = world.ok(0, Method::MessageSend, params).await["seq"]
        .as_u64()
        .unwrap();
    let second = world.say(0, "two").await;
    let mut params = text(op(), "@room");
    params["entities"] = json!([{"type": "room", "offset": 0, "length": 5}]);
    let third = world.ok(0, Method::MessageSend, params).await["seq"]
        .as_u64()
        .unwrap();
    let state = world.user_call(1, Method::Sync, json!({})).await.unwrap()["rooms"][0].clone();
    assert_eq!((&state["unread"], &state["mentions"]), (&json!(3), &json!(2)));
    let mut events = world.redis_events().await;
    assert_eq!(
        world.ok(1, Method::ReceiptDelivered, json!({"seq": 99})).await["seq"],
        third
    );
    assert_eq!(
        world.ok(1, Method::ReceiptRead, json!({"seq": first})).await["seq"],
        first
    );
    let (mut unread, mut marks) = (Value::Null, Value::Null);
    let mine = json!(world.devices[1].user);
    // The marks may fall into two seconds.
    while unread.is_null() || marks["read_seq"] != first || marks["delivered_seq"] != third {
        let (_, event) = events.next().await;
        match event["event"].as_str().unwrap() {
            "unread" => unread = event["data"].clone(),
            "receipts" => marks = event["data"]["marks"][0].clone(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(unread, json!({"unread": 2, "mentions": 1, "read_seq": first}));
    assert_eq!(marks["user"], mine);
    let list = world.ok(0, Method::ReceiptList, json!({"seq": second})).await;
    assert_eq!((&list["read"], &list["delivered"]), (&json!(0), &json!(1)));
    let of = list["marks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mark| mark["user"] == mine)
        .unwrap()
        .clone();
    assert_eq!(
        of,
        json!({"user": mine, "read_seq": first, "delivered_seq": third})
    );
    assert_eq!(
        world.call(2, Method::ReceiptList, json!({})).await,
        refused("not_found")
    );
    // An edit that mentions nobody any more, and a deletion, change what is left.
    world
        .ok(
            0,
            Method::MessageEdit,
            json!({"op": op(), "seq": third, "text": "nobody"}),
        )
        .await;
    world
        .ok(
            0,
            Method::MessageDelete,
            json!({"op": op(), "seq": second, "for": "all"}),
        )
        .await;
    let state = world.user_call(1, Method::Sync, json!({})).await.unwrap()["rooms"][0].clone();
    assert_eq!((&state["unread"], &state["mentions"]), (&json!(1), &json!(0)));
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_around_a_message_is_stable_while_others_arrive() {
    let mut world = World::start(3).await;
    for number in 0..20 {
        world.say(0, &number.to_string()).await;
    }
    let page = world
        .ok(1, Method::MessageHistory, json!({"around": 10, "limit": 4}))
        .await;
    let around = seqs(page["events"].as_array().unwrap());
    assert_eq!(
        (around, &page["more"], &page["more_before"]),
        (vec![8, 9, 10, 11], &json!(true), &json!(true))
    );
    world.say(0, "new").await;
    let again = world
        .ok(1, Method::MessageHistory, json!({"around": 10, "limit": 4}))
        .await;
    assert_eq!(page, again);
    let both = json!({"around": 10, "after": 4});
    assert_eq!(
        world.call(1, Method::MessageHistory, both).await,
        refused("bad_request")
    );
    world.worker.end().await;
}

/// Ephemeral events, as the node's channel carries them.
struct Ephemeral {
    channel: redis::aio::PubSub,
    waiting: Vec<(Vec<UserId>, Value)>,
}

impl World {
    async fn redis_events(&self) -> Ephemeral {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut channel = client.get_async_pubsub().await.unwrap();
        channel
            .subscribe(hub_protocol::keys::ephemeral(self.edge.node))
            .await
            .unwrap();
        Ephemeral {
            channel,
            waiting: Vec::new(),
        }
    }
}

impl Ephemeral {
    /// The next event: who is told what.
    async fn next(&mut self) -> (Vec<UserId>, Value) {
        while self.waiting.is_empty() {
            let message = self
                .channel
                .on_message()
                .next()
                .await
                .expect("the channel is open");
            for entry in DownlinkBatch::parse(message.get_payload_bytes()).unwrap().iter() {
                let users = entry
                    .targets
                    .iter()
                    .map(hub_protocol::batch::Target::user)
                    .collect();
                self.waiting
                    .push((users, serde_json::from_slice(entry.body).unwrap()));
            }
        }
        self.waiting.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_are_named() {
    let mut world = World::start(3).await;
    let seq = world.say(0, "hi").await;
    let wrong_entity = json!({"client_message_id": op(), "text": "a👍", "entities": [{"type": "bold", "offset": 2, "length": 1}]});
    let both = json!({"client_message_id": op(), "text": "a", "forward": {"room": world.room, "seq": seq}});
    for params in [wrong_entity, both] {
        assert_eq!(
            world.call(0, Method::MessageSend, params).await,
            refused("bad_request")
        );
    }
    let nil = json!({"op": Uuid::nil(), "seq": seq, "pinned": true});
    assert_eq!(
        world.call(0, Method::MessagePin, nil).await,
        refused("bad_request")
    );
    let nobody = json!({"op": op(), "seq": seq, "for": "us"});
    assert_eq!(
        world.call(0, Method::MessageDelete, nobody).await,
        refused("bad_request")
    );
    assert_eq!(world.events(0, json!({"after": seq})).await, Vec::<Value>::new());
    world.worker.end().await;
}
