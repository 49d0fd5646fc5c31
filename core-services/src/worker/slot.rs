//! One piece of work under way, or none.

use std::future::{Future, pending};
use std::pin::Pin;

/// See the module. What is in it is driven by [`next`](Self::next) and never dropped by a `select!` around that.
pub(super) struct Slot<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Slot<T> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Begins. The slot must be empty.
    pub(super) fn set(&mut self, work: impl Future<Output = T> + Send + 'static) {
        debug_assert!(self.0.is_none(), "one at a time");
        self.0 = Some(Box::pin(work));
    }

    /// Waits for the end of what is under way; for ever if there is nothing.
    ///
    /// # Cancel safety
    /// Dropped, the work stays in the slot and goes on with the next call.
    pub(super) async fn next(&mut self) -> T {
        let Some(work) = &mut self.0 else {
            return pending().await;
        };
        let done = work.await;
        self.0 = None;
        done
    }

    /// Drops what is under way.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
