//! How a shard sleeps: on the ring's descriptor behind a monoio stream, on both drivers and both engines. No wake may be
//! lost, or a shard sleeps with work in its mailbox.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hub_ring::{Config, ConnectionId, Engine, Inbound, Ready, Ring, SegmentWriter};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

const PATIENCE: Duration = Duration::from_secs(30);

fn each(test: impl AsyncFn(Engine)) {
    for engine in [Engine::IoUring, Engine::Epoll] {
        let mut uring = RuntimeBuilder::<IoUringDriver>::new()
            .enable_timer()
            .build()
            .unwrap();
        uring.block_on(test(engine));
        let mut epoll = RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()
            .unwrap();
        epoll.block_on(test(engine));
    }
}

fn ring(engine: Engine) -> Ring {
    Ring::new(&Config {
        engine,
        connections_max: 4,
        ..Config::default()
    })
    .unwrap()
}

/// The ring's descriptor, for waiting.
fn event(ring: &Ring) -> monoio::net::TcpStream {
    let event = TcpStream::from(ring.event_fd().unwrap());
    monoio::net::TcpStream::from_std(event).unwrap()
}

/// Sleeps until the ring's descriptor is readable; fails if nothing ever wakes it.
async fn sleep(event: &monoio::net::TcpStream) {
    monoio::time::timeout(PATIENCE, event.readable(false))
        .await
        .expect("a wake was lost")
        .unwrap();
}

/// A wake that comes between clearing and sleeping is seen, as is one that comes while nobody waits.
#[test]
fn a_wake_is_seen_until_it_is_cleared() {
    each(async |engine| {
        let mut ring = ring(engine);
        let event = event(&ring);
        let mut ready = Ready::default();
        for _ in 0..100 {
            let wake = ring.wake_handle();
            let waker = std::thread::spawn(move || wake.wake());
            sleep(&event).await;
            waker.join().unwrap();
            ring.clear_wake();
            ring.wake_handle().wake();
            ring.reap(&mut ready).unwrap();
            sleep(&event).await;
            ring.clear_wake();
            assert_eq!(ring.reap(&mut ready).unwrap(), 0, "a wake is no work");
        }
        let silence = monoio::time::timeout(Duration::from_millis(20), event.readable(false)).await;
        assert!(silence.is_err(), "what was cleared is silent");
    });
}

/// Another thread counts up and wakes; whoever sleeps must see the last number. It counts again at once, so that
/// its wakes fall into every gap between clearing, reaping and sleeping.
#[test]
fn no_wake_of_a_busy_thread_is_lost() {
    const WAKES: u32 = 20_000;
    each(async |engine| {
        let mut ring = ring(engine);
        let event = event(&ring);
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(AtomicU32::new(0));
        let wake = ring.wake_handle();
        let (counting, looking) = (Arc::clone(&count), Arc::clone(&seen));
        let waker = std::thread::spawn(move || {
            for number in 1..=WAKES {
                counting.store(number, Ordering::Release);
                wake.wake();
                if number % 3 == 0 {
                    // Lets the sleeper fall asleep; it must come back for this number.
                    while looking.load(Ordering::Acquire) < number {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let mut ready = Ready::default();
        while seen.load(Ordering::Acquire) < WAKES {
            sleep(&event).await;
            ring.clear_wake();
            ring.reap(&mut ready).unwrap();
            seen.store(count.load(Ordering::Acquire), Ordering::Release);
        }
        waker.join().unwrap();
    });
}

/// Bytes wake as mailboxes do, again and again, also while wakes come in between.
#[test]
fn no_bytes_are_slept_over() {
    const ROUNDS: u8 = 200;
    each(async |engine| {
        let mut ring = ring(engine);
        let event = event(&ring);
        let id = ConnectionId {
            slot: 1,
            generation: 1,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        ring.attach(listener.accept().unwrap().0.into(), id).unwrap();
        let wake = ring.wake_handle();
        let client = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                if round % 2 == 0 {
                    wake.wake();
                }
                peer.write_all(&[round]).unwrap();
                let mut back = [0];
                peer.read_exact(&mut back).unwrap();
                assert_eq!(back, [round]);
            }
        });
        let mut writer = SegmentWriter::new(64);
        let mut ready = Ready::default();
        let mut rounds = 0;
        loop {
            ring.clear_wake();
            while ring.reap(&mut ready).unwrap() > 0 || ring.has_readable() {
                ring.receive(1).unwrap();
                let mut echo = None;
                while let Some(received) = ring.next_received() {
                    let len = received.len;
                    if let Inbound::Bytes(bytes) = received.inbound {
                        echo = Some(writer.append(&[&bytes[..len]]));
                        rounds += len;
                    }
                }
                if let Some(echo) = echo {
                    ring.send(id, &[echo]).unwrap();
                    ring.flush(|_, short| panic!("{short:?}")).unwrap();
                }
            }
            if rounds == usize::from(ROUNDS) {
                break;
            }
            sleep(&event).await;
        }
        client.join().unwrap();
    });
}

/// Room to send and a slot that comes back wake too.
#[test]
fn room_and_releases_wake() {
    each(async |engine| {
        let mut ring = ring(engine);
        let event = event(&ring);
        let id = ConnectionId {
            slot: 0,
            generation: 1,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ready = Ready::default();
        ring.attach(listener.accept().unwrap().0.into(), id).unwrap();
        while ring.reap(&mut ready).unwrap() > 0 {}
        ring.clear_wake();
        ring.await_writable(id).unwrap();
        // With io_uring it is the reap that submits the question.
        ring.reap(&mut ready).unwrap();
        while ready.writable.is_empty() {
            sleep(&event).await;
            ring.clear_wake();
            ring.reap(&mut ready).unwrap();
        }
        ring.close(id).unwrap();
        if engine == Engine::IoUring {
            ring.reap(&mut ready).unwrap();
        }
        while ready.released.is_empty() {
            sleep(&event).await;
            ring.clear_wake();
            ring.reap(&mut ready).unwrap();
        }
        assert_eq!(ready.released, [id]);
    });
}
