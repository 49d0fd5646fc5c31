//! Goal: no sequence of bytes on the public port is understood in two ways, keeps a task for long, or goes unanswered.
//! Method: the real binary and raw sockets.

mod support;

use support::client::{Client, Frame, text_frame};
use support::edge::Edge;
use support::eventually;

on_each_engine! {
    every_bad_head_has_its_status_and_ends_the_connection,
    refusals_say_what_would_be_right,
    one_connection_carries_many_calls_and_each_body_is_its_own,
    who_asks_before_sending_a_body_is_told_to_go_on,
    a_body_above_the_limit_is_refused_and_the_client_can_read_why,
    calls_that_the_edge_answers_itself,
    slow_requests_are_cut_at_the_deadline_and_others_are_not_kept_waiting,
    an_upgrade_with_a_message_behind_it_is_answered_on_the_data_ring,
    the_subprotocol_is_named_and_a_session_has_to_be_opened_in_time,
    an_address_has_its_share_and_gets_it_back,
}

/// A Redis that is never there: nothing here needs one.
const NOWHERE: &str = "unix:///nowhere/redis.sock";

/// Deadlines that tests wait for.
const SHORT: &[(&str, &str)] = &[("LIMITS__HEADER_MS", "300"), ("LIMITS__SESSION_OPEN_MS", "300")];

fn edge(engine: &str) -> Edge {
    Edge::start(engine, NOWHERE, &[])
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn every_bad_head_has_its_status_and_ends_the_connection(engine: &str) {
    let edge = edge(engine);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let cases: Vec<(u16, String)> = vec![
        // Smuggling: what two readers could understand differently.
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
                .into(),
        ),
        (
            501,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (
            501,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}".into(),
        ),
        (
            400,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nX: 1\r\n Content-Length: 2\r\n\r\n{}".into(),
        ),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\nHost: a\r\n\r\n".into()),
        (400, "\u{0}\u{1}\u{2}\r\n\r\n".into()),
        // Versions and methods.
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into()),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        (405, "GET /v1/rpc HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (405, "DELETE /v1/rpc HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (
            405,
            format!("POST /v1/ws HTTP/1.1\r\nHost: a\r\n{upgrade}{KEY}Sec-WebSocket-Version: 13\r\n\r\n"),
        ),
        (404, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (404, "GET /v1/ws/../rpc HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (404, "GET http://a/v1/ws HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (411, "POST /v1/rpc HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        // Upgrades.
        (426, "GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (
            426,
            format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{upgrade}{KEY}Sec-WebSocket-Version: 8\r\n\r\n"),
        ),
        (
            400,
            format!("GET /v1/ws HTTP/1.0\r\nHost: a\r\n{upgrade}{KEY}Sec-WebSocket-Version: 13\r\n\r\n"),
        ),
        (
            400,
            format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"),
        ),
        (
            400,
            format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{upgrade}{KEY}{KEY}Sec-WebSocket-Version: 13\r\n\r\n"),
        ),
        (
            400,
            format!(
                "GET /v1/ws HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{upgrade}{KEY}Sec-WebSocket-Version: 13\r\n\r\n{{}}"
            ),
        ),
        // Floods.
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(3000)),
        ),
        (
            431,
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(2_000_000)),
        ),
        // Tokens.
        (
            401,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x.y.z\r\nContent-Length: 2\r\n\r\n{}"
                .into(),
        ),
        (
            401,
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\nContent-Length: 2\r\n\r\n{}"
                .into(),
        ),
        (
            401,
            format!(
                "GET /v1/ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n{upgrade}{KEY}Sec-WebSocket-Version: 13\r\n\r\n"
            ),
        ),
    ];
    for (status, text) in cases {
        let shown = text.get(..200).unwrap_or(&text);
        let mut client = edge.connect();
        client.write(text.as_bytes());
        let reply = client.reply();
        assert_eq!(reply.status, status, "{shown:?}");
        assert_eq!(reply.json()["error"]["retryable"], false, "{shown:?}");
        assert!(reply.head.contains("\r\nConnection: close\r\n"), "{shown:?}");
        client.finish();
        assert!(client.is_closed(), "{shown:?}");
    }
    assert_eq!(
        edge.call(None, r#"{"id":1,"method":"user.me","params":{}}"#)
            .status,
        401,
        "it goes on"
    );
}

fn refusals_say_what_would_be_right(engine: &str) {
    let edge = edge(engine);
    let reply = edge.request("GET /v1/rpc HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(reply.head.contains("\r\nAllow: POST\r\n"));
    let reply = edge.request("GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        reply
            .head
            .contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
    );
    let reply = edge.call(Some("x.y.z"), "{}");
    assert!(reply.head.contains("\r\nWWW-Authenticate: Bearer\r\n"));
    assert_eq!(reply.code(), "unauthenticated");
    for line in [
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
    ] {
        assert!(reply.head.contains(line), "{line}");
    }
}

fn one_connection_carries_many_calls_and_each_body_is_its_own(engine: &str) {
    let edge = edge(engine);
    let mut client = edge.connect();
    let body = r#"{"id":1,"method":"user.me","params":{}}"#;
    // A body that looks like a request is a body.
    let smuggled = "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let post = |body: &str| {
        let len = body.len();
        format!("POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    let text = [body, smuggled, body].map(post).concat();
    client.write(text.as_bytes());
    let replies = [client.reply(), client.reply(), client.reply()];
    assert_eq!(replies.each_ref().map(|reply| reply.status), [401, 400, 401]);
    assert_eq!(replies[2].json()["id"], 1);
    assert!(replies[0].head.contains("\r\nConnection: keep-alive\r\n"));
    // Byte by byte it is the same.
    for byte in post(body).bytes() {
        client.write(&[byte]);
    }
    assert_eq!(client.reply().status, 401);
    let last = format!(
        "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write(last.as_bytes());
    assert_eq!(client.reply().status, 401);
    assert!(client.is_closed());
}

fn who_asks_before_sending_a_body_is_told_to_go_on(engine: &str) {
    let edge = edge(engine);
    let mut client = edge.connect();
    let head = "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.write(head.as_bytes());
    assert_eq!(client.reply().status, 100);
    client.write(b"{}");
    assert_eq!(client.reply().status, 400);
    let large =
        "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    client.write(large.as_bytes());
    assert_eq!(client.reply().status, 413, "or not to");
}

fn a_body_above_the_limit_is_refused_and_the_client_can_read_why(engine: &str) {
    let edge = Edge::start(engine, NOWHERE, &[("LIMITS__MESSAGE_BYTES_MAX", "65536")]);
    let mut client = edge.connect();
    let head = "POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 700000\r\n\r\n";
    client.write(head.as_bytes());
    client.write(&vec![b'x'; 700_000]);
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    assert_eq!(edge.call(None, &"x".repeat(65_537)).status, 413);
    assert_eq!(
        edge.call(None, &"x".repeat(65_536)).status,
        400,
        "as long as allowed, but no JSON"
    );
}

fn calls_that_the_edge_answers_itself(engine: &str) {
    let edge = edge(engine);
    let token = edge
        .keys
        .token(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
    let room = r#""room":"01890a5d-ac96-774b-bcce-b302099a8057","#;
    for (token, body, status, code) in [
        (None, "", 400, "bad_request"),
        (None, "[]", 400, "bad_request"),
        (None, "{\"id\":1", 400, "bad_request"),
        (
            None,
            r#"{"id":1,"method":"no.such","params":{}}"#,
            400,
            "bad_request",
        ),
        (None, r#"{"method":"user.me","params":{}}"#, 400, "bad_request"),
        (
            None,
            r#"{"id":1,"method":"user.me","params":{}}"#,
            401,
            "unauthenticated",
        ),
        (
            Some(&token),
            r#"{"id":1,"method":"room.get","params":{}}"#,
            400,
            "bad_request",
        ),
        (
            Some(&token),
            r#"{"id":1,"method":"room.get","room":"x","params":{}}"#,
            400,
            "bad_request",
        ),
        (
            Some(&token),
            r#"{"id":1,"method":"session.open","params":{}}"#,
            400,
            "bad_request",
        ),
        // No Redis: said at once, and that it may help to ask again.
        (
            Some(&token),
            r#"{"id":1,"method":"user.me","params":{}}"#,
            503,
            "unavailable",
        ),
        (
            Some(&token),
            &format!(r#"{{"id":1,"method":"room.get",{room}"params":{{}}}}"#),
            503,
            "unavailable",
        ),
        (
            None,
            r#"{"id":1,"method":"auth.login","params":{}}"#,
            503,
            "unavailable",
        ),
    ] {
        let reply = edge.call(token.map(String::as_str), body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}");
        assert_eq!(reply.json()["error"]["retryable"], status == 503, "{body}");
        if status == 503 {
            assert!(reply.head.contains("\r\nRetry-After: "), "{body}");
        }
    }
}

fn slow_requests_are_cut_at_the_deadline_and_others_are_not_kept_waiting(engine: &str) {
    let edge = Edge::start(engine, NOWHERE, SHORT);
    let mut silent = edge.connect();
    let mut half_head = edge.connect();
    half_head.write(b"GET / HTTP/1.1\r\nHost: ");
    let mut half_body = edge.connect();
    half_body.write(b"POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
    let mut crawling: Vec<Client> = (0..100).map(|_| edge.connect()).collect();
    for client in &mut crawling {
        client.write(b"G");
    }
    assert_eq!(
        edge.call(None, "{}").status,
        400,
        "a well-behaved client is served meanwhile"
    );
    assert!(silent.is_closed());
    assert_eq!(half_head.reply().status, 408);
    assert_eq!(half_body.reply().status, 408);
    for client in &mut crawling {
        // One byte after the other does not move the deadline.
        client.write(b"E");
        let status = client.reply().status;
        assert!(status == 408 || status == 0, "{status}");
    }
    edge.metric_is("hub_edge_connections", |count| count == 0);
}

fn an_upgrade_with_a_message_behind_it_is_answered_on_the_data_ring(engine: &str) {
    let edge = edge(engine);
    let mut client = edge.connect();
    let reply = client.upgrade("/echo", "", &text_frame("early"));
    assert_eq!(reply.status, 101);
    assert_eq!(client.frame(), Frame::Text("early".into()));
    client.send("later");
    assert_eq!(client.frame(), Frame::Text("later".into()));
    edge.metric_is("hub_edge_connections", |count| count == 1);
    edge.metric_is("hub_edge_ring_recv_bytes_total", |count| count > 0);
    drop(client);
    edge.metric_is("hub_edge_connections", |count| count == 0);
}

fn the_subprotocol_is_named_and_a_session_has_to_be_opened_in_time(engine: &str) {
    let edge = Edge::start(engine, NOWHERE, SHORT);
    let mut client = edge.connect();
    let reply = client.upgrade("/v1/ws", "Sec-WebSocket-Protocol: x, socket-hub.v1\r\n", b"");
    assert_eq!(reply.status, 101);
    assert!(
        reply
            .head
            .contains("\r\nSec-WebSocket-Protocol: socket-hub.v1\r\n")
    );
    client.send(r#"{"id":5,"method":"user.me","params":{}}"#);
    let refusal = client.json();
    assert_eq!(
        (refusal["id"].as_u64(), refusal["error"]["code"].as_str()),
        (Some(5), Some("unauthenticated"))
    );
    assert_eq!(client.frame(), Frame::Close(4504));
}

fn an_address_has_its_share_and_gets_it_back(engine: &str) {
    let edge = Edge::start(engine, NOWHERE, &[("LIMITS__CONNECTIONS_PER_ADDRESS", "3")]);
    let mut inside: Vec<Client> = (0..3).map(|_| edge.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.upgrade("/echo", "", b"").status, 101);
    }
    let mut outside = edge.connect();
    let refusal = outside.reply();
    assert_eq!((refusal.status, refusal.code().as_str()), (429, "rate_limited"));
    assert!(refusal.head.contains("\r\nRetry-After: 1\r\n"));
    outside.finish();
    assert!(outside.is_closed());
    edge.metric_is("hub_edge_refused_connections_total", |count| count >= 1);
    inside.pop();
    eventually("there is room again", || {
        let mut client = edge.connect();
        (client.upgrade("/echo", "", b"").status == 101).then_some(())
    });
}
