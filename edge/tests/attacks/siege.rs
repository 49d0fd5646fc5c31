//! A node under attack: what was before, and what has to hold afterwards.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hub_protocol::{LoginId, UserId};
use rustls::ClientConfig;
use uuid::Uuid;

use crate::support::client::{Client, Frame};
use crate::support::edge::{Edge, command};
use crate::support::redis::Redis;
use crate::support::tls::{make_pair, trusting};
use crate::support::{PATIENCE, eventually};

/// A Redis that is never there.
const NOWHERE: &str = "unix:///nowhere/redis.sock";
/// Where the well-behaved client comes from.
const PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 20));
/// What an attack may leave behind in memory.
const RSS_GROWTH_MAX: u64 = 10 * 1024 * 1024;
/// Between two messages of the well-behaved client.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// A node with a well-behaved client on it, which comes from an address of its own.
pub(crate) struct Siege {
    pub(crate) edge: Edge,
    pub(crate) redis: Option<Redis>,
    rss_bytes: u64,
    is_over: Arc<AtomicBool>,
    probe: JoinHandle<Vec<Duration>>,
}

impl Siege {
    /// A node without Redis: for attacks that end before it.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::of(Edge::start("auto", NOWHERE, settings), None)
    }

    /// The same, started by another command that ends with the program's name.
    pub(crate) fn start_with(command: Command, settings: &[(&str, &str)]) -> Self {
        Self::of(Edge::start_with(command, "auto", NOWHERE, settings), None)
    }

    /// A node without Redis whose public port speaks TLS alone, and what its clients trust.
    pub(crate) fn with_tls(settings: &[(&str, &str)]) -> (Self, Arc<ClientConfig>) {
        let folder = tempfile::tempdir().expect("a folder");
        let config = trusting(make_pair(folder.path()));
        let mut settings = settings.to_vec();
        settings.push(("TLS__DIR", folder.path().to_str().expect("a text")));
        let edge = Edge::start("auto", NOWHERE, &settings);
        let client = Client::connect_from(PROBE, edge.address()).secure(&config);
        (Self::probed(edge, None, client), config)
    }

    /// A node that opens sessions.
    pub(crate) fn with_redis(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start();
        redis.write_meta();
        let edge = Edge::start_with(command(), "auto", &redis.url(), settings);
        edge.ready();
        Self::of(edge, Some(redis))
    }

    fn of(edge: Edge, redis: Option<Redis>) -> Self {
        let client = Client::connect_from(PROBE, edge.address());
        Self::probed(edge, redis, client)
    }

    fn probed(edge: Edge, redis: Option<Redis>, mut client: Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        assert_eq!(client.upgrade("/echo", "", b"").status, 101);
        // Buffers that grow once are there before memory is measured.
        for _ in 0..20 {
            let text = "x".repeat(10_000);
            client.send(&text);
            assert_eq!(client.frame(), Frame::Text(text));
        }
        let probe = {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || probe(client, &is_over))
        };
        Self {
            rss_bytes: edge.rss_bytes(),
            edge,
            redis,
            is_over,
            probe,
        }
    }

    /// A connection that echoes.
    pub(crate) fn echo(&self) -> Client {
        let mut client = self.edge.connect();
        assert_eq!(client.upgrade("/echo", "", b"").status, 101);
        client
    }

    /// A connection of the protocol without a session.
    pub(crate) fn stranger(&self) -> Client {
        let mut client = self.edge.connect();
        assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
        client
    }

    /// A session of this user on a new connection.
    pub(crate) fn session(&self, user: UserId) -> Client {
        self.open(self.stranger(), user)
    }

    /// Opens a session on a connection.
    pub(crate) fn open(&self, mut client: Client, user: UserId) -> Client {
        let token = self.edge.keys.token(user, login());
        client.send(&format!(
            r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
        ));
        let opened = client.json();
        assert_eq!(opened["result"]["user"], user.to_string(), "{opened}");
        client
    }

    /// After a first round of an attack, takes what memory is then for what it was before: buffers that grow once are
    /// there, and are no more than this.
    pub(crate) fn again(&mut self, once_bytes_max: u64) {
        let bytes_max = self.rss_bytes + once_bytes_max;
        eventually("memory that the first round has freed is given back", || {
            (self.edge.rss_bytes() <= bytes_max).then_some(())
        });
        self.rss_bytes = self.edge.rss_bytes();
    }

    /// The common criterion: the node lives, its memory is as before, the well-behaved client was served throughout,
    /// and nothing panicked.
    pub(crate) fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut latencies = self.probe.join().expect("the well-behaved client was served");
        assert!(!latencies.is_empty(), "the well-behaved client said something");
        assert_eq!(self.edge.metric("hub_edge_task_panics_total"), 0);
        assert_eq!(self.edge.admin("/healthz").0, 200);
        let before = self.rss_bytes;
        let deadline = Instant::now() + PATIENCE;
        let mut after = self.edge.rss_bytes();
        while after > before + RSS_GROWTH_MAX {
            assert!(Instant::now() < deadline, "{before} bytes before, {after} after");
            std::thread::sleep(PROBE_INTERVAL);
            after = self.edge.rss_bytes();
        }
        latencies.sort();
        let p99 = latencies[(latencies.len() - 1) * 99 / 100];
        #[expect(clippy::print_stdout, reason = "shown by scripts/attacks")]
        {
            println!(
                "memory {} KiB before, {} KiB after; {} echoes meanwhile, p99 {:.1} ms",
                before / 1024,
                after / 1024,
                latencies.len(),
                p99.as_secs_f64() * 1000.0
            );
        }
    }
}

/// The login of every session here.
pub(crate) fn login() -> LoginId {
    Uuid::from_u128(0xB).into()
}

/// Echoes until it is over; every message comes back.
fn probe(mut client: Client, is_over: &AtomicBool) -> Vec<Duration> {
    let mut latencies = Vec::new();
    loop {
        let text = format!("message {}", latencies.len());
        let began = Instant::now();
        client.send(&text);
        loop {
            match client.frame() {
                Frame::Text(back) => {
                    assert_eq!(back, text);
                    break;
                }
                Frame::Other(9, _) => {}
                other => panic!("{other:?} instead of an echo"),
            }
        }
        latencies.push(began.elapsed());
        if is_over.load(Ordering::Relaxed) {
            return latencies;
        }
        std::thread::sleep(PROBE_INTERVAL);
    }
}
