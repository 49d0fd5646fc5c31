//! States and watch lists in Redis.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hub_protocol::api::presence::State;
use hub_protocol::limits::PRESENCE_WATCH_MS;
use hub_protocol::{Address, NodeId, UserId, keys};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::state::{Fields, read_fields, state};
use crate::backbone::scripts;

/// Connections that watch one user; more see him with their next watch only.
const WATCHERS_MAX: u32 = 10_000;
/// Users in one pipeline.
const USERS_MAX: usize = 256;
/// Whether a node lives is asked again after this.
const NODE_REUSE: Duration = Duration::from_secs(3);
/// Nodes that are remembered.
const NODES_MAX: usize = 4_096;

/// A connection that watches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Watcher {
    pub(super) address: Address,
    pub(super) user: UserId,
}

impl Watcher {
    fn write(self) -> String {
        format!("{}/{}", self.address, self.user)
    }

    fn read(text: &str) -> Option<Self> {
        let (address, user) = text.split_once('/')?;
        Some(Self {
            address: address.parse().ok()?,
            user: user.parse().ok()?,
        })
    }
}

/// How a user is, and what was told of him.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) fields: Fields,
}

/// Nodes that were asked for lately, and whether they live.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    seen: Mutex<HashMap<NodeId, (Instant, bool)>>,
}

impl Nodes {
    /// Which of these nodes live: a node that died leaves its connections in the directory for a while.
    async fn live(
        &self,
        redis: &mut MultiplexedConnection,
        nodes: impl Iterator<Item = NodeId>,
    ) -> RedisResult<HashMap<NodeId, bool>> {
        let now = Instant::now();
        let mut live = HashMap::new();
        let mut missing = Vec::new();
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            for node in nodes {
                match seen.get(&node) {
                    Some((at, lives)) if now.saturating_duration_since(*at) <= NODE_REUSE => {
                        live.insert(node, *lives);
                    }
                    _ if live.insert(node, false).is_none() => missing.push(node),
                    _ => {}
                }
            }
        }
        if !missing.is_empty() {
            let mut pipe = redis::pipe();
            for node in &missing {
                pipe.cmd("EXISTS").arg(keys::node(*node));
            }
            let exist: Vec<bool> = pipe.query_async(redis).await?;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() > NODES_MAX {
                seen.clear();
            }
            for (node, lives) in missing.into_iter().zip(exist) {
                live.insert(node, lives);
                seen.insert(node, (now, lives));
            }
        }
        Ok(live)
    }
}

/// How these users are, in their order.
pub(super) async fn states(
    redis: &mut MultiplexedConnection,
    nodes: &Nodes,
    users: &[UserId],
) -> RedisResult<Vec<Seen>> {
    let mut all = Vec::with_capacity(users.len());
    for users in users.chunks(USERS_MAX) {
        let mut pipe = redis::pipe();
        for user in users {
            pipe.cmd("HKEYS").arg(keys::directory(*user));
            pipe.cmd("HGETALL").arg(keys::presence(*user));
        }
        let values: Vec<redis::Value> = pipe.query_async(redis).await?;
        let mut found: Vec<(Vec<Address>, Fields)> = Vec::with_capacity(users.len());
        let mut values = values.into_iter();
        while let (Some(connections), Some(hash)) = (values.next(), values.next()) {
            let connections: Vec<String> = redis::from_redis_value(connections)?;
            let connections = connections.iter().filter_map(|text| text.parse().ok()).collect();
            found.push((connections, read_fields(&redis::from_redis_value(hash)?)));
        }
        let named = found.iter().flat_map(|(connections, _)| connections);
        let live = nodes.live(redis, named.map(|address| address.node)).await?;
        for (mut connections, fields) in found {
            connections.retain(|address| live.get(&address.node).copied().unwrap_or(false));
            let state = state(&connections, &fields);
            all.push(Seen { state, fields });
        }
    }
    Ok(all)
}

/// How many of these users have a connection.
pub(super) async fn count(redis: &mut MultiplexedConnection, users: &[UserId]) -> RedisResult<usize> {
    let mut online = 0;
    for users in users.chunks(USERS_MAX) {
        let mut pipe = redis::pipe();
        for user in users {
            pipe.cmd("EXISTS").arg(keys::directory(*user));
        }
        let exist: Vec<bool> = pipe.query_async(redis).await?;
        online += exist.into_iter().filter(|exists| *exists).count();
    }
    Ok(online)
}

/// The watchers of each of these users.
pub(super) async fn watchers(
    redis: &mut MultiplexedConnection,
    users: &[UserId],
) -> RedisResult<Vec<Vec<Watcher>>> {
    let mut pipe = redis::pipe();
    for user in users {
        pipe.cmd("ZRANGE").arg(keys::watchers(*user)).arg(0).arg(-1);
    }
    let found: Vec<Vec<String>> = pipe.query_async(redis).await?;
    let read = |texts: Vec<String>| texts.iter().filter_map(|text| Watcher::read(text)).collect();
    Ok(found.into_iter().map(read).collect())
}

/// Replaces what a connection watches.
pub(super) async fn replace_watch(
    redis: &mut MultiplexedConnection,
    watcher: Watcher,
    users: &[UserId],
) -> RedisResult<()> {
    let list = keys::watched(watcher.address);
    let before: Vec<String> = redis::cmd("SMEMBERS").arg(&list).query_async(redis).await?;
    let member = watcher.write();
    let mut pipe = redis::pipe();
    for user in before.iter().filter_map(|text| text.parse().ok()) {
        if !users.contains(&user) {
            pipe.cmd("ZREM").arg(keys::watchers(user)).arg(&member).ignore();
        }
    }
    for user in users {
        pipe.cmd("EVAL")
            .arg(scripts::WATCH)
            .arg(1)
            .arg(keys::watchers(*user))
            .arg(&member)
            .arg(PRESENCE_WATCH_MS)
            .arg(WATCHERS_MAX)
            .ignore();
    }
    pipe.cmd("DEL").arg(&list).ignore();
    if !users.is_empty() {
        let names: Vec<String> = users.iter().map(ToString::to_string).collect();
        pipe.cmd("SADD").arg(&list).arg(names).ignore();
        pipe.cmd("PEXPIRE").arg(&list).arg(PRESENCE_WATCH_MS).ignore();
    }
    pipe.query_async(redis).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_read_back() {
        let watcher = Watcher {
            address: Address {
                node: NodeId(7),
                shard: 1,
                slot: 2,
                generation: 3,
            },
            user: UserId::from_bytes([9; 16]),
        };
        assert_eq!(Watcher::read(&watcher.write()), Some(watcher));
        for text in ["", "/", "x/y", "1-1-1-1"] {
            assert_eq!(Watcher::read(text), None, "{text}");
        }
    }
}
