//! Names of requests: what a completion says of the request that it answers.

use crate::table::GENERATION_MASK;

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
    Shutdown = 7,
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
        7 => Tag::Shutdown,
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
            Tag::Shutdown,
        ] {
            let data = user_data(tag, u32::MAX - 1, 0xFFAB_CDEF);
            assert_eq!(split_user_data(data), Some((tag, u32::MAX - 1, 0x00AB_CDEF)));
        }
        assert_eq!(split_user_data(0), None);
    }
}
