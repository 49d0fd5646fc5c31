//! Step 13: the node's stream and the revocations, into the mailboxes of the shards.

use bytes::Bytes;
use hub_protocol::batch::DownlinkBatch;
use hub_protocol::keys;
use redis::Value;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};

use super::link::BLOCK_MS;
use super::{LinkError, State};
use crate::mailbox::ToShard;

/// Entries of one read.
const ENTRIES_MAX: usize = 256;

/// Reads the node's stream from its start: every entry there is unhandled. Deletes what was handed out.
pub(super) async fn run(
    state: &State,
    mut blocking: MultiplexedConnection,
    mut control: MultiplexedConnection,
) -> Result<(), LinkError> {
    let node = keys::node(state.node.get());
    let mut after = "0".to_owned();
    loop {
        let revoked_after = state.revoked_after.borrow().clone();
        let reply: Option<StreamReadReply> = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(ENTRIES_MAX)
            .arg("BLOCK")
            .arg(BLOCK_MS)
            .arg("STREAMS")
            .arg(&node)
            .arg(keys::REVOKED)
            .arg(&after)
            .arg(&revoked_after)
            .query_async(&mut blocking)
            .await?;
        let mut handled = Vec::new();
        for stream in reply.into_iter().flat_map(|reply| reply.keys) {
            for mut entry in stream.ids {
                if stream.key == keys::REVOKED {
                    on_revoked(state, &entry);
                    continue;
                }
                // An entry without a batch only made the stream exist.
                if let Some(Value::BulkString(batch)) = entry.map.remove(keys::BATCH_FIELD) {
                    hand_out(state, &Bytes::from(batch));
                }
                after.clone_from(&entry.id);
                handled.push(entry.id);
            }
        }
        state.wake_offered();
        if !handled.is_empty() {
            redis::cmd("XDEL")
                .arg(&node)
                .arg(handled)
                .exec_async(&mut control)
                .await?;
        }
    }
}

/// All revocations that Redis still knows.
pub(super) async fn read_revoked(
    state: &State,
    control: &mut MultiplexedConnection,
) -> Result<(), LinkError> {
    let all: StreamRangeReply = redis::cmd("XRANGE")
        .arg(keys::REVOKED)
        .arg("-")
        .arg("+")
        .query_async(control)
        .await?;
    for entry in &all.ids {
        on_revoked(state, entry);
    }
    Ok(())
}

fn on_revoked(state: &State, entry: &StreamId) {
    state.revoked_after.borrow_mut().clone_from(&entry.id);
    let login = entry.get::<String>("login").and_then(|login| login.parse().ok());
    if let Some(login) = login {
        state.notice(&ToShard::Revoked(login));
    }
}

/// Offers a batch to every shard that has a target in it. Call [`State::wake_offered`] after the last one.
pub(super) fn hand_out(state: &State, bytes: &Bytes) {
    let batch = match DownlinkBatch::parse(bytes) {
        Ok(batch) => batch,
        Err(error) => {
            metrics::counter!("hub_edge_damaged_batches_total").increment(1);
            tracing::error!(%error, "a downlink batch is dropped");
            // Whatever it held is lost: sessions find it by a sync.
            return state.notice(&ToShard::SyncAll);
        }
    };
    if batch.node() != state.node.get() {
        metrics::counter!("hub_edge_misdirected_batches_total").increment(1);
        return;
    }
    let mut has_target = vec![false; state.ends.len()];
    for entry in batch.iter() {
        // Targets are ordered by shard: one step per shard, not per target.
        let mut rest = entry.targets;
        while let Some(first) = rest.first() {
            let shard = first.shard();
            if let Some(has_target) = has_target.get_mut(usize::from(shard)) {
                *has_target = true;
            }
            let end = rest.partition_point(|target| target.shard() == shard);
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    for (shard, _) in has_target
        .iter()
        .enumerate()
        .filter(|(_, has_target)| **has_target)
    {
        state.offer(shard, bytes);
    }
}
