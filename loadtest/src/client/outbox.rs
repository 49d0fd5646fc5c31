//! What a client still has to send to one room: one unanswered `message.send` at a time, the others in line.
//!
//! ```text
//!        ┌────────────────── answered, refused for good, given up ──────────────────┐
//! Idle ──┴─ next in line ─> Waiting ─ refused, retryable ─> Paused ─ due ─> Waiting ─┘
//!                             └── no answer in time, or a new connection: again ──┘
//! ```

use std::collections::VecDeque;

use hub_protocol::ErrorCode;
use hub_protocol::error::ErrorBody;

/// `internal` is worth this many tries.
const INTERNAL_TRIES_MAX: u8 = 3;

/// Whether the current send is on its way or held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Written; an answer is awaited.
    Waiting,
    /// Refused for now, or to be written again when the connection is open.
    Paused,
}

/// The send that holds the room.
#[derive(Clone, Copy, Debug)]
struct Current {
    send: u32,
    state: State,
    /// When it is to be tried again.
    due: u64,
    /// The first request id that carried it; answers to older ones are about something else.
    first_request: u64,
    tries: u32,
    internals: u8,
}

/// What a refusal means for the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Refusal {
    /// Try again after a pause: of that many milliseconds, or of one's own choice.
    Retry { tries: u32, after_ms: Option<u32> },
    /// Never stored: the next may go.
    Final(u32),
    /// Not worth another try: the next may go.
    GivenUp(u32),
    /// About something that is settled already.
    Stale,
}

/// The outbox of one room.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    current: Option<Current>,
    line: VecDeque<u32>,
}

impl Outbox {
    /// Appends a send.
    pub(super) fn push(&mut self, send: u32) {
        self.line.push_back(send);
    }

    /// True if nothing is left to do.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.line.is_empty()
    }

    /// The send to write now under this request id, if any: the next in line, or the current one when its time has
    /// come. It will be due again at `again`.
    pub(super) fn take_due(&mut self, now: u64, request: u64, again: u64) -> Option<(u32, bool)> {
        if let Some(current) = &mut self.current {
            if now < current.due {
                return None;
            }
            current.state = State::Waiting;
            current.due = again;
            current.tries += 1;
            return Some((current.send, true));
        }
        let send = self.line.pop_front()?;
        let fresh = Current {
            send,
            state: State::Waiting,
            due: again,
            first_request: request,
            tries: 0,
            internals: 0,
        };
        self.current = Some(fresh);
        Some((send, false))
    }

    /// When the current send is to be looked at again.
    pub(super) fn due(&self) -> Option<u64> {
        self.current.map(|current| current.due)
    }

    /// The current send.
    pub(super) fn current(&self) -> Option<u32> {
        self.current.map(|current| current.send)
    }

    /// The current send was stored: the next may go.
    pub(super) fn settle(&mut self) {
        self.current = None;
    }

    /// The request was refused.
    pub(super) fn on_refused(&mut self, request: u64, error: &ErrorBody) -> Refusal {
        let Some(current) = self
            .current
            .as_mut()
            .filter(|current| request >= current.first_request)
        else {
            return Refusal::Stale;
        };
        let send = current.send;
        if error.code == ErrorCode::Internal {
            current.internals += 1;
            if current.internals >= INTERNAL_TRIES_MAX {
                self.settle();
                return Refusal::GivenUp(send);
            }
        }
        if !error.retryable {
            self.settle();
            return Refusal::Final(send);
        }
        current.state = State::Paused;
        Refusal::Retry {
            tries: current.tries,
            after_ms: error.retry_after_ms,
        }
    }

    /// Holds the room until `due`.
    pub(super) fn pause_until(&mut self, due: u64) {
        if let Some(current) = &mut self.current {
            current.due = due;
        }
    }

    /// There is a new connection: what was written to the old one is to be written again at `due`; what is paused
    /// keeps its time.
    pub(super) fn on_reconnected(&mut self, due: u64) {
        if let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.state == State::Waiting)
        {
            current.state = State::Paused;
            current.due = due;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: ErrorCode) -> ErrorBody {
        ErrorBody::new(code, "no")
    }

    fn waiting() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push(1);
        outbox.push(2);
        assert_eq!(outbox.take_due(0, 100, 10), Some((1, false)));
        outbox
    }

    #[test]
    fn one_is_unanswered_at_a_time_and_the_line_keeps_its_order() {
        let mut outbox = waiting();
        assert_eq!(outbox.take_due(9, 101, 20), None);
        outbox.settle();
        assert_eq!(outbox.take_due(9, 102, 20), Some((2, false)));
        outbox.settle();
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_not_answered_is_written_again_when_due_and_after_a_reconnect() {
        let mut outbox = waiting();
        assert_eq!(outbox.take_due(10, 101, 20), Some((1, true)));
        outbox.on_reconnected(12);
        assert_eq!(outbox.take_due(11, 102, 20), None);
        assert_eq!(outbox.take_due(12, 102, 22), Some((1, true)));
    }

    #[test]
    fn a_retryable_refusal_holds_the_room_and_a_reconnect_does_not_shorten_it() {
        let mut outbox = waiting();
        let error = refusal(ErrorCode::Busy).retry_after_ms(800);
        assert_eq!(
            outbox.on_refused(100, &error),
            Refusal::Retry {
                tries: 0,
                after_ms: Some(800)
            }
        );
        outbox.pause_until(50);
        outbox.on_reconnected(12);
        assert_eq!(outbox.take_due(49, 101, 60), None);
        assert_eq!(outbox.take_due(50, 101, 60), Some((1, true)));
    }

    #[test]
    fn final_refusals_and_the_third_internal_one_free_the_room() {
        let mut outbox = waiting();
        assert_eq!(
            outbox.on_refused(100, &refusal(ErrorCode::Forbidden)),
            Refusal::Final(1)
        );
        assert_eq!(outbox.take_due(9, 102, 20), Some((2, false)));
        for request in [102, 103] {
            let refused = outbox.on_refused(request, &refusal(ErrorCode::Internal));
            assert!(matches!(refused, Refusal::Retry { .. }));
        }
        assert_eq!(
            outbox.on_refused(104, &refusal(ErrorCode::Internal)),
            Refusal::GivenUp(2)
        );
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_answer_to_an_older_request_is_stale() {
        let mut outbox = waiting();
        outbox.settle();
        assert_eq!(outbox.take_due(9, 102, 20), Some((2, false)));
        assert_eq!(
            outbox.on_refused(101, &refusal(ErrorCode::Forbidden)),
            Refusal::Stale
        );
    }
}
