//! The worker loop with the chat service, on real Redis and PostgreSQL: order, replay, repeats, poison, ownership.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use edge::{Edge, chat, chat_with, group, new_room, op, stored_seqs, text, users};
use hub_protocol::batch::UplinkWriter;
use hub_protocol::partition::of_room;
use hub_protocol::{Method, RoomId, Service, keys};
use redis::cmd;
use serde_json::json;
use support::{Database, Redis};

fn requests_key(db: &Database, room: RoomId) -> String {
    keys::requests(Service::Chat, of_room(room, db.meta.partitions.chat))
}

async fn stream_is_empty(edge: &mut Edge, key: &str) {
    for _ in 0..3_000 {
        let len: u64 = cmd("XLEN").arg(key).query_async(&mut edge.redis).await.unwrap();
        if len == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{key} was not emptied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_delivered_to_all_members_and_its_entry_deleted() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 3).await;
    let (a, b, c) = (
        edge.open(ids[0]).await,
        edge.open(ids[1]).await,
        edge.open(ids[2]).await,
    );
    let phone = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[b.user]).await;

    let sent = edge
        .call(a, Method::MessageSend, room, text(op(), "hello"))
        .await
        .unwrap();
    assert_eq!(
        (&sent["seq"], &sent["n"], &sent["duplicate"]),
        (&json!(2), &json!(1), &json!(false))
    );
    edge.until("event at both members and both connections of one", |edge| {
        [a, b, phone]
            .iter()
            .all(|device| edge.seqs(*device, room) == [1, 2])
    })
    .await;
    let event = &edge.events.last().unwrap().text;
    assert_eq!(event["event"], "message.created");
    assert_eq!(event["data"]["text"], "hello");
    assert_eq!(event["data"], sent["message"]);
    assert!(edge.seqs(c, room).is_empty());
    assert_eq!(
        edge.call(c, Method::MessageSend, room, text(op(), "x")).await,
        Err("not_found".to_owned())
    );
    stream_is_empty(&mut edge, &requests_key(&db, room)).await;
    assert_eq!(worker.status.trouble(), None);
    worker.end().await;
    let leases: Vec<String> = cmd("KEYS")
        .arg("hub:lease:*")
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    assert!(leases.is_empty(), "leases are given back: {leases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_has_the_first_result_and_another_content_is_a_conflict() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let room = group(&mut edge, a, &[b.user]).await;
    let id = op();
    let first = edge
        .call(a, Method::MessageSend, room, text(id, "once"))
        .await
        .unwrap();
    let again = edge
        .call(a, Method::MessageSend, room, text(id, "once"))
        .await
        .unwrap();
    assert_eq!(first["message"], again["message"]);
    assert_eq!(again["duplicate"], true);
    assert_eq!(
        edge.call(a, Method::MessageSend, room, text(id, "twice")).await,
        Err("conflict".to_owned())
    );
    // It was delivered again, as the same event.
    edge.until("second delivery", |edge| edge.seqs(b, room) == [1, 2, 2])
        .await;
    let next = edge
        .call(b, Method::MessageSend, room, text(id, "mine"))
        .await
        .unwrap();
    assert_eq!(next["seq"], 3);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_entry_is_delivered_again() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let room = group(&mut edge, a, &[b.user]).await;
    let id = op();
    edge.call(a, Method::MessageSend, room, text(id, "m"))
        .await
        .unwrap();
    worker.kill().await;
    edge.until("first delivery", |edge| edge.seqs(b, room) == [1, 2])
        .await;
    // As if the worker had died between its commit and its delivery: the entry is still there.
    let replay = edge.send(&[(a, Method::MessageSend, room, text(id, "m"))]).await[0];
    let worker = chat(&db, &redis);
    assert_eq!(edge.reply(replay).await.unwrap()["duplicate"], true);
    edge.until("second delivery", |edge| edge.seqs(b, room) == [1, 2, 2])
        .await;
    assert_eq!(stored_seqs(&db, room).await, [1, 2]);
    stream_is_empty(&mut edge, &requests_key(&db, room)).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_keeps_the_order_of_one_sender() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 3).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let rooms = [
        group(&mut edge, a, &[b.user]).await,
        group(&mut edge, b, &[a.user]).await,
    ];
    let mut requests = Vec::new();
    for round in 0..50 {
        let calls: Vec<_> = (0..20)
            .map(|i| {
                (
                    a,
                    Method::MessageSend,
                    rooms[i % 2],
                    text(op(), &format!("{round} {i}")),
                )
            })
            .collect();
        requests.extend(edge.send(&calls).await);
    }
    let mut last = [0; 2];
    for (at, request) in requests.into_iter().enumerate() {
        let seq = edge.reply(request).await.unwrap()["seq"].as_u64().unwrap();
        assert!(seq > last[at % 2], "numbers follow the order of sending");
        last[at % 2] = seq;
    }
    for room in rooms {
        edge.until("all events", |edge| edge.seqs(b, room).len() == 501)
            .await;
        assert_eq!(edge.seqs(b, room), (1..=501).collect::<Vec<_>>());
    }
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_split_off_and_kept_and_the_others_are_stored() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    // A database that refuses one text, as it might refuse data that our checks do not know of.
    let client = db.client().await;
    client
        .batch_execute("ALTER TABLE events ADD CONSTRAINT no_poison CHECK (body <> 'poison')")
        .await
        .unwrap();
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let room = group(&mut edge, a, &[b.user]).await;
    let calls: Vec<_> = (0..30)
        .map(|i| {
            let words = if i == 11 {
                "poison".to_owned()
            } else {
                i.to_string()
            };
            (a, Method::MessageSend, room, text(op(), &words))
        })
        .collect();
    let requests = edge.send(&calls).await;
    for (i, request) in requests.into_iter().enumerate() {
        let reply = edge.reply(request).await;
        match i {
            11 => assert_eq!(reply, Err("bad_request".to_owned())),
            _ => assert_eq!(reply.unwrap()["seq"], if i < 11 { i + 2 } else { i + 1 }),
        }
    }
    assert_eq!(stored_seqs(&db, room).await, (1..=30).collect::<Vec<_>>());
    let partition = of_room(room, db.meta.partitions.chat);
    let letters: u64 = cmd("XLEN")
        .arg(keys::dead_letters(Service::Chat, partition))
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    assert_eq!(letters, 1);
    stream_is_empty(&mut edge, &requests_key(&db, room)).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_partitions_and_one_takes_over_when_the_other_dies() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let first = chat(&db, &redis);
    let owners = |edge: &Edge| {
        let mut redis = edge.redis.clone();
        async move {
            let mut owners: Vec<String> = Vec::new();
            for partition in 0..8 {
                let lease: Option<String> = cmd("GET")
                    .arg(keys::lease(Service::Chat, partition))
                    .query_async(&mut redis)
                    .await
                    .unwrap();
                owners.extend(lease.and_then(|lease| lease.split(' ').next().map(str::to_owned)));
            }
            owners.sort();
            owners
        }
    };
    let shares = |owners: &[String]| -> Vec<usize> {
        let mut shares: Vec<usize> = owners.chunk_by(|a, b| a == b).map(<[String]>::len).collect();
        shares.sort_unstable();
        shares
    };
    while shares(&owners(&edge).await) != [8] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let second = chat(&db, &redis);
    while shares(&owners(&edge).await) != [4, 4] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let mut rooms = Vec::new();
    for _ in 0..16 {
        rooms.push(group(&mut edge, a, &[]).await);
    }
    first.kill().await;
    let calls: Vec<_> = rooms
        .iter()
        .map(|room| (a, Method::MessageSend, *room, text(op(), "x")))
        .collect();
    for request in edge.send(&calls).await {
        assert_eq!(edge.reply(request).await.unwrap()["seq"], 2);
    }
    while shares(&owners(&edge).await) != [8] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_at_once_leave_no_hole() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    // Two services in two Redis worlds that share one database: nobody knows of the other's leases.
    let other = Redis::start().await;
    let mut other_edge = Edge::start(&other, db.meta.partitions).await;
    let b2 = other_edge.open(b.user).await;
    let (one, two) = (chat(&db, &redis), chat(&db, &other));
    let room = group(&mut edge, a, &[b.user]).await;
    let shared: Vec<_> = (0..100).map(|_| op()).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for chunk in shared.chunks(5) {
        let calls = |device: edge::Device| -> Vec<_> {
            chunk
                .iter()
                .flat_map(|id| {
                    let same = (device, Method::MessageSend, room, text(*id, "same"));
                    [same, (device, Method::MessageSend, room, text(op(), "own"))]
                })
                .collect()
        };
        first.extend(edge.send(&calls(b)).await);
        second.extend(other_edge.send(&calls(b2)).await);
    }
    let mut results = std::collections::HashMap::new();
    for (edge, requests) in [(&mut edge, first), (&mut other_edge, second)] {
        for (at, request) in requests.into_iter().enumerate() {
            let result = edge.reply(request).await.unwrap();
            if at % 2 == 0 {
                // The same op by both ways has one result.
                let seq = result["seq"].as_u64().unwrap();
                assert_eq!(*results.entry(at).or_insert(seq), seq);
            }
        }
    }
    // 1 creation, 100 shared, 200 own.
    assert_eq!(stored_seqs(&db, room).await, (1..=301).collect::<Vec<_>>());
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_gets_his_removal_and_nothing_after_it() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let room = group(&mut edge, a, &[b.user]).await;
    let remove = json!({"op": op(), "user": b.user});
    let calls = [
        (a, Method::MessageSend, room, text(op(), "before")),
        (a, Method::MemberRemove, room, remove),
        (a, Method::MessageSend, room, text(op(), "after")),
        (b, Method::MessageSend, room, text(op(), "too late")),
    ];
    let requests = edge.send(&calls).await;
    assert_eq!(edge.reply(requests[2]).await.unwrap()["seq"], 4);
    assert_eq!(edge.reply(requests[3]).await, Err("not_found".to_owned()));
    edge.until("all events at the owner", |edge| {
        edge.seqs(a, room) == [1, 2, 3, 4]
    })
    .await;
    assert_eq!(edge.seqs(b, room), [1, 2, 3]);
    // His view of the log ends there too.
    let page = edge
        .call(b, Method::MessageHistory, room, json!({"after": 0}))
        .await
        .unwrap();
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    assert_eq!(page["more"], false);
    // Back again, he sees nothing of what happened meanwhile.
    edge.call(a, Method::MemberAdd, room, json!({"op": op(), "user": b.user}))
        .await
        .unwrap();
    let page = edge
        .call(b, Method::MessageHistory, room, json!({"after": 0}))
        .await
        .unwrap();
    assert_eq!(page["hidden"], json!([[4, 4]]));
    assert_eq!(page["events"].as_array().unwrap().len(), 4);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_forgotten_and_a_full_one_has_its_loss_counted() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat_with(&db, &redis, 10);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let mut gone = Edge::start(&redis, db.meta.partitions).await;
    let mut full = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 3).await;
    let (a, b, c) = (
        edge.open(ids[0]).await,
        gone.open(ids[1]).await,
        full.open(ids[2]).await,
    );
    let _: u8 = cmd("DEL")
        .arg(keys::node(gone.node))
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    let room = group(&mut edge, a, &[b.user, c.user]).await;
    // The answer is in the node's stream before the void one is forgotten.
    edge.until_redis("the address on the void node is forgotten", async |redis| {
        let known: u64 = cmd("HLEN")
            .arg(keys::directory(b.user))
            .query_async(redis)
            .await
            .unwrap();
        known == 0
    })
    .await;
    for _ in 0..12 {
        // This edge deletes what it reads, as edges do; the full one does not.
        edge.call(a, Method::MessageSend, room, text(op(), "x"))
            .await
            .unwrap();
        let key = keys::node(edge.node);
        let _: u64 = cmd("XTRIM")
            .arg(key)
            .arg("MAXLEN")
            .arg(0)
            .query_async(&mut edge.redis)
            .await
            .unwrap();
    }
    let lost: u64 = cmd("GET")
        .arg(keys::lost(full.node))
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    assert!(lost >= 3, "{lost}");
    let exists: u8 = cmd("EXISTS")
        .arg(keys::node(gone.node))
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    assert_eq!(exists, 0, "nobody but the node makes its stream");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_stops_its_partition_and_no_other() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let stopped = group(&mut edge, a, &[]).await;
    let mut other = new_room();
    while requests_key(&db, other) == requests_key(&db, stopped) {
        other = new_room();
    }
    let mut writer = UplinkWriter::new(edge.node);
    let (header, body) = edge::envelope(a, Method::MessageSend, stopped, 900, "{}");
    writer.push(&header, &body);
    let mut batch = writer.take();
    batch[4] = 99;
    let key = requests_key(&db, stopped);
    edge.append(&key, batch).await;
    let behind = edge
        .send(&[(a, Method::MessageSend, stopped, text(op(), "x"))])
        .await[0];
    let params = json!({"op": op(), "id": other, "kind": "group", "name": "", "members": []});
    edge.call(a, Method::RoomCreate, other, params).await.unwrap();
    for _ in 0..5 {
        edge.call(a, Method::MessageSend, other, text(op(), "y"))
            .await
            .unwrap();
    }
    assert!(
        !edge.replies.contains_key(&behind),
        "nothing behind it is answered"
    );
    let len: u64 = cmd("XLEN").arg(&key).query_async(&mut edge.redis).await.unwrap();
    assert_eq!(len, 2, "and nothing is thrown away");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_no_batch_is_put_away() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[]).await;
    let key = requests_key(&db, room);
    edge.append(&key, b"rubbish".to_vec()).await;
    assert_eq!(
        edge.call(a, Method::MessageSend, room, text(op(), "x"))
            .await
            .unwrap()["seq"],
        2
    );
    stream_is_empty(&mut edge, &key).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_flushed_and_restarted_during_work() {
    let (db, mut redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let (a, b) = (edge.open(ids[0]).await, edge.open(ids[1]).await);
    let room = group(&mut edge, a, &[b.user]).await;
    let id = op();
    let before = edge
        .call(a, Method::MessageSend, room, text(id, "x"))
        .await
        .unwrap();

    let _: String = cmd("FLUSHALL").query_async(&mut edge.redis).await.unwrap();
    // The edge notices, makes a new stream and has its client send again what was not answered.
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let (a, _b) = (edge.open(a.user).await, edge.open(b.user).await);
    let after = edge
        .call(a, Method::MessageSend, room, text(id, "x"))
        .await
        .unwrap();
    assert_eq!(
        (&after["message"], &after["duplicate"]),
        (&before["message"], &json!(true))
    );
    let mut meta = None;
    while meta != Some(8_u16) {
        // The next heartbeat writes it again.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut field = cmd("HGET");
        field.arg(keys::META).arg(keys::meta::CHAT_PARTITIONS);
        meta = field.query_async(&mut edge.redis).await.unwrap();
    }

    redis.restart().await;
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let a = edge.open(a.user).await;
    assert_eq!(
        edge.call(a, Method::MessageSend, room, text(op(), "y"))
            .await
            .unwrap()["seq"],
        3
    );
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_refuses_nothing_is_said_and_afterwards_everything() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[]).await;
    let client = db.client().await;
    // A table that cannot be read is a fault of the system, not of the data.
    client
        .batch_execute("ALTER TABLE events RENAME TO events_away")
        .await
        .unwrap();
    let calls: Vec<_> = (0..20)
        .map(|i| (a, Method::MessageSend, room, text(op(), &i.to_string())))
        .collect();
    let requests = edge.send(&calls).await;
    let began = std::time::Instant::now();
    while worker.status.trouble().is_none() {
        assert!(began.elapsed() < Duration::from_secs(30));
        edge.read().await;
    }
    assert_eq!(
        edge.replies.len(),
        1,
        "only the creation of the room was answered"
    );
    client
        .batch_execute("ALTER TABLE events_away RENAME TO events")
        .await
        .unwrap();
    for (i, request) in requests.into_iter().enumerate() {
        assert_eq!(edge.reply(request).await.unwrap()["seq"], i + 2);
    }
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_killed_its_owners_is_counted_and_worked_on_alone() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[]).await;
    worker.kill().await;
    let key = requests_key(&db, room);
    let note = keys::note(Service::Chat, of_room(room, db.meta.partitions.chat));
    let mut requests = Vec::new();
    for i in 0..5 {
        let calls: Vec<_> = (0..3)
            .map(|j| (a, Method::MessageSend, room, text(op(), &format!("{i} {j}"))))
            .collect();
        requests.extend(edge.send(&calls).await);
    }
    let first: redis::streams::StreamRangeReply = cmd("XRANGE")
        .arg(&key)
        .arg("-")
        .arg("+")
        .arg("COUNT")
        .arg(1)
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    let first = &first.ids[0].id;
    // Two owners began with it and died.
    let _: String = cmd("SET")
        .arg(&note)
        .arg(format!("{first} 2"))
        .query_async(&mut edge.redis)
        .await
        .unwrap();
    let worker = chat(&db, &redis);
    for (i, request) in requests.into_iter().enumerate() {
        assert_eq!(edge.reply(request).await.unwrap()["seq"], i + 2);
    }
    let noted: String = cmd("GET").arg(&note).query_async(&mut edge.redis).await.unwrap();
    assert_eq!(noted, format!("{first} 3"));
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_leases_are_taken_away_gets_them_back_and_loses_nothing() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 1).await;
    let a = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[]).await;
    let mut requests = Vec::new();
    for round in 0..60 {
        let calls: Vec<_> = (0..10)
            .map(|_| (a, Method::MessageSend, room, text(op(), "x")))
            .collect();
        requests.extend(edge.send(&calls).await);
        if round % 20 == 10 {
            for partition in 0..8 {
                let key = keys::lease(Service::Chat, partition);
                let _: String = cmd("SET")
                    .arg(key)
                    .arg("somebody 0-0 0")
                    .arg("PX")
                    .arg(1_200)
                    .query_async(&mut edge.redis)
                    .await
                    .unwrap();
            }
            // Until the worker has noticed and come back.
            for request in std::mem::take(&mut requests) {
                edge.reply(request).await.unwrap();
            }
        }
    }
    for request in requests {
        edge.reply(request).await.unwrap();
    }
    assert_eq!(stored_seqs(&db, room).await, (1..=601).collect::<Vec<_>>());
    stream_is_empty(&mut edge, &requests_key(&db, room)).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_opens_between_two_messages_gets_the_second() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let worker = chat(&db, &redis);
    let mut edge = Edge::start(&redis, db.meta.partitions).await;
    let ids = users(&db, 2).await;
    let a = edge.open(ids[0]).await;
    let room = group(&mut edge, a, &[ids[1]]).await;
    edge.call(a, Method::MessageSend, room, text(op(), "first"))
        .await
        .unwrap();
    let b = edge.open(ids[1]).await;
    edge.call(a, Method::MessageSend, room, text(op(), "second"))
        .await
        .unwrap();
    edge.call(a, Method::MessageSend, room, text(op(), "third"))
        .await
        .unwrap();
    // The answer to the third follows the delivery of the second.
    assert_eq!(edge.seqs(b, room).first(), Some(&3));
    worker.end().await;
}
