//! Refusals: what a client is told, and whether trying again can help.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `code` of an error. Final codes mean: not stored, and will not be. Retryable ones mean: not stored yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ErrorCode {
    /// The request is malformed.
    BadRequest = 1,
    /// No valid session or password.
    Unauthenticated = 2,
    /// The caller may not do this.
    Forbidden = 3,
    /// It does not exist, or the caller may not know that it does.
    NotFound = 4,
    /// It contradicts what is stored: a taken name, an op with another content.
    Conflict = 5,
    /// A size is above its limit.
    TooLarge = 6,
    /// The caller is above a rate; wait `retry_after_ms`.
    RateLimited = 7,
    /// A queue on the way is full.
    Busy = 8,
    /// A part that the call needs is down.
    Unavailable = 9,
    /// A fault of ours.
    Internal = 10,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 10] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Busy,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The number in a downlink entry; 0 there means success.
    #[expect(clippy::as_conversions, reason = "the discriminant of a repr(u8) enum")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The status over HTTP.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Busy | Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// True if the same request may succeed later. `internal` is worth three tries at most.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Busy | Self::Unavailable | Self::Internal
        )
    }
}

/// The `error` member of a response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// One sentence for a developer; never holds secrets or internals.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u32>,
    /// Which case of its code it is, where a program must tell them apart: `totp_required`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Cow<'static, str>>,
}

impl ErrorBody {
    /// A refusal with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.is_retryable(),
            retry_after_ms: None,
            reason: None,
        }
    }

    /// The same, with the time to wait.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u32) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same, with the case for programs.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(Cow::Borrowed(reason));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_found() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert_eq!(
                serde_json::to_string(&code).unwrap(),
                format!("\"{}\"", code.name())
            );
        }
        assert_eq!(ErrorCode::from_number(0), None);
        assert_eq!(ErrorCode::from_number(11), None);
    }

    #[test]
    fn final_codes_are_client_errors() {
        for code in ErrorCode::ALL.into_iter().filter(|code| !code.is_retryable()) {
            assert!((400..500).contains(&code.http_status()), "{}", code.name());
        }
    }
}
