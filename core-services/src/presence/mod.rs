//! Presence: who is there. Ephemeral in all of its parts, and the first to go when there is too much to do.
//!
//! ```text
//! edge: a session opened, ended ┐             ┌ directory, marks ─> state ─> what was told last ┐
//! client: presence.set          ┴─> queue ─> teller (once per second) ── watchers, blocks ──────┴─> connections
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `state` | how a user is, from what Redis holds of him; pure |
//! | `teller` | the task that notices changes and tells of them |
//! | `look` | states and watch lists in Redis |
//! | `sight` | who may see what, from PostgreSQL |
//! | `watch` | `presence.watch` |
//!
//! Invariant: what a watcher was told of a user is the `told` of that user's hash: it is answered by a watch, and a
//! change of it goes to all watchers. It follows the directory within a second, and [`PRESENCE_LINGER_MS`] later
//! when somebody goes.

mod look;
mod sight;
mod state;
mod teller;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use hub_protocol::api::presence::Activity;
use hub_protocol::limits::PRESENCE_LINGER_MS;
use hub_protocol::{Address, UserId};
use metrics::counter;
use redis::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backbone::Link;
use crate::delivery::Deliverer;
use crate::store::Store;
pub(crate) use state::{is_active, read_fields};
use teller::Teller;

/// Moments that wait for the teller.
const QUEUE_MAX: usize = 16_384;

/// Something that may change how a user is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// A session stands in the directory.
    Opened(UserId),
    /// A session ended.
    Closed(UserId, Address),
    /// A client said how it is.
    Said(UserId, Address, Activity),
    /// Somebody saw that what was told is not so any more.
    Stale(UserId),
    /// Two users see each other no more, or again.
    Blocks(UserId, UserId),
}

/// The rhythm of presence.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Changes are told this often.
    pub tick: Duration,
    /// Who goes stays there for this long: a reconnect shows nothing.
    pub linger: Duration,
    /// When users were last seen is stored this often, so at most once per user.
    pub store: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            linger: Duration::from_millis(PRESENCE_LINGER_MS),
            store: Duration::from_mins(1),
        }
    }
}

/// The way to the teller, and to the states that it keeps. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Presence {
    moments: mpsc::Sender<Moment>,
    link: Arc<Link>,
    store: Store,
}

impl Presence {
    /// Presence on these servers, and its task, which ends after `cancel`.
    pub fn new(
        client: Client,
        store: Store,
        deliverer: Deliverer,
        times: Times,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (moments, queue) = mpsc::channel(QUEUE_MAX);
        let link = Arc::new(Link::new(client));
        let teller = Teller::new(Arc::clone(&link), store.clone(), deliverer, queue, times);
        let presence = Self { moments, link, store };
        (presence, teller.run(cancel))
    }

    /// Passes a moment on; dropped, and counted, if too many wait: a watch a minute later sees what is.
    pub(crate) fn note(&self, moment: Moment) {
        if self.moments.try_send(moment).is_err() {
            counter!("hub_services_presence_dropped_total", "what" => "moment").increment(1);
        }
    }
}
