//! What a ring knows of each slot, whatever engine it runs on.

/// A connection: a slot and which life of it. Slots and generations are given out by whoever owns the connection
/// table; the ring tells when a slot may be given out again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// The row.
    pub slot: u32,
    /// Counts the owners of the row. The ring compares its low 24 bits.
    pub generation: u32,
}

/// Life of a slot.
///
/// ```text
/// Vacant ─attach─> Open ─close─> Closing ─last answer of the kernel─> Vacant
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody's; events for it are late and ignored.
    Vacant,
    /// Carries a connection.
    Open,
    /// Closed by us and not given back yet.
    Closing,
}

/// What of a slot the kernel has not answered for the last time.
pub(crate) const POLL_IN: u8 = 1;
pub(crate) const POLL_OUT: u8 = 2;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const SHUTDOWN: u8 = 8;
/// The slot stands in the readable list.
const LISTED: u8 = 1;
/// Bytes may be waiting.
const READABLE: u8 = 2;
/// The caller wants no bytes for now.
const PAUSED: u8 = 4;
/// The peer's end or an error stands behind the waiting bytes.
const ENDING: u8 = 8;
/// The caller was told the end: nothing follows it.
const ENDED: u8 = 16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    generation: u32,
    phase: Phase,
    /// Bits of [`POLL_IN`], [`POLL_OUT`], [`CLOSE`], [`SHUTDOWN`].
    pub(crate) pending: u8,
    reading: u8,
}

impl Row {
    pub(crate) const VACANT: Self = Self {
        generation: 0,
        phase: Phase::Vacant,
        pending: 0,
        reading: 0,
    };

    pub(crate) fn open(&mut self, generation: u32) {
        *self = Self {
            generation,
            phase: Phase::Open,
            pending: 0,
            reading: 0,
        };
    }

    pub(crate) fn phase(self) -> Phase {
        self.phase
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    /// True if the row carries exactly this connection.
    pub(crate) fn is_open(self, generation: u32) -> bool {
        self.phase == Phase::Open && self.generation == generation
    }

    /// True if a completion with these generation bits belongs to the present owner.
    pub(crate) fn is_owner(self, generation_bits: u32) -> bool {
        self.phase != Phase::Vacant && self.generation & GENERATION_MASK == generation_bits
    }

    pub(crate) fn start_closing(&mut self) {
        self.phase = Phase::Closing;
        self.pending |= CLOSE;
        self.reading &= LISTED;
    }

    /// Gives the row back if nothing is pending any more.
    pub(crate) fn try_release(&mut self) -> bool {
        if self.phase != Phase::Closing || self.pending != 0 {
            return false;
        }
        self.phase = Phase::Vacant;
        true
    }

    /// Bytes may be waiting; true if the slot must enter the readable list.
    pub(crate) fn on_readable(&mut self) -> bool {
        self.reading |= READABLE;
        if self.reading & (LISTED | PAUSED | ENDED) != 0 {
            return false;
        }
        self.reading |= LISTED;
        true
    }

    /// The end was reported, perhaps together with bytes: no further event will report it.
    pub(crate) fn on_ending(&mut self) {
        self.reading |= ENDING;
    }

    /// True if receiving has to go on until the end comes.
    pub(crate) fn is_ending(self) -> bool {
        self.reading & ENDING != 0
    }

    /// The end was received: the slot does not enter the readable list again.
    pub(crate) fn on_ended(&mut self) {
        self.reading |= ENDED;
    }

    /// The slot left the readable list; true if it is to be received from.
    pub(crate) fn on_unlisted(&mut self) -> bool {
        self.reading &= !LISTED;
        if self.phase != Phase::Open || self.reading & (PAUSED | ENDED) != 0 {
            return false;
        }
        self.reading &= !READABLE;
        true
    }

    pub(crate) fn pause(&mut self) {
        self.reading |= PAUSED;
    }

    /// True if the slot must enter the readable list.
    pub(crate) fn resume(&mut self) -> bool {
        self.reading &= !PAUSED;
        self.reading & READABLE != 0 && self.on_readable()
    }
}

/// Generation bits that fit beside tag and slot into the user data of an io_uring request.
pub(crate) const GENERATION_MASK: u32 = 0x00FF_FFFF;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_released_once_and_only_after_its_last_completion() {
        let mut row = Row::VACANT;
        row.open(7);
        row.pending |= POLL_IN;
        row.start_closing();
        assert!(!row.try_release());
        row.pending &= !POLL_IN;
        assert!(!row.try_release());
        row.pending &= !CLOSE;
        assert!(row.try_release());
        assert!(!row.try_release());
    }

    #[test]
    fn a_paused_row_is_listed_when_it_resumes() {
        let mut row = Row::VACANT;
        row.open(1);
        row.pause();
        assert!(!row.on_readable());
        assert!(row.resume());
        assert!(!row.on_readable(), "it is listed already");
        assert!(row.on_unlisted());
    }

    #[test]
    fn an_ended_row_is_not_listed_again() {
        let mut row = Row::VACANT;
        row.open(1);
        assert!(row.on_readable());
        assert!(row.on_unlisted());
        row.on_ended();
        assert!(!row.on_readable());
        row.pause();
        assert!(!row.resume());
    }

    #[test]
    fn a_late_completion_belongs_to_nobody() {
        let mut row = Row::VACANT;
        assert!(!row.is_owner(0));
        row.open(0x0100_0001);
        assert!(row.is_owner(1));
        assert!(!row.is_owner(2));
    }
}
