//! Presence on real servers: what watchers are told, and what they are not.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use std::pin::Pin;
use std::time::{Duration, Instant};

use edge::{Device, Edge, Running, group, users};
use futures_util::{Stream, StreamExt};
use hub_protocol::batch::DownlinkBatch;
use hub_protocol::{Method, RoomId, UserId, keys};
use hub_services::delivery::Deliverer;
use hub_services::presence::{Presence, Times};
use hub_services::user::Profiles;
use redis::cmd;
use serde_json::{Value, json};
use support::{Database, Redis};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_mins(1);
/// Nothing that a test waits for.
const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(10);

/// The user service with presence, and an edge whose ephemeral events are heard.
struct World {
    db: Database,
    redis: Redis,
    edge: Edge,
    worker: Running,
    cancel: CancellationToken,
    teller: JoinHandle<()>,
    heard: Pin<Box<dyn Stream<Item = redis::Msg>>>,
    /// Events that came in one batch with another one: slot and text.
    waiting: Vec<(u32, Value)>,
}

impl World {
    async fn start(linger: Duration) -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let edge = Edge::start(&redis, db.meta.partitions).await;
        let client = redis::Client::open(redis.url()).unwrap();
        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.subscribe(keys::ephemeral(edge.node)).await.unwrap();
        let cancel = CancellationToken::new();
        let times = Times {
            tick: SOON,
            linger,
            store: NEVER,
        };
        let deliverer = Deliverer::new(4_000, Duration::ZERO);
        let (presence, teller) = Presence::new(client, db.store.clone(), deliverer, times, cancel.clone());
        let profiles = Profiles::new(db.store.clone(), &db.meta).with_presence(presence);
        let worker = edge::start(profiles, &db, &redis, 4_000);
        Self {
            db,
            redis,
            edge,
            worker,
            cancel,
            teller: tokio::spawn(teller),
            heard: Box::pin(pubsub.into_on_message()),
            waiting: Vec::new(),
        }
    }

    /// A session as an edge opens it.
    async fn come(&mut self, user: UserId) -> Device {
        let device = self.edge.open(user).await;
        self.say(device, Method::PresenceSession, json!({"state": "open"}))
            .await;
        device
    }

    /// The end of a session as an edge tells it.
    async fn go(&mut self, device: Device) {
        let mut redis = self.redis.connection().await;
        let _: u8 = cmd("HDEL")
            .arg(keys::directory(device.user))
            .arg(device.address.to_string())
            .query_async(&mut redis)
            .await
            .unwrap();
        self.say(device, Method::PresenceSession, json!({"state": "closed"}))
            .await;
    }

    async fn say(&mut self, device: Device, method: Method, params: Value) {
        self.edge.send(&[(device, method, RoomId::NIL, params)]).await;
    }

    async fn call(&mut self, device: Device, method: Method, params: Value) -> Result<Value, String> {
        self.edge.call(device, method, RoomId::NIL, params).await
    }

    /// Watches users; returns their states in the order of the question.
    async fn watch(&mut self, device: Device, users: &[UserId]) -> Vec<Value> {
        let watched = self
            .call(device, Method::PresenceWatch, json!({"users": users}))
            .await
            .unwrap();
        assert_eq!(watched["renew_ms"], 60_000);
        let found = watched["users"].as_array().unwrap();
        let of = |user: &UserId| found.iter().find(|view| view["user"] == json!(user)).cloned();
        users.iter().filter_map(of).collect()
    }

    async fn change(&mut self, user: UserId, method: Method, mut params: Value) {
        params["op"] = json!(Uuid::now_v7());
        let device = Device {
            user,
            address: hub_protocol::Address {
                node: self.edge.node,
                ..hub_protocol::Address::default()
            },
        };
        self.call(device, method, params).await.unwrap();
    }

    /// The next event of presence at a connection.
    async fn next(&mut self, device: Device) -> Value {
        let began = Instant::now();
        loop {
            let slot = device.address.slot;
            if let Some(at) = self.waiting.iter().position(|(at, _)| *at == slot) {
                return self.waiting.remove(at).1["data"]["users"].clone();
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            let message = tokio::time::timeout(left, self.heard.next())
                .await
                .expect("an event")
                .unwrap();
            let batch = message.get_payload_bytes().to_vec();
            for entry in DownlinkBatch::parse(&batch).unwrap().iter() {
                let text: Value = serde_json::from_slice(entry.body).unwrap();
                if text["event"] != "presence" {
                    continue;
                }
                for target in entry.targets {
                    self.waiting.push((target.slot(), text.clone()));
                }
            }
        }
    }

    async fn end(self) -> Database {
        self.worker.end().await;
        self.cancel.cancel();
        self.teller.await.unwrap();
        self.db
    }
}

fn is(user: UserId, state: &str) -> Value {
    json!([{"user": user, "state": state}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_who_comes_changes_and_goes() {
    let mut world = World::start(SOON).await;
    let all = users(&world.db, 2).await;
    let (ada, bob) = (all[0], all[1]);
    let watcher = world.come(ada).await;
    assert_eq!(
        world.watch(watcher, &[bob]).await,
        [json!({"user": bob, "state": "offline"})]
    );
    let phone = world.come(bob).await;
    assert_eq!(world.next(watcher).await, is(bob, "online"));
    world
        .call(phone, Method::PresenceSet, json!({"state": "away"}))
        .await
        .unwrap();
    assert_eq!(world.next(watcher).await, is(bob, "away"));
    // One of two devices is enough.
    let laptop = world.come(bob).await;
    assert_eq!(world.next(watcher).await, is(bob, "online"));
    world.go(laptop).await;
    assert_eq!(world.next(watcher).await, is(bob, "away"));
    world.go(phone).await;
    let gone = world.next(watcher).await;
    assert_eq!(gone[0]["state"], "offline");
    let last_seen = gone[0]["last_seen"].as_i64().unwrap();
    assert!(last_seen > 1_700_000_000_000_000, "{last_seen}");
    let now = world.watch(watcher, &[bob]).await;
    assert_eq!(now[0]["last_seen"], last_seen);

    let db = world.end().await;
    let stored = db
        .client()
        .await
        .query_one("SELECT at FROM last_seen WHERE user_id = $1", &[&bob.0])
        .await;
    assert_eq!(stored.unwrap().get::<_, i64>(0), last_seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_shows_nothing() {
    let mut world = World::start(NEVER).await;
    let all = users(&world.db, 2).await;
    let watcher = world.come(all[0]).await;
    let before = world.come(all[1]).await;
    assert_eq!(world.watch(watcher, &all[1..]).await[0]["state"], "online");
    world.go(before).await;
    // Whoever looks meanwhile sees what the others see.
    assert_eq!(world.watch(watcher, &all[1..]).await[0]["state"], "online");
    let after = world.come(all[1]).await;
    world
        .call(after, Method::PresenceSet, json!({"state": "away"}))
        .await
        .unwrap();
    assert_eq!(world.next(watcher).await, is(all[1], "away"), "the first event");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_replaces_the_one_before() {
    let mut world = World::start(SOON).await;
    let all = users(&world.db, 3).await;
    let watcher = world.come(all[0]).await;
    world.watch(watcher, &all[1..]).await;
    world.watch(watcher, &all[2..]).await;
    world.come(all[1]).await;
    // Later, and looked at by the same task: if the first came, it came before.
    world.come(all[2]).await;
    assert_eq!(world.next(watcher).await, is(all[2], "online"));
    let many: Vec<Uuid> = (0..201).map(|_| Uuid::new_v4()).collect();
    for (params, code) in [
        (json!({"users": many}), "too_large"),
        (json!({}), "bad_request"),
        (json!({"users": [], "room": Uuid::new_v4()}), "bad_request"),
        (json!({"room": Uuid::new_v4()}), "not_found"),
    ] {
        let refused = world.call(watcher, Method::PresenceWatch, params).await;
        assert_eq!(refused, Err(code.to_owned()));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_ends_presence_both_ways_and_its_end_brings_it_back() {
    let mut world = World::start(SOON).await;
    let all = users(&world.db, 3).await;
    let (ada, bob, eve) = (all[0], all[1], all[2]);
    let (at_ada, at_bob, at_eve) = (
        world.come(ada).await,
        world.come(bob).await,
        world.come(eve).await,
    );
    for (device, other) in [(at_ada, bob), (at_bob, ada), (at_eve, bob)] {
        assert_eq!(
            world.watch(device, &[other]).await,
            [json!({"user": other, "state": "online"})]
        );
    }
    world.change(ada, Method::BlockAdd, json!({"user": bob})).await;
    assert_eq!(world.next(at_ada).await, is(bob, "offline"));
    assert_eq!(world.next(at_bob).await, is(ada, "offline"));
    assert_eq!(
        world.watch(at_bob, &[ada]).await,
        [json!({"user": ada, "state": "offline"})]
    );
    // Others are told of bob, ada is told that he is offline, still.
    world
        .call(at_bob, Method::PresenceSet, json!({"state": "away"}))
        .await
        .unwrap();
    assert_eq!(world.next(at_eve).await, is(bob, "away"));
    world.change(ada, Method::BlockRemove, json!({"user": bob})).await;
    assert_eq!(world.next(at_bob).await, is(ada, "online"));
    loop {
        let told = world.next(at_ada).await;
        if told == is(bob, "away") {
            break;
        }
        assert_eq!(told, is(bob, "offline"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_somebody_was_seen_is_told_to_whom_he_wants() {
    let mut world = World::start(SOON).await;
    let all = users(&world.db, 2).await;
    let (ada, bob) = (all[0], all[1]);
    let client = world.db.client().await;
    client
        .execute("INSERT INTO last_seen VALUES ($1, 5)", &[&bob.0])
        .await
        .unwrap();
    let watcher = world.come(ada).await;
    let mut seen = async |visible: &str| {
        world
            .change(bob, Method::UserUpdate, json!({"last_seen_visible": visible}))
            .await;
        world.watch(watcher, &[bob]).await[0].get("last_seen").cloned()
    };
    assert_eq!(seen("everyone").await, Some(json!(5)));
    assert_eq!(seen("nobody").await, None);
    assert_eq!(seen("contacts").await, None);
    client
        .execute("INSERT INTO contacts VALUES ($1, $2, '', 0)", &[&bob.0, &ada.0])
        .await
        .unwrap();
    assert_eq!(seen("contacts").await, Some(json!(5)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_dead_node_are_nobody() {
    let mut world = World::start(SOON).await;
    let all = users(&world.db, 2).await;
    let watcher = world.come(all[0]).await;
    let mut other = Edge::start(&world.redis, world.db.meta.partitions).await;
    other.open(all[1]).await;
    assert_eq!(world.watch(watcher, &all[1..]).await[0]["state"], "online");
    let mut redis = world.redis.connection().await;
    let () = cmd("DEL")
        .arg(keys::node(other.node))
        .query_async(&mut redis)
        .await
        .unwrap();
    // Nobody said that it ended; the next watch finds out.
    assert_eq!(
        world.watch(watcher, &all[1..]).await[0]["state"],
        "online",
        "as it was told"
    );
    assert_eq!(world.next(watcher).await, is(all[1], "offline"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_room_are_told_one_by_one_or_counted() {
    let mut world = World::start(SOON).await;
    let chat = edge::chat(&world.db, &world.redis);
    let all = users(&world.db, 3).await;
    let owner = world.come(all[0]).await;
    let room = group(&mut world.edge, owner, &all[1..]).await;
    world.come(all[1]).await;
    let watched = world
        .call(owner, Method::PresenceWatch, json!({"room": room}))
        .await
        .unwrap();
    assert_eq!(watched["users"].as_array().unwrap().len(), 3);
    assert_eq!(watched["room"], json!({"members": 3, "online": 2, "exact": true}));
    world.come(all[2]).await;
    assert_eq!(world.next(owner).await, is(all[2], "online"));

    // A large room: everybody's connections are those of the owner's node.
    let client = world.db.client().await;
    let sql = "INSERT INTO members (room, user_id, role, from_seq, changed) \
         SELECT $1, gen_random_uuid(), 'member', 1, pg_current_xact_id() FROM generate_series(1, 997)";
    client.execute(sql, &[&room.0]).await.unwrap();
    let rows = client
        .query("SELECT user_id FROM members WHERE room = $1", &[&room.0])
        .await
        .unwrap();
    for row in &rows {
        world.edge.open(UserId(row.get(0))).await;
    }
    let watched = world
        .call(owner, Method::PresenceWatch, json!({"room": room}))
        .await
        .unwrap();
    assert_eq!(
        watched["room"],
        json!({"members": 1000, "online": 1000, "exact": false})
    );
    assert_eq!(watched["users"], json!([]));
    chat.end().await;
    world.end().await;
}
