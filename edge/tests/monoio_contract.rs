//! What we lean on in monoio 0.2.4, and what we work around. A test that fails here after an upgrade says which rule of
//! the edge has to be thought over.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hub_ring::{Config, Ring};
use monoio::io::{CancelableAsyncReadRent, Canceller};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .enable_timer()
        .build()
        .unwrap();
    runtime.block_on(work)
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
    assert_eq!(run(polls_before_sibling(10_000, false)), 10_000);
}

/// The way to let others run.
#[test]
fn a_task_that_sleeps_for_nothing_lets_its_siblings_run() {
    assert!(run(polls_before_sibling(10_000, true)) < 10);
}

#[test]
fn timers_fire_while_a_task_sleeps_for_nothing_in_a_loop() {
    run(async {
        let fired = Rc::new(Cell::new(false));
        let seen = Rc::clone(&fired);
        monoio::spawn(async move {
            monoio::time::sleep(Duration::from_millis(20)).await;
            fired.set(true);
        });
        // Bound: far more yields than 20 ms hold.
        for _ in 0..100_000 {
            if seen.get() {
                return;
            }
            monoio::time::sleep(Duration::ZERO).await;
        }
        panic!("the timer never fired");
    });
}

/// Why request heads are read by a cancelable read that is awaited after its cancel: the kernel may have taken bytes.
#[test]
fn a_cancelled_read_that_is_awaited_loses_nothing() {
    const BYTES: usize = 5_000;
    run(async {
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

/// How a shard sleeps: on the data ring's eventfd, behind a stream that is never read. Every wake is seen, also one
/// that comes while nobody waits.
#[test]
fn an_eventfd_behind_a_stream_is_seen_each_time_it_is_written() {
    run(async {
        let ring = Ring::new(&Config {
            connections_max: 1,
            ..Config::default()
        })
        .unwrap();
        let event = std::net::TcpStream::from(ring.event_fd().unwrap());
        let event = TcpStream::from_std(event).unwrap();
        for _ in 0..100 {
            let wake = ring.wake_handle();
            let waker = std::thread::spawn(move || wake.wake());
            event.readable(false).await.unwrap();
            ring.clear_wake();
            waker.join().unwrap();
            ring.wake_handle().wake();
            event.readable(false).await.unwrap();
            ring.clear_wake();
        }
    });
}
