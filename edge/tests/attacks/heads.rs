//! A10 to A13: requests that never end, are too large, come from elsewhere, or mean two things.

use std::time::Duration;

use crate::siege::Siege;
use crate::support::client::{Client, Frame};

/// The headers of an upgrade without its `Host`.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[test]
fn a10_requests_that_never_end() {
    let siege = Siege::start(&[("LIMITS__HEADER_MS", "1000"), ("LIMITS__SESSION_OPEN_MS", "1000")]);
    let head = b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nX: ";
    let mut drips: Vec<Client> = (0..50).map(|_| siege.edge.connect()).collect();
    let mut bodies: Vec<Client> = (0..50).map(|_| siege.edge.connect()).collect();
    let mut idle: Vec<Client> = (0..20).map(|_| siege.stranger()).collect();
    for client in &mut bodies {
        client.write(b"POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{");
    }
    for byte in head.iter().chain([b'x'; 10].iter()) {
        for client in drips.iter_mut().chain(&mut bodies) {
            client.write(&[*byte]);
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    for client in drips.iter_mut().chain(&mut bodies) {
        let status = client.reply().status;
        assert!(status == 408 || status == 0, "{status}");
    }
    for client in &mut idle {
        assert_eq!(client.frame(), Frame::Close(4504));
    }
    // On a machine that is busy the deadline may come before the first byte.
    let counters = [
        "hub_edge_late_requests_total",
        "hub_edge_silent_connections_total",
    ];
    let cut: u64 = counters.iter().map(|name| siege.edge.metric(name)).sum();
    assert_eq!(cut, 100);
    siege.end();
}

#[test]
fn a11_heads_that_are_too_large() {
    let siege = Siege::start(&[]);
    let many = format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{}", "A: b\r\n".repeat(3000));
    let long = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(2_000_000)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    for text in [&many, &long, &target] {
        for _ in 0..5 {
            let mut client = siege.edge.connect();
            client.write(text.as_bytes());
            assert_eq!(client.reply().status, 431);
        }
    }
    let few = format!("GET /v1/ws HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(70));
    let mut client = siege.edge.connect();
    client.write(few.as_bytes());
    assert_eq!(client.reply().status, 431, "few bytes, many headers");
    // In the smallest segments.
    let mut client = siege.edge.connect();
    for byte in long.bytes().take(10_000) {
        client.write(&[byte]);
    }
    assert_eq!(client.reply().status, 431);
    siege.end();
}

#[test]
fn a12_pages_of_other_origins() {
    let listed = r#"["https://chat.example", "http://127.0.0.1:3000"]"#;
    let siege = Siege::start(&[("SERVER__ORIGINS", listed)]);
    let try_from = |siege: &Siege, host: &str, lines: &str| {
        let text = format!("GET /v1/ws HTTP/1.1\r\nHost: {host}\r\n{lines}{UPGRADE}\r\n");
        siege.edge.request(&text).status
    };
    for (origin, status) in [
        ("Origin: https://chat.example", 101),
        ("Origin: https://CHAT.example", 101),
        ("Origin: https://chat.example:443", 101),
        ("Origin: http://127.0.0.1:3000", 101),
        ("Origin: http://chat.example", 403),
        ("Origin: https://chat.example:8443", 403),
        ("Origin: https://chat.example.evil", 403),
        ("Origin: https://evil-chat.example", 403),
        ("Origin: https://chat.example@evil", 403),
        ("Origin: https://chat.example/", 403),
        ("Origin: https://chat.example https://evil", 403),
        ("Origin: http://127.0.0.1", 403),
        ("Origin: https://server", 403),
        ("Origin: null", 403),
        ("Origin: ", 403),
        ("Origin: file://", 403),
        (
            "Origin: https://chat.example\r\nOrigin: https://chat.example",
            403,
        ),
        // A program, not a page.
        ("X: y", 101),
    ] {
        assert_eq!(
            try_from(&siege, "server", &format!("{origin}\r\n")),
            status,
            "{origin:?}"
        );
    }
    siege
        .edge
        .metric_is("hub_edge_refused_origins_total", |count| count == 13);
    siege.end();

    // Nothing listed: the node's own pages, whatever its name is.
    let siege = Siege::start(&[]);
    for (host, origin, status) in [
        ("hub.example", "https://hub.example", 101),
        ("hub.example", "http://hub.example", 101),
        ("HUB.example", "https://hub.EXAMPLE", 101),
        ("hub.example:8080", "http://hub.example:8080", 101),
        ("[::1]:8080", "http://[::1]:8080", 101),
        ("hub.example:443", "https://hub.example", 101),
        ("hub.example:8080", "http://hub.example", 403),
        ("hub.example", "https://hub.example:8443", 403),
        ("hub.example", "https://hub.example.evil", 403),
        ("hub.example", "https://evil.hub.example", 403),
        ("hub.example", "https://evil", 403),
        ("hub.example", "null", 403),
    ] {
        let status_now = try_from(&siege, host, &format!("Origin: {origin}\r\n"));
        assert_eq!(status_now, status, "{host}: {origin}");
    }
    siege.end();
}

#[test]
fn a13_requests_that_mean_two_things() {
    let siege = Siege::start(&[]);
    let hidden = "GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let host = "Host: a\r\n";
    let cases: Vec<(&str, &[u16], String)> = vec![
        (
            "version 8",
            &[426],
            format!("GET /v1/ws HTTP/1.1\r\n{host}{}\r\n", UPGRADE.replace("13", "8")),
        ),
        (
            "no key",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}{}\r\n", UPGRADE.replace(key, "")),
        ),
        (
            "a short key",
            &[400],
            format!(
                "GET /v1/ws HTTP/1.1\r\n{host}{}\r\n",
                UPGRADE.replace("bXBsZSBub25jZQ==", "bQ==")
            ),
        ),
        (
            "two keys",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}{key}{UPGRADE}\r\n"),
        ),
        (
            "POST",
            &[405],
            format!("POST /v1/ws HTTP/1.1\r\n{host}{UPGRADE}\r\n"),
        ),
        (
            "a body on an upgrade",
            &[400],
            format!(
                "GET /v1/ws HTTP/1.1\r\n{host}Content-Length: {}\r\n{UPGRADE}\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "chunks on an upgrade",
            &[501],
            format!(
                "GET /v1/ws HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n{UPGRADE}\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a length and chunks",
            &[400],
            format!(
                "POST /v1/rpc HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "two lengths",
            &[400],
            format!("POST /v1/rpc HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 44\r\n\r\n{hidden}"),
        ),
        (
            "a space before a colon",
            &[400],
            format!("POST /v1/rpc HTTP/1.1\r\n{host}Content-Length : 44\r\n\r\n{hidden}"),
        ),
        (
            "a folded line",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}X: a\r\n b\r\n{UPGRADE}\r\n"),
        ),
        (
            "LF alone",
            &[400],
            format!("GET /v1/ws HTTP/1.1\n{host}{UPGRADE}\r\n"),
        ),
        (
            "CR alone",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}X: a\rY: b\r\n{UPGRADE}\r\n"),
        ),
        (
            "NUL",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}X: a\0b\r\n{UPGRADE}\r\n"),
        ),
        (
            "HTTP/1.0",
            &[400],
            format!("GET /v1/ws HTTP/1.0\r\n{host}{UPGRADE}\r\n"),
        ),
        (
            "an absolute target",
            &[400, 404],
            format!("GET http://b/v1/ws HTTP/1.1\r\n{host}{UPGRADE}\r\n"),
        ),
        (
            "two hosts",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\n{host}{host}{UPGRADE}\r\n"),
        ),
        ("no host", &[400], format!("GET /v1/ws HTTP/1.1\r\n{UPGRADE}\r\n")),
        (
            "a bad host",
            &[400],
            format!("GET /v1/ws HTTP/1.1\r\nHost: a b\r\n{UPGRADE}\r\n"),
        ),
        (
            "the preface of h2",
            &[505],
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ),
        ("TLS", &[400], "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned()),
        (
            "h2c",
            &[426],
            format!(
                "GET /v1/ws HTTP/1.1\r\n{host}{}\r\n",
                UPGRADE.replace("websocket\r\nC", "h2c\r\nC")
            ),
        ),
        (
            "CONNECT",
            &[400, 404, 405],
            format!("CONNECT a:443 HTTP/1.1\r\n{host}\r\n"),
        ),
    ];
    for (what, statuses, text) in cases {
        let mut client = siege.edge.connect();
        client.write(text.as_bytes());
        let status = client.reply().status;
        assert!(statuses.contains(&status), "{what}: {status}");
        client.finish();
        assert_eq!(client.reply().status, 0, "{what}: one answer, then the end");
    }
    siege.end();
}
