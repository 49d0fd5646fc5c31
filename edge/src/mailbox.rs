//! Between steps 7 and 8, and 13 and 14: what a shard and the backbone thread say to each other.
//!
//! Two bounded queues per shard, one each way. Items are batches or short notices, never single messages, and a
//! sender wakes the other side once per turn, not per item.

use bytes::Bytes;
use hub_protocol::partition::Partitions;
use hub_protocol::{Address, LoginId, NodeId, Service, SessionId, UserId};

/// From a shard to the backbone.
#[derive(Debug)]
pub enum ToBackbone {
    /// A finished uplink batch. At most one per shard and stream is on its way; [`ToShard::UplinkDone`] ends it.
    Uplink {
        /// The service that it is for.
        service: Service,
        /// The partition of that service.
        partition: u16,
        /// The batch, as [`hub_protocol::batch::UplinkWriter::take`] made it.
        batch: Vec<u8>,
        /// Number of envelopes in it, for metrics.
        envelopes: u32,
    },
    /// A session belongs into the directory; answered by [`ToShard::Registered`].
    Register {
        /// Its user.
        user: UserId,
        /// Where it is.
        address: Address,
        /// The session.
        session: SessionId,
        /// True if it was in the directory before and is only rewritten.
        sweep: bool,
    },
    /// A session ended.
    Unregister {
        /// Its user.
        user: UserId,
        /// Where it was.
        address: Address,
    },
    /// The shard has closed everything that it had, and says no more.
    Drained,
}

/// From the backbone to a shard.
#[derive(Clone, Debug)]
pub enum ToShard {
    /// A checked downlink batch; the shard serves the targets that are its own.
    Downlink {
        /// The whole batch, shared by all shards that have targets in it.
        batch: Bytes,
    },
    /// An uplink batch has reached its stream, or never will.
    UplinkDone {
        /// The service of the stream.
        service: Service,
        /// Its partition.
        partition: u16,
        /// True if the stream is above its bound: answer `busy` until a later batch says otherwise.
        is_full: bool,
    },
    /// The directory entry of a session is written.
    Registered {
        /// The slot of the connection.
        slot: u32,
        /// The life of the slot.
        generation: u32,
        /// True if the entry had not been there; after a sweep this means that deliveries may have been lost.
        was_missing: bool,
        /// Echoes [`ToBackbone::Register`].
        sweep: bool,
    },
    /// The node has a (new) name: register every session, then tell them to sync. Sent once at the start, too.
    Node(NodeId),
    /// Deliveries may have been lost: every session gets `system.sync`.
    SyncAll,
    /// A login was revoked: its sessions are closed.
    Revoked(LoginId),
    /// Redis is reachable or not.
    Backbone {
        /// False: answer `unavailable` at once.
        is_up: bool,
    },
    /// What `hub:meta` says.
    Meta {
        /// Partition counts.
        partitions: Partitions,
        /// Names the life of the database.
        epoch: String,
    },
    /// The process is to end: close everything with this reason, flush, answer [`ToBackbone::Drained`].
    Drain,
}
