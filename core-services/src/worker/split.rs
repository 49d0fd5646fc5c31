//! Writes of one read as one transaction; if some call's data cannot be stored, as several, until that call is
//! alone.
//!
//! Rooms stay whole as long as there are several, and the calls of a room keep their order, so what is committed
//! piece by piece is what would have been committed at once.

use std::sync::Arc;

use hub_protocol::RoomId;
use metrics::counter;
use tokio_util::task::AbortOnDropHandle;

use crate::service::{Call, Handler, Outcome, WorkError};

/// Why a call was taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Poison {
    /// Its data cannot be stored.
    Data(String),
    /// It makes the handler panic: a bug of ours.
    Panic,
}

/// The outcomes of calls in their order.
pub(super) type Written = Vec<Result<Outcome, Poison>>;

/// Applies the calls. An error means that nothing is known of some of them: nothing may be said, all must be
/// repeated.
pub(super) async fn write<H: Handler>(handler: Arc<H>, calls: Vec<Call>) -> Result<Written, WorkError> {
    let mut written: Vec<Option<Result<Outcome, Poison>>> = calls.iter().map(|_| None).collect();
    // Bound: halves of halves, at most twice as many pieces as calls.
    let mut pieces: Vec<Vec<usize>> = vec![(0..calls.len()).collect()];
    while let Some(piece) = pieces.pop() {
        let part: Vec<Call> = piece.iter().filter_map(|&at| calls.get(at).cloned()).collect();
        match attempt(&handler, part).await {
            Ok(outcomes) => {
                debug_assert_eq!(outcomes.len(), piece.len(), "one outcome per call");
                for (at, outcome) in piece.into_iter().zip(outcomes) {
                    written[at] = Some(Ok(outcome));
                }
            }
            Err(Fault::System(error)) => return Err(error),
            Err(Fault::Poison(poison)) => {
                if let [at] = *piece {
                    written[at] = Some(Err(poison));
                    continue;
                }
                counter!("hub_services_splits_total", "service" => handler.service().name()).increment(1);
                let (first, second) = halves(&piece, &calls);
                pieces.push(second);
                pieces.push(first);
            }
        }
    }
    Ok(written
        .into_iter()
        .map(|outcome| outcome.unwrap_or(Err(Poison::Panic)))
        .collect())
}

enum Fault {
    Poison(Poison),
    System(WorkError),
}

/// One transaction, on a task of its own so that a panic ends there.
async fn attempt<H: Handler>(handler: &Arc<H>, calls: Vec<Call>) -> Result<Vec<Outcome>, Fault> {
    let task = {
        let handler = Arc::clone(handler);
        tokio::spawn(async move { handler.write(&calls).await })
    };
    match AbortOnDropHandle::new(task).await {
        Ok(Ok(outcomes)) => Ok(outcomes),
        Ok(Err(WorkError::Data(error))) => Err(Fault::Poison(Poison::Data(format!("{error:#}")))),
        Ok(Err(error @ WorkError::System(_))) => Err(Fault::System(error)),
        Err(panic) => {
            tracing::error!(service = handler.service().name(), %panic, "a handler panicked");
            Err(Fault::Poison(Poison::Panic))
        }
    }
}

/// Two halves of at least one call each: by rooms if there are several, else by position.
fn halves(piece: &[usize], calls: &[Call]) -> (Vec<usize>, Vec<usize>) {
    let room = |at: &usize| calls.get(*at).map_or(RoomId::NIL, |call| call.header.room);
    let mut rooms: Vec<RoomId> = Vec::new();
    for at in piece {
        if !rooms.contains(&room(at)) {
            rooms.push(room(at));
        }
    }
    if rooms.len() < 2 {
        let (first, second) = piece.split_at(piece.len() / 2);
        return (first.to_vec(), second.to_vec());
    }
    let half = &rooms[..rooms.len() / 2];
    piece.iter().partition(|at| half.contains(&room(at)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use hub_protocol::batch::EnvelopeHeader;
    use hub_protocol::{Address, LoginId, Method, Service, SessionId, UserId};
    use uuid::Uuid;

    use super::*;

    /// Refuses a transaction that holds a body `bad`, panics on `panic`, fails on `down`; keeps the rest.
    #[derive(Default)]
    struct Picky {
        stored: Mutex<Vec<(RoomId, u64)>>,
    }

    impl Handler for Picky {
        fn service(&self) -> Service {
            Service::Chat
        }

        async fn write(&self, calls: &[Call]) -> Result<Vec<Outcome>, WorkError> {
            for call in calls {
                match call.body.as_ref() {
                    b"bad" => return Err(WorkError::Data(anyhow::anyhow!("22021"))),
                    b"down" => return Err(WorkError::System(anyhow::anyhow!("57P01"))),
                    b"panic" => panic!("on purpose"),
                    _ => {}
                }
            }
            let mut stored = self.stored.lock().unwrap();
            stored.extend(calls.iter().map(|call| (call.header.room, call.header.request)));
            Ok(calls
                .iter()
                .map(|call| Outcome::result(call.header.request.to_string()))
                .collect())
        }

        async fn read(&self, _call: &Call) -> Result<Outcome, WorkError> {
            Ok(Outcome::result("{}"))
        }

        fn forget(&self) {}
    }

    fn call(room: u128, request: u64, body: &'static str) -> Call {
        let header = EnvelopeHeader {
            address: Address::default(),
            request,
            method: Method::MessageSend,
            user: UserId::NIL,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId(Uuid::from_u128(room)),
        };
        Call {
            header,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[tokio::test]
    async fn bad_calls_are_split_off_and_the_others_keep_their_order() {
        let handler = Arc::new(Picky::default());
        let calls: Vec<Call> = (0..40)
            .map(|i| {
                call(
                    u128::from(i % 3),
                    i,
                    if i == 17 {
                        "bad"
                    } else if i == 30 {
                        "panic"
                    } else {
                        "x"
                    },
                )
            })
            .collect();
        let written = write(Arc::clone(&handler), calls).await.unwrap();
        for (i, outcome) in written.iter().enumerate() {
            match i {
                17 => assert!(matches!(outcome, Err(Poison::Data(_)))),
                30 => assert!(matches!(outcome, Err(Poison::Panic))),
                _ => {
                    let reply = outcome
                        .as_ref()
                        .unwrap()
                        .reply
                        .as_ref()
                        .unwrap()
                        .as_ref()
                        .unwrap();
                    assert_eq!(reply.as_ref(), i.to_string().as_bytes());
                }
            }
        }
        let stored = handler.stored.lock().unwrap();
        assert_eq!(stored.len(), 38);
        for room in 0..3 {
            let of_room: Vec<u64> = stored
                .iter()
                .filter(|(id, _)| *id == RoomId(Uuid::from_u128(room)))
                .map(|(_, request)| *request)
                .collect();
            assert!(of_room.is_sorted(), "{of_room:?}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_down_is_nobodys_fault() {
        let handler = Arc::new(Picky::default());
        let calls = vec![call(1, 1, "x"), call(1, 2, "down")];
        assert!(matches!(write(handler, calls).await, Err(WorkError::System(_))));
    }
}
