//! Steps 9 to 12 seen from a service: the face that the worker loop knows.
//!
//! A service is a table of handlers with the same face. It never touches Redis: it turns calls into outcomes, and
//! the worker delivers these, in the order read → transaction → deliver → delete.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::error::ErrorBody;
use hub_protocol::{Address, RoomId, Service, UserId};
use thiserror::Error;

/// One call, opened and checked for size, encoding and nesting.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls what, by the edge's word.
    pub header: EnvelopeHeader,
    /// The request's whole JSON text.
    pub body: Bytes,
}

/// What a call led to. Follows from what is stored, not from whether this run stored it: a repeated call has the
/// same deliveries.
#[derive(Debug)]
pub struct Outcome {
    /// The `result` as JSON, or the refusal. `None`: the method has no answer.
    pub reply: Option<Result<Bytes, ErrorBody>>,
    /// What others are told.
    pub deliveries: Vec<Delivery>,
    /// What the edges have to know about large rooms.
    pub notices: Vec<Notice>,
    /// Logins that were revoked by this call.
    pub revoked: Vec<hub_protocol::LoginId>,
}

/// Who gets a delivery.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Every connection of these users.
    Users(Arc<[UserId]>),
    /// Every connection that is attached to the delivery's room, which is large.
    Attached,
}

/// Something about a large room that edges obey, in its place among the events of the room: behind the event
/// `seq`, before the next one, and in the order in which the notices were made.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The room.
    pub room: RoomId,
    /// Its last event when this was decided.
    pub seq: u64,
    /// What is to be done.
    pub turn: Turn,
}

/// See [`Notice`].
#[derive(Clone, Debug)]
pub enum Turn {
    /// A connection may take the events behind this place, if its call still waits for an answer.
    Attached {
        /// The connection.
        address: Address,
        /// Whom it must still belong to.
        user: UserId,
        /// Names the call.
        nonce: u64,
        /// False: the room is not large; what happens in it is addressed to each member.
        is_large: bool,
    },
    /// A user is no member any more: none of his connections takes events behind this place.
    Detach {
        /// Who.
        user: UserId,
    },
    /// The room is large for these users: their connections attach.
    Large {
        /// Who.
        users: Arc<[UserId]>,
    },
    /// The room is large no longer: nobody is attached behind this place.
    Small,
}

/// One JSON text for every connection of some users.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The room it is about.
    pub room: RoomId,
    /// Its place in the room; `None` for ephemeral events, which may be lost.
    pub seq: Option<u64>,
    /// Whose connections get it.
    pub audience: Audience,
    /// The event's JSON text.
    pub body: Bytes,
}

impl Outcome {
    /// A result for the caller alone.
    pub fn result(json: impl Into<Bytes>) -> Self {
        Self {
            reply: Some(Ok(json.into())),
            deliveries: Vec::new(),
            notices: Vec::new(),
            revoked: Vec::new(),
        }
    }

    /// A refusal: nothing is stored and nobody else is told.
    pub fn refused(error: ErrorBody) -> Self {
        Self {
            reply: Some(Err(error)),
            deliveries: Vec::new(),
            notices: Vec::new(),
            revoked: Vec::new(),
        }
    }
}

/// Why a transaction said nothing about its calls.
#[derive(Debug, Error)]
pub enum WorkError {
    /// The data of some call cannot be stored (SQLSTATE classes 21, 22, 23, 54): the worker splits the batch.
    #[error("data cannot be stored: {0}")]
    Data(#[source] anyhow::Error),
    /// The database is not able to work now, or the outcome of a commit is unknown: the worker says nothing,
    /// backs off, and starts again at the beginning of its streams.
    #[error("database does not answer: {0}")]
    System(#[source] anyhow::Error),
}

/// A service, as the worker loop knows it.
pub trait Handler: Send + Sync + 'static {
    /// Which one.
    fn service(&self) -> Service;

    /// Applies writes in their order, in one transaction; returns one outcome per call, in the same order, after
    /// the commit. Runs again for the same calls after an error or a crash: repeats change nothing.
    fn write(&self, calls: &[Call]) -> impl Future<Output = Result<Vec<Outcome>, WorkError>> + Send;

    /// Answers one read, or authorises one ephemeral call. Many run at the same time.
    fn read(&self, call: &Call) -> impl Future<Output = Result<Outcome, WorkError>> + Send;

    /// Ephemeral events that were held back to be merged; asked for once in a second.
    fn due(&self) -> Vec<Delivery> {
        Vec::new()
    }

    /// The worker became owner of other partitions, or starts again: what is cached may be stale.
    fn forget(&self);
}
