//! Which shards of which nodes take the events of large rooms: `hub:big:{ROOM}`, kept by the edges, read anew by each
//! flush.
//!
//! A shard enters itself before it asks for its first attachment, and a flush reads after its commit. So whoever was
//! attached by the time of the commit is on a shard that stands there.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use hub_protocol::{Address, NodeId, RoomId, keys};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

/// Shards by node, each once, in order.
pub(super) type Shards = BTreeMap<NodeId, Vec<u16>>;

/// The shards of some rooms, as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Attached {
    entries: HashMap<RoomId, Vec<Address>>,
    shards: HashMap<RoomId, Shards>,
}

impl Attached {
    /// Reads the shards of these rooms.
    pub(super) async fn read(redis: &mut MultiplexedConnection, rooms: &[RoomId]) -> RedisResult<Self> {
        if rooms.is_empty() {
            return Ok(Self::default());
        }
        let mut pipe = redis::pipe();
        for room in rooms {
            pipe.cmd("SMEMBERS").arg(keys::big_room(*room));
        }
        let found: Vec<Vec<String>> = pipe.query_async(redis).await?;
        let parse = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Ok(Self::new(rooms.iter().copied().zip(found.into_iter().map(parse))))
    }

    /// From what the sets hold.
    pub(super) fn new(rooms: impl IntoIterator<Item = (RoomId, Vec<Address>)>) -> Self {
        let mut attached = Self::default();
        for (room, entries) in rooms {
            let mut shards = Shards::new();
            for entry in &entries {
                shards.entry(entry.node).or_default().push(entry.shard);
            }
            for shards in shards.values_mut() {
                // A shard that was emptied and filled again stands there twice for a moment.
                shards.sort_unstable();
                shards.dedup();
            }
            attached.entries.insert(room, entries);
            attached.shards.insert(room, shards);
        }
        attached
    }

    /// The shards of a room.
    pub(super) fn of(&self, room: RoomId) -> Option<&Shards> {
        self.shards.get(&room)
    }

    /// Takes nodes that are gone out of the sets.
    pub(super) async fn forget(&self, redis: &mut MultiplexedConnection, gone: &[NodeId]) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        let mut has_any = false;
        for (room, entries) in &self.entries {
            let of_gone = entries.iter().filter(|entry| gone.contains(&entry.node));
            let dead: Vec<String> = of_gone.map(ToString::to_string).collect();
            if !dead.is_empty() {
                has_any = true;
                pipe.cmd("SREM").arg(keys::big_room(*room)).arg(dead).ignore();
            }
        }
        if has_any {
            pipe.query_async::<()>(redis).await?;
        }
        Ok(())
    }
}
