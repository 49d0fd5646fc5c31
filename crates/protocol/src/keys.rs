//! The names of all Redis keys, built here and nowhere else. Braces are Redis Cluster hash tags: what one script
//! touches shares a tag.

use crate::address::Address;
use crate::ids::{NodeId, RoomId, UserId};
use crate::method::Service;

/// Stream of revocations and key rotations, read from its start before a node is ready.
pub const REVOKED: &str = "hub:revoked";
/// Hash: partition counts, epoch, batch versions.
pub const META: &str = "hub:meta";
/// Sorted set of live workers, scored by Redis time in milliseconds.
pub const WORKERS: &str = "hub:workers";

/// Fields of [`META`].
pub mod meta {
    /// Number of auth partitions.
    pub const AUTH_PARTITIONS: &str = "auth_partitions";
    /// Number of chat partitions.
    pub const CHAT_PARTITIONS: &str = "chat_partitions";
    /// Number of user partitions.
    pub const USER_PARTITIONS: &str = "user_partitions";
    /// Names the life of the database.
    pub const EPOCH: &str = "epoch";
    /// The batch version that every live reader understands.
    pub const BATCH_VERSION: &str = "batch_version";
}

/// The field of a stream entry that holds a batch.
pub const BATCH_FIELD: &str = "b";

/// To-do list of a partition: one entry is one batch.
pub fn requests(service: Service, partition: u16) -> String {
    format!("hub:req:{{{}.{partition}}}", service.name())
}

/// Who works on a partition, and the entry it is at.
pub fn lease(service: Service, partition: u16) -> String {
    format!("hub:lease:{{{}.{partition}}}", service.name())
}

/// Which entry the last owners of a partition began with, and how many of them: outlives the lease.
pub fn note(service: Service, partition: u16) -> String {
    format!("hub:note:{{{}.{partition}}}", service.name())
}

/// Envelopes that cannot be stored, sealed, bounded.
pub fn dead_letters(service: Service, partition: u16) -> String {
    format!("hub:dead:{{{}.{partition}}}", service.name())
}

/// Durable downlink of one edge process; its existence is the node's liveness.
pub fn node(node: NodeId) -> String {
    format!("hub:node:{{{node}}}")
}

/// Batches dropped because the node's stream was full; any change counts.
pub fn lost(node: NodeId) -> String {
    format!("hub:lost:{{{node}}}")
}

/// Pub/sub channel of typing, presence and receipts for one node.
pub fn ephemeral(node: NodeId) -> String {
    format!("hub:eph:{{{node}}}")
}

/// Directory: connection address → session.
pub fn directory(user: UserId) -> String {
    format!("hub:at:{{{user}}}")
}

/// Hash: address of a connection → what it said of itself and when; beside them what was told of the user last. Where
/// his connections are stands in his [`directory`].
pub fn presence(user: UserId) -> String {
    format!("hub:presence:{{{user}}}")
}

/// Sorted set: who looks at the presence of a user, scored by when that ends.
pub fn watchers(user: UserId) -> String {
    format!("hub:watch:{{{user}}}")
}

/// Set: whom a connection looks at.
pub fn watched(address: Address) -> String {
    format!("hub:watched:{{{address}}}")
}

/// Set: shards of nodes that take the events of a large room, each as the address of a life of its (slot 0).
pub fn big_room(room: RoomId) -> String {
    format!("hub:big:{{{room}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_operators_know() {
        assert_eq!(requests(Service::Chat, 7), "hub:req:{chat.7}");
        assert_eq!(lease(Service::Auth, 0), "hub:lease:{auth.0}");
        assert_eq!(node(NodeId(0xAB)), "hub:node:{00000000000000ab}");
        assert_eq!(lost(NodeId(0xAB)), "hub:lost:{00000000000000ab}");
        assert_eq!(
            directory(UserId::NIL),
            "hub:at:{00000000-0000-0000-0000-000000000000}"
        );
    }
}
