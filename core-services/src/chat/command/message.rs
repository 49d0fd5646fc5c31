//! What the arguments of `message.*` must be, seen for themselves.

use hub_protocol::ErrorCode;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::TEXT_BYTES_MAX;

use crate::call::refuse;

pub(super) fn check_text(text: &str) -> Result<(), ErrorBody> {
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
