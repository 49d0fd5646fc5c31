//! A send of several pieces: the header and the ranges that the kernel reads inside of the submit.

use crate::segment::Piece;

/// The most pieces in one send; what is more waits for the next.
pub const PIECES_MAX: usize = 16;

/// One such send; a ring keeps as many as fit into one submit.
pub(crate) struct Gather {
    pub(crate) header: libc::msghdr,
    ranges: [libc::iovec; PIECES_MAX],
}

impl Gather {
    pub(crate) fn empty() -> Self {
        let nothing = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: all zeroes is a valid msghdr: null pointers and zero lengths.
        let header = unsafe { std::mem::zeroed() };
        Self {
            header,
            ranges: [nothing; PIECES_MAX],
        }
    }

    /// Points the header at the pieces. The gather lies in a box and does not move until it is sent.
    pub(crate) fn fill(&mut self, pieces: &[Piece]) {
        for (range, piece) in self.ranges.iter_mut().zip(pieces) {
            let slice = piece.as_slice();
            *range = libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            };
        }
        self.header.msg_iov = self.ranges.as_mut_ptr();
        self.header.msg_iovlen = pieces.len();
    }
}
