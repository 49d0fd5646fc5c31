//! The whole binary on a real Redis: what it needs to start, what it says of itself, sessions, and how it ends.

mod support;

use std::process::Output;

use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::batch::{Reply, UplinkBatch};
use hub_protocol::{Address, LoginId, Method, RoomId, Service, UserId, keys};
use uuid::Uuid;

use support::client::{Client, Frame};
use support::edge::{Edge, command};
use support::eventually;
use support::keys::Keys;
use support::redis::Redis;

on_each_engine! {
    a_session_opens_hears_and_is_forgotten,
    the_header_of_the_upgrade_opens_a_session_too,
    a_wrong_token_and_a_revoked_login_end_the_connection,
    a_request_reaches_its_partition_untouched_and_its_answer_comes_back,
    a_call_over_http_is_answered_or_times_out_and_its_secret_is_sealed,
    sessions_are_told_to_sync_when_redis_forgot_everything,
    what_turns_cost_and_how_long_messages_wait_is_on_the_metrics,
    the_admin_port_says_what_an_operator_asks,
    a_terminated_node_says_goodbye_takes_itself_out_and_ends_well,
    a_node_ends_well_without_its_redis_too,
}

fn user() -> UserId {
    Uuid::from_u128(0xA).into()
}

fn login() -> LoginId {
    Uuid::from_u128(0xB).into()
}

/// A node that is ready, with its Redis.
fn ready(engine: &str, settings: &[(&str, &str)]) -> (Redis, Edge) {
    let redis = Redis::start();
    redis.write_meta();
    let edge = Edge::start(engine, &redis.url(), settings);
    edge.ready();
    (redis, edge)
}

/// Opens a session by its first message.
fn open(edge: &Edge) -> Client {
    let mut client = edge.connect();
    assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
    let token = edge.keys.token(user(), login());
    client.send(&format!(
        r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
    ));
    let opened = client.json();
    assert_eq!(opened["result"]["user"], user().to_string(), "{opened}");
    assert_eq!(opened["result"]["epoch"], "test");
    client
}

/// Where the directory says that the user is.
fn addresses(redis: &Redis) -> Vec<Address> {
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg(keys::directory(user()))
        .query(&mut redis.connect())
        .expect("reads");
    fields
        .iter()
        .map(|field| field.parse().expect("an address"))
        .collect()
}

/// Sends an entry to an address, as a service does.
fn deliver(redis: &Redis, address: Address, user: UserId, kind: EntryKind, text: &str) {
    let mut writer = DownlinkWriter::new(address.node);
    writer.push(kind, &[Target::new(address, user)], text.as_bytes());
    redis::cmd("XADD")
        .arg(keys::node(address.node))
        .arg("*")
        .arg(keys::BATCH_FIELD)
        .arg(writer.take())
        .exec(&mut redis.connect())
        .expect("writes");
}

fn event(seq: u64) -> EntryKind {
    EntryKind::Event {
        room: RoomId(Uuid::from_u128(3)),
        seq,
    }
}

/// The first batch in the stream of a service.
fn first_batch(redis: &Redis, service: Service, partitions: u16) -> Vec<u8> {
    let mut connection = redis.connect();
    eventually("a batch arrives", || {
        (0..partitions).find_map(|partition| {
            let reply: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
                .arg(keys::requests(service, partition))
                .arg("-")
                .arg("+")
                .query(&mut connection)
                .expect("reads");
            reply.ids.first()?.get(keys::BATCH_FIELD)
        })
    })
}

fn a_session_opens_hears_and_is_forgotten(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = open(&edge);
    let [address] = addresses(&redis)[..] else {
        panic!("the session is in the directory once");
    };
    // A stranger's event for the same slot, then one for an earlier life of it, then ours.
    deliver(
        &redis,
        address,
        Uuid::from_u128(0xE).into(),
        event(1),
        r#""stranger""#,
    );
    let stale = Address {
        generation: address.generation.wrapping_add(1),
        ..address
    };
    deliver(&redis, stale, user(), event(2), r#""stale""#);
    deliver(&redis, address, user(), event(3), r#""ours""#);
    assert_eq!(client.frame(), Frame::Text(r#""ours""#.into()));
    edge.metric_is("hub_edge_stale_targets_total", |count| count >= 2);
    drop(client);
    eventually("the session is out of the directory", || {
        addresses(&redis).is_empty().then_some(())
    });
}

fn the_header_of_the_upgrade_opens_a_session_too(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = edge.connect();
    let token = edge.keys.token(user(), login());
    client.upgrade("/v1/ws", &format!("Authorization: Bearer {token}\r\n"), b"");
    assert_eq!(client.json()["result"]["user"], user().to_string());
    assert_eq!(addresses(&redis).len(), 1);
    client.send(r#"{"id":1,"method":"session.open","params":{"token":"x"}}"#);
    assert_eq!(client.json()["error"]["code"], "conflict");
}

fn a_wrong_token_and_a_revoked_login_end_the_connection(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut stranger = edge.connect();
    stranger.upgrade("/v1/ws", "", b"");
    stranger.send(r#"{"id":1,"method":"session.open","params":{"token":"x.y.z"}}"#);
    assert_eq!(stranger.json()["error"]["code"], "unauthenticated");
    assert_eq!(stranger.frame(), Frame::Close(4500));

    let mut client = open(&edge);
    redis::cmd("XADD")
        .arg(keys::REVOKED)
        .arg(&["*", "login", &login().to_string()])
        .exec(&mut redis.connect())
        .expect("writes");
    assert_eq!(client.frame(), Frame::Close(4501));
    let token = edge.keys.token(user(), login());
    eventually("calls with its tokens are refused", || {
        let reply = edge.call(Some(&token), r#"{"id":1,"method":"user.me","params":{}}"#);
        (reply.status == 401).then_some(())
    });
}

fn a_request_reaches_its_partition_untouched_and_its_answer_comes_back(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = open(&edge);
    let text = r#"{ "id":7, "method":"message.history", "room":"01890a5d-ac96-774b-bcce-b302099a8057", "params":{"é":[1]} }"#;
    client.send(text);
    let batch = first_batch(&redis, Service::Chat, 8);
    let batch = UplinkBatch::parse(&batch).expect("a batch");
    let envelope = batch.iter().next().expect("an envelope");
    assert_eq!(envelope.body, text.as_bytes());
    assert_eq!(
        (envelope.header.method, envelope.header.request),
        (Method::MessageHistory, 7)
    );
    assert_eq!((envelope.header.user, envelope.header.login), (user(), login()));
    let reply = Reply {
        request: 7,
        error: None,
        sealed: false,
    };
    deliver(
        &redis,
        envelope.header.address,
        user(),
        EntryKind::Reply(reply),
        r#"{"id":7,"result":{}}"#,
    );
    assert_eq!(client.json()["id"], 7);
}

fn a_call_over_http_is_answered_or_times_out_and_its_secret_is_sealed(engine: &str) {
    let (redis, edge) = ready(engine, &[("LIMITS__CALL_WAIT_MS", "300")]);
    let token = edge.keys.token(user(), login());
    let late = edge.call(Some(&token), r#"{"id":3,"method":"user.me","params":{}}"#);
    assert_eq!((late.status, late.code().as_str()), (504, "unavailable"));
    assert_eq!(late.json()["id"], 3);
    let secret = r#"{"id":4,"method":"auth.login","params":{"username":"ann","password":"hunter22"}}"#;
    assert_eq!(edge.call(None, secret).status, 504);
    let batch = first_batch(&redis, Service::Auth, 2);
    assert!(
        !batch.windows(8).any(|window| window == b"hunter22"),
        "the password is readable in Redis"
    );
    assert!(!edge.log().contains("hunter22"));
}

fn sessions_are_told_to_sync_when_redis_forgot_everything(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = open(&edge);
    let before = addresses(&redis);
    redis::cmd("FLUSHALL")
        .exec(&mut redis.connect())
        .expect("flushes");
    assert_eq!(client.json()["event"], "system.sync");
    let after = addresses(&redis);
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].node, before[0].node);
    deliver(&redis, after[0], user(), event(1), r#""again""#);
    assert_eq!(client.frame(), Frame::Text(r#""again""#.into()));
}

fn what_turns_cost_and_how_long_messages_wait_is_on_the_metrics(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = open(&edge);
    client.send(r#"{"id":1,"method":"user.me","params":{}}"#);
    first_batch(&redis, Service::User, 4);
    let [address] = addresses(&redis)[..] else {
        panic!("one session");
    };
    deliver(&redis, address, user(), event(1), r#""one""#);
    assert_eq!(client.frame(), Frame::Text(r#""one""#.into()));
    for name in [
        "hub_edge_turn_seconds_count",
        "hub_edge_uplink_lag_seconds_count",
        "hub_edge_mailbox_wait_seconds_count",
        "hub_edge_downlink_lag_seconds_count",
        "hub_edge_handshakes_total",
        "hub_edge_turn_completions_max",
        "hub_edge_mailbox_items_max",
    ] {
        edge.metric_is(name, |count| count >= 1);
    }
    edge.metric_is("hub_edge_uplink_pending_bytes", |bytes| bytes == 0);
    let (_, text) = edge.admin("/metrics");
    for name in [
        "hub_edge_busy_seconds_total",
        "hub_edge_cpu_seconds_total",
        "hub_edge_turn_max_seconds",
    ] {
        for shard in 0..2 {
            let head = format!("{name}{{shard=\"{shard}\"}} ");
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(&head)?.parse::<f64>().ok());
            assert!(value.is_some_and(|seconds| seconds > 0.0), "{head}{value:?}");
        }
    }
}

fn the_admin_port_says_what_an_operator_asks(engine: &str) {
    let redis = Redis::start();
    let edge = Edge::start(engine, &redis.url(), &[]);
    assert_eq!(edge.admin("/healthz").0, 200);
    let (status, why) = edge.admin("/readyz");
    assert_eq!((status, why.lines().count()), (503, 1), "{why}");
    redis.write_meta();
    edge.ready();
    drop(open(&edge));
    let (status, text) = edge.admin("/metrics");
    assert_eq!(status, 200);
    for name in [
        "hub_edge_connections",
        "hub_edge_turns_total",
        "hub_edge_build_info",
        "hub_edge_messages_total",
    ] {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(text.contains(r#"hub_edge_connections{shard="1"}"#));
    let line = format!(r#"hub_edge_engine{{engine="{engine}"}} 1"#);
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(edge.log().contains(&format!(r#""engine":"{engine}""#)));
    assert!(!edge.log().contains("fallback"), "it runs on what was asked for");
    // What `promtool check metrics` asks for: a help for each, `_total` for counters and for nothing else.
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
    }
    assert_eq!(edge.metric("hub_edge_backbone_up"), 1);
    assert!(edge.metric("hub_edge_backbone_roundtrip_seconds_count") >= 1);
    assert_eq!(edge.admin("/other").0, 404);
}

fn a_terminated_node_says_goodbye_takes_itself_out_and_ends_well(engine: &str) {
    let (redis, mut edge) = ready(engine, &[]);
    let mut client = open(&edge);
    edge.terminate();
    assert_eq!(client.json()["event"], "system.migrate");
    assert_eq!(client.frame(), Frame::Close(4000));
    drop(client);
    assert!(edge.wait().success(), "{}", edge.log());
    assert!(addresses(&redis).is_empty());
    let nodes: Vec<String> = redis::cmd("KEYS")
        .arg("hub:node:*")
        .query(&mut redis.connect())
        .expect("reads");
    assert!(nodes.is_empty(), "{nodes:?}");
}

fn a_node_ends_well_without_its_redis_too(engine: &str) {
    let (mut redis, mut edge) = ready(engine, &[("SERVER__DRAIN_MS", "500")]);
    let _client = open(&edge);
    redis.kill();
    edge.terminate();
    assert!(edge.wait().success(), "{}", edge.log());
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Output, String) {
    let output = command()
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, log)
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    let keys = Keys::make();
    let folder = keys.path().to_str().expect("text");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = taken.local_addr().expect("is bound").to_string();
    for (arguments, expected) in [
        (&["--keys", "/nowhere"] as &[_], "/nowhere"),
        (
            &["--keys", folder, "--listen", &taken, "--admin", "127.0.0.1:0"],
            "cannot listen on",
        ),
        (
            &["--keys", folder, "--listen", "127.0.0.1:0", "--admin", &taken],
            "(admin)",
        ),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let (output, log) = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {log}");
        let errors: Vec<_> = log.lines().filter(|line| line.contains("\"ERROR\"")).collect();
        assert!(
            errors.len() == 1 && errors[0].contains(expected),
            "{arguments:?}: {log}"
        );
    }
}

#[test]
fn the_configuration_comes_from_file_then_environment_then_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nshards = 3\n",
    )
    .expect("writes");
    let file = file.to_str().expect("text");
    let variables = [
        ("HUB_EDGE__SERVER__ADMIN", "127.0.0.1:20"),
        ("HUB_EDGE__SERVER__SHARDS", "4"),
        ("HUB_EDGE__REDIS__URL", "redis://:s3cr3t@127.0.0.1/"),
    ];
    let (output, log) = run(
        &["config", "print", "--config", file, "--shards", "5"],
        &variables,
    );
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &log;
    for line in [
        "listen = \"127.0.0.1:1\"",
        "admin = \"127.0.0.1:20\"",
        "shards = 5",
        "ping_ms = 25000",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    assert!(!printed.contains("s3cr3t"), "{printed}");
    assert_eq!(run(&["config", "check"], &variables).0.status.code(), Some(0));
    let (output, log) = run(&["config", "check"], &[("HUB_EDGE__SERVER__SHRADS", "4")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("shrads"), "{log}");
}
