//! Goal: the user service hears of sessions that open and end, and of nothing when its stream is crowded. Method: the
//! real node and a real Redis, whose streams nobody reads but the test.

mod support;

use hub_protocol::batch::UplinkBatch;
use hub_protocol::partition::of_user;
use hub_protocol::{LoginId, Method, Service, UserId, keys};
use uuid::Uuid;

use support::client::Client;
use support::edge::Edge;
use support::eventually;
use support::redis::Redis;

on_each_engine! {
    a_session_is_told_when_it_opens_and_when_it_ends,
    sessions_are_not_told_to_a_crowded_stream,
}

/// As `write_meta` says.
const USER_PARTITIONS: u16 = 4;

fn user() -> UserId {
    Uuid::from_u128(0xA).into()
}

fn login() -> LoginId {
    Uuid::from_u128(0xB).into()
}

fn ready(engine: &str, settings: &[(&str, &str)]) -> (Redis, Edge) {
    let redis = Redis::start();
    redis.write_meta();
    let edge = Edge::start(engine, &redis.url(), settings);
    edge.ready();
    (redis, edge)
}

fn open(edge: &Edge) -> Client {
    let mut client = edge.connect();
    assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
    let token = edge.keys.token(user(), login());
    client.send(&format!(
        r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
    ));
    let opened = client.json();
    assert_eq!(opened["result"]["user"], user().to_string(), "{opened}");
    client
}

/// Batches in the stream of the user.
fn entries(redis: &Redis) -> usize {
    redis::cmd("XLEN")
        .arg(keys::requests(Service::User, of_user(user(), USER_PARTITIONS)))
        .query(&mut redis.connect())
        .expect("reads")
}

/// What stands in the stream of the user, but for the question which large rooms he has: method, and the state in
/// its params.
fn told(redis: &Redis) -> Vec<(Method, String)> {
    let mut told = all_told(redis);
    told.retain(|(method, _)| *method != Method::RoomLarge);
    told
}

fn all_told(redis: &Redis) -> Vec<(Method, String)> {
    let reply: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
        .arg(keys::requests(Service::User, of_user(user(), USER_PARTITIONS)))
        .arg("-")
        .arg("+")
        .query(&mut redis.connect())
        .expect("reads");
    let mut told = Vec::new();
    for entry in &reply.ids {
        let Some(batch) = entry.get::<Vec<u8>>(keys::BATCH_FIELD) else {
            continue;
        };
        for envelope in UplinkBatch::parse(&batch).expect("a batch").iter() {
            let body: serde_json::Value = serde_json::from_slice(envelope.body).expect("JSON");
            assert_eq!((envelope.header.user, envelope.header.login), (user(), login()));
            let state = body["params"]["state"].as_str().unwrap_or_default();
            told.push((envelope.header.method, state.to_owned()));
        }
    }
    told
}

fn session(state: &str) -> (Method, String) {
    (Method::PresenceSession, state.to_owned())
}

fn a_session_is_told_when_it_opens_and_when_it_ends(engine: &str) {
    let (redis, edge) = ready(engine, &[]);
    let mut client = open(&edge);
    eventually("the session is told", || {
        (told(&redis) == [session("open")]).then_some(())
    });
    // No client may say it of itself.
    client.send(r#"{"id":2,"method":"presence.session","params":{"state":"closed"}}"#);
    assert_eq!(client.json()["error"]["code"], "bad_request");
    drop(client);
    eventually("its end is told", || {
        (told(&redis) == [session("open"), session("closed")]).then_some(())
    });
    // Who never opened a session has no presence.
    let mut stranger = edge.connect();
    assert_eq!(stranger.upgrade("/v1/ws", "", b"").status, 101);
    drop(stranger);
    edge.metric_is("hub_edge_closed_total", |closed| closed == 2);
    assert_eq!(told(&redis).len(), 2);
    assert_eq!(edge.metric("hub_edge_shed_presence_total"), 0);
}

fn sessions_are_not_told_to_a_crowded_stream(engine: &str) {
    // Nobody works on the stream: it is above half of its bound with its third entry.
    let (redis, edge) = ready(engine, &[("UPLINK__STREAM_ENTRIES_MAX", "4")]);
    let mut client = open(&edge);
    eventually(
        "the session and its question for large rooms stand in the stream",
        || (all_told(&redis).len() == 2).then_some(()),
    );
    // In one batch or in two.
    for number in entries(&redis)..3 {
        client.send(&format!(r#"{{"id":{number},"method":"user.me","params":{{}}}}"#));
        eventually("the call stands in the stream", || {
            (entries(&redis) == number + 1).then_some(())
        });
    }
    // All three have left, and then: all that have left have arrived.
    edge.metric_is("hub_edge_uplink_batches_total", |batches| batches == 3);
    edge.metric_is("hub_edge_uplink_pending_bytes", |bytes| bytes == 0);
    // Both at once: the first finds out how long the stream is, the other one is not let in.
    let both = [
        r#"{"id":4,"method":"user.me","params":{}}"#,
        r#"{"id":5,"method":"presence.set","params":{"state":"away"}}"#,
    ];
    let frames: Vec<u8> = both
        .iter()
        .flat_map(|text| support::client::text_frame(text))
        .collect();
    client.write(&frames);
    let refused = client.json();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&5.into(), &"busy".into()),
        "{refused}"
    );
    drop(client);
    edge.metric_is("hub_edge_closed_total", |closed| closed == 1);
    eventually("the call stands in the stream", || {
        (entries(&redis) >= 4).then_some(())
    });
}
