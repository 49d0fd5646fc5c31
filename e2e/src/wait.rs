//! Bounded waiting: a condition is looked at until it holds or the bound is reached.

use std::time::Duration;

use tokio::time::Instant;

/// Nothing in a healthy system takes longer than this, on a busy machine either.
pub const LONG: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` returns a value.
///
/// # Panics
///
/// When [`LONG`] has passed, naming `what`.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
