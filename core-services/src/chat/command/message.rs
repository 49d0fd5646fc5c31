//! What the arguments of `message.*` must be, seen for themselves.

use aws_lc_rs::hmac;
use hub_protocol::api::message::{Delete, Edit, Pin, React, Send};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{EMOJI_BYTES_MAX, TEXT_BYTES_MAX};
use hub_protocol::{ErrorCode, Method, Op};

use super::{Hash, entity, hash};
use crate::call::{params, refuse};
use crate::service::Call;

/// A change to a message that is there.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::chat) enum About {
    /// Another text.
    Edit(Edit),
    /// Taken away.
    Delete(Delete),
    /// A reaction, or one less.
    React(React),
    /// Pinned, or not any more.
    Pin(Pin),
}

impl About {
    /// The message.
    pub(in crate::chat) const fn seq(&self) -> u64 {
        match self {
            Self::Edit(edit) => edit.seq,
            Self::Delete(delete) => delete.seq,
            Self::React(react) => react.seq,
            Self::Pin(pin) => pin.seq,
        }
    }

    const fn op(&self) -> Op {
        match self {
            Self::Edit(edit) => edit.op,
            Self::Delete(delete) => delete.op,
            Self::React(react) => react.op,
            Self::Pin(pin) => pin.op,
        }
    }
}

/// True if a message carries more than its text.
pub(in crate::chat) const fn is_rich(send: &Send) -> bool {
    send.reply_to.is_some() || send.thread.is_some() || send.forward.is_some() || !send.entities.is_empty()
}

/// Reads and checks a change to a message.
pub(super) fn about(call: &Call, key: &hmac::Key) -> Result<(Op, Hash, About), ErrorBody> {
    let (method, room) = (call.header.method, call.header.room);
    let (hash, about) = match method {
        Method::MessageEdit => {
            let edit: Edit = params(call)?;
            check_text(&edit.text)?;
            entity::check(&edit.text, &edit.entities)?;
            (hash(key, method, &(room, &edit)), About::Edit(edit))
        }
        Method::MessageDelete => {
            let delete: Delete = params(call)?;
            (hash(key, method, &(room, &delete)), About::Delete(delete))
        }
        Method::MessageReact => {
            let react: React = params(call)?;
            check_emoji(&react.emoji)?;
            (hash(key, method, &(room, &react)), About::React(react))
        }
        _ => {
            let pin: Pin = params(call)?;
            (hash(key, method, &(room, &pin)), About::Pin(pin))
        }
    };
    Ok((about.op(), hash, about))
}

pub(super) fn check_send(send: &Send) -> Result<(), ErrorBody> {
    if send.forward.is_none() {
        check_text(&send.text)?;
        return entity::check(&send.text, &send.entities);
    }
    if !send.text.is_empty() || !send.entities.is_empty() {
        return Err(refuse(
            ErrorCode::BadRequest,
            "a forwarded message has the text and entities of its source, and no other",
        ));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), ErrorBody> {
    if text.is_empty() {
        return Err(refuse(ErrorCode::BadRequest, "the text is empty"));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the text is longer than 16384 bytes"));
    }
    if text.contains('\0') {
        return Err(refuse(ErrorCode::BadRequest, "the text holds a NUL"));
    }
    Ok(())
}

/// Something that no words can be written with. Fonts change each year, so there is no list of emoji here.
fn check_emoji(emoji: &str) -> Result<(), ErrorBody> {
    if emoji.len() > EMOJI_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the emoji is longer than 64 bytes"));
    }
    // Letters that are emoji of their own.
    let is_letter = |c: char| c.is_alphabetic() && c < '\u{1F000}' && !"ℹⓂ㊗㊙".contains(c);
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || is_letter(c);
    if emoji.is_ascii() || emoji.chars().any(is_odd) {
        return Err(refuse(ErrorCode::BadRequest, "the emoji is none"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactions_are_emoji_and_no_words() {
        for emoji in ["👍", "❤️", "1️⃣", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", "🅰️", "ℹ️"]
        {
            assert!(check_emoji(emoji).is_ok(), "{emoji}");
        }
        for emoji in ["", "a", "no", "😀a", "😀 ", "ß", "\u{0}", "漢"] {
            assert!(check_emoji(emoji).is_err(), "{emoji}");
        }
    }
}
