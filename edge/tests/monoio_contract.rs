//! What we lean on in monoio 0.2.4, and what we work around, on both of its drivers. A test that fails here after an
//! upgrade says which rule of the edge has to be thought over. How a shard sleeps is tested in `crates/ring`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hub_edge::runtime::block_on;
use hub_ring::Engine;
use monoio::io::{AsyncWriteRentExt, CancelableAsyncReadRent, Canceller};
use monoio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the work on each driver.
fn each(work: impl AsyncFn()) {
    for engine in [Engine::IoUring, Engine::Epoll] {
        block_on(engine, work()).unwrap();
    }
}

/// Polls a task that goes on until its sibling has run, at most `max` times; returns how often it was polled.
async fn polls_before_sibling(max: u32, sleeps: bool) -> u32 {
    let done = Rc::new(Cell::new(false));
    let seen = Rc::clone(&done);
    let busy = monoio::spawn(async move {
        let mut polls = 0;
        while !seen.get() && polls < max {
            polls += 1;
            if sleeps {
                monoio::time::sleep(Duration::ZERO).await;
            } else {
                let mut is_woken = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut is_woken, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
        }
        polls
    });
    monoio::spawn(async move { done.set(true) });
    busy.await
}

/// The reason for the rule "no future that wakes itself": it goes to the front of the queue, for ever.
#[test]
fn a_task_that_wakes_itself_starves_its_siblings() {
    each(async || assert_eq!(polls_before_sibling(10_000, false).await, 10_000));
}

/// The way to let others run.
#[test]
fn a_task_that_sleeps_for_nothing_lets_its_siblings_run() {
    each(async || assert!(polls_before_sibling(10_000, true).await < 10));
}

#[test]
fn timers_fire_while_a_task_sleeps_for_nothing_in_a_loop() {
    each(async || {
        let fired = Rc::new(Cell::new(false));
        let seen = Rc::clone(&fired);
        monoio::spawn(async move {
            monoio::time::sleep(Duration::from_millis(20)).await;
            fired.set(true);
        });
        let end = Instant::now() + PATIENCE;
        while !seen.get() {
            assert!(Instant::now() < end, "the timer never fired");
            monoio::time::sleep(Duration::ZERO).await;
        }
    });
}

/// Why request heads are read by a cancelable read that is awaited after its cancel: the kernel may have taken bytes.
#[test]
fn a_cancelled_read_that_is_awaited_loses_nothing() {
    const BYTES: usize = 5_000;
    each(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let writer = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            for n in 0..BYTES {
                stream.write_all(&[n.to_le_bytes()[0]]).unwrap();
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        loop {
            let canceller = Canceller::new();
            let mut read = pin!(stream.cancelable_read(Vec::with_capacity(16), canceller.handle()));
            let (result, bytes) = monoio::select! {
                done = &mut read => done,
                () = monoio::time::sleep(Duration::ZERO) => {
                    canceller.cancel();
                    read.await
                }
            };
            got.extend_from_slice(&bytes);
            if matches!(result, Ok(0)) {
                break;
            }
        }
        writer.join().unwrap();
        assert_eq!(got.len(), BYTES);
        assert!(
            got.iter()
                .enumerate()
                .all(|(n, byte)| *byte == n.to_le_bytes()[0])
        );
    });
}

/// Why an accept is awaited after its cancel: it may hold a connection, and the one that it did not take waits in the
/// kernel.
#[test]
fn a_cancelled_accept_that_is_awaited_loses_no_connection() {
    const CONNECTIONS: usize = 300;
    each(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients = std::thread::spawn(move || {
            for _ in 0..CONNECTIONS {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.read_exact(&mut [0]).unwrap();
            }
        });
        let mut accepted = 0;
        let end = Instant::now() + PATIENCE;
        while accepted < CONNECTIONS {
            assert!(Instant::now() < end, "{accepted} were accepted");
            let canceller = Canceller::new();
            let mut accept = pin!(listener.cancelable_accept(canceller.handle()));
            let result = monoio::select! {
                done = &mut accept => done,
                () = monoio::time::sleep(Duration::ZERO) => {
                    canceller.cancel();
                    accept.await
                }
            };
            if let Ok((mut stream, _)) = result {
                stream.write_all(b"x").await.0.unwrap();
                accepted += 1;
            }
        }
        clients.join().unwrap();
    });
}

/// An upgraded connection leaves monoio with the bytes that were not read yet, also after a read was cancelled.
#[test]
fn a_stream_gives_its_descriptor_up_with_what_it_has_not_read() {
    each(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        {
            let canceller = Canceller::new();
            let mut read = pin!(stream.cancelable_read(Vec::with_capacity(16), canceller.handle()));
            monoio::select! {
                done = &mut read => panic!("nothing was sent: {done:?}"),
                () = monoio::time::sleep(Duration::ZERO) => {
                    canceller.cancel();
                    assert!(read.await.0.is_err());
                }
            }
        }
        client.write_all(b"early").unwrap();
        let mut socket = std::net::TcpStream::from(hub_ring::from_monoio(stream));
        socket.set_nonblocking(false).unwrap();
        let mut early = [0; 5];
        socket.read_exact(&mut early).unwrap();
        assert_eq!(&early, b"early");
    });
}
