//! A call over HTTP while it waits for its answer, in the same table as the connections.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use hub_protocol::api::Failure;
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Method, UserId};

/// What an HTTP client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The response as JSON.
    pub body: Vec<u8>,
    /// When to try again.
    pub retry_after_ms: Option<u32>,
}

impl Answer {
    /// A refusal by the edge.
    pub fn refused(id: Option<u64>, error: ErrorBody) -> Self {
        Self {
            status: error.code.http_status(),
            retry_after_ms: error.retry_after_ms,
            body: failure(id, error),
        }
    }

    /// No answer in time: the outcome is unknown.
    pub fn timeout(id: u64) -> Self {
        let message = "no answer in time; the outcome is unknown, ask again with the same op";
        Self {
            status: 504,
            ..Self::refused(Some(id), ErrorBody::new(ErrorCode::Unavailable, message))
        }
    }
}

/// The JSON text of a refusal.
pub(super) fn failure(id: Option<u64>, error: ErrorBody) -> Vec<u8> {
    serde_json::to_vec(&Failure { id, error }).expect("plain texts and numbers")
}

/// A waiting call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: u64,
    pub(super) method: Method,
    /// The caller; nil without a token. Only answers for him are his.
    pub(super) user: UserId,
    /// When it is answered `504`, milliseconds of the shard's clock.
    pub(super) due_ms: u64,
    answer: RefCell<(Option<Answer>, Option<Waker>)>,
}

impl Call {
    pub(super) fn new(request: u64, method: Method, user: UserId, due_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            request,
            method,
            user,
            due_ms,
            answer: RefCell::default(),
        })
    }

    /// Wakes the task that waits.
    pub(super) fn finish(&self, answer: Answer) {
        let mut cell = self.answer.borrow_mut();
        cell.0 = Some(answer);
        if let Some(waker) = cell.1.take() {
            waker.wake();
        }
    }

    /// Waits for [`finish`](Self::finish), which always comes: at the latest with the call's deadline.
    ///
    /// # Cancel safety
    /// Safe to drop: the row is freed by its answer or its deadline.
    pub(super) async fn wait(&self) -> Answer {
        poll_fn(|context| {
            let mut cell = self.answer.borrow_mut();
            if let Some(answer) = cell.0.take() {
                return Poll::Ready(answer);
            }
            cell.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
