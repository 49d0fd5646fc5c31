//! Step 8: what the shards hand in goes out in one pipeline per round trip. While one is on its way, the next gathers.
//!
//! Invariant: of one stream and shard at most one batch is here; a batch whose arrival is unknown is written again
//! before anything newer. Writing it twice is harmless: every change carries its op.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hub_protocol::limits::DIRECTORY_TTL_S;
use hub_protocol::{Service, keys};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::{LinkError, State};
use crate::mailbox::{ToBackbone, ToShard};

/// Items of one pipeline.
const ITEMS_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Handed in and not confirmed, oldest first, each with its shard.
    pending: VecDeque<(usize, ToBackbone)>,
}

impl Writer {
    /// Takes what the shards have said.
    pub(super) fn collect(&mut self, state: &State) {
        state.take(&mut self.pending);
    }

    /// Writes until the shards are drained.
    pub(super) async fn run(
        &mut self,
        state: &State,
        mut connection: MultiplexedConnection,
    ) -> Result<(), LinkError> {
        loop {
            self.collect(state);
            if self.pending.is_empty() {
                if state.is_drained() {
                    return Ok(());
                }
                state.notify.notified().await;
                if state.settings.linger > Duration::ZERO {
                    tokio::time::sleep(state.settings.linger).await;
                }
                continue;
            }
            let count = self.pending.len().min(ITEMS_MAX);
            let mut pipeline = Pipeline::new();
            for (_, item) in self.pending.iter().take(count) {
                add(&mut pipeline, item);
            }
            let start = Instant::now();
            let answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
            metrics::histogram!("hub_edge_backbone_roundtrip_seconds").record(start.elapsed());
            self.confirm(state, count, &answers);
        }
    }

    /// Tells the shards what has arrived. Every item has two answers.
    fn confirm(&mut self, state: &State, count: usize, answers: &[Value]) {
        let mut answers = answers.chunks(2);
        let mut woken = vec![false; state.ends.len()];
        for (shard, item) in self.pending.drain(..count) {
            let answer = answers.next().unwrap_or_default();
            let notice = match item {
                ToBackbone::Uplink {
                    service,
                    partition,
                    envelopes,
                    ..
                } => {
                    count_batch(service, envelopes);
                    let (length, max) = (
                        number(answer.get(1)),
                        i64::from(state.settings.stream_entries_max),
                    );
                    ToShard::UplinkDone {
                        service,
                        partition,
                        is_full: length > max,
                        is_crowded: length > max / 2,
                    }
                }
                ToBackbone::Register { address, sweep, .. } => ToShard::Registered {
                    slot: address.slot,
                    generation: address.generation,
                    was_missing: number(answer.first()) == 1,
                    sweep,
                },
                ToBackbone::EnterRoom { room, address, sweep } if sweep && number(answer.first()) == 1 => {
                    ToShard::RoomEntered {
                        room,
                        life: address.generation,
                    }
                }
                ToBackbone::EnterRoom { .. }
                | ToBackbone::LeaveRoom { .. }
                | ToBackbone::Unregister { .. }
                | ToBackbone::Drained => continue,
            };
            if let (Some(end), Some(woken)) = (state.ends.get(shard), woken.get_mut(shard)) {
                end.notice(notice);
                *woken = true;
            }
        }
        for (end, _) in state.ends.iter().zip(woken).filter(|(_, woken)| *woken) {
            end.wake();
        }
    }
}

fn add(pipeline: &mut Pipeline, item: &ToBackbone) {
    match item {
        ToBackbone::Uplink {
            service,
            partition,
            batch,
            ..
        } => {
            let key = keys::requests(*service, *partition);
            pipeline
                .cmd("XADD")
                .arg(&key)
                .arg("*")
                .arg(keys::BATCH_FIELD)
                .arg(&batch[..]);
            pipeline.cmd("XLEN").arg(&key);
        }
        ToBackbone::Register {
            user,
            address,
            session,
            ..
        } => {
            let key = keys::directory(*user);
            pipeline
                .cmd("HSET")
                .arg(&key)
                .arg(address.to_string())
                .arg(session.to_string());
            pipeline.cmd("EXPIRE").arg(&key).arg(DIRECTORY_TTL_S);
        }
        ToBackbone::Unregister { user, address } => {
            let key = keys::directory(*user);
            pipeline.cmd("HDEL").arg(&key).arg(address.to_string());
            pipeline.cmd("EXISTS").arg(&key);
        }
        ToBackbone::EnterRoom { room, address, .. } => {
            let key = keys::big_room(*room);
            pipeline.cmd("SADD").arg(&key).arg(address.to_string());
            pipeline.cmd("EXPIRE").arg(&key).arg(DIRECTORY_TTL_S);
        }
        ToBackbone::LeaveRoom { room, address } => {
            let key = keys::big_room(*room);
            pipeline.cmd("SREM").arg(&key).arg(address.to_string());
            pipeline.cmd("EXISTS").arg(&key);
        }
        ToBackbone::Drained => {
            pipeline.cmd("PING").cmd("PING");
        }
    }
}

fn number(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

fn count_batch(service: Service, envelopes: u32) {
    metrics::counter!("hub_edge_xadds_total", "service" => service.name()).increment(1);
    metrics::counter!("hub_edge_xadd_envelopes_total", "service" => service.name())
        .increment(envelopes.into());
}
