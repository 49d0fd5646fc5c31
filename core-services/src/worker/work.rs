//! The pieces of work that a stint has under way, what they need and what comes back.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::error::ErrorBody;
use hub_protocol::seal::Sealer;
use hub_protocol::{ErrorCode, Service, keys};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio_util::task::AbortOnDropHandle;

use super::answer::answer;
use super::dead::{self, DeadLetter};
use super::ledger::EntryKey;
use super::split::{self, Written};
use crate::delivery::{Deliverer, Flush};
use crate::service::{Call, Handler, Outcome, WorkError};

/// A call with the entry that it came in.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) call: Call,
    pub(super) entry: EntryKey,
    /// In a transaction with its own entry only.
    pub(super) alone: bool,
}

/// What calls led to, waiting for its delivery.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) flush: Flush,
    pub(super) dead: Vec<DeadLetter>,
    /// The entry of each call.
    pub(super) entries: Vec<EntryKey>,
}

/// A transaction that ended.
pub(super) struct Wrote {
    pub(super) calls: Vec<(EnvelopeHeader, Bytes, EntryKey)>,
    pub(super) written: Result<Written, WorkError>,
}

/// A read that ended.
pub(super) struct Read {
    pub(super) header: EnvelopeHeader,
    pub(super) entry: EntryKey,
    pub(super) outcome: Result<Outcome, WorkError>,
}

/// A delivery that ended.
pub(super) struct Sent {
    pub(super) entries: Vec<EntryKey>,
    pub(super) outcome: RedisResult<()>,
}

/// Waits for a moment, or for ever.
pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// One read, on a task of its own so that a panic ends there.
pub(super) async fn read<H: Handler>(handler: Arc<H>, call: Call, entry: EntryKey) -> Read {
    let header = call.header;
    let task = tokio::spawn(async move { handler.read(&call).await });
    let outcome = match AbortOnDropHandle::new(task).await {
        Ok(outcome) => outcome,
        Err(panic) => {
            tracing::error!(method = header.method.name(), %panic, "a read panicked");
            let refusal = ErrorBody::new(ErrorCode::Internal, "the call could not be worked on");
            Ok(Outcome::refused(refusal))
        }
    };
    Read {
        header,
        entry,
        outcome,
    }
}

/// Puts an outcome into a flush.
pub(super) fn collect(
    flush: &mut Flush,
    header: &EnvelopeHeader,
    outcome: Outcome,
    sealer: &Sealer,
    now: u32,
) {
    flush.deliveries.extend(outcome.deliveries);
    flush.notices.extend(outcome.notices);
    flush.revoked.extend(outcome.revoked);
    if let Some(reply) = outcome.reply {
        flush.answers.extend(answer(header, reply, sealer, now));
    }
}

/// One transaction, or several if some call is poison.
pub(super) async fn write<H: Handler>(handler: Arc<H>, items: Vec<Item>) -> Wrote {
    let kept = items
        .iter()
        .map(|item| (item.call.header, item.call.body.clone(), item.entry))
        .collect();
    let calls = items.into_iter().map(|item| item.call).collect();
    Wrote {
        calls: kept,
        written: split::write(handler, calls).await,
    }
}

/// Sends what calls led to; the dead among them are put away first.
pub(super) async fn send(
    mut redis: MultiplexedConnection,
    deliverer: Deliverer,
    service: Service,
    out: Out,
    now_ms: u64,
) -> Sent {
    let Out { flush, dead, entries } = out;
    let sent = async {
        dead::bury(&mut redis, service, &dead).await?;
        deliverer.flush(redis, flush, now_ms).await
    };
    let outcome = sent.await;
    Sent { entries, outcome }
}

/// Deletes entries by their exact ids.
pub(super) async fn delete(
    mut redis: MultiplexedConnection,
    service: Service,
    mut entries: Vec<EntryKey>,
) -> RedisResult<()> {
    entries.sort_unstable();
    let mut pipe = redis::pipe();
    for of_one in entries.chunk_by(|a, b| a.partition == b.partition) {
        let Some(first) = of_one.first() else { continue };
        let ids: Vec<String> = of_one.iter().map(|entry| entry.id.to_string()).collect();
        pipe.cmd("XDEL")
            .arg(keys::requests(service, first.partition))
            .arg(ids)
            .ignore();
    }
    pipe.query_async(&mut redis).await
}

/// Minutes since the Unix epoch, by this machine's clock: both ends of a seal use theirs.
pub(super) fn minute() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 60).unwrap_or(u32::MAX)
}
