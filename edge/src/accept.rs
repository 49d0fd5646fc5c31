//! Step 1: one listener per shard on the same port (`SO_REUSEPORT`), on monoio.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::Canceller;
use monoio::net::{ListenerOpts, TcpListener};

use crate::http::{self, Env};

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 4096;
/// After the process ran out of descriptors, so that the loop does not spin.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How soon a drain closes the listener.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Opens a shard's listener.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let options = ListenerOpts::new()
        .reuse_addr(true)
        .reuse_port(true)
        .backlog(BACKLOG);
    TcpListener::bind_with_config(address, &options)
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
                let Some(ticket) = env.gate.admit(peer.ip()) else {
                    metrics::counter!("hub_edge_refused_connections_total").increment(1);
                    continue;
                };
                if stream.set_nodelay(true).is_ok() {
                    monoio::spawn(http::serve(stream, ticket, Rc::clone(&env)));
                }
            }
            Err(error) => {
                // The connection ended before we took it, or descriptors ran out.
                tracing::debug!(%error, "accept");
                monoio::time::sleep(BACK_OFF).await;
            }
        }
    }
}
