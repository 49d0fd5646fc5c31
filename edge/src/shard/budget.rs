//! Goal: a turn keeps its budget of receives, so that a flood delays nobody by more than a known number of turns. Method:
//! a core without its loop, turned by hand, on each engine; the sockets are real and always have more.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_protocol::seal::Sealer;
use hub_ring::Engine;
use hub_ws::frame::{Opcode, push_masked};
use tokio::sync::Notify;

use super::core::Core;
use super::{Agreed, Mode, Now};
use crate::admission::Gate;
use crate::auth::Verifier;
use crate::config::{Config, Overrides};
use crate::counters::{SharedCounters, Value};
use crate::mailbox::mailbox;
use crate::memory::Memory;
use crate::node;

const PATIENCE: Duration = Duration::from_secs(20);
/// Enough for three turns and a bit.
const LOUD: usize = 100;
const SLICES: u16 = 32;
const SLICE_BYTES: u32 = 4096;
/// What Linux runs of the work that io_uring has deferred in one `io_uring_enter` that waits for nothing, at least
/// (`IO_LOCAL_TW_DEFAULT_MAX` in `io_uring/io_uring.c`, from 6.13 on; older ones run all of it). epoll tells 512 at once.
const DEFERRED_MAX: usize = 20;

struct Turned {
    core: Core,
    shared: Arc<SharedCounters>,
    gate: Arc<Gate>,
    ms: u64,
}

impl Turned {
    fn new(engine: Engine) -> Self {
        let config = Config::load(None, &Overrides::default()).unwrap();
        let memory = Memory::new(0);
        let mut settings = node::settings(0, &config, &memory);
        settings.ring.engine = engine;
        settings.ring.slices = SLICES;
        settings.ring.slice_bytes = SLICE_BYTES;
        let shared = Arc::new(SharedCounters::default());
        let verifier = Arc::new(Verifier::new(HashMap::new(), 5));
        let sealer = Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap());
        let (mail, _) = mailbox(Arc::new(Notify::new()));
        Self {
            core: Core::new(settings, verifier, sealer, mail, Arc::clone(&shared)).unwrap(),
            shared,
            gate: Gate::new(0, 0, memory),
            ms: 0,
        }
    }

    /// Every turn comes late enough to publish its counters, and too early for any deadline.
    fn now(&mut self) -> Now {
        self.ms += 100;
        Now {
            at: Instant::now(),
            ms: self.ms,
            wall_us: 0,
        }
    }

    /// A client of an echo that does not wait for its socket.
    fn echo(&mut self) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        client.set_nodelay(true).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let agreed = Agreed {
            mode: Mode::Echo,
            deflate: None,
            tls: None,
        };
        let ticket = self.gate.admit(peer.ip()).unwrap();
        let now = self.now();
        self.core
            .adopt(socket.into(), &[], None, (agreed, ticket), now)
            .unwrap();
        client
    }

    /// One turn; the bytes that it received.
    fn turn(&mut self) -> u64 {
        let before = self.counter("hub_edge_ring_recv_bytes_total");
        let now = self.now();
        self.core.turn(now).unwrap();
        self.counter("hub_edge_ring_recv_bytes_total") - before
    }

    fn counter(&self, name: &str) -> u64 {
        let mut readings = self.shared.read().into_iter();
        match readings.find(|reading| reading.name == name).unwrap().value {
            Value::Counter(value) => value,
            other => panic!("{other:?} is no counter"),
        }
    }
}

/// Pongs need no answer, so that only the receives of a turn bound them.
fn fill(loud: &mut [TcpStream], flood: &[u8]) {
    for client in loud {
        loop {
            match client.write(flood) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn a_flood_delays_an_echo_by_a_known_number_of_turns(engine: Engine) {
    let mut turned = Turned::new(engine);
    let mut loud: Vec<TcpStream> = (0..LOUD).map(|_| turned.echo()).collect();
    let mut quiet = turned.echo();
    let mut flood = Vec::new();
    push_masked(&mut flood, Opcode::Pong, b"unasked", [1, 2, 3, 4]);
    // Whole frames.
    let flood = flood.repeat(1000);
    let mut message = Vec::new();
    push_masked(&mut message, Opcode::Text, b"well", [1, 2, 3, 4]);
    let budget = u64::from(SLICES) * u64::from(SLICE_BYTES);
    // Every other connection is told of once before it and received from once before it.
    let turns_max = (LOUD + 1).div_ceil(DEFERRED_MAX) + (LOUD + 1).div_ceil(usize::from(SLICES));

    // The flood is at its height: every turn uses all of its budget.
    let end = Instant::now() + PATIENCE;
    loop {
        fill(&mut loud, &flood);
        let received = turned.turn();
        assert!(received <= budget, "{received} bytes in a turn");
        if received == budget {
            break;
        }
        assert!(Instant::now() < end, "the flood never filled a turn");
    }
    for _ in 0..20 {
        quiet.write_all(&message).unwrap();
        let mut answer = [0; 6];
        let mut turns = 0;
        loop {
            fill(&mut loud, &flood);
            let received = turned.turn();
            assert!(received <= budget, "{received} bytes in a turn");
            turns += 1;
            match quiet.read(&mut answer) {
                Ok(len) => {
                    assert_eq!(&answer[..len], b"\x81\x04well");
                    break;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(turns < turns_max, "not served within {turns} turns");
        }
    }
    let exhausted = turned.counter("hub_edge_receive_exhausted_turns_total");
    assert!(exhausted > 20, "the flood did not last: {exhausted}");
}

#[test]
fn a_flood_delays_an_echo_by_a_known_number_of_turns_on_io_uring() {
    a_flood_delays_an_echo_by_a_known_number_of_turns(Engine::IoUring);
}

#[test]
fn a_flood_delays_an_echo_by_a_known_number_of_turns_on_epoll() {
    a_flood_delays_an_echo_by_a_known_number_of_turns(Engine::Epoll);
}
