//! Goal: whatever happens to Redis, the shards of a node hear what they must. Method: the real backbone on a real
//! Redis that is killed, stopped and emptied; the tests stand where the shards are, at the other end of the mailboxes.

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_edge::backbone::{Backbone, BackboneSettings, Health};
use hub_edge::mailbox::{MailboxEnd, ToBackbone, ToShard, mailbox};
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::{Address, LoginId, NodeId, RoomId, Service, SessionId, UserId, keys};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use uuid::Uuid;

use support::PATIENCE;
use support::redis::Redis;

/// A node whose shards are played by the test.
struct Node {
    shards: Vec<Shard>,
    health: Arc<Health>,
    task: JoinHandle<()>,
}

struct Shard {
    end: MailboxEnd,
    /// Everything the backbone said and the test has not used.
    said: VecDeque<ToShard>,
}

impl Node {
    fn start(redis: &Redis) -> Self {
        let settings = BackboneSettings {
            redis: redis.client(),
            response_timeout: Duration::from_millis(500),
            linger: Duration::ZERO,
            stream_entries_max: 4,
        };
        let notify = Arc::new(Notify::new());
        let (shard_ends, backbone_ends): (Vec<_>, Vec<_>) =
            (0..3).map(|_| mailbox(Arc::clone(&notify))).unzip();
        let health = Arc::new(Health::default());
        let mut backbone = Backbone::new(settings, Arc::new(backbone_ends), notify, Arc::clone(&health));
        Self {
            shards: shard_ends
                .into_iter()
                .map(|end| Shard {
                    end,
                    said: VecDeque::new(),
                })
                .collect(),
            health,
            task: spawn_local(async move { backbone.run().await }),
        }
    }

    /// Waits until every shard knows the node's name and the partitions.
    async fn up(&mut self) -> NodeId {
        let mut node = NodeId(0);
        for shard in &mut self.shards {
            let (mut name, mut has_meta) = (None, false);
            node = shard
                .find("Node and Meta", |item| {
                    match item {
                        ToShard::Node(node) => name = Some(*node),
                        ToShard::Meta { .. } => has_meta = true,
                        _ => {}
                    }
                    name.filter(|_| has_meta)
                })
                .await;
        }
        assert_eq!(self.health.reason(), None);
        node
    }
}

impl Shard {
    fn say(&self, item: ToBackbone) {
        self.end.send(&mut VecDeque::from([item]));
    }

    fn hear(&mut self) {
        self.end.take(&mut self.said);
    }

    /// Waits for an item; what came before it is forgotten.
    async fn find<T>(&mut self, what: &str, mut look: impl FnMut(&ToShard) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.hear();
            while let Some(item) = self.said.pop_front() {
                if let Some(found) = look(&item) {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "the backbone never said {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn node(&mut self) -> NodeId {
        self.find("Node", |item| match item {
            ToShard::Node(node) => Some(*node),
            _ => None,
        })
        .await
    }

    async fn sync(&mut self) {
        self.find("SyncAll", |item| matches!(item, ToShard::SyncAll).then_some(()))
            .await;
    }

    async fn is_up(&mut self, wanted: bool) {
        self.find("Backbone", |item| match item {
            ToShard::Backbone { is_up } => (*is_up == wanted).then_some(()),
            _ => None,
        })
        .await;
    }

    /// Hands a batch in and waits until it has arrived; whether its stream is full.
    async fn uplink(&mut self, batch: &[u8]) -> bool {
        self.say(uplink(batch));
        self.uplink_done().await
    }

    async fn uplink_done(&mut self) -> bool {
        self.find("UplinkDone", |item| match item {
            ToShard::UplinkDone {
                service: Service::Chat,
                partition: 1,
                is_full,
                ..
            } => Some(*is_full),
            _ => None,
        })
        .await
    }

    /// Registers a session; whether its entry was missing.
    async fn register(&mut self, user: UserId, address: Address, sweep: bool) -> bool {
        self.say(ToBackbone::Register {
            user,
            address,
            session: SessionId(Uuid::from_u128(5)),
            sweep,
        });
        self.find("Registered", |item| match item {
            ToShard::Registered {
                slot,
                generation,
                was_missing,
                sweep: echoed,
            } => {
                assert_eq!(
                    (*slot, *generation, *echoed),
                    (address.slot, address.generation, sweep)
                );
                Some(*was_missing)
            }
            _ => None,
        })
        .await
    }
}

fn uplink(batch: &[u8]) -> ToBackbone {
    ToBackbone::Uplink {
        service: Service::Chat,
        partition: 1,
        batch: batch.to_vec(),
        envelopes: 1,
    }
}

fn address(node: NodeId, shard: u16) -> Address {
    Address {
        node,
        shard,
        slot: 3,
        generation: 4,
    }
}

/// A batch with one event for each of these shards.
fn downlink(node: NodeId, shards: &[u16]) -> Vec<u8> {
    let mut writer = DownlinkWriter::new(node);
    let user = UserId(Uuid::from_u128(1));
    let targets: Vec<_> = shards
        .iter()
        .map(|&shard| Target::new(address(node, shard), user))
        .collect();
    let room = RoomId(Uuid::from_u128(2));
    writer.push(EntryKind::Event { room, seq: 7 }, &targets, b"{}");
    writer.take()
}

fn entries(redis: &Redis, key: &str) -> Vec<Vec<u8>> {
    let reply: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
        .arg(key)
        .arg("-")
        .arg("+")
        .query(&mut redis.connect())
        .expect("reads");
    reply.ids.iter().filter_map(|entry| entry.get("b")).collect()
}

fn add(redis: &Redis, node: NodeId, batch: &[u8]) {
    redis::cmd("XADD")
        .arg(keys::node(node))
        .arg("*")
        .arg(keys::BATCH_FIELD)
        .arg(batch)
        .exec(&mut redis.connect())
        .expect("writes");
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn batches_reach_their_stream_in_order_and_a_full_stream_is_told() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        node.up().await;
        let shard = &mut node.shards[1];
        for batch in [b"1", b"2", b"3", b"4"] {
            assert!(!shard.uplink(batch).await, "within its bound");
        }
        assert!(shard.uplink(b"5").await, "above its bound");
        let key = keys::requests(Service::Chat, 1);
        assert_eq!(entries(&redis, &key), [b"1", b"2", b"3", b"4", b"5"]);
        redis::cmd("DEL").arg(&key).exec(&mut redis.connect()).unwrap();
        assert!(!shard.uplink(b"6").await, "the stream has room again");
    });
}

#[test]
fn a_downlink_batch_reaches_the_shards_it_names_and_is_deleted() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        let batch = downlink(name, &[0, 2]);
        add(&redis, name, &batch);
        for index in [0, 2] {
            let found = node.shards[index]
                .find("Downlink", |item| match item {
                    ToShard::Downlink { batch, .. } => Some(batch.clone()),
                    _ => None,
                })
                .await;
            assert_eq!(found, batch);
        }
        node.shards[1].hear();
        assert!(
            !node.shards[1]
                .said
                .iter()
                .any(|item| matches!(item, ToShard::Downlink { .. }))
        );
        eventually("the entry is deleted", || {
            entries(&redis, &keys::node(name)).is_empty()
        })
        .await;
    });
}

#[test]
fn ephemeral_batches_come_by_publication() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        let receivers: i64 = redis::cmd("PUBLISH")
            .arg(keys::ephemeral(name))
            .arg(downlink(name, &[1]))
            .query(&mut redis.connect())
            .unwrap();
        assert_eq!(receivers, 1);
        node.shards[1]
            .find("Downlink", |item| {
                matches!(item, ToShard::Downlink { .. }).then_some(())
            })
            .await;
    });
}

#[test]
fn what_cannot_be_read_means_a_sync_and_what_is_for_another_node_means_nothing() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        add(&redis, name, &downlink(NodeId(1), &[0]));
        add(&redis, name, b"not a batch");
        for shard in &mut node.shards {
            shard
                .find("SyncAll", |item| match item {
                    ToShard::SyncAll => Some(()),
                    ToShard::Downlink { .. } => panic!("a batch of another node"),
                    _ => None,
                })
                .await;
        }
        eventually("both are deleted", || {
            entries(&redis, &keys::node(name)).is_empty()
        })
        .await;
    });
}

#[test]
fn the_directory_says_where_a_session_is() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        let mut connection = redis.connect();
        let (user, here) = (UserId(Uuid::from_u128(77)), address(name, 0));
        let shard = &mut node.shards[0];
        assert!(shard.register(user, here, false).await, "it is new");
        let field: String = redis::cmd("HGET")
            .arg(keys::directory(user))
            .arg(here.to_string())
            .query(&mut connection)
            .unwrap();
        assert_eq!(field, Uuid::from_u128(5).to_string());
        let ttl: i64 = redis::cmd("TTL")
            .arg(keys::directory(user))
            .query(&mut connection)
            .unwrap();
        assert!((100..=180).contains(&ttl), "{ttl}");
        assert!(!shard.register(user, here, true).await, "it was there");
        redis::cmd("DEL")
            .arg(keys::directory(user))
            .exec(&mut connection)
            .unwrap();
        assert!(shard.register(user, here, true).await, "it had been lost");
        shard.say(ToBackbone::Unregister { user, address: here });
        eventually("the entry is gone", || {
            let count: i64 = redis::cmd("EXISTS")
                .arg(keys::directory(user))
                .query(&mut connection)
                .unwrap();
            count == 0
        })
        .await;
    });
}

#[test]
fn after_a_kill_of_redis_the_node_has_another_name_and_what_waited_arrives_first() {
    run(async {
        let mut redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let before = node.up().await;
        assert!(!node.shards[0].uplink(b"1").await);
        redis.kill();
        for shard in &mut node.shards {
            shard.is_up(false).await;
        }
        assert_eq!(node.health.reason(), Some("redis is not reachable"));
        node.shards[0].say(uplink(b"2"));
        redis.restart();
        for shard in &mut node.shards {
            shard.is_up(true).await;
            assert_ne!(shard.node().await, before);
        }
        node.shards[0].uplink_done().await;
        node.shards[0].uplink(b"3").await;
        assert_eq!(entries(&redis, &keys::requests(Service::Chat, 1)), [b"2", b"3"]);
        assert_eq!(node.health.reason(), None, "what hub:meta said stays known");
    });
}

#[test]
fn a_redis_that_does_not_answer_is_down_and_nothing_is_lost_meanwhile() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        node.up().await;
        redis.stop();
        node.shards[0].say(uplink(b"1"));
        for shard in &mut node.shards {
            shard.is_up(false).await;
        }
        redis.go_on();
        for shard in &mut node.shards {
            shard.is_up(true).await;
        }
        node.shards[0].uplink_done().await;
        node.shards[0].uplink(b"2").await;
        // The stopped server may have taken the first one as well: repeated, never lost, never behind the second.
        let mut arrived = entries(&redis, &keys::requests(Service::Chat, 1));
        arrived.dedup();
        assert_eq!(arrived, [b"1", b"2"]);
    });
}

#[test]
fn a_flush_means_another_name() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let before = node.up().await;
        redis::cmd("FLUSHALL").exec(&mut redis.connect()).unwrap();
        for shard in &mut node.shards {
            assert_ne!(shard.node().await, before);
        }
    });
}

#[test]
fn a_node_whose_stream_is_gone_goes_on_under_another_name() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let before = node.up().await;
        redis::cmd("DEL")
            .arg(keys::node(before))
            .exec(&mut redis.connect())
            .unwrap();
        let after = node.shards[0].node().await;
        assert_ne!(after, before);
        add(&redis, after, &downlink(after, &[0]));
        node.shards[0]
            .find("Downlink", |item| {
                matches!(item, ToShard::Downlink { .. }).then_some(())
            })
            .await;
    });
}

#[test]
fn counted_losses_mean_a_sync_each_time() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        for _ in 0..2 {
            redis::cmd("INCR")
                .arg(keys::lost(name))
                .exec(&mut redis.connect())
                .unwrap();
            for shard in &mut node.shards {
                shard.sync().await;
            }
        }
    });
}

#[test]
fn revocations_are_known_before_the_node_is_up_and_followed_afterwards() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let revoke = |login: LoginId| {
            redis::cmd("XADD")
                .arg(keys::REVOKED)
                .arg("*")
                .arg("login")
                .arg(login.to_string())
                .exec(&mut redis.connect())
                .unwrap();
        };
        let (early, late) = (LoginId(Uuid::from_u128(1)), LoginId(Uuid::from_u128(2)));
        revoke(early);
        let mut node = Node::start(&redis);
        let shard = &mut node.shards[0];
        shard
            .find("Revoked", |item| match item {
                ToShard::Revoked(login) => (*login == early).then_some(()),
                ToShard::Backbone { is_up: true } => panic!("up before it knew"),
                _ => None,
            })
            .await;
        shard.node().await;
        revoke(late);
        shard
            .find("Revoked", |item| {
                matches!(item, ToShard::Revoked(login) if *login == late).then_some(())
            })
            .await;
    });
}

#[test]
fn every_cut_connection_is_made_again() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        for kind in ["normal", "pubsub"] {
            redis::cmd("CLIENT")
                .arg(&["KILL", "TYPE", kind])
                .exec(&mut redis.connect())
                .unwrap();
            for shard in &mut node.shards {
                shard.is_up(false).await;
                shard.is_up(true).await;
            }
            add(&redis, name, &downlink(name, &[0]));
            let shard = &mut node.shards[0];
            shard
                .find("Downlink", |item| match item {
                    ToShard::Downlink { .. } => Some(()),
                    ToShard::Node(_) => panic!("its stream was there all the time"),
                    _ => None,
                })
                .await;
        }
    });
}

#[test]
fn a_node_that_knows_no_partitions_is_not_ready() {
    run(async {
        let redis = Redis::start();
        let mut node = Node::start(&redis);
        node.shards[0].node().await;
        assert!(
            node.health
                .reason()
                .is_some_and(|reason| reason.contains("hub:meta"))
        );
        redis.write_meta();
        node.shards[0]
            .find("Meta", |item| matches!(item, ToShard::Meta { .. }).then_some(()))
            .await;
        assert_eq!(node.health.reason(), None);
    });
}

#[test]
fn a_drained_backbone_writes_everything_and_takes_its_stream_away() {
    run(async {
        let redis = Redis::start();
        redis.write_meta();
        let mut node = Node::start(&redis);
        let name = node.up().await;
        for shard in &node.shards {
            let mut last = VecDeque::from([uplink(b"last"), ToBackbone::Drained]);
            shard.end.send(&mut last);
        }
        tokio::time::timeout(PATIENCE, node.task)
            .await
            .expect("ends")
            .expect("does not panic");
        assert_eq!(
            entries(&redis, &keys::requests(Service::Chat, 1)),
            [b"last", b"last", b"last"]
        );
        let is_there: i64 = redis::cmd("EXISTS")
            .arg(keys::node(name))
            .query(&mut redis.connect())
            .unwrap();
        assert_eq!(is_there, 0);
    });
}
