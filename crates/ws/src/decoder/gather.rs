//! What does not lie whole in one receive: split headers and payloads, fragmented messages.
//!
//! Bound: one buffer per message, which grows with the bytes that came, never with what a header promises; no cap
//! on the number of fragments is needed, since a fragment leaves nothing behind but its bytes.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use super::{Role, check};
use crate::error::ProtocolError;
use crate::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Head, Opcode};
use crate::mask;
use crate::utf8::Utf8;

#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Bytes of a header that is not complete.
    header: Vec<u8>,
    /// The frame whose payload is coming in.
    frame: Option<Frame>,
    /// The open message: its first opcode.
    opcode: Option<Opcode>,
    /// The open message is compressed: it is text only once it is inflated.
    is_deflated: bool,
    message: Vec<u8>,
    utf8: Utf8,
    control: Vec<u8>,
    /// What was handed out last and is to be forgotten.
    done: Option<Opcode>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    head: Head,
    missing: u64,
    /// Position in the mask.
    phase: u8,
}

impl Gather {
    /// Forgets what was handed out; true if nothing is half received.
    pub(super) fn settle(&mut self) -> bool {
        match self.done.take() {
            Some(Opcode::Ping | Opcode::Pong | Opcode::Close) => self.control.clear(),
            Some(Opcode::Text | Opcode::Binary | Opcode::Continuation) => {
                self.message.clear();
                self.opcode = None;
                self.utf8 = Utf8::default();
            }
            None => {}
        }
        self.header.is_empty() && self.frame.is_none() && self.opcode.is_none()
    }

    pub(super) fn bytes(&self) -> usize {
        self.message.capacity().saturating_add(size_of::<Self>())
    }

    pub(super) fn is_deflated(&self) -> bool {
        self.is_deflated
    }

    /// The payload of the item that [`take`](Self::take) completed.
    pub(super) fn payload(&mut self, opcode: Opcode) -> &mut [u8] {
        if opcode.is_control() {
            &mut self.control
        } else {
            &mut self.message
        }
    }

    /// Takes bytes from the front of `input`, at most to the end of a frame. Returns how many, and what is complete.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        role: Role,
        message_bytes_max: usize,
        has_deflate: bool,
    ) -> Result<(usize, Option<Opcode>), ProtocolError> {
        let mut consumed = 0;
        if self.frame.is_none() {
            consumed = self.take_header(input, role, message_bytes_max, has_deflate)?;
        }
        let Some(frame) = &mut self.frame else {
            return Ok((consumed, None));
        };
        let rest = input.get_mut(consumed..).unwrap_or_default();
        let len = rest
            .len()
            .min(usize::try_from(frame.missing).unwrap_or(usize::MAX));
        let payload = rest.get_mut(..len).unwrap_or_default();
        if let Some(mask) = frame.head.mask {
            mask::apply(payload, mask, frame.phase);
        }
        let taken = u64::try_from(len).unwrap_or(u64::MAX);
        frame.missing = frame.missing.saturating_sub(taken);
        frame.phase = frame.phase.wrapping_add(u8::try_from(taken & 3).unwrap_or(0));
        let is_complete = frame.missing == 0;
        let head = frame.head;
        if head.opcode.is_control() {
            self.control.extend_from_slice(payload);
        } else {
            // RFC 6455 §8.1, as soon as the octet is there.
            if self.opcode == Some(Opcode::Text) && !self.is_deflated && !self.utf8.feed(payload) {
                return Err(ProtocolError::Utf8);
            }
            self.message.extend_from_slice(payload);
        }
        consumed = consumed.saturating_add(len);
        if is_complete {
            self.frame = None;
            return Ok((consumed, self.finish(head)?));
        }
        Ok((consumed, None))
    }

    fn take_header(
        &mut self,
        input: &[u8],
        role: Role,
        message_bytes_max: usize,
        has_deflate: bool,
    ) -> Result<usize, ProtocolError> {
        let before = self.header.len();
        let room = HEADER_BYTES_MAX.saturating_sub(before).min(input.len());
        self.header
            .extend_from_slice(input.get(..room).unwrap_or_default());
        let Some((head, len)) = Head::read(&self.header, has_deflate)? else {
            return Ok(room);
        };
        self.header.clear();
        let gathered = self.opcode.map(|_| self.message.len());
        check(&head, role, gathered, message_bytes_max)?;
        if !head.opcode.is_control() && self.opcode.is_none() {
            self.opcode = Some(head.opcode);
            self.is_deflated = head.is_deflated;
        }
        if head.opcode.is_control() {
            self.control.reserve_exact(CONTROL_BYTES_MAX);
        }
        self.frame = Some(Frame {
            head,
            missing: head.payload_bytes,
            phase: 0,
        });
        Ok(len.saturating_sub(before))
    }

    fn finish(&mut self, head: Head) -> Result<Option<Opcode>, ProtocolError> {
        if head.opcode.is_control() {
            self.done = Some(head.opcode);
        } else if head.is_final {
            if !self.utf8.is_complete() {
                return Err(ProtocolError::Utf8);
            }
            self.done = self.opcode;
        }
        Ok(self.done)
    }
}
