//! Keeps the node alive in Redis, and looks for signs that deliveries were lost.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hub_protocol::keys;
use hub_protocol::limits::{NODE_RENEW_S, NODE_TTL_S};
use redis::aio::MultiplexedConnection;

use super::{LinkError, State};
use crate::mailbox::ToShard;

/// Renews until the node's stream is gone or Redis does not answer.
pub(super) async fn run(state: &State, mut control: MultiplexedConnection) -> Result<(), LinkError> {
    let mut interval = tokio::time::interval(Duration::from_secs(NODE_RENEW_S));
    loop {
        interval.tick().await;
        if !renew(state, &mut control).await? {
            // Another link finds the same and makes a new node.
            return Err(LinkError::Void);
        }
        read_meta(state, &mut control).await?;
    }
}

/// Renews the node's stream; false if it does not exist any more. Any change of the loss counter means a sync.
pub(super) async fn renew(state: &State, control: &mut MultiplexedConnection) -> Result<bool, LinkError> {
    let node = state.node.get();
    let (exists, lost): (i64, Option<u64>) = redis::pipe()
        .cmd("EXPIRE")
        .arg(keys::node(node))
        .arg(NODE_TTL_S)
        .cmd("GET")
        .arg(keys::lost(node))
        .query_async(control)
        .await?;
    let lost = lost.unwrap_or(0);
    if state.lost.replace(lost) != lost && lost > 0 {
        tracing::warn!(lost, "batches for this node were dropped: its stream was full");
        state.notice(&ToShard::SyncAll);
    }
    Ok(exists == 1)
}

/// Reads `hub:meta`; what is known stays known while it is missing.
pub(super) async fn read_meta(state: &State, control: &mut MultiplexedConnection) -> Result<(), LinkError> {
    let fields: HashMap<String, String> = redis::cmd("HGETALL").arg(keys::META).query_async(control).await?;
    let Some(meta) = super::read_meta(&fields) else {
        return Ok(());
    };
    if state.meta.borrow().as_ref() == Some(&meta) {
        return Ok(());
    }
    let (partitions, epoch) = meta.clone();
    if state
        .meta
        .borrow()
        .as_ref()
        .is_some_and(|(known, _)| *known != partitions)
    {
        tracing::error!("hub:meta has other partition counts than this node works with; restart the node");
        return Ok(());
    }
    *state.meta.borrow_mut() = Some(meta);
    state.health.has_meta.store(true, Ordering::Relaxed);
    state.notice(&ToShard::Meta { partitions, epoch });
    Ok(())
}
