//! A ring on each engine against plain sockets of the standard library on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hub_ring::{AttachError, Config, ConnectionId, Engine, Inbound, Ready, Ring, SegmentWriter, Short};

const PATIENCE: Duration = Duration::from_secs(20);

/// Every test runs on both engines.
macro_rules! on_each_engine {
    ($($name:ident,)*) => {
        mod io_uring {
            $(#[test] fn $name() { super::$name(super::Engine::IoUring); })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name(super::Engine::Epoll); })*
        }
    };
}

on_each_engine! {
    bytes_come_in_and_go_out,
    several_pieces_arrive_in_order_as_one_send,
    a_short_send_says_exactly_how_much_was_taken,
    a_full_slice_keeps_the_connection_readable,
    a_loud_connection_does_not_crowd_out_the_others,
    closing_releases_the_slot_once_and_the_peer_sees_the_end,
    a_slot_is_refused_until_it_is_released_and_then_carries_a_stranger,
    the_end_and_a_reset_are_told_apart,
    a_paused_connection_waits_and_loses_nothing,
    many_connections_are_heard_and_served,
    a_dropped_ring_closes_its_connections,
    an_end_right_behind_bytes_is_seen,
    an_end_is_told_once,
    a_peer_that_still_talks_reads_everything_before_our_end,
    a_full_receiver_and_its_loss_are_reported,
}

fn ring(engine: Engine, connections: u32) -> Ring {
    Ring::new(&Config {
        engine,
        connections_max: connections,
        ..Config::default()
    })
    .expect("io_uring is allowed here, for its half of the tests")
}

fn id(slot: u32) -> ConnectionId {
    ConnectionId { slot, generation: 1 }
}

/// A socket on the ring and its peer.
fn attach(ring: &mut Ring, listener: &TcpListener, id: ConnectionId) -> TcpStream {
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nodelay(true).unwrap();
    ring.attach(socket.into(), id).unwrap();
    peer
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Turns until `done` says so; fails when it never does.
fn turn_until(ring: &mut Ring, mut done: impl FnMut(&mut Ring, &mut Ready) -> bool) {
    let mut ready = Ready::default();
    let end = Instant::now() + PATIENCE;
    while !done(ring, &mut ready) {
        assert!(Instant::now() < end, "the condition was never met");
        if ring.reap(&mut ready).unwrap() == 0 {
            std::thread::yield_now();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Bytes(Vec<u8>),
    Eof,
    Error(i32),
}

fn receive(ring: &mut Ring) -> Vec<(ConnectionId, Got)> {
    let slices = ring.slices();
    ring.receive(slices).unwrap();
    let mut got = Vec::new();
    while let Some(received) = ring.next_received() {
        let len = received.len;
        let item = match received.inbound {
            Inbound::Bytes(bytes) => Got::Bytes(bytes[..len].to_vec()),
            Inbound::Eof => Got::Eof,
            Inbound::Error(number) => Got::Error(number),
        };
        got.push((received.id, item));
    }
    got
}

/// Everything of one connection until `len` bytes are there.
fn receive_bytes(ring: &mut Ring, from: ConnectionId, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    turn_until(ring, |ring, _| {
        for (id, got) in receive(ring) {
            match got {
                Got::Bytes(more) if id == from => bytes.extend(more),
                other => panic!("unexpected {id:?} {other:?}"),
            }
        }
        bytes.len() >= len
    });
    bytes
}

fn bytes_come_in_and_go_out(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 16), listener());
    let mut peer = attach(&mut ring, &listener, id(3));
    peer.write_all(b"hello").unwrap();
    assert_eq!(receive_bytes(&mut ring, id(3), 5), b"hello");

    let mut writer = SegmentWriter::new(1024);
    let piece = writer.append(&[b"world"]);
    assert_eq!(ring.send(id(3), &[piece]).unwrap(), 1);
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    let mut back = [0; 5];
    peer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"world");
    assert_eq!(ring.stats().received_bytes, 5);
    assert_eq!(ring.stats().sent_bytes, 5);
}

fn several_pieces_arrive_in_order_as_one_send(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    let mut writer = SegmentWriter::new(8);
    let pieces: Vec<_> = (0..20_u8).map(|n| writer.append(&[&[n; 7]])).collect();
    assert_eq!(ring.send(id(0), &pieces).unwrap(), hub_ring::PIECES_MAX);
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    let mut back = [0; 7 * hub_ring::PIECES_MAX];
    peer.read_exact(&mut back).unwrap();
    for (n, chunk) in (0_u8..).zip(back.chunks(7)) {
        assert_eq!(chunk, [n; 7]);
    }
}

/// Pins `MSG_WAITALL`: without it a send that is taken in part counts as success, and the rest is lost silently.
fn a_short_send_says_exactly_how_much_was_taken(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    let bytes: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut writer = SegmentWriter::new(64);
    let mut rest = writer.append(&[&bytes]);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).map(|_| all)
    });
    let mut shorts = 0;
    let mut is_writable = true;
    turn_until(&mut ring, |ring, ready| {
        is_writable |= ready.writable.drain(..).count() > 0;
        if !is_writable {
            return false;
        }
        is_writable = false;
        let len = rest.len();
        ring.send(id(0), &[rest.clone()]).unwrap();
        let mut taken = len;
        ring.flush(|_, short| match short {
            Short::Taken(bytes) => taken = bytes,
            Short::Error(number) => panic!("error {number}"),
        })
        .unwrap();
        rest.advance(taken);
        if taken < len {
            shorts += 1;
            ring.await_writable(id(0)).unwrap();
        }
        rest.is_empty()
    });
    ring.close(id(0)).unwrap();
    turn_until(&mut ring, |_, ready| !ready.released.is_empty());
    assert_eq!(reader.join().unwrap().unwrap(), bytes);
    assert!(shorts > 0, "the socket buffer cannot hold 8 MiB");
    assert_eq!(ring.stats().sent_bytes, bytes.len() as u64);
}

fn a_full_slice_keeps_the_connection_readable(engine: Engine) {
    let mut ring = Ring::new(&Config {
        engine,
        slice_bytes: 100,
        connections_max: 4,
        ..Config::default()
    })
    .unwrap();
    let listener = listener();
    let mut peer = attach(&mut ring, &listener, id(0));
    peer.write_all(&[7; 1050]).unwrap();
    assert_eq!(receive_bytes(&mut ring, id(0), 1050), [7; 1050]);
}

fn a_loud_connection_does_not_crowd_out_the_others(engine: Engine) {
    let mut ring = Ring::new(&Config {
        engine,
        slices: 1,
        slice_bytes: 64,
        connections_max: 8,
        ..Config::default()
    })
    .unwrap();
    let listener = listener();
    let mut loud = attach(&mut ring, &listener, id(0));
    let mut quiet = attach(&mut ring, &listener, id(1));
    loud.write_all(&[1; 6400]).unwrap();
    turn_until(&mut ring, |ring, _| ring.has_readable());
    quiet.write_all(b"x").unwrap();
    let mut loud_slices = 0;
    let mut quiet_came = false;
    turn_until(&mut ring, |ring, _| {
        for (from, got) in receive(ring) {
            match got {
                Got::Bytes(_) if from == id(0) => loud_slices += 1,
                Got::Bytes(_) => quiet_came = true,
                other => panic!("{other:?}"),
            }
        }
        quiet_came || loud_slices == 100
    });
    assert!(
        loud_slices < 100,
        "the quiet one had to wait for the whole of the loud one"
    );
}

fn closing_releases_the_slot_once_and_the_peer_sees_the_end(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let mut peer = attach(&mut ring, &listener, id(2));
    ring.close(id(2)).unwrap();
    ring.close(id(2)).unwrap();
    assert!(!ring.is_open(id(2)));
    let mut released = Vec::new();
    turn_until(&mut ring, |_, ready| {
        released.append(&mut ready.released);
        !released.is_empty()
    });
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    let mut ready = Ready::default();
    for _ in 0..100 {
        ring.reap(&mut ready).unwrap();
    }
    released.append(&mut ready.released);
    assert_eq!(released, [id(2)]);
}

fn a_peer_that_still_talks_reads_everything_before_our_end(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 1), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    // Bytes that nobody has received: closing now would reset the connection, and with it what was sent last.
    peer.write_all(b"unheard").unwrap();
    let mut writer = SegmentWriter::new(1024);
    let piece = writer.append(&[b"goodbye"]);
    assert_eq!(ring.send(id(0), &[piece]).unwrap(), 1);
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    ring.shutdown(id(0)).unwrap();
    let mut said = String::new();
    let reader = std::thread::spawn(move || {
        peer.read_to_string(&mut said).unwrap();
        // Still heard: only one direction has ended.
        peer.write_all(b"heard").unwrap();
        said
    });
    let (mut heard, mut ended) = (Vec::new(), false);
    turn_until(&mut ring, |ring, _| {
        for (_, got) in receive(ring) {
            match got {
                Got::Bytes(bytes) => heard.extend(bytes),
                Got::Eof => ended = true,
                Got::Error(number) => panic!("error {number}"),
            }
        }
        ended
    });
    assert_eq!(reader.join().unwrap(), "goodbye");
    assert_eq!(heard, b"unheardheard");
    ring.close(id(0)).unwrap();
    turn_until(&mut ring, |_, ready| !ready.released.is_empty());
}

fn a_slot_is_refused_until_it_is_released_and_then_carries_a_stranger(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 1), listener());
    let _first = attach(&mut ring, &listener, id(0));
    let spare = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ring.close(id(0)).unwrap();
    let next = ConnectionId {
        slot: 0,
        generation: 2,
    };
    assert!(matches!(
        ring.attach(spare.into(), next),
        Err(AttachError::Occupied)
    ));
    turn_until(&mut ring, |_, ready| !ready.released.is_empty());
    // The connection of `spare` went with the refusal; take it off the listener's queue.
    drop(listener.accept().unwrap());
    let mut second = attach(&mut ring, &listener, next);
    second.write_all(b"mine").unwrap();
    assert_eq!(receive_bytes(&mut ring, next, 4), b"mine");
    let mut writer = SegmentWriter::new(64);
    let piece = writer.append(&[b"for the first"]);
    assert_eq!(
        ring.send(id(0), &[piece]).unwrap(),
        0,
        "the old name reaches nobody"
    );
    assert!(matches!(
        ring.attach(TcpListener::bind("127.0.0.1:0").unwrap().into(), id(9)),
        Err(AttachError::NoSuchSlot)
    ));
}

fn the_end_and_a_reset_are_told_apart(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let polite = attach(&mut ring, &listener, id(0));
    let rude = attach(&mut ring, &listener, id(1));
    drop(polite);
    // Unread input makes the close a reset.
    let mut writer = SegmentWriter::new(64);
    let piece = writer.append(&[b"unread"]);
    ring.send(id(1), &[piece]).unwrap();
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    let mut byte = [0];
    rude.peek(&mut byte).unwrap();
    drop(rude);
    let mut ends = Vec::new();
    turn_until(&mut ring, |ring, _| {
        ends.extend(receive(ring));
        ends.len() == 2
    });
    ends.sort_by_key(|(id, _)| *id);
    assert_eq!(ends, [(id(0), Got::Eof), (id(1), Got::Error(libc::ECONNRESET))]);
}

fn a_paused_connection_waits_and_loses_nothing(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    let mut other = attach(&mut ring, &listener, id(1));
    ring.pause_reading(id(0));
    peer.write_all(b"later").unwrap();
    other.write_all(b"now").unwrap();
    assert_eq!(receive_bytes(&mut ring, id(1), 3), b"now");
    ring.resume_reading(id(0));
    assert_eq!(receive_bytes(&mut ring, id(0), 5), b"later");
}

/// With io_uring a connection costs no descriptor of the process, and a small completion queue makes multishot polls end
/// by themselves, and they are armed again. With epoll there are more events than one reap takes.
fn many_connections_are_heard_and_served(engine: Engine) {
    let connections = match engine {
        Engine::IoUring => 1500,
        // Two descriptors each.
        Engine::Epoll | Engine::Auto => 750,
    };
    let mut ring = Ring::new(&Config {
        engine,
        connections_max: connections,
        submissions: 64,
        completions: 128,
        ..Config::default()
    })
    .unwrap();
    let listener = listener();
    let mut peers: Vec<_> = (0..connections)
        .map(|slot| attach(&mut ring, &listener, id(slot)))
        .collect();
    let probe = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    drop(probe);
    if engine == Engine::IoUring {
        assert!(
            open < (connections + connections / 2) as usize,
            "{open} descriptors are open, the peers' among them"
        );
    }
    for round in 0..3_u8 {
        for peer in &mut peers {
            peer.write_all(&[round]).unwrap();
        }
        let mut heard = vec![false; connections as usize];
        turn_until(&mut ring, |ring, _| {
            for (from, got) in receive(ring) {
                assert_eq!(got, Got::Bytes(vec![round]));
                heard[from.slot as usize] = true;
            }
            heard.iter().all(|heard| *heard)
        });
    }
    let mut writer = SegmentWriter::new(4096);
    let piece = writer.append(&[b"to everybody"]);
    for slot in 0..connections {
        assert_eq!(ring.send(id(slot), std::slice::from_ref(&piece)).unwrap(), 1);
    }
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    for peer in &mut peers {
        let mut back = [0; 12];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"to everybody");
    }
}

fn a_dropped_ring_closes_its_connections(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 2), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    drop(ring);
    assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0);
}

/// Bytes and the end behind them may be one event of the kernel: the end must not wait for another one.
fn an_end_right_behind_bytes_is_seen(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    for end in ["closed", "reset"] {
        let slot = id(u32::from(end == "reset"));
        let mut peer = attach(&mut ring, &listener, slot);
        turn_until(&mut ring, |ring, ready| ring.reap(ready).unwrap() == 0);
        peer.write_all(b"last words").unwrap();
        if end == "reset" {
            // What the peer did not read makes its close a reset.
            let piece = SegmentWriter::new(64).append(&[b"unread"]);
            ring.send(slot, &[piece]).unwrap();
            ring.flush(|_, short| panic!("{short:?}")).unwrap();
        }
        drop(peer);
        let mut got = Vec::new();
        turn_until(&mut ring, |ring, _| {
            got.extend(receive(ring));
            got.iter().any(|(_, got)| !matches!(got, Got::Bytes(_)))
        });
        assert_eq!(got[0], (slot, Got::Bytes(b"last words".to_vec())), "{end}");
    }
}

/// A second event must not repeat it: what was one connection's end may be another's beginning.
fn an_end_is_told_once(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let mut peer = attach(&mut ring, &listener, id(0));
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    turn_until(&mut ring, |ring, _| {
        got.extend(receive(ring));
        !got.is_empty()
    });
    // The other direction still works, and asking for room makes epoll look at the whole connection again.
    let mut is_writable = false;
    ring.await_writable(id(0)).unwrap();
    turn_until(&mut ring, |ring, ready| {
        got.extend(receive(ring));
        is_writable |= ready.writable.contains(&id(0));
        is_writable && !ring.has_readable()
    });
    let piece = SegmentWriter::new(64).append(&[b"goodbye"]);
    ring.send(id(0), &[piece]).unwrap();
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    let mut back = [0; 7];
    peer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"goodbye");
    drop(peer);
    let mut ready = Ready::default();
    for _ in 0..100 {
        ring.reap(&mut ready).unwrap();
        got.extend(receive(&mut ring));
    }
    assert_eq!(got, [(id(0), Got::Eof)]);
}

/// A receiver that reads nothing is full, then gone: the first is no error, the second ends the wait for room.
fn a_full_receiver_and_its_loss_are_reported(engine: Engine) {
    let (mut ring, listener) = (ring(engine, 4), listener());
    let peer = attach(&mut ring, &listener, id(0));
    let mut writer = SegmentWriter::new(1024);
    let piece = writer.append(&[&vec![5; 256 * 1024]]);
    let mut end = None;
    while end.is_none() {
        assert_eq!(ring.send(id(0), &[piece.clone(), piece.clone()]).unwrap(), 2);
        ring.flush(|from, short| {
            assert_eq!(from, id(0));
            if matches!(short, Short::Taken(bytes) if bytes < piece.len()) {
                end = Some(short);
            }
        })
        .unwrap();
    }
    while end != Some(Short::Taken(0)) {
        ring.send(id(0), std::slice::from_ref(&piece)).unwrap();
        ring.flush(|_, short| end = Some(short)).unwrap();
    }
    // Unread bytes make its close a reset.
    drop(peer);
    ring.await_writable(id(0)).unwrap();
    turn_until(&mut ring, |ring, ready| {
        if ready.writable.drain(..).any(|from| from == id(0)) {
            ring.send(id(0), std::slice::from_ref(&piece)).unwrap();
            ring.flush(|_, short| end = Some(short)).unwrap();
            ring.await_writable(id(0)).unwrap();
        }
        matches!(end, Some(Short::Error(_)))
    });
    assert!(
        matches!(end, Some(Short::Error(libc::ECONNRESET | libc::EPIPE))),
        "{end:?}"
    );
}
