//! The oracle: whether what clients were promised is what clients saw and what the database holds.
//!
//! Pure and linear in the number of messages. While a run goes on, each thread writes a [`Recorder`]; what one
//! receiver sees is checked there and then. At the end [`judge`] puts the records of all threads and the content of
//! the database beside each other.
//!
//! | promise | kinds of findings |
//! |---|---|
//! | an acknowledged message is stored for ever, where the answer said | `lost` `ack_moved` |
//! | every member is shown it, once, in one order | `unseen` `head_missing` `gap` `shown_twice` `op_twice` `diverged` |
//! | the log is gapless, and each op is in it once | `stored_gap` `stored_twice` `stored_differs` |
//! | a refused message is not stored | `refused_stored` |
//! | a sender's messages in his order; acknowledged before sent means before in the log | `sender_order` `real_time_order` |
//! | what is shown is what was sent | `corrupt` `phantom` |
//! | the run proves something | `too_few_acked` `quiet_reconnect` `nothing_proven` |

mod findings;
mod judge;
mod record;
mod selftest;

pub use findings::{Findings, Kind};
pub use judge::{Expect, Stored, StoredRoom, judge};
pub use record::{Outcome, Receiver, ReceiverId, Recorder, SendRecord, Shown, UNKNOWN};
pub use selftest::{Trial, self_test};
