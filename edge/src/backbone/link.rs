//! One life of the connections to Redis.

use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use hub_protocol::keys;
use hub_protocol::limits::NODE_TTL_S;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::writer::Writer;
use super::{LinkError, State, keeper, reader};
use crate::mailbox::ToShard;

/// A blocking read comes back after this long, milliseconds.
pub(super) const BLOCK_MS: usize = 2_000;

/// Opens everything, runs until the shards are drained (`Ok`) or something fails.
pub(super) async fn run(state: &Rc<State>, writer: &mut Writer) -> Result<(), LinkError> {
    let response = state.settings.response_timeout;
    let mut control = connect(state, response).await?;
    let blocking = connect(state, response + Duration::from_millis(BLOCK_MS as u64)).await?;
    let pubsub = timeout(response, state.settings.redis.get_async_pubsub());
    let mut pubsub = pubsub.await.map_err(|_elapsed| LinkError::Timeout)??;

    let run_id = run_id(&mut control).await?;
    let is_same = *state.run_id.borrow() == run_id && keeper::renew(state, &mut control).await?;
    if !is_same {
        *state.run_id.borrow_mut() = run_id;
        make_node(state, &mut control).await?;
    }
    // This connection has no response timeout of its own: it waits for publications for ever.
    let subscribed = timeout(response, pubsub.subscribe(keys::ephemeral(state.node.get())));
    subscribed.await.map_err(|_elapsed| LinkError::Timeout)??;
    keeper::read_meta(state, &mut control).await?;
    // Revocations first: no session may open on a token that was taken back.
    reader::read_revoked(state, &mut control).await?;
    state.set_up(true);
    // Compared with what the shards know, not with what this link made: an earlier link may have made the node and
    // failed before it could say so.
    if state.announced.replace(state.node.get()) != state.node.get() {
        state.notice(&ToShard::Node(state.node.get()));
        tracing::info!(node = %state.node.get(), "the node is in the backbone");
    }

    let ephemerals = async {
        let mut messages = pubsub.into_on_message();
        while let Some(message) = messages.next().await {
            let batch = bytes::Bytes::copy_from_slice(message.get_payload_bytes());
            reader::hand_out(state, &batch);
            state.wake_offered();
        }
        Err::<(), _>(LinkError::Redis(
            std::io::Error::from(std::io::ErrorKind::ConnectionReset).into(),
        ))
    };
    tokio::select! {
        done = writer.run(state, control.clone()) => {
            done?;
            leave(state, control).await
        }
        failed = reader::run(state, blocking, control.clone()) => failed,
        failed = keeper::run(state, control.clone()) => failed,
        failed = ephemerals => failed,
    }
}

/// The node is gone from now on: services need not wait for its stream to expire.
async fn leave(state: &State, mut control: MultiplexedConnection) -> Result<(), LinkError> {
    let left = redis::cmd("UNLINK")
        .arg(keys::node(state.node.get()))
        .exec_async(&mut control)
        .await;
    if let Err(error) = left {
        tracing::debug!(%error, "the node's stream is left to expire");
    }
    Ok(())
}

async fn connect(state: &State, response: Duration) -> Result<MultiplexedConnection, LinkError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(state.settings.response_timeout))
        .set_response_timeout(Some(response));
    Ok(state
        .settings
        .redis
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

async fn run_id(connection: &mut MultiplexedConnection) -> Result<String, LinkError> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(run_id.unwrap_or_default().trim().to_owned())
}

/// A new name and a stream for it. The first entry holds no batch; it only makes the stream exist.
async fn make_node(state: &State, connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
    let key = keys::node(state.rename());
    redis::pipe()
        .atomic()
        .cmd("XADD")
        .arg(&key)
        .arg("*")
        .arg("h")
        .arg(1)
        .ignore()
        .cmd("EXPIRE")
        .arg(&key)
        .arg(NODE_TTL_S)
        .ignore()
        .query_async::<()>(connection)
        .await?;
    Ok(())
}
