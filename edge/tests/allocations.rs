//! Goal: a message in steady state costs no allocation, neither one that comes nor one that is delivered. Method: a shard
//! in this process, under an allocator that counts, with real sockets; the test plays clients and backbone, and
//! allocates nothing itself while it counts.

use std::alloc::System;
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hub_edge::admission::Gate;
use hub_edge::auth::{Caller, Verifier};
use hub_edge::config::{Config, Overrides};
use hub_edge::counters::SharedCounters;
use hub_edge::mailbox::{MailboxEnd, Offer, ToBackbone, ToShard, mailbox};
use hub_edge::memory::Memory;
use hub_edge::node;
use hub_edge::shard::{Agreed, Mode, Shard, ShardSettings};
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::partition::Partitions;
use hub_protocol::seal::Sealer;
use hub_protocol::{LoginId, NodeId, RoomId, UserId};
use hub_ws::frame::{Opcode, push_masked};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Notify;
use uuid::Uuid;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 8;
/// Messages of one connection, or events for it, before the next ones.
const IN_FLIGHT: usize = 16;
const WARM_UP: usize = 200;
const ROUNDS: usize = 500;

/// The defaults, but for deadlines of clients that say nothing.
fn settings(memory: &Arc<Memory>) -> ShardSettings {
    let config = Config::load(None, &Overrides::default()).expect("the defaults are valid");
    ShardSettings {
        ping: Duration::from_mins(10),
        idle: Duration::from_mins(20),
        ..node::settings(0, &config, memory)
    }
}

/// Connected pairs: the client's ends and ours.
fn pairs() -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it has one");
    (0..CONNECTIONS)
        .map(|_| {
            let client = TcpStream::connect(address).expect("it listens");
            let ours = listener.accept().expect("it waits").0;
            ours.set_nonblocking(true).expect("a socket");
            (client, ours)
        })
        .unzip()
}

/// A shard that serves these sockets until it is drained: echoes, and sessions of users 0, 1, 2 …
async fn serve(mail: MailboxEnd, echoes: Vec<TcpStream>, sessions: Vec<TcpStream>) {
    let memory = Memory::new(0);
    let gate = Gate::new(0, 0, Arc::clone(&memory));
    let shard = Shard::new(
        settings(&memory),
        Arc::new(Verifier::new(HashMap::new(), 5)),
        Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])]).expect("a key")),
        mail,
        Arc::new(SharedCounters::default()),
    )
    .expect("a shard");
    let running = {
        let shard = shard.clone();
        monoio::spawn(async move { shard.run().await })
    };
    // The first turn takes what the backbone said before.
    monoio::time::sleep(Duration::from_millis(1)).await;
    let adopt = |socket: TcpStream, caller, mode| {
        let ticket = gate
            .admit(socket.peer_addr().expect("connected").ip())
            .expect("there is no bound");
        let agreed = Agreed {
            mode,
            deflate: None,
            tls: None,
        };
        shard
            .adopt(socket.into(), &[], caller, agreed, ticket)
            .expect("there is room");
    };
    for socket in echoes {
        adopt(socket, None, Mode::Echo);
    }
    for (user, socket) in (0..).zip(sessions) {
        let caller = Caller {
            user: user_id(user),
            login: LoginId::NIL,
            expires_at: u64::MAX / 2,
        };
        adopt(socket, Some(caller), Mode::Chat);
    }
    running.await.expect("it runs to its end");
}

fn user_id(number: u128) -> UserId {
    UserId(Uuid::from_u128(number + 1))
}

/// What repeating this allocates, after it was repeated often enough to be in steady state.
fn allocations(mut round: impl FnMut()) -> usize {
    for _ in 0..WARM_UP {
        round();
    }
    let region = Region::new(COUNTED);
    for _ in 0..ROUNDS {
        round();
    }
    let change = region.change();
    change.allocations + change.reallocations
}

/// One test, since the allocator counts for the whole process.
#[test]
fn messages_and_deliveries_in_steady_state_allocate_nothing() {
    let (mut echoing, echoes) = pairs();
    let (mut members, sessions) = pairs();
    let (mail, backbone) = mailbox(Arc::new(Notify::new()));
    let node = NodeId(7);
    let partitions = Partitions {
        auth: 1,
        chat: 8,
        user: 1,
    };
    let epoch = "test".to_owned();
    backbone.notice(ToShard::Node(node));
    backbone.notice(ToShard::Meta { partitions, epoch });
    backbone.notice(ToShard::Backbone { is_up: true });
    let shard = std::thread::spawn(move || {
        let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .enable_timer()
            .build()
            .expect("a runtime");
        runtime.block_on(serve(mail, echoes, sessions));
    });

    let mut burst = Vec::new();
    for _ in 0..IN_FLIGHT {
        push_masked(&mut burst, Opcode::Text, &[b'x'; 128], [1, 2, 3, 4]);
    }
    let mut echo = vec![0; IN_FLIGHT * (4 + 128)];
    let count = allocations(|| {
        for client in &mut echoing {
            client.write_all(&burst).expect("it is taken");
        }
        for client in &mut echoing {
            client.read_exact(&mut echo).expect("it comes back");
            assert_eq!(echo[..5], [0x81, 126, 0, 128, b'x']);
        }
    });
    let messages = ROUNDS * CONNECTIONS * IN_FLIGHT;
    // The shard's clock may, now and then; messages must not.
    assert!(count < 10, "{count} allocations for {messages} messages");

    // The sessions are written into the directory, and each hears of it.
    let (mut said, mut targets) = (VecDeque::new(), Vec::new());
    while targets.len() < CONNECTIONS {
        backbone.take(&mut said);
        for item in said.drain(..) {
            if let ToBackbone::Register { user, address, .. } = item {
                targets.push(Target::new(address, user));
                backbone.notice(ToShard::Registered {
                    slot: address.slot,
                    generation: address.generation,
                    was_missing: false,
                    sweep: false,
                });
            }
        }
        backbone.wake();
        std::thread::yield_now();
    }
    for client in &mut members {
        let mut head = [0; 4];
        client.read_exact(&mut head).expect("the session is announced");
        let mut opened = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        client.read_exact(&mut opened).expect("to its end");
        assert_eq!(head[..2], [0x81, 126]);
        assert!(opened.starts_with(br#"{"id":0,"result":"#));
    }
    let mut writer = DownlinkWriter::new(node);
    let room = RoomId(Uuid::from_u128(1));
    for seq in 0..IN_FLIGHT as u64 {
        writer.push(EntryKind::Event { room, seq }, &targets, &[b'y'; 128]);
    }
    let batch = Bytes::from(writer.take());
    let mut events = vec![0; IN_FLIGHT * (4 + 128)];
    let count = allocations(|| {
        assert_eq!(backbone.offer(batch.clone()), Offer::Queued);
        backbone.wake();
        for client in &mut members {
            client.read_exact(&mut events).expect("it is delivered");
            assert_eq!(events[..5], [0x81, 126, 0, 128, b'y']);
        }
    });
    assert!(count < 10, "{count} allocations for {messages} deliveries");

    drop((echoing, members));
    backbone.notice(ToShard::Drain);
    backbone.wake();
    // What the shard has to say of the sessions goes before it ends.
    while !shard.is_finished() {
        backbone.take(&mut said);
        for item in said.drain(..) {
            if let ToBackbone::Uplink {
                service, partition, ..
            } = item
            {
                backbone.notice(ToShard::UplinkDone {
                    service,
                    partition,
                    is_full: false,
                    is_crowded: false,
                });
            }
        }
        backbone.wake();
        std::thread::yield_now();
    }
    shard.join().expect("the shard ends well");
}
