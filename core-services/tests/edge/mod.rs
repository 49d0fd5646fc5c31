//! What a service sees of an edge: somebody who appends envelopes and reads a node's stream. Speaks to Redis only.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hub_protocol::batch::{DownlinkBatch, EntryKind, EnvelopeHeader, Target, UplinkWriter};
use hub_protocol::partition::{Partitions, of_room, of_user};
use hub_protocol::seal::Sealer;
use hub_protocol::{Address, LoginId, Method, NodeId, RoomId, Route, SessionId, UserId, keys};
use hub_services::chat::Chat;
use hub_services::delivery::Deliverer;
use hub_services::service::Handler;
use hub_services::worker::{Status, Worker, WorkerOptions};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use redis::streams::StreamReadReply;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Database, Redis};

/// Long enough for every machine; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection of a user.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pub user: UserId,
    pub address: Address,
}

/// One thing that arrived at a connection.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub user: UserId,
    pub slot: u32,
    pub text: Value,
}

/// One edge process.
pub struct Edge {
    pub node: NodeId,
    pub redis: MultiplexedConnection,
    partitions: Partitions,
    slots: u32,
    requests: u64,
    cursor: String,
    pub replies: HashMap<u64, Value>,
    pub events: Vec<Arrived>,
    /// Everything durable but answers, in the order of the stream.
    pub told: Vec<(EntryKind, Vec<Target>)>,
}

impl Edge {
    /// A node with its stream.
    pub async fn start(redis: &Redis, partitions: Partitions) -> Self {
        let node = NodeId(rand::random());
        let mut redis = redis.connection().await;
        let _: String = cmd("XADD")
            .arg(keys::node(node))
            .arg("*")
            .arg("h")
            .arg(1)
            .query_async(&mut redis)
            .await
            .unwrap();
        let (replies, events) = (HashMap::new(), Vec::new());
        Self {
            node,
            redis,
            partitions,
            slots: 0,
            requests: 0,
            cursor: "0".to_owned(),
            replies,
            events,
            told: Vec::new(),
        }
    }

    /// A connection that is in the directory.
    pub async fn open(&mut self, user: UserId) -> Device {
        self.slots += 1;
        let shard = u16::try_from(self.slots % 2).unwrap();
        let address = Address {
            node: self.node,
            shard,
            slot: self.slots,
            generation: 1,
        };
        let session = Uuid::from_u128(u128::from(self.slots)).to_string();
        let _: u8 = cmd("HSET")
            .arg(keys::directory(user))
            .arg(address.to_string())
            .arg(session)
            .query_async(&mut self.redis)
            .await
            .unwrap();
        Device { user, address }
    }

    /// Appends calls as one batch per partition, in their order; returns their request ids.
    pub async fn send(&mut self, calls: &[(Device, Method, RoomId, Value)]) -> Vec<u64> {
        let mut writers: BTreeMap<String, UplinkWriter> = BTreeMap::new();
        let mut requests = Vec::new();
        for (device, method, room, params) in calls {
            self.requests += 1;
            requests.push(self.requests);
            let service = method.service();
            let count = self.partitions.of(service);
            let partition = match method.route() {
                Route::Room => of_room(*room, count),
                _ => of_user(device.user, count),
            };
            let header = EnvelopeHeader {
                address: device.address,
                request: self.requests,
                method: *method,
                user: device.user,
                // One login per user.
                login: LoginId(device.user.0),
                session: SessionId(Uuid::from_u128(u128::from(device.address.slot))),
                room: *room,
            };
            let body = json!({"id": self.requests, "method": method.name(), "room": room, "params": params});
            let writer = writers
                .entry(keys::requests(service, partition))
                .or_insert_with(|| UplinkWriter::new(self.node));
            writer.push(&header, body.to_string().as_bytes());
        }
        for (key, mut writer) in writers {
            self.append(&key, writer.take()).await;
        }
        requests
    }

    /// Appends raw bytes to a stream.
    pub async fn append(&mut self, key: &str, batch: Vec<u8>) {
        let _: String = cmd("XADD")
            .arg(key)
            .arg("*")
            .arg("b")
            .arg(batch)
            .query_async(&mut self.redis)
            .await
            .unwrap();
    }

    /// One call and its answer: the result, or the error's code.
    pub async fn call(
        &mut self,
        device: Device,
        method: Method,
        room: RoomId,
        params: Value,
    ) -> Result<Value, String> {
        let request = self.send(&[(device, method, room, params)]).await[0];
        self.reply(request).await
    }

    /// Waits for the answer to a request.
    pub async fn reply(&mut self, request: u64) -> Result<Value, String> {
        self.until(&format!("an answer to request {request}"), |edge| {
            edge.replies.contains_key(&request)
        })
        .await;
        let reply = self.replies[&request].clone();
        assert_eq!(reply["id"], request);
        match reply.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(reply["error"]["code"]
                .as_str()
                .expect("an error has a code")
                .to_owned()),
        }
    }

    /// Reads the node's stream until a condition holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "no {what}");
            self.read().await;
        }
    }

    /// Asks Redis until a condition holds.
    pub async fn until_redis(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut(&mut MultiplexedConnection) -> bool,
    ) {
        let began = Instant::now();
        while !holds(&mut self.redis).await {
            assert!(began.elapsed() < PATIENCE, "not: {what}");
            tokio::task::yield_now().await;
        }
    }

    /// Reads what is in the node's stream, waiting a moment for more.
    pub async fn read(&mut self) {
        let mut command = cmd("XREAD");
        command
            .arg("BLOCK")
            .arg(50)
            .arg("STREAMS")
            .arg(keys::node(self.node))
            .arg(&self.cursor);
        let Ok(reply) = command
            .query_async::<Option<StreamReadReply>>(&mut self.redis)
            .await
        else {
            return;
        };
        for entry in reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids)
        {
            self.cursor.clone_from(&entry.id);
            if let Some(batch) = entry.get::<Vec<u8>>("b") {
                self.take(&batch);
            }
        }
    }

    fn take(&mut self, batch: &[u8]) {
        let batch = DownlinkBatch::parse(batch).expect("a batch of ours");
        assert_eq!(batch.node(), self.node);
        for entry in batch.iter() {
            if !matches!(entry.kind, EntryKind::Reply(_) | EntryKind::Ephemeral { .. }) {
                self.told.push((entry.kind, entry.targets.to_vec()));
            }
            if entry.body.is_empty() {
                continue;
            }
            let text: Value = serde_json::from_slice(entry.body).expect("JSON text");
            match entry.kind {
                EntryKind::Reply(reply) => {
                    self.replies.insert(reply.request, text);
                }
                EntryKind::Event { .. } | EntryKind::Ephemeral { .. } => {
                    for target in entry.targets {
                        let (user, slot) = (target.user(), target.slot());
                        self.events.push(Arrived {
                            user,
                            slot,
                            text: text.clone(),
                        });
                    }
                }
                EntryKind::RoomEvent { .. } => {}
                kind => panic!("{kind:?} has no text"),
            }
        }
    }

    /// Enters a shard of this node among those that take a room's events.
    pub async fn enter(&mut self, room: RoomId, shard: u16) {
        let address = Address {
            node: self.node,
            shard,
            slot: 0,
            generation: 1,
        };
        let _: u8 = cmd("SADD")
            .arg(keys::big_room(room))
            .arg(address.to_string())
            .query_async(&mut self.redis)
            .await
            .unwrap();
    }

    /// The seqs of a room's events in the order in which they arrived at a connection.
    pub fn seqs(&self, device: Device, room: RoomId) -> Vec<u64> {
        self.events
            .iter()
            .filter(|event| event.slot == device.address.slot && event.text["room"] == room.to_string())
            .filter_map(|event| event.text["seq"].as_u64())
            .collect()
    }
}

/// A worker of the chat service under test.
pub struct Running {
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
    pub status: Arc<Status>,
}

impl Running {
    /// Ends it as SIGTERM does.
    pub async fn end(self) {
        self.cancel.cancel();
        self.task.await.expect("ends without a panic");
    }

    /// Ends it as SIGKILL does: nothing is given back.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap())
}

/// Starts a chat worker.
pub fn chat(db: &Database, redis: &Redis) -> Running {
    chat_with(db, redis, 4_000)
}

/// The same, with its own bound for node streams.
pub fn chat_with(db: &Database, redis: &Redis, node_entries_max: u32) -> Running {
    start(
        Chat::new(db.store.clone(), &db.meta, 100_000),
        db,
        redis,
        node_entries_max,
    )
}

/// Starts a worker of any service.
pub fn start<H: Handler>(handler: H, db: &Database, redis: &Redis, node_entries_max: u32) -> Running {
    let client = redis::Client::open(redis.url()).unwrap();
    let deliverer = Deliverer::new(node_entries_max, Duration::ZERO);
    let status = Status::new(handler.service());
    let options = WorkerOptions {
        block: Duration::from_millis(20),
        ..WorkerOptions::default()
    };
    let worker = Worker::new(
        client,
        handler,
        deliverer,
        sealer(),
        db.meta.clone(),
        options,
        Arc::clone(&status),
    );
    let cancel = CancellationToken::new();
    let task = tokio::spawn(worker.run(cancel.clone()));
    Running { cancel, task, status }
}

/// Makes accounts.
pub async fn users(db: &Database, count: u32) -> Vec<UserId> {
    let client = db.client().await;
    let mut users = Vec::new();
    for _ in 0..count {
        let id = Uuid::new_v4();
        let name = format!("u{}", id.simple());
        client
            .execute(
                "INSERT INTO users (id, username, display_name, created_at) VALUES ($1, $2, $2, 0)",
                &[&id, &&name[..30]],
            )
            .await
            .unwrap();
        users.push(UserId(id));
    }
    users.sort_unstable();
    users
}

pub fn op() -> Uuid {
    Uuid::now_v7()
}

pub fn new_room() -> RoomId {
    RoomId(Uuid::now_v7())
}

/// Makes a group of the first device's user and others.
pub async fn group(edge: &mut Edge, owner: Device, others: &[UserId]) -> RoomId {
    let room = new_room();
    let params = json!({"op": op(), "id": room, "kind": "group", "name": "g", "members": others});
    let created = edge
        .call(owner, Method::RoomCreate, room, params)
        .await
        .expect("makes a group");
    assert_eq!(created["seq"], 1);
    room
}

pub fn text(op: Uuid, text: &str) -> Value {
    json!({"client_message_id": op, "text": text})
}

/// A raw envelope of a method for the stream of a room.
pub fn envelope(
    device: Device,
    method: Method,
    room: RoomId,
    request: u64,
    body: &str,
) -> (EnvelopeHeader, Bytes) {
    let header = EnvelopeHeader {
        address: device.address,
        request,
        method,
        user: device.user,
        login: LoginId::NIL,
        session: SessionId::NIL,
        room,
    };
    (header, Bytes::copy_from_slice(body.as_bytes()))
}

/// The log of a room as it is stored: seqs in order.
pub async fn stored_seqs(db: &Database, room: RoomId) -> Vec<i64> {
    let client = db.client().await;
    let rows = client
        .query("SELECT seq FROM events WHERE room = $1 ORDER BY seq", &[&room.0])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
