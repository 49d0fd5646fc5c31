//! What the ring knows of each slot. The rows are as many as the kernel's table of registered descriptors.

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
/// Vacant ─attach─> Open ─close─> Closing ─last completion─> Vacant
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody's; completions for it are late and ignored.
    Vacant,
    /// Carries a connection.
    Open,
    /// Closed by us; completions are still to come.
    Closing,
}

/// Requests of a slot that the kernel has not answered for the last time.
pub(crate) const POLL_IN: u8 = 1;
pub(crate) const POLL_OUT: u8 = 2;
pub(crate) const CLOSE: u8 = 4;
/// The slot stands in the readable list.
const LISTED: u8 = 1;
/// Bytes may be waiting.
const READABLE: u8 = 2;
/// The caller wants no bytes for now.
const PAUSED: u8 = 4;
/// The peer's end or an error stands behind the waiting bytes.
const ENDING: u8 = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    generation: u32,
    phase: Phase,
    /// Bits of [`POLL_IN`], [`POLL_OUT`], [`CLOSE`].
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
            pending: POLL_IN,
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
        if self.reading & (LISTED | PAUSED) != 0 {
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

    /// The slot left the readable list; true if it is to be received from.
    pub(crate) fn on_unlisted(&mut self) -> bool {
        self.reading &= !LISTED;
        if self.phase != Phase::Open || self.reading & PAUSED != 0 {
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

/// Generation bits that fit beside tag and slot into the user data of a request.
pub(crate) const GENERATION_MASK: u32 = 0x00FF_FFFF;

/// What a request was, told by its completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Tag {
    PollIn = 1,
    PollOut = 2,
    Receive = 3,
    Send = 4,
    Close = 5,
    Cancel = 6,
}

/// `tag (8 bits) | generation (24) | slot (32)`.
pub(crate) fn user_data(tag: Tag, slot: u32, generation: u32) -> u64 {
    (u64::from(tag as u8) << 56) | (u64::from(generation & GENERATION_MASK) << 32) | u64::from(slot)
}

/// The parts of [`user_data`]; `None` for a value that is not ours.
pub(crate) fn split_user_data(data: u64) -> Option<(Tag, u32, u32)> {
    let [s0, s1, s2, s3, g0, g1, g2, tag] = data.to_le_bytes();
    let tag = match tag {
        1 => Tag::PollIn,
        2 => Tag::PollOut,
        3 => Tag::Receive,
        4 => Tag::Send,
        5 => Tag::Close,
        6 => Tag::Cancel,
        _ => return None,
    };
    Some((
        tag,
        u32::from_le_bytes([s0, s1, s2, s3]),
        u32::from_le_bytes([g0, g1, g2, 0]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_round_trips() {
        for tag in [
            Tag::PollIn,
            Tag::PollOut,
            Tag::Receive,
            Tag::Send,
            Tag::Close,
            Tag::Cancel,
        ] {
            let data = user_data(tag, u32::MAX - 1, 0xFFAB_CDEF);
            assert_eq!(split_user_data(data), Some((tag, u32::MAX - 1, 0x00AB_CDEF)));
        }
        assert_eq!(split_user_data(0), None);
    }

    #[test]
    fn a_row_is_released_once_and_only_after_its_last_completion() {
        let mut row = Row::VACANT;
        row.open(7);
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
    fn a_late_completion_belongs_to_nobody() {
        let mut row = Row::VACANT;
        assert!(!row.is_owner(0));
        row.open(0x0100_0001);
        assert!(row.is_owner(1));
        assert!(!row.is_owner(2));
    }
}
