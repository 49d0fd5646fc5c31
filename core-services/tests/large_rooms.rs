//! Large rooms on a real database and a real Redis: what stands in a node's stream, and in which order.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use edge::{Device, Edge, Running, chat, group, op, text, users};
use hub_protocol::batch::{EntryKind, Target};
use hub_protocol::limits::{ROOM_LARGE_ABOVE, ROOM_LARGE_BELOW};
use hub_protocol::{Method, RoomId, UserId};
use serde_json::{Value, json};
use support::{Database, Redis};

/// A room with as many members as a room may have that is not large; the first three have a device.
struct World {
    db: Database,
    _redis: Redis,
    worker: Running,
    edge: Edge,
    ids: Vec<UserId>,
    devices: Vec<Device>,
    room: RoomId,
}

impl World {
    async fn start() -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let worker = chat(&db, &redis);
        let mut edge = Edge::start(&redis, db.meta.partitions).await;
        let ids = users(&db, u32::try_from(ROOM_LARGE_ABOVE).unwrap() + 10).await;
        let mut devices = Vec::new();
        for id in &ids[..3] {
            devices.push(edge.open(*id).await);
        }
        let room = group(&mut edge, devices[0], &ids[1..ROOM_LARGE_ABOVE]).await;
        Self {
            db,
            _redis: redis,
            worker,
            edge,
            ids,
            devices,
            room,
        }
    }

    async fn call(&mut self, device: usize, method: Method, params: Value) -> Result<Value, String> {
        let device = self.devices[device];
        self.edge.call(device, method, self.room, params).await
    }

    async fn says(&mut self, device: usize) -> u64 {
        let params = text(op(), "m");
        let sent = self.call(device, Method::MessageSend, params).await.unwrap();
        sent["seq"].as_u64().unwrap()
    }

    async fn add(&mut self, user: UserId) -> u64 {
        let params = json!({"op": op(), "user": user});
        let added = self.call(0, Method::MemberAdd, params).await.unwrap();
        added["seq"].as_u64().unwrap()
    }

    /// Asks for a seat as an edge does; the answer is an entry of the stream, or a refusal.
    async fn attach(&mut self, device: usize, nonce: u64) {
        let device = self.devices[device];
        self.edge.enter(self.room, device.address.shard).await;
        let call = (device, Method::RoomAttach, self.room, json!({"nonce": nonce}));
        self.edge.send(&[call]).await;
        self.edge
            .until("an answer to room.attach", |edge| {
                let answers = edge.told.iter().any(|(kind, targets)| {
                    matches!(kind, EntryKind::Attached { nonce: n, .. } if *n == nonce)
                        && targets[0] == Target::new(device.address, device.user)
                });
                answers || edge.replies.values().any(|reply| reply.get("error").is_some())
            })
            .await;
    }

    /// What the stream told since the last call, in short.
    fn told(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.edge.told);
        told.into_iter()
            .map(|(kind, targets)| match kind {
                EntryKind::Event { seq, .. } => format!("event {seq} for {}", targets.len()),
                EntryKind::RoomEvent { seq, .. } => format!("room event {seq}"),
                EntryKind::Attached { head, is_large, .. } => format!("attached at {head} {is_large}"),
                EntryKind::Detach { .. } => format!("detach {}", self.name(targets[0].user())),
                EntryKind::Large { .. } => format!("large for {}", targets.len()),
                EntryKind::Small { seq, .. } => format!("small at {seq}"),
                kind => panic!("{kind:?}"),
            })
            .collect()
    }

    fn name(&self, user: UserId) -> usize {
        self.ids.iter().position(|id| *id == user).unwrap()
    }

    async fn is_large(&self) -> bool {
        let client = self.db.client().await;
        let sql = "SELECT large FROM rooms WHERE id = $1";
        client.query_one(sql, &[&self.room.0]).await.unwrap().get(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_becomes_large_and_small_again_and_its_stream_keeps_the_order() {
    let mut world = World::start().await;
    world.says(1).await;
    assert_eq!(world.told(), ["event 1 for 3", "event 2 for 3"]);
    let ids = world.ids.clone();

    // The event that makes it large is the last one that is addressed.
    assert_eq!(world.add(ids[ROOM_LARGE_ABOVE]).await, 3);
    assert_eq!(world.told(), ["event 3 for 3", "large for 3"]);
    assert!(world.is_large().await);
    // Nobody is attached: a copy goes nowhere.
    assert_eq!(world.says(1).await, 4);
    assert_eq!(world.told(), [""; 0]);
    world.attach(1, 7).await;
    assert_eq!(world.told(), ["attached at 4 true"]);
    world.says(0).await;
    assert_eq!(world.told(), ["room event 5"]);
    // Who comes has no seat yet and gets his event by name.
    world.add(ids[ROOM_LARGE_ABOVE + 1]).await;
    assert_eq!(world.told(), ["room event 6"]);
    let got = world.call(1, Method::RoomGet, json!({})).await.unwrap();
    assert_eq!(got["member_count"], 258);
    assert_eq!(got["members"].as_array().unwrap().len(), 256);

    // Down to one member more than makes it small, then the two last ones.
    let gone: Vec<UserId> = ids[3..].iter().copied().take(258 - ROOM_LARGE_BELOW).collect();
    let calls: Vec<_> = gone
        .iter()
        .map(|user| {
            let params = json!({"op": op(), "user": user});
            (world.devices[0], Method::MemberRemove, world.room, params)
        })
        .collect();
    let requests = world.edge.send(&calls).await;
    let last = world.edge.reply(*requests.last().unwrap()).await.unwrap();
    let seq = last["seq"].as_u64().unwrap();
    assert!(world.is_large().await);
    let told = world.told();
    assert_eq!(told.len(), 2 * gone.len());
    assert_eq!(told[0], "room event 7");
    assert_eq!(told[1], "detach 3");
    let params = json!({"op": op(), "user": ids[2]});
    world.call(0, Method::MemberRemove, params).await.unwrap();
    assert!(!world.is_large().await);
    let next = seq + 1;
    let expected = [
        format!("room event {next}"),
        format!("event {next} for 1"),
        "detach 2".to_owned(),
        format!("small at {next}"),
    ];
    assert_eq!(world.told(), expected);
    world.says(0).await;
    assert_eq!(world.told(), [format!("event {} for 2", next + 1)]);
    // A late call learns that there are no seats any more, and how far the room is.
    world.attach(1, 8).await;
    assert_eq!(world.told(), [format!("attached at {} false", next + 1)]);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_detached_behind_his_removal_and_gets_no_seat() {
    let mut world = World::start().await;
    let ids = world.ids.clone();
    world.add(ids[ROOM_LARGE_ABOVE]).await;
    let listed = world.call(1, Method::ReceiptList, json!({})).await.unwrap();
    assert!(listed.get("marks").is_none(), "counts alone in a large room");
    world.attach(1, 1).await;
    world.attach(2, 2).await;
    world.told();
    let (remove, seat) = (json!({"op": op(), "user": ids[2]}), json!({"nonce": 3}));
    let (owner, other, removed) = (world.devices[0], world.devices[1], world.devices[2]);
    let calls = [
        (other, Method::MessageSend, world.room, text(op(), "before")),
        (owner, Method::MemberRemove, world.room, remove),
        (removed, Method::RoomAttach, world.room, seat),
        (other, Method::MessageSend, world.room, text(op(), "after")),
    ];
    let requests = world.edge.send(&calls).await;
    assert_eq!(world.edge.reply(requests[3]).await.unwrap()["seq"], 5);
    assert_eq!(world.edge.reply(requests[2]).await, Err("not_found".to_owned()));
    let expected = [
        "room event 3",
        "room event 4",
        "event 4 for 1",
        "detach 2",
        "room event 5",
    ];
    assert_eq!(world.told(), expected);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_again_what_the_first_time_told() {
    let mut world = World::start().await;
    let ids = world.ids.clone();
    let (add, remove) = (
        json!({"op": op(), "user": ids[ROOM_LARGE_ABOVE]}),
        json!({"op": op(), "user": ids[2]}),
    );
    world.call(0, Method::MemberAdd, add.clone()).await.unwrap();
    world.attach(1, 1).await;
    let said = text(op(), "m");
    world.call(1, Method::MessageSend, said.clone()).await.unwrap();
    world.call(0, Method::MemberRemove, remove.clone()).await.unwrap();
    let first = world.told();
    let expected = [
        "event 1 for 3",
        "event 2 for 3",
        "large for 3",
        "attached at 2 true",
        "room event 3",
        "room event 4",
        "event 4 for 1",
        "detach 2",
    ];
    assert_eq!(first, expected);
    // As if the worker had died between its commit and its delivery: another one finds everything done.
    let World {
        db, _redis: redis, ..
    } = &world;
    let next = chat(db, redis);
    std::mem::replace(&mut world.worker, next).kill().await;
    let again = [
        (world.devices[0], Method::MemberAdd, world.room, add),
        (world.devices[1], Method::MessageSend, world.room, said),
        (world.devices[0], Method::MemberRemove, world.room, remove),
    ];
    let requests = world.edge.send(&again).await;
    for request in requests {
        assert_eq!(world.edge.reply(request).await.unwrap()["duplicate"], true);
    }
    // An entry that the first one had not deleted yet is worked on, too: notices may come twice.
    let mut told = world.told();
    told.dedup();
    let expected = [
        // The removed one was a member then.
        "event 2 for 3",
        "large for 2",
        "room event 3",
        "room event 4",
        "event 4 for 1",
        "detach 2",
    ];
    assert_eq!(told, expected);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_taken_out_of_the_room() {
    let mut world = World::start().await;
    let ids = world.ids.clone();
    world.add(ids[ROOM_LARGE_ABOVE]).await;
    world.attach(1, 1).await;
    let key = hub_protocol::keys::big_room(world.room);
    let gone = hub_protocol::Address {
        node: hub_protocol::NodeId(77),
        shard: 3,
        slot: 0,
        generation: 9,
    };
    let _: u8 = redis::cmd("SADD")
        .arg(&key)
        .arg(gone.to_string())
        .query_async(&mut world.edge.redis)
        .await
        .unwrap();
    world.says(1).await;
    world
        .edge
        .until_redis("the node that is gone is taken out", async |redis| {
            let left: Vec<String> = redis::cmd("SMEMBERS").arg(&key).query_async(redis).await.unwrap();
            left.len() == 1 && left[0] != gone.to_string()
        })
        .await;
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_marks_of_a_large_room_are_nobody_elses_business() {
    let mut world = World::start().await;
    let ids = world.ids.clone();
    world.add(ids[ROOM_LARGE_ABOVE]).await;
    let typing = world.call(1, Method::TypingSet, json!({"typing": true})).await;
    assert_eq!(typing, Ok(json!({})));
    let read = world.call(1, Method::ReceiptRead, json!({"seq": 2})).await;
    assert_eq!(read, Ok(json!({"seq": 2})));
    world.worker.end().await;
}
