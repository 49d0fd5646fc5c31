//! Where io_uring is denied, as the default profiles of container runtimes deny it: epoll takes over, or one says why not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use hub_ring::{Config, ConnectionId, Engine, Inbound, Ready, Ring, SegmentWriter, SetupError, choose};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Runs the test on a thread that may not make these system calls.
fn without(calls: &[i64], test: impl FnOnce() + Send + 'static) {
    let rules: BTreeMap<_, _> = calls.iter().map(|&call| (call, Vec::new())).collect();
    std::thread::spawn(move || {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            std::env::consts::ARCH.try_into().unwrap(),
        )
        .unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        test();
    })
    .join()
    .unwrap();
}

fn config(engine: Engine) -> Config {
    Config {
        engine,
        connections_max: 4,
        ..Config::default()
    }
}

#[test]
fn auto_takes_io_uring_where_it_may_and_says_what_it_took() {
    let choice = choose(Engine::Auto).unwrap();
    assert_eq!(choice.engine, Engine::IoUring, "{choice:?}");
    assert!(choice.fallback.is_none());
    assert_eq!(
        Ring::new(&config(Engine::Auto)).unwrap().engine(),
        Engine::IoUring
    );
    let choice = choose(Engine::Epoll).unwrap();
    assert_eq!(choice.engine, Engine::Epoll);
    assert!(choice.fallback.is_none(), "it was asked for");
}

/// Each of the three calls may be the one that is denied.
#[test]
fn auto_becomes_epoll_and_works_where_io_uring_is_forbidden() {
    for call in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ] {
        without(&[call], || {
            let choice = choose(Engine::Auto).unwrap();
            assert_eq!(choice.engine, Engine::Epoll);
            assert!(matches!(choice.fallback, Some(SetupError::Forbidden(_))));
            let mut ring = Ring::new(&config(Engine::Auto)).unwrap();
            assert_eq!(ring.engine(), Engine::Epoll);
            echo(&mut ring);
        });
    }
}

#[test]
fn io_uring_by_name_is_refused_where_it_is_forbidden() {
    without(&[libc::SYS_io_uring_setup], || {
        let refused = Ring::new(&config(Engine::IoUring)).unwrap_err();
        assert!(matches!(refused, SetupError::Forbidden(_)), "{refused:?}");
        assert!(matches!(choose(Engine::IoUring), Err(SetupError::Forbidden(_))));
    });
}

/// A configuration that cannot work is no reason for another engine.
#[test]
fn a_wrong_configuration_is_refused_on_every_engine() {
    for engine in Engine::ALL {
        let refused = Ring::new(&Config {
            slices: 0,
            ..config(engine)
        });
        assert!(matches!(refused, Err(SetupError::Config(_))), "{engine:?}");
    }
}

fn echo(ring: &mut Ring) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let id = ConnectionId {
        slot: 0,
        generation: 1,
    };
    ring.attach(listener.accept().unwrap().0.into(), id).unwrap();
    peer.write_all(b"hello").unwrap();
    let mut ready = Ready::default();
    while !ring.has_readable() {
        ring.reap(&mut ready).unwrap();
    }
    ring.receive(1).unwrap();
    let received = ring.next_received().unwrap();
    let Inbound::Bytes(bytes) = received.inbound else {
        panic!("no bytes");
    };
    let piece = SegmentWriter::new(64).append(&[&bytes[..received.len]]);
    ring.send(id, &[piece]).unwrap();
    ring.flush(|_, short| panic!("{short:?}")).unwrap();
    let mut back = [0; 5];
    peer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}
