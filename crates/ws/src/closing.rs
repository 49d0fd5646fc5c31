//! The close handshake (RFC 6455 §7) as a state machine.
//!
//! ```text
//!          ┌─ we close ──> Sent ──┐ peer's close, its end, or the deadline
//!   Open ──┤                      ├──> Done
//!          └─ peer closes ────────┘ (answered with an echo)
//! ```

/// How far the close handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Closing {
    /// Messages go both ways.
    #[default]
    Open,
    /// Our close frame is out; we wait for the peer's and discard what comes before it.
    Sent,
    /// Both close frames are out, or the peer is gone: the TCP connection ends.
    Done,
}

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// We want to close.
    Close,
    /// The peer's close frame is in.
    PeerClose,
    /// The peer's TCP connection has ended or broken.
    PeerGone,
    /// The peer took too long to answer our close frame.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send our close frame and start the deadline.
    SendClose,
    /// Echo the peer's code in a close frame, then end the TCP connection.
    EchoAndEnd,
    /// End the TCP connection.
    End,
}

impl Closing {
    /// Applies an event.
    pub fn on(&mut self, event: Event) -> Action {
        let (next, action) = match (*self, event) {
            (Self::Open, Event::Close) => (Self::Sent, Action::SendClose),
            (Self::Open, Event::PeerClose) => (Self::Done, Action::EchoAndEnd),
            (Self::Open | Self::Sent, Event::PeerGone) | (Self::Sent, Event::PeerClose | Event::Deadline) => {
                (Self::Done, Action::End)
            }
            (Self::Open, Event::Deadline) => (Self::Open, Action::Nothing),
            (Self::Sent, Event::Close) => (Self::Sent, Action::Nothing),
            (Self::Done, Event::Close | Event::PeerClose | Event::PeerGone | Event::Deadline) => {
                (Self::Done, Action::Nothing)
            }
        };
        *self = next;
        action
    }

    /// True while messages of the peer count.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [Closing; 3] = [Closing::Open, Closing::Sent, Closing::Done];
    const EVENTS: [Event; 4] = [Event::Close, Event::PeerClose, Event::PeerGone, Event::Deadline];

    #[test]
    fn one_close_frame_at_most_and_one_end() {
        // Every sequence of four events.
        for a in EVENTS {
            for b in EVENTS {
                for c in EVENTS {
                    for d in EVENTS {
                        let mut closing = Closing::Open;
                        let actions = [a, b, c, d].map(|event| closing.on(event));
                        let frames = |a: &&Action| matches!(a, Action::SendClose | Action::EchoAndEnd);
                        let ends = |a: &&Action| matches!(a, Action::End | Action::EchoAndEnd);
                        assert!(actions.iter().filter(frames).count() <= 1);
                        assert!(actions.iter().filter(ends).count() <= 1);
                    }
                }
            }
        }
    }

    #[test]
    fn every_pair_leads_somewhere_and_done_is_final() {
        for state in STATES {
            for event in EVENTS {
                let mut closing = state;
                let action = closing.on(event);
                if state == Closing::Done {
                    assert_eq!((closing, action), (Closing::Done, Action::Nothing));
                }
                if matches!(event, Event::PeerClose | Event::PeerGone) {
                    assert_eq!(closing, Closing::Done);
                }
            }
        }
    }
}
