//! Goal: every bound of a client holds, says so, and can be turned off. Method: the real binary and raw sockets.

mod support;

use hub_protocol::batch::Reply as Answered;
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::{Address, UserId, keys};
use uuid::Uuid;

use support::client::{Client, Frame, raw_frame, text_frame};
use support::edge::{Edge, command};
use support::eventually;
use support::redis::Redis;

/// A Redis that is never there.
const NOWHERE: &str = "unix:///nowhere/redis.sock";
const CALL: &str = "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";

fn user() -> UserId {
    Uuid::from_u128(0xA).into()
}

/// A node that opens sessions.
fn ready(settings: &[(&str, &str)]) -> (Redis, Edge) {
    let redis = Redis::start();
    redis.write_meta();
    let edge = Edge::start_with(command(), "auto", &redis.url(), settings);
    edge.ready();
    (redis, edge)
}

fn open(edge: &Edge, mut client: Client) -> Client {
    assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
    let token = edge.keys.token(user(), Uuid::from_u128(0xB).into());
    client.send(&format!(
        r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
    ));
    assert_eq!(client.json()["result"]["user"], user().to_string());
    client
}

/// A request that the edge refuses by itself, padded to a size.
fn padded(id: u64, bytes: usize) -> String {
    format!(
        r#"{{"id":{id},"method":"no.such","pad":"{}"}}"#,
        "x".repeat(bytes)
    )
}

#[test]
fn bytes_above_the_rate_are_refused_first_and_then_cost_the_connection() {
    let (_redis, edge) = ready(&[
        ("LIMITS__MESSAGES_PER_SECOND", "0"),
        ("LIMITS__BYTES_PER_SECOND", "1000"),
        ("LIMITS__BYTES_BURST", "70000"),
    ]);
    let mut client = open(&edge, edge.connect());
    client.send(&padded(2, 30_000));
    assert_eq!(client.json()["error"]["code"], "bad_request");
    client.send(&padded(3, 50_000));
    let refused = client.json();
    assert_eq!(refused["id"], 3, "it is told which one");
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert_eq!(refused["error"]["retryable"], true);
    let wait = refused["error"]["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=60_000).contains(&wait), "{wait}");
    edge.metric_is("hub_edge_byte_limited_total", |count| count == 1);
    // Another burst without waiting.
    client.write(&text_frame(&padded(4, 60_000)));
    client.write(&text_frame(&padded(5, 60_000)));
    loop {
        match client.frame() {
            Frame::Text(text) => assert!(text.contains("rate_limited"), "{text}"),
            other => break assert_eq!(other, Frame::Close(4502)),
        }
    }
    edge.metric_is("hub_edge_closed_abuse_total", |count| count == 1);
}

#[test]
fn bytes_without_a_limit_are_not_counted() {
    let (_redis, edge) = ready(&[
        ("LIMITS__MESSAGES_PER_SECOND", "0"),
        ("LIMITS__BYTES_PER_SECOND", "0"),
        ("LIMITS__BYTES_BURST", "0"),
    ]);
    let mut client = open(&edge, edge.connect());
    for id in 2..80 {
        client.send(&padded(id, 60_000));
        assert_eq!(client.json()["error"]["code"], "bad_request");
    }
}

#[test]
fn http_requests_above_the_rate_are_refused_and_who_goes_on_is_closed() {
    let edge = Edge::start(
        "auto",
        NOWHERE,
        &[("LIMITS__CALLS_PER_SECOND", "1"), ("LIMITS__CALLS_BURST", "3")],
    );
    let mut client = edge.connect();
    client.write(CALL.repeat(400).as_bytes());
    for _ in 0..3 {
        assert_eq!(client.reply().status, 400);
    }
    let mut refused = 0;
    loop {
        let reply = client.reply();
        match reply.status {
            429 => {
                assert_eq!(reply.code(), "rate_limited");
                assert!(reply.head.contains("\r\nRetry-After: 1\r\n"), "{}", reply.head);
                refused += 1;
            }
            // A second has passed meanwhile.
            400 => {}
            other => break assert_eq!(other, 0),
        }
    }
    assert!((200..350).contains(&refused), "{refused}");
    edge.metric_is("hub_edge_rate_limited_calls_total", |count| count == refused);
    let mut other = edge.connect();
    other.write(CALL.as_bytes());
    assert_eq!(other.reply().status, 400, "each connection has its own");
}

#[test]
fn silence_between_requests_is_bounded() {
    let edge = Edge::start("auto", NOWHERE, &[("LIMITS__KEEP_ALIVE_MS", "200")]);
    let mut client = edge.connect();
    client.write(CALL.as_bytes());
    assert!(client.reply().head.contains("\r\nConnection: keep-alive\r\n"));
    assert!(client.is_closed(), "closed without a word");
    edge.metric_is("hub_edge_silent_connections_total", |count| count == 1);

    let edge = Edge::start("auto", NOWHERE, &[("LIMITS__KEEP_ALIVE_MS", "0")]);
    let mut client = edge.connect();
    client.write(CALL.as_bytes());
    assert!(client.reply().head.contains("\r\nConnection: close\r\n"));
    assert!(client.is_closed());
}

#[test]
fn the_node_as_a_whole_has_its_bound_too() {
    let edge = Edge::start("auto", NOWHERE, &[("LIMITS__CONNECTIONS_MAX", "2")]);
    let mut inside: Vec<Client> = (0..2).map(|_| edge.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.upgrade("/echo", "", b"").status, 101);
    }
    let refusal = edge.connect().reply();
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "busy"));
    assert!(refusal.head.contains("\r\nRetry-After: "));
    let (_, metrics) = edge.admin("/metrics");
    assert!(
        metrics.contains(r#"hub_edge_refused_connections_total{reason="node"} 1"#),
        "{metrics}"
    );
}

#[test]
fn a_full_table_is_said_before_the_upgrade() {
    let edge = Edge::start("auto", NOWHERE, &[("RING__CONNECTIONS_MAX", "16")]);
    let mut inside = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        let mut client = edge.connect();
        let reply = client.upgrade("/echo", "", b"");
        if reply.status == 101 {
            inside.push(client);
            assert!(inside.len() <= 32, "two shards of 16");
        } else {
            assert_eq!((reply.status, reply.code().as_str()), (503, "busy"));
            refused += 1;
        }
    }
    for client in &mut inside {
        client.send("still here");
        assert_eq!(client.frame(), Frame::Text("still here".into()));
    }
    edge.metric_is("hub_edge_refused_upgrades_total", |count| count == 20);
}

#[test]
fn above_the_memory_ceiling_nobody_comes_in_and_the_slowest_go() {
    let redis = Redis::start();
    redis.write_meta();
    // As much as the node has after its start, and a little for what the test does.
    let probe = Edge::start("auto", &redis.url(), &[]);
    probe.ready();
    let ceiling = (probe.rss_bytes() + 24 * 1024 * 1024).to_string();
    drop(probe);
    let edge = Edge::start(
        "auto",
        &redis.url(),
        &[
            ("LIMITS__MEMORY_BYTES_MAX", ceiling.as_str()),
            ("LIMITS__OUTBOUND_BYTES_MAX", "100000000"),
            ("LIMITS__OUTBOUND_SHARD_BYTES_MAX", "1000000000"),
            ("LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
        ],
    );
    edge.ready();
    let mut kept_alive = edge.connect();
    kept_alive.write(CALL.as_bytes());
    assert_eq!(kept_alive.reply().status, 400);
    let slow = open(&edge, Client::connect_narrow(edge.address()));
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg(keys::directory(user()))
        .query(&mut redis.connect())
        .expect("reads");
    let address: Address = fields[0].parse().expect("an address");
    let text = format!("\"{}\"", "x".repeat(60_000));
    let mut connection = redis.connect();
    let mut request = 1;
    eventually("the node is above its ceiling", || {
        if edge.metric("hub_edge_memory_over") == 1 {
            return Some(());
        }
        request += 1;
        let reply = Answered {
            request,
            error: None,
            sealed: false,
        };
        let mut writer = DownlinkWriter::new(address.node);
        writer.push(
            EntryKind::Reply(reply),
            &[Target::new(address, user())],
            text.as_bytes(),
        );
        redis::cmd("XADD")
            .arg(keys::node(address.node))
            .arg("*")
            .arg(keys::BATCH_FIELD)
            .arg(writer.take())
            .exec(&mut connection)
            .expect("writes");
        None
    });
    edge.metric_is("hub_edge_closed_memory_total", |count| count >= 1);
    drop(slow);
    eventually("memory is given back, or connections are refused", || {
        let reply = edge.connect().reply_to(CALL);
        (reply.status == 400 || reply.status == 503).then_some(())
    });
    assert_eq!(
        edge.metric("hub_edge_outbound_bytes"),
        0,
        "what waited is given back"
    );
}

#[test]
fn above_the_memory_ceiling_connections_and_upgrades_are_told_why() {
    let bytes = Edge::start("auto", NOWHERE, &[]).rss_bytes() + 8 * 1024 * 1024;
    let edge = Edge::start(
        "auto",
        NOWHERE,
        &[
            ("LIMITS__MEMORY_BYTES_MAX", bytes.to_string().as_str()),
            ("LIMITS__KEEP_ALIVE_MS", "600000"),
            ("LIMITS__MESSAGE_MS", "0"),
            ("LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
        ],
    );
    let mut kept_alive = edge.connect();
    assert_eq!(kept_alive.reply_to(CALL).status, 400);
    // Memory that nobody waits for: messages that are half there.
    let half = raw_frame(0x01, &vec![b'x'; 60_000]);
    let mut held: Vec<Client> = Vec::new();
    eventually("the node is above its ceiling", || {
        let mut client = edge.connect();
        if client.upgrade("/echo", "", &half).status == 101 {
            held.push(client);
        }
        (edge.metric("hub_edge_memory_over") == 1).then_some(())
    });
    let refusal = edge.connect().reply();
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "busy"));
    assert!(refusal.head.contains("\r\nRetry-After: "));
    let refusal = kept_alive.upgrade("/echo", "", b"");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "busy"));
    assert_eq!(edge.metric("hub_edge_refused_upgrades_total"), 1);
    assert_eq!(edge.admin("/healthz").0, 200, "operators still see it");
    let (_, metrics) = edge.admin("/metrics");
    assert!(metrics.contains(r#"reason="memory""#), "{metrics}");
}
