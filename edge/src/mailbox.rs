//! Between steps 7 and 8, and 13 and 14: what a shard and the backbone thread say to each other.
//!
//! Two bounded queues per shard, one each way. Items are batches or short notices, never single messages, and a
//! sender wakes the other side once per turn, not per item.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hub_protocol::partition::Partitions;
use hub_protocol::{Address, LoginId, NodeId, RoomId, Service, SessionId, UserId};
use hub_ring::WakeHandle;
use tokio::sync::Notify;

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
    /// The shard takes the events of a large room from now on; answered by [`ToShard::RoomEntered`] if it was a
    /// sweep and the entry was missing.
    EnterRoom {
        /// The room.
        room: RoomId,
        /// The shard, and this stay of its: slot 0, the stay as generation.
        address: Address,
        /// True if it entered before and the entry is only rewritten.
        sweep: bool,
    },
    /// It does not take them any more.
    LeaveRoom {
        /// The room.
        room: RoomId,
        /// The stay that ended.
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
        /// When it was offered.
        since: Instant,
    },
    /// An uplink batch has reached its stream, or never will.
    UplinkDone {
        /// The service of the stream.
        service: Service,
        /// Its partition.
        partition: u16,
        /// True if the stream is above its bound: answer `busy` until a later batch says otherwise.
        is_full: bool,
        /// True if it is above half of it: what is ephemeral goes first.
        is_crowded: bool,
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
    /// A sweep found that the shard was missing among those that take the events of a large room: some may have been
    /// lost.
    RoomEntered {
        /// The room.
        room: RoomId,
        /// The stay of the shard.
        life: u32,
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
    /// The process is to end: move everything away, flush, answer [`ToBackbone::Drained`].
    Drain,
    /// An operator takes the shard out of service: move everything away and stay empty.
    DrainShard {
        /// The window for this, milliseconds.
        within_ms: u64,
    },
    /// Back into service, unless the process ends.
    Undrain,
}

/// Bytes of downlink batches that may wait for one shard.
const DOWNLINK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Downlink batches that may wait for one shard.
const DOWNLINK_BATCHES_MAX: usize = 4096;

/// What became of a downlink batch. Nobody waits for a shard.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// The shard will see it.
    Queued,
    /// The mailbox is full: the batch is dropped, and the shard's loss flag says so.
    Lost,
}

/// Makes the mailbox of one shard. `notify` wakes the backbone and is shared by all shards of a node.
pub fn mailbox(notify: Arc<Notify>) -> (MailboxEnd, BackboneEnd) {
    let shared = Arc::new(Shared {
        down: Mutex::default(),
        up: Mutex::default(),
        is_up_waiting: AtomicBool::new(false),
        wake: OnceLock::new(),
        notify,
    });
    (MailboxEnd(Arc::clone(&shared)), BackboneEnd(shared))
}

#[derive(Debug)]
struct Shared {
    down: Mutex<Down>,
    /// Bound: one uplink batch per stream (its shard waits for the answer), one registration per connection.
    up: Mutex<VecDeque<ToBackbone>>,
    is_up_waiting: AtomicBool,
    wake: OnceLock<WakeHandle>,
    notify: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Down {
    /// Bound: downlink batches by number and bytes; notices are answers to what the shard asked, or rare.
    items: VecDeque<ToShard>,
    batches: usize,
    bytes: usize,
    is_lossy: bool,
}

/// The shard's end.
#[derive(Debug)]
pub struct MailboxEnd(Arc<Shared>);

/// The backbone's end of one shard's mailbox.
#[derive(Debug)]
pub struct BackboneEnd(Arc<Shared>);

impl MailboxEnd {
    /// Says how the shard is woken. Called once, when its ring exists; what came before is found by the first
    /// [`take`](Self::take).
    pub fn attach(&self, wake: WakeHandle) {
        wake.wake();
        // A second ring for the same mailbox would be a bug of the wiring; the first one stays.
        let _ = self.0.wake.set(wake);
    }

    /// Moves everything that waits to the end of `into`. True if batches were dropped since the last call: every
    /// session of the shard has to sync.
    pub fn take(&self, into: &mut VecDeque<ToShard>) -> bool {
        let mut down = lock(&self.0.down);
        down.batches = 0;
        down.bytes = 0;
        if into.is_empty() {
            std::mem::swap(into, &mut down.items);
        } else {
            into.append(&mut down.items);
        }
        std::mem::take(&mut down.is_lossy)
    }

    /// Hands items to the backbone and wakes it, once for all of them. `items` is empty afterwards and keeps its
    /// memory.
    pub fn send(&self, items: &mut VecDeque<ToBackbone>) {
        if items.is_empty() {
            return;
        }
        lock(&self.0.up).append(items);
        self.0.is_up_waiting.store(true, Ordering::Release);
        self.0.notify.notify_one();
    }
}

impl BackboneEnd {
    /// Offers a downlink batch. Call [`wake`](Self::wake) after the last item.
    pub fn offer(&self, batch: Bytes) -> Offer {
        let mut down = lock(&self.0.down);
        let bytes = down.bytes.saturating_add(batch.len());
        if down.batches >= DOWNLINK_BATCHES_MAX || bytes > DOWNLINK_BYTES_MAX {
            down.is_lossy = true;
            return Offer::Lost;
        }
        down.bytes = bytes;
        down.batches += 1;
        let since = Instant::now();
        down.items.push_back(ToShard::Downlink { batch, since });
        Offer::Queued
    }

    /// Passes a notice on; notices are never refused. Call [`wake`](Self::wake) after the last item.
    pub fn notice(&self, notice: ToShard) {
        lock(&self.0.down).items.push_back(notice);
    }

    /// Wakes the shard.
    pub fn wake(&self) {
        if let Some(wake) = self.0.wake.get() {
            wake.wake();
        }
    }

    /// Moves everything that the shard said to the end of `into`.
    pub fn take(&self, into: &mut VecDeque<ToBackbone>) {
        if self.0.is_up_waiting.swap(false, Ordering::Acquire) {
            into.append(&mut lock(&self.0.up));
        }
    }
}

/// A panic of the other thread ends the process; until then the queue is as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (MailboxEnd, BackboneEnd) {
        mailbox(Arc::new(Notify::new()))
    }

    #[test]
    fn items_arrive_in_order_both_ways() {
        let (shard, backbone) = pair();
        assert_eq!(backbone.offer(Bytes::from_static(b"1")), Offer::Queued);
        backbone.notice(ToShard::SyncAll);
        assert_eq!(backbone.offer(Bytes::from_static(b"2")), Offer::Queued);
        let mut items = VecDeque::new();
        assert!(!shard.take(&mut items));
        assert!(matches!(&items[0], ToShard::Downlink { batch, .. } if batch == "1"));
        assert!(matches!(items[1], ToShard::SyncAll));
        assert!(matches!(&items[2], ToShard::Downlink { batch, .. } if batch == "2"));

        let mut up = VecDeque::from([ToBackbone::Drained]);
        shard.send(&mut up);
        assert!(up.is_empty());
        backbone.take(&mut up);
        assert!(matches!(up.make_contiguous(), [ToBackbone::Drained]));
        up.clear();
        backbone.take(&mut up);
        assert!(up.is_empty());
    }

    #[test]
    fn a_full_mailbox_drops_batches_and_says_so_once() {
        let (shard, backbone) = pair();
        let half = Bytes::from(vec![0; DOWNLINK_BYTES_MAX / 2]);
        assert_eq!(backbone.offer(half.clone()), Offer::Queued);
        assert_eq!(backbone.offer(half.clone()), Offer::Queued);
        assert_eq!(backbone.offer(half.clone()), Offer::Lost);
        backbone.notice(ToShard::SyncAll);
        let mut items = VecDeque::new();
        assert!(shard.take(&mut items));
        assert_eq!(items.len(), 3);
        items.clear();
        assert_eq!(backbone.offer(half), Offer::Queued);
        assert!(!shard.take(&mut items));
    }

    #[test]
    fn many_small_batches_are_bounded_too() {
        let (_shard, backbone) = pair();
        for _ in 0..DOWNLINK_BATCHES_MAX {
            assert_eq!(backbone.offer(Bytes::new()), Offer::Queued);
        }
        assert_eq!(backbone.offer(Bytes::new()), Offer::Lost);
    }
}
