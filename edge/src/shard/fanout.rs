//! Step 14: a frame is encoded once, and compressed at most once, for all its receivers.

use hub_ring::Piece;
use hub_ws::frame::{Header, Opcode};

use super::world::World;

/// The window of the compressed frames that receivers share, bits.
const WINDOW_BITS_MAX: u8 = 15;

/// A text for any number of receivers, and its frames as far as they were needed.
pub(super) struct Text<'t> {
    bytes: &'t [u8],
    plain: Option<Piece>,
    deflated: Option<Piece>,
    /// Compressing it was tried and is not worth it.
    is_dense: bool,
}

impl<'t> Text<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        Self {
            bytes,
            plain: None,
            deflated: None,
            is_dense: false,
        }
    }

    /// True once somebody got it.
    pub(super) fn is_used(&self) -> bool {
        self.plain.is_some() || self.deflated.is_some()
    }
}

impl World {
    /// Encodes one text frame.
    pub(super) fn encode(&mut self, text: &[u8]) -> Piece {
        self.encode_as(Opcode::Text, text)
    }

    /// Encodes one frame that is a whole message.
    pub(super) fn encode_as(&mut self, opcode: Opcode, payload: &[u8]) -> Piece {
        let header = Header::server(opcode, payload.len());
        self.writer.append(&[header.as_slice(), payload])
    }

    /// Encodes a message compressed; `None` if that is not worth it, or the peer cannot inflate it.
    pub(super) fn compress(&mut self, opcode: Opcode, message: &[u8], window_bits: u8) -> Option<Piece> {
        if window_bits == 0 || message.len() < self.settings.deflate.bytes_min {
            return None;
        }
        let payload = self.deflater.deflate(message, window_bits)?;
        self.counters.deflated += 1;
        self.counters.deflate_saved_bytes += (message.len() - payload.len()) as u64;
        let header = Header::server_deflated(opcode, payload.len());
        Some(self.writer.append(&[header.as_slice(), payload]))
    }

    /// The frame of a text for a receiver with this window: encoded when the first one needs it, shared by the rest.
    pub(super) fn frame_for(&mut self, text: &mut Text<'_>, window_bits: u8) -> Piece {
        // A text that fits into the receiver's window refers to nothing outside of it.
        let is_inflatable =
            window_bits >= WINDOW_BITS_MAX || (window_bits > 0 && text.bytes.len() <= 1 << window_bits);
        if is_inflatable && text.deflated.is_none() && !text.is_dense {
            text.deflated = self.compress(Opcode::Text, text.bytes, WINDOW_BITS_MAX);
            text.is_dense = text.deflated.is_none();
        }
        match &text.deflated {
            Some(piece) if is_inflatable => piece.clone(),
            _ => text.plain.get_or_insert_with(|| self.encode(text.bytes)).clone(),
        }
    }
}
