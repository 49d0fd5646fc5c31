//! Goal: a message in steady state costs no allocation. Method: a shard in this process, under an allocator that counts,
//! echoes messages over real sockets; the client allocates nothing while it counts.

use std::alloc::System;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use hub_edge::admission::Gate;
use hub_edge::auth::Verifier;
use hub_edge::bucket::Rate;
use hub_edge::counters::SharedCounters;
use hub_edge::mailbox::{ToShard, mailbox};
use hub_edge::memory::Memory;
use hub_edge::shard::{Agreed, DeflateSettings, Mode, Shard, ShardSettings};
use hub_edge::uplink::UplinkLimits;
use hub_protocol::seal::Sealer;
use hub_ws::frame::{Opcode, push_masked};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Notify;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 8;
/// Messages of one connection before it waits for their echoes.
const IN_FLIGHT: usize = 16;
const WARM_UP: usize = 200;
const ROUNDS: usize = 500;

fn settings(memory: &Arc<Memory>) -> ShardSettings {
    let unlimited = Rate {
        per_second: 0,
        burst: 0,
    };
    ShardSettings {
        index: 0,
        ring: hub_ring::Config::default(),
        uplink: UplinkLimits {
            batch_envelopes_max: 1024,
            batch_bytes_max: 262_144,
            pending_bytes_max: 1 << 24,
        },
        message_bytes_max: 65_536,
        outbound_bytes_max: 262_144,
        outbound_shard_bytes_max: 1 << 26,
        deflate: DeflateSettings {
            enabled: false,
            level: 2,
            bytes_min: 512,
        },
        rate: unlimited,
        byte_rate: unlimited,
        memory: Arc::clone(memory),
        message: Duration::ZERO,
        session_open: Duration::from_secs(600),
        ping: Duration::from_secs(600),
        idle: Duration::from_secs(1200),
        call_wait: Duration::from_secs(10),
        drain: Duration::from_millis(100),
    }
}

#[test]
fn an_echo_in_steady_state_allocates_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it has one");
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(address).expect("it listens"))
        .collect();
    let accepted: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| listener.accept().expect("it waits").0)
        .collect();

    let (mail, backbone) = mailbox(Arc::new(Notify::new()));
    let (started, is_started) = channel();
    let shard = std::thread::spawn(move || {
        let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .enable_timer()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
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
            for socket in accepted {
                let peer = socket.peer_addr().expect("connected").ip();
                socket.set_nonblocking(true).expect("a socket");
                let agreed = Agreed {
                    mode: Mode::Echo,
                    deflate: None,
                    tls: None,
                };
                let ticket = gate.admit(peer).expect("there is no bound");
                shard
                    .adopt(socket.into(), &[], None, agreed, ticket)
                    .expect("there is room");
            }
            started.send(()).expect("somebody waits");
            shard.run().await.expect("it runs to its end");
        });
    });
    is_started.recv().expect("the shard starts");

    let mut burst = Vec::new();
    for _ in 0..IN_FLIGHT {
        push_masked(&mut burst, Opcode::Text, &[b'x'; 128], [1, 2, 3, 4]);
    }
    let mut echo = vec![0; IN_FLIGHT * (4 + 128)];
    let mut round = |clients: &mut [TcpStream]| {
        for client in &mut *clients {
            client.write_all(&burst).expect("it is taken");
        }
        for client in clients {
            client.read_exact(&mut echo).expect("it comes back");
            assert_eq!(echo[..5], [0x81, 126, 0, 128, b'x']);
        }
    };
    for _ in 0..WARM_UP {
        round(&mut clients);
    }
    let region = Region::new(COUNTED);
    for _ in 0..ROUNDS {
        round(&mut clients);
    }
    let change = region.change();
    let messages = ROUNDS * CONNECTIONS * IN_FLIGHT;
    // The shard's clock may, now and then; messages must not.
    assert!(
        change.allocations + change.reallocations < 10,
        "{change:?} for {messages} messages"
    );

    drop(clients);
    backbone.notice(ToShard::Drain);
    backbone.wake();
    shard.join().expect("the shard ends well");
}
