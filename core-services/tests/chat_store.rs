//! The chat service on a real database: rooms, members, history, marks, typing.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use edge::{Device, Edge, Running, chat, group, new_room, op, stored_seqs, text, users};
use futures_util::StreamExt as _;
use hub_protocol::api::room::direct_room;
use hub_protocol::batch::DownlinkBatch;
use hub_protocol::{Method, RoomId, UserId};
use serde_json::{Value, json};
use support::{Database, Redis};

struct World {
    db: Database,
    redis: Redis,
    worker: Running,
    edge: Edge,
    ids: Vec<UserId>,
}

impl World {
    async fn start(count: u32) -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let worker = chat(&db, &redis);
        let edge = Edge::start(&redis, db.meta.partitions).await;
        let ids = users(&db, count).await;
        Self {
            db,
            redis,
            worker,
            edge,
            ids,
        }
    }

    async fn devices(&mut self) -> Vec<Device> {
        let mut devices = Vec::new();
        for id in self.ids.clone() {
            devices.push(self.edge.open(id).await);
        }
        devices
    }

    async fn call(
        &mut self,
        device: Device,
        method: Method,
        room: RoomId,
        params: Value,
    ) -> Result<Value, String> {
        self.edge.call(device, method, room, params).await
    }
}

fn refused(code: &str) -> Result<Value, String> {
    Err(code.to_owned())
}

fn create(room: RoomId, kind: &str, members: &[UserId]) -> Value {
    json!({"op": op(), "id": room, "kind": kind, "members": members})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_direct_room_make_the_same_one() {
    let mut world = World::start(3).await;
    let devices = world.devices().await;
    let (a, b, c) = (devices[0], devices[1], devices[2]);
    let room = direct_room(a.user, b.user);
    let calls = [
        (a, Method::RoomCreate, room, create(room, "direct", &[b.user])),
        (b, Method::RoomCreate, room, create(room, "direct", &[a.user])),
    ];
    let requests = world.edge.send(&calls).await;
    let (first, second) = (
        world.edge.reply(requests[0]).await.unwrap(),
        world.edge.reply(requests[1]).await.unwrap(),
    );
    assert_eq!(first["room"], second["room"]);
    assert_eq!(
        (&first["duplicate"], &second["duplicate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(stored_seqs(&world.db, room).await, [1]);
    world
        .call(b, Method::MessageSend, room, text(op(), "hi"))
        .await
        .unwrap();
    assert_eq!(
        world.call(c, Method::MessageSend, room, text(op(), "hi")).await,
        refused("not_found")
    );
    assert_eq!(
        world
            .call(c, Method::RoomCreate, room, create(room, "direct", &[a.user]))
            .await,
        refused("bad_request")
    );
    assert_eq!(
        world.call(a, Method::RoomLeave, room, json!({"op": op()})).await,
        refused("forbidden")
    );
    let add = json!({"op": op(), "user": c.user});
    assert_eq!(
        world.call(a, Method::MemberAdd, room, add).await,
        refused("forbidden")
    );
    let got = world.call(a, Method::RoomGet, room, json!({})).await.unwrap();
    assert_eq!(
        (&got["seq"], &got["n"], got["members"].as_array().unwrap().len()),
        (&json!(2), &json!(1), 2)
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_need_accounts_and_free_ids() {
    let mut world = World::start(2).await;
    let devices = world.devices().await;
    let (a, b) = (devices[0], devices[1]);
    let nobody = UserId(op());
    let room = new_room();
    assert_eq!(
        world
            .call(a, Method::RoomCreate, room, create(room, "group", &[nobody]))
            .await,
        refused("not_found")
    );
    let room = group(&mut world.edge, a, &[]).await;
    assert_eq!(
        world
            .call(b, Method::RoomCreate, room, create(room, "group", &[]))
            .await,
        refused("conflict")
    );
    assert_eq!(
        world
            .call(a, Method::RoomCreate, room, create(new_room(), "group", &[]))
            .await,
        refused("bad_request")
    );
    let add = json!({"op": op(), "user": nobody});
    assert_eq!(
        world.call(a, Method::MemberAdd, room, add).await,
        refused("not_found")
    );
    assert_eq!(
        world.call(b, Method::RoomGet, room, json!({})).await,
        refused("not_found")
    );
    assert_eq!(
        world.call(b, Method::MessageHistory, room, json!({})).await,
        refused("not_found")
    );
    assert_eq!(
        world
            .call(b, Method::TypingSet, room, json!({"typing": true}))
            .await,
        refused("not_found")
    );
    assert_eq!(
        world
            .call(a, Method::MessageSend, room, json!({"text": "x"}))
            .await,
        refused("bad_request")
    );
    assert_eq!(
        world.call(a, Method::MessageSend, room, text(op(), "a\0b")).await,
        refused("bad_request")
    );
    assert_eq!(
        world
            .call(a, Method::MessageSend, room, text(op(), &"x".repeat(16_385)))
            .await,
        refused("too_large")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_come_to_a_channel_read_it_from_the_start_and_go() {
    let mut world = World::start(2).await;
    let devices = world.devices().await;
    let (a, b) = (devices[0], devices[1]);
    let room = new_room();
    world
        .call(a, Method::RoomCreate, room, create(room, "channel", &[]))
        .await
        .unwrap();
    world
        .call(a, Method::MessageSend, room, text(op(), "early"))
        .await
        .unwrap();
    // Anyone may look, nobody may read without joining.
    assert_eq!(
        world.call(b, Method::RoomGet, room, json!({})).await.unwrap()["members"],
        json!([])
    );
    assert_eq!(
        world.call(b, Method::MessageHistory, room, json!({})).await,
        refused("not_found")
    );
    let join = json!({"op": op()});
    let joined = world.call(b, Method::RoomJoin, room, join.clone()).await.unwrap();
    assert_eq!((&joined["seq"], &joined["duplicate"]), (&json!(0), &json!(false)));
    assert_eq!(
        world.call(b, Method::RoomJoin, room, join.clone()).await.unwrap()["duplicate"],
        true
    );
    assert_eq!(
        world.call(b, Method::RoomLeave, room, join).await,
        refused("conflict")
    );
    let page = world
        .call(b, Method::MessageHistory, room, json!({"after": 0}))
        .await
        .unwrap();
    assert_eq!(
        (page["events"].as_array().unwrap().len(), &page["hidden"]),
        (2, &json!([]))
    );
    assert_eq!(
        world.call(b, Method::MessageSend, room, text(op(), "x")).await,
        refused("forbidden")
    );
    world
        .call(a, Method::MessageSend, room, text(op(), "late"))
        .await
        .unwrap();
    world
        .edge
        .until("event at the reader", |edge| edge.seqs(b, room) == [3])
        .await;
    world
        .call(b, Method::RoomLeave, room, json!({"op": op()}))
        .await
        .unwrap();
    world
        .call(a, Method::MessageSend, room, text(op(), "later"))
        .await
        .unwrap();
    world
        .call(b, Method::RoomJoin, room, json!({"op": op()}))
        .await
        .unwrap();
    world
        .call(a, Method::MessageSend, room, text(op(), "last"))
        .await
        .unwrap();
    world
        .edge
        .until("events after coming back", |edge| edge.seqs(b, room) == [3, 5])
        .await;
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_clamped_only_grow_and_are_told_when_they_move() {
    let mut world = World::start(2).await;
    let devices = world.devices().await;
    let (a, b) = (devices[0], devices[1]);
    let room = group(&mut world.edge, a, &[b.user]).await;
    for _ in 0..3 {
        world
            .call(a, Method::MessageSend, room, text(op(), "x"))
            .await
            .unwrap();
    }
    let told = |edge: &Edge| {
        let marks = edge
            .events
            .iter()
            .filter(|event| event.text["event"] == "receipts" && event.user == a.user);
        marks
            .map(|event| event.text["data"]["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    // Receipts are ephemeral: they come by pub/sub, not by the stream.
    assert_eq!(
        world
            .call(b, Method::ReceiptRead, room, json!({"seq": 2}))
            .await
            .unwrap()["seq"],
        2
    );
    assert_eq!(
        world
            .call(b, Method::ReceiptRead, room, json!({"seq": 1}))
            .await
            .unwrap()["seq"],
        2
    );
    assert_eq!(
        world
            .call(b, Method::ReceiptRead, room, json!({"seq": 99}))
            .await
            .unwrap()["seq"],
        4
    );
    assert!(told(&world.edge).is_empty());
    let client = world.db.client().await;
    let sql = "SELECT read_seq FROM members WHERE room = $1 AND user_id = $2";
    let stands: i64 = client.query_one(sql, &[&room.0, &b.user.0]).await.unwrap().get(0);
    assert_eq!(stands, 4);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_decide_who_manages_members_and_who_inherits() {
    let mut world = World::start(4).await;
    let devices = world.devices().await;
    let (owner, admin, member, other) = (devices[0], devices[1], devices[2], devices[3]);
    let room = group(&mut world.edge, owner, &[member.user]).await;
    let add = |user: UserId, role: &str| json!({"op": op(), "user": user, "role": role});
    let remove = |user: UserId| json!({"op": op(), "user": user});
    assert_eq!(
        world
            .call(member, Method::MemberAdd, room, add(other.user, "member"))
            .await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(owner, Method::MemberAdd, room, add(admin.user, "admin"))
            .await
            .unwrap()["seq"],
        2
    );
    assert_eq!(
        world
            .call(owner, Method::MemberAdd, room, add(admin.user, "admin"))
            .await
            .unwrap()["seq"],
        0
    );
    assert_eq!(
        world
            .call(owner, Method::MemberAdd, room, add(admin.user, "reader"))
            .await,
        refused("conflict")
    );
    assert_eq!(
        world
            .call(admin, Method::MemberAdd, room, add(other.user, "admin"))
            .await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(admin, Method::MemberRemove, room, remove(owner.user))
            .await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(admin, Method::MemberRemove, room, remove(member.user))
            .await
            .unwrap()["seq"],
        3
    );
    world
        .call(owner, Method::RoomLeave, room, json!({"op": op()}))
        .await
        .unwrap();
    let got = world.call(admin, Method::RoomGet, room, json!({})).await.unwrap();
    assert_eq!(got["members"], json!([{"user": admin.user, "role": "owner"}]));
    world
        .edge
        .until("his own last event", |edge| {
            edge.seqs(owner, room) == [1, 2, 3, 4]
        })
        .await;
    assert_eq!(world.edge.seqs(member, room), [1, 2, 3]);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_history_answer_every_seq() {
    let mut world = World::start(2).await;
    let devices = world.devices().await;
    let (a, b) = (devices[0], devices[1]);
    let room = group(&mut world.edge, a, &[]).await;
    for i in 0..30 {
        world
            .call(a, Method::MessageSend, room, text(op(), &i.to_string()))
            .await
            .unwrap();
    }
    world
        .call(a, Method::MemberAdd, room, json!({"op": op(), "user": b.user}))
        .await
        .unwrap();
    for i in 30..130 {
        world
            .call(a, Method::MessageSend, room, text(op(), &i.to_string()))
            .await
            .unwrap();
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = world
            .call(
                b,
                Method::MessageHistory,
                room,
                json!({"after": after, "limit": 40}),
            )
            .await
            .unwrap();
        let seqs: Vec<u64> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        if after == 0 {
            assert_eq!(page["hidden"], json!([[1, 31]]));
        }
        after = *seqs.last().unwrap();
        seen.extend(seqs);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (32..=132).collect::<Vec<_>>());
    let newest = world
        .call(a, Method::MessageHistory, room, json!({"limit": 1}))
        .await
        .unwrap();
    assert_eq!(newest["events"][0]["data"]["text"], "129");
    assert_eq!(newest["more"], true);
    let both = json!({"after": 1, "before": 9});
    assert_eq!(
        world.call(a, Method::MessageHistory, room, both).await,
        refused("bad_request")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_receipts_go_by_pub_sub_to_the_others() {
    let mut world = World::start(2).await;
    let devices = world.devices().await;
    let (a, b) = (devices[0], devices[1]);
    let room = group(&mut world.edge, a, &[b.user]).await;
    let client = redis::Client::open(world.redis.url()).unwrap();
    let mut channel = client.get_async_pubsub().await.unwrap();
    channel
        .subscribe(hub_protocol::keys::ephemeral(world.edge.node))
        .await
        .unwrap();
    world
        .call(a, Method::TypingSet, room, json!({"typing": true}))
        .await
        .unwrap();
    let (mut sink, mut stream) = channel.split();
    let first = next(&mut stream).await;
    assert_eq!(first, [(b.user, "typing".to_owned())]);
    world
        .call(b, Method::ReceiptRead, room, json!({"seq": 1}))
        .await
        .unwrap();
    // His own devices at once, the room with the next second's marks.
    assert_eq!(next(&mut stream).await, [(b.user, "unread".to_owned())]);
    let mut third = next(&mut stream).await;
    third.sort();
    let mut both = [a.user, b.user].map(|user| (user, "receipts".to_owned()));
    both.sort();
    assert_eq!(third, both);
    sink.unsubscribe(hub_protocol::keys::ephemeral(world.edge.node))
        .await
        .unwrap();
    world.worker.end().await;
}

/// The next batch on a node's channel: who is told what.
async fn next(stream: &mut redis::aio::PubSubStream) -> Vec<(UserId, String)> {
    let message = stream.next().await.expect("the channel is open");
    let batch = message.get_payload_bytes();
    let mut told = Vec::new();
    for entry in DownlinkBatch::parse(batch).unwrap().iter() {
        let text: Value = serde_json::from_slice(entry.body).unwrap();
        let name = text["event"].as_str().unwrap().to_owned();
        told.extend(entry.targets.iter().map(|target| (target.user(), name.clone())));
    }
    told
}
