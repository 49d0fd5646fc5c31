//! From received bytes to messages and control frames (RFC 6455 §5, §6.2; RFC 7692 §6.2), in place.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

mod gather;
#[cfg(test)]
mod tests;

use crate::deflate::Inflater;
use crate::error::ProtocolError;
use crate::frame::{Head, Opcode};
use crate::mask;
use gather::Gather;

/// Which end of the connection decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Every frame must be masked (§5.1).
    Server,
    /// No frame may be masked.
    Client,
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A text message; the bytes are valid UTF-8.
    Text(&'a mut [u8]),
    /// A binary message.
    Binary(&'a mut [u8]),
    /// Wants a pong with the same payload.
    Ping(&'a [u8]),
    /// Answers a ping, or came unasked.
    Pong(&'a [u8]),
    /// The close frame; nothing may follow.
    Close(Option<Close<'a>>),
}

/// Content of a close frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close<'a> {
    /// Why.
    pub code: u16,
    /// For humans.
    pub reason: &'a str,
}

/// Decodes one connection. Two words while nothing is half received.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    /// What straddles receives: part of a header, of a payload, or fragments of a message.
    gather: Option<Box<Gather>>,
}

/// Where the next item lies.
enum Found {
    Nothing,
    InPlace {
        opcode: Opcode,
        start: usize,
        end: usize,
        is_deflated: bool,
    },
    Gathered(Opcode),
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(role: Role) -> Self {
        Self { role, gather: None }
    }

    /// Decodes from `buffer[*at..]`, moves `at` behind what was consumed, and returns the next item; `None` when all
    /// bytes are consumed. A message that lies whole in the buffer is unmasked and handed out there. A message of
    /// more than `message_bytes_max` bytes is refused when its header says so, before anything is stored.
    ///
    /// With an `inflater` permessage-deflate was negotiated: compressed messages are inflated there and handed out
    /// from there, bounded by `message_bytes_max` too.
    ///
    /// After an error the connection is to be failed; what is decoded behind it means nothing.
    pub fn decode<'a>(
        &'a mut self,
        buffer: &'a mut [u8],
        at: &mut usize,
        message_bytes_max: usize,
        inflater: Option<&'a mut Inflater>,
    ) -> Result<Option<Item<'a>>, ProtocolError> {
        let (opcode, payload, is_deflated) =
            match self.find(buffer, at, message_bytes_max, inflater.is_some())? {
                Found::Nothing => return Ok(None),
                Found::InPlace {
                    opcode,
                    start,
                    end,
                    is_deflated,
                } => {
                    let payload = buffer.get_mut(start..end).unwrap_or_default();
                    if opcode == Opcode::Text && !is_deflated && simdutf8::basic::from_utf8(payload).is_err()
                    {
                        return Err(ProtocolError::Utf8);
                    }
                    (opcode, payload, is_deflated)
                }
                Found::Gathered(opcode) => match &mut self.gather {
                    Some(gather) => {
                        let is_deflated = gather.is_deflated() && !opcode.is_control();
                        (opcode, gather.payload(opcode), is_deflated)
                    }
                    None => return Ok(None),
                },
            };
        let Some(inflater) = inflater.filter(|_| is_deflated) else {
            return item(opcode, payload).map(Some);
        };
        let message = inflater.inflate(payload, message_bytes_max)?;
        if opcode == Opcode::Text && simdutf8::basic::from_utf8(message).is_err() {
            return Err(ProtocolError::Utf8);
        }
        item(opcode, message).map(Some)
    }

    /// True while part of a frame or message is stored; a deadline for it is the caller's.
    pub fn is_gathering(&self) -> bool {
        self.gather.is_some()
    }

    /// Bytes held for what is half received.
    pub fn gathered_bytes(&self) -> usize {
        self.gather.as_ref().map_or(0, |gather| gather.bytes())
    }

    fn find(
        &mut self,
        buffer: &mut [u8],
        at: &mut usize,
        message_bytes_max: usize,
        has_deflate: bool,
    ) -> Result<Found, ProtocolError> {
        if self.gather.as_mut().is_some_and(|gather| gather.settle()) {
            self.gather = None;
        }
        loop {
            let rest = buffer.get_mut(*at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(Found::Nothing);
            }
            if let Some(gather) = &mut self.gather {
                let (consumed, done) = gather.take(rest, self.role, message_bytes_max, has_deflate)?;
                *at = at.saturating_add(consumed);
                if let Some(opcode) = done {
                    return Ok(Found::Gathered(opcode));
                }
                continue;
            }
            if let Some((head, header_len)) = Head::read(rest, has_deflate)? {
                check(&head, self.role, None, message_bytes_max)?;
                let is_whole = head.is_final && head.opcode != Opcode::Continuation;
                let len = usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
                let end = header_len.saturating_add(len);
                if let Some(payload) = rest.get_mut(header_len..end).filter(|_| is_whole) {
                    if let Some(mask) = head.mask {
                        mask::apply(payload, mask, 0);
                    }
                    let start = at.saturating_add(header_len);
                    *at = at.saturating_add(end);
                    return Ok(Found::InPlace {
                        opcode: head.opcode,
                        start,
                        end: *at,
                        is_deflated: head.is_deflated,
                    });
                }
            }
            self.gather = Some(Box::default());
        }
    }
}

/// What a header may say at this place: `gathered` is the length of the open fragmented message, if there is one.
fn check(head: &Head, role: Role, gathered: Option<usize>, bytes_max: usize) -> Result<(), ProtocolError> {
    match role {
        Role::Server if head.mask.is_none() => return Err(ProtocolError::Unmasked),
        Role::Client if head.mask.is_some() => return Err(ProtocolError::Masked),
        Role::Server | Role::Client => {}
    }
    if head.opcode.is_control() {
        return Ok(());
    }
    // RFC 6455 §5.4: fragments of one message are not interleaved with another's.
    if gathered.is_some() != (head.opcode == Opcode::Continuation) {
        return Err(ProtocolError::Fragmentation);
    }
    let len = usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
    if gathered.unwrap_or(0).saturating_add(len) > bytes_max {
        return Err(ProtocolError::TooLarge);
    }
    Ok(())
}

fn item(opcode: Opcode, payload: &mut [u8]) -> Result<Item<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => Item::Text(payload),
        Opcode::Binary | Opcode::Continuation => Item::Binary(payload),
        Opcode::Ping => Item::Ping(payload),
        Opcode::Pong => Item::Pong(payload),
        Opcode::Close => Item::Close(close(payload)?),
    })
}

/// RFC 6455 §5.5.1 and §7.4.
fn close(payload: &[u8]) -> Result<Option<Close<'_>>, ProtocolError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk::<2>().ok_or(ProtocolError::Close)?;
    let code = u16::from_be_bytes(*code);
    // 1004 to 1006 and 1015 must not be sent; 1016 to 2999 are not defined.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ProtocolError::Close);
    }
    let Ok(reason) = simdutf8::basic::from_utf8(reason) else {
        return Err(ProtocolError::Utf8);
    };
    Ok(Some(Close { code, reason }))
}
