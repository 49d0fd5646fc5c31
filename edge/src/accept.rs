//! Step 1: one listener per shard on the same port (`SO_REUSEPORT`), on monoio.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use monoio::io::Canceller;
use monoio::net::{ListenerOpts, TcpListener};

use crate::admission::{Refusal, Ticket};
use crate::bucket::{Bucket, Verdict};
use crate::http::{self, Env};

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 4096;
/// After the process ran out of descriptors, so that the loop does not spin.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How soon a drain closes the listener, and its end opens another.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Opens a shard's listener.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let options = ListenerOpts::new()
        .reuse_addr(true)
        .reuse_port(true)
        .backlog(BACKLOG);
    TcpListener::bind_with_config(address, &options)
}

/// Accepts for as long as the node lives. A shard that drains has no listener, which takes it out of the kernel's
/// balance; one that is taken back into service opens another.
///
/// # Cancel safety
/// Not to be dropped: see [`accept`]. It ends by itself.
pub async fn attend(first: TcpListener, address: SocketAddr, env: Rc<Env>) {
    let mut listener = Some(first);
    while !env.shard.is_ending() {
        if env.shard.is_draining() {
            listener = None;
            monoio::time::sleep(DRAIN_LOOK).await;
            continue;
        }
        match listener.take().map_or_else(|| listen(address), Ok) {
            Ok(listener) => accept(listener, Rc::clone(&env)).await,
            Err(error) => {
                tracing::error!(%error, %address, "cannot listen again");
                monoio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Accepts until the shard drains, then closes the listener.
///
/// # Cancel safety
/// Not to be dropped: a pending accept may hold a connection. It ends by itself.
pub async fn accept(listener: TcpListener, env: Rc<Env>) {
    let draining = async {
        while !env.shard.is_draining() {
            monoio::time::sleep(DRAIN_LOOK).await;
        }
    };
    let mut draining = pin!(draining);
    let mut handshakes = Bucket::new(env.handshakes, env.now_ms());
    loop {
        let canceller = Canceller::new();
        let mut accept = pin!(listener.cancelable_accept(canceller.handle()));
        let accepted = monoio::select! {
            accepted = &mut accept => accepted,
            () = &mut draining => {
                // The operation is cancelled and then awaited: what it took in between is closed, not leaked.
                canceller.cancel();
                drop(accept.await);
                return;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                // The kernel gives the lowest number that is free: it says how many are in use.
                let admitted = if stream.as_raw_fd() < env.descriptors_max {
                    admit(&env, &mut handshakes, peer.ip())
                } else {
                    Err(Refusal::Descriptors)
                };
                match admitted {
                    Ok(ticket) => drop(monoio::spawn(contain(http::serve(
                        stream,
                        ticket,
                        Rc::clone(&env),
                    )))),
                    Err(refusal) => {
                        let label = refusal.label();
                        metrics::counter!("hub_edge_refused_connections_total", "reason" => label)
                            .increment(1);
                        if refusal == Refusal::Descriptors {
                            continue;
                        }
                        monoio::spawn(contain(http::tell(stream, refusal, Rc::clone(&env))));
                    }
                }
            }
            Err(error) => {
                // The connection ended before we took it, or descriptors ran out.
                metrics::counter!("hub_edge_accept_errors_total").increment(1);
                tracing::debug!(%error, "accept");
                monoio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn admit(env: &Env, handshakes: &mut Bucket, address: IpAddr) -> Result<Ticket, Refusal> {
    match handshakes.take(env.handshakes, env.now_ms()) {
        Verdict::Pass => env.gate.admit(address),
        Verdict::Wait(_) | Verdict::Abuse => Err(Refusal::Handshakes),
    }
}

/// Runs the task of one connection. A panic there ends that connection and nothing else.
async fn contain(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        metrics::counter!("hub_edge_task_panics_total").increment(1);
        tracing::error!("the task of a connection panicked; the connection is closed");
    }
}

#[cfg(test)]
mod tests {
    use hub_ring::Engine;

    use super::*;
    use crate::runtime;

    #[test]
    fn a_panic_in_one_task_leaves_the_others_running() {
        for engine in [Engine::IoUring, Engine::Epoll] {
            runtime::block_on(engine, one_panics()).expect("a runtime");
        }
    }

    async fn one_panics() {
        let bad = monoio::spawn(contain(async { panic!("a poisoned request") }));
        let good = monoio::spawn(async {
            monoio::time::sleep(Duration::from_millis(1)).await;
            7
        });
        bad.await;
        assert_eq!(good.await, 7);
    }
}
