//! Steps 8 and 13: the one thread of a node that speaks to Redis (tokio), between the mailboxes of its shards and
//! the streams.
//!
//! Everything that needs a connection runs in one *link*: the connections are opened together and given up together,
//! at the first error of any of them. What was written without an answer is written again first. The backbone never
//! waits for a shard.
//!
//! | module | holds |
//! |---|---|
//! | `link` | one life of the connections: the tasks that run while all of them work |
//! | `writer` | uplink batches and directory entries, one pipeline per round trip |
//! | `reader` | the node's stream and revocations → mailboxes |
//! | `keeper` | the node's life: TTL, losses, `hub:meta` |

mod keeper;
mod link;
mod reader;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hub_protocol::NodeId;
use hub_protocol::partition::Partitions;
use redis::RedisError;
use thiserror::Error;
use tokio::sync::Notify;

use crate::mailbox::{BackboneEnd, Offer, ToBackbone, ToShard};
use writer::Writer;

/// First wait after a lost link; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What the backbone is told by its node.
#[derive(Clone, Debug)]
pub struct BackboneSettings {
    /// Where Redis is.
    pub redis: redis::Client,
    /// Later is down.
    pub response_timeout: Duration,
    /// How long a pipeline waits for company.
    pub linger: Duration,
    /// A longer stream is full.
    pub stream_entries_max: u32,
}

/// What other threads may ask.
#[derive(Debug, Default)]
pub struct Health {
    is_up: AtomicBool,
    has_meta: AtomicBool,
    is_draining: AtomicBool,
}

impl Health {
    /// Why the node does not take clients; `None` when it does.
    pub fn reason(&self) -> Option<&'static str> {
        if self.is_draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        if !self.is_up.load(Ordering::Relaxed) {
            return Some("redis is not reachable");
        }
        if !self.has_meta.load(Ordering::Relaxed) {
            return Some("hub:meta is missing: run `hub-services migrate` or start the services");
        }
        None
    }

    /// The node ends.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}

/// Why a link ended.
#[derive(Debug, Error)]
enum LinkError {
    /// A connection or an answer failed.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// Redis did not answer in time.
    #[error("redis does not answer")]
    Timeout,
    /// The node's stream is gone: services that looked for it found nothing, so deliveries may be lost.
    #[error("the node's stream is gone")]
    Void,
}

/// What outlives a link.
struct State {
    settings: BackboneSettings,
    ends: Arc<Vec<BackboneEnd>>,
    notify: Arc<Notify>,
    health: Arc<Health>,
    node: Cell<NodeId>,
    /// The name that the shards were told last.
    announced: Cell<NodeId>,
    /// The Redis process that the node's stream lives in.
    run_id: RefCell<String>,
    meta: RefCell<Option<(Partitions, String)>>,
    lost: Cell<u64>,
    /// Where the reader of revocations stands.
    revoked_after: RefCell<String>,
    /// Shards that have nothing left to say.
    drained: Cell<usize>,
    /// Shards that were offered a batch and not woken yet.
    offered: RefCell<Vec<bool>>,
}

impl State {
    fn notice(&self, notice: &ToShard) {
        for end in self.ends.iter() {
            end.notice(notice.clone());
            end.wake();
        }
    }

    /// Offers a batch to a shard; it is woken by [`wake_offered`](Self::wake_offered), once for all batches.
    fn offer(&self, shard: usize, batch: &Bytes) {
        let Some(end) = self.ends.get(shard) else {
            return;
        };
        if end.offer(batch.clone()) == Offer::Lost {
            metrics::counter!("hub_edge_mailbox_lost_batches_total").increment(1);
        }
        let mut offered = self.offered.borrow_mut();
        offered.resize(self.ends.len(), false);
        if let Some(offered) = offered.get_mut(shard) {
            *offered = true;
        }
    }

    fn wake_offered(&self) {
        for (end, offered) in self.ends.iter().zip(self.offered.borrow_mut().iter_mut()) {
            if std::mem::take(offered) {
                end.wake();
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.drained.get() == self.ends.len()
    }

    /// Everything that the shards have said since the last call, with the number of the shard.
    fn take(&self, into: &mut VecDeque<(usize, ToBackbone)>) {
        let mut items = VecDeque::new();
        for (index, end) in self.ends.iter().enumerate() {
            end.take(&mut items);
            for item in items.drain(..) {
                if matches!(item, ToBackbone::Drained) {
                    self.drained.set(self.drained.get() + 1);
                } else {
                    into.push_back((index, item));
                }
            }
        }
    }

    fn set_up(&self, is_up: bool) {
        if self.health.is_up.swap(is_up, Ordering::Relaxed) != is_up {
            metrics::gauge!("hub_edge_backbone_up").set(if is_up { 1.0 } else { 0.0 });
            self.notice(&ToShard::Backbone { is_up });
        }
    }

    /// The node goes on under another name.
    fn rename(&self) -> NodeId {
        let node = NodeId(rand::random());
        self.node.set(node);
        self.lost.set(0);
        node
    }
}

/// The backbone of a node.
pub struct Backbone {
    state: Rc<State>,
    writer: Writer,
}

impl Backbone {
    /// A backbone between these mailboxes and Redis.
    pub fn new(
        settings: BackboneSettings,
        ends: Arc<Vec<BackboneEnd>>,
        notify: Arc<Notify>,
        health: Arc<Health>,
    ) -> Self {
        let state = State {
            settings,
            ends,
            notify,
            health,
            node: Cell::default(),
            announced: Cell::default(),
            run_id: RefCell::default(),
            meta: RefCell::default(),
            lost: Cell::new(0),
            revoked_after: RefCell::new("0".to_owned()),
            drained: Cell::new(0),
            offered: RefCell::default(),
        };
        Self {
            state: Rc::new(state),
            writer: Writer::default(),
        }
    }

    /// Runs until every shard is drained and its last batch has arrived.
    pub async fn run(&mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            match link::run(&self.state, &mut self.writer).await {
                Ok(()) => return,
                Err(LinkError::Void) => {
                    tracing::warn!("the node's stream is gone; the node goes on under another name");
                    backoff = BACKOFF_MIN;
                    continue;
                }
                Err(error) => tracing::warn!(%error, "backbone lost"),
            }
            if self.state.health.is_up.load(Ordering::Relaxed) {
                backoff = BACKOFF_MIN;
            }
            self.state.set_up(false);
            // Registrations of connections that are gone meanwhile must not pile up.
            self.writer.collect(&self.state);
            tokio::time::sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

impl std::fmt::Debug for Backbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backbone")
            .field("node", &self.state.node)
            .finish_non_exhaustive()
    }
}

/// `hub:meta` as far as a node needs it; `None` if a field is missing or no number.
fn read_meta(fields: &HashMap<String, String>) -> Option<(Partitions, String)> {
    use hub_protocol::keys::meta;
    let count = |name| fields.get(name)?.parse().ok().filter(|count| *count > 0);
    let partitions = Partitions {
        auth: count(meta::AUTH_PARTITIONS)?,
        chat: count(meta::CHAT_PARTITIONS)?,
        user: count(meta::USER_PARTITIONS)?,
    };
    Some((partitions, fields.get(meta::EPOCH)?.clone()))
}
