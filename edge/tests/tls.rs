//! Goal: under TLS the same connection code works, and a handshake that goes wrong costs little and ends soon. Method:
//! the real binary, rustls and tungstenite as clients, raw sockets for what no client does.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client::client_with_config};

use socket2::{Domain, Socket, Type};
use support::edge::Edge;
use support::eventually;
use support::tls::{client_hello, make_pair, trusting};

on_each_engine! {
    messages_of_all_sizes_come_back_and_sessions_are_resumed,
    who_reads_slowly_gets_everything_in_the_end,
    handshakes_that_go_wrong_end_at_once_or_at_their_deadline,
    a_changed_certificate_is_used_without_a_restart,
}

/// A Redis that is never there: nothing here needs one.
const NOWHERE: &str = "unix:///nowhere/redis.sock";

type Tls = StreamOwned<ClientConnection, TcpStream>;

struct Node {
    edge: Edge,
    folder: tempfile::TempDir,
    config: Arc<ClientConfig>,
}

impl Node {
    fn start(engine: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = make_pair(folder.path());
        let dir = folder.path().to_str().expect("a text");
        let mut settings = settings.to_vec();
        settings.extend([
            ("TLS__DIR", dir),
            ("LIMITS__MESSAGE_BYTES_MAX", "2000000"),
            ("LIMITS__OUTBOUND_BYTES_MAX", "4000000"),
            ("LIMITS__BYTES_PER_SECOND", "0"),
        ]);
        let edge = Edge::start(engine, NOWHERE, &settings);
        Self {
            edge,
            folder,
            config: trusting(certificate),
        }
    }

    fn secure(&self) -> Tls {
        self.secure_on(TcpStream::connect(self.edge.address()).expect("the node listens"))
    }

    fn secure_on(&self, stream: TcpStream) -> Tls {
        let name = ServerName::try_from("hub.example").expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.config), name).expect("a session");
        StreamOwned::new(session, stream)
    }

    fn echo(&self) -> WebSocket<Tls> {
        upgraded(self.secure())
    }

    /// Its receive buffer is as small as the kernel allows: who does not read stops the other side soon.
    fn echo_narrow(&self) -> WebSocket<Tls> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1).expect("is rounded up");
        socket
            .connect(&self.edge.address().into())
            .expect("the node listens");
        upgraded(self.secure_on(socket.into()))
    }
}

fn upgraded(tls: Tls) -> WebSocket<Tls> {
    let config = WebSocketConfig::default();
    let opened = client_with_config("wss://hub.example/echo", tls, Some(config));
    opened.expect("the upgrade is accepted").0
}

fn messages_of_all_sizes_come_back_and_sessions_are_resumed(engine: &str) {
    let node = Node::start(engine, &[]);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut socket = node.echo();
        assert_eq!(socket.get_ref().conn.handshake_kind(), Some(expected));
        // Around the sizes of frames' headers, of records and of receives.
        for len in [0, 1, 125, 126, 16_380, 16_384, 16_385, 65_536, 300_000, 1_500_000] {
            let text = "x".repeat(len);
            socket.send(Message::text(text.clone())).expect("it is taken");
            assert_eq!(socket.read().expect("it comes back"), Message::text(text));
        }
        socket.close(None).expect("it is taken");
        while socket.read().is_ok() {}
    }
    assert_eq!(node.edge.metric("hub_edge_tls_handshakes_total"), 2);
    // A call over the same port.
    let mut tls = node.secure();
    tls.write_all(b"GET /nothing HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n")
        .expect("it is taken");
    let mut answer = String::new();
    tls.read_to_string(&mut answer)
        .expect("the end is announced by an alert");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

fn who_reads_slowly_gets_everything_in_the_end(engine: &str) {
    let node = Node::start(engine, &[]);
    let mut socket = node.echo_narrow();
    let texts: Vec<String> = (0..70_u8)
        .map(|n| char::from(b'a' + n % 26).to_string().repeat(50_000))
        .collect();
    for text in &texts {
        socket.write(Message::text(text.clone())).expect("it is taken");
    }
    socket.flush().expect("it is taken");
    // The kernel's buffers are full by then, and records wait at the node.
    eventually("something waits", || {
        (node.edge.metric("hub_edge_ring_short_sends_total") > 0).then_some(())
    });
    for text in &texts {
        assert_eq!(socket.read().expect("it comes back"), Message::text(text.clone()));
    }
}

fn handshakes_that_go_wrong_end_at_once_or_at_their_deadline(engine: &str) {
    let node = Node::start(engine, &[("LIMITS__HANDSHAKE_MS", "400")]);
    let open = || TcpStream::connect(node.edge.address()).expect("the node listens");
    let ended = |stream: &mut TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        let mut rest = Vec::new();
        let started = Instant::now();
        // Reset or closed, but over.
        let result = stream.read_to_end(&mut rest);
        assert!(
            result.is_ok() || started.elapsed() < Duration::from_secs(15),
            "{result:?}"
        );
        rest
    };
    // Nothing at all, and a hello that comes byte by byte.
    let mut silent = open();
    let mut slow = open();
    let hello = client_hello(&node.config);
    for byte in hello.iter().take(20) {
        slow.write_all(&[*byte]).expect("it is taken");
    }
    assert_eq!(ended(&mut silent), b"");
    assert_eq!(ended(&mut slow), b"");
    // Half of a handshake.
    let mut half = open();
    half.write_all(&hello).expect("it is taken");
    assert_eq!(ended(&mut half).first(), Some(&22), "the server's part came");
    // Junk, and HTTP without TLS: an alert.
    for junk in [
        vec![0xAB; 16_384],
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    ] {
        let mut stream = open();
        let _ = stream.write_all(&junk);
        let answer = ended(&mut stream);
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    // An alert right behind the hello (as in CVE-2024-32650) neither hangs nor ends the node.
    let mut closing = open();
    closing.write_all(&hello).expect("it is taken");
    closing
        .write_all(b"\x15\x03\x03\x00\x02\x01\x00")
        .expect("it is taken");
    ended(&mut closing);
    let mut socket = node.echo();
    socket.send(Message::text("well")).expect("it is taken");
    assert_eq!(socket.read().expect("it comes back"), Message::text("well"));
}

fn a_changed_certificate_is_used_without_a_restart(engine: &str) {
    let mut node = Node::start(engine, &[]);
    let mut old = node.echo();
    node.config = trusting(make_pair(node.folder.path()));
    eventually("the new certificate is served", || {
        let mut tls = node.secure();
        tls.conn.complete_io(&mut tls.sock).ok()
    });
    old.send(Message::text("still here")).expect("it is taken");
    assert_eq!(old.read().expect("it comes back"), Message::text("still here"));
}
