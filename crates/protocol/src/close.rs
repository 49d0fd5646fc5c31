//! Close codes (RFC 6455 §7.4): the RFC's own, and ours in two ranges that tell a client whether to come back.

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum CloseCode {
    /// The purpose is fulfilled.
    Normal = 1000,
    /// The endpoint goes away.
    GoingAway = 1001,
    /// The peer broke RFC 6455.
    Protocol = 1002,
    /// A kind of data that is not taken here: binary.
    Unsupported = 1003,
    /// A text is not UTF-8.
    InvalidText = 1007,
    /// A rule of ours is broken.
    Policy = 1008,
    /// A message is above its limit.
    TooLarge = 1009,
    /// A fault of ours.
    Internal = 1011,

    /// Reconnect: the node drains.
    Drain = 4000,
    /// Reconnect and sync: the client read too slowly.
    Slow = 4001,
    /// Reconnect: no sign of life in time.
    Heartbeat = 4002,
    /// Reconnect later: the node is over its capacity.
    Overload = 4003,
    /// Reconnect: the node lost its backbone.
    BackboneLost = 4004,

    /// Do not reconnect by yourself: the token is invalid or expired.
    TokenInvalid = 4500,
    /// Do not reconnect: the login was revoked.
    Revoked = 4501,
    /// Do not reconnect: the client misbehaved.
    Abuse = 4502,
    /// Do not reconnect: another connection took this session's place.
    Replaced = 4503,
    /// Do not reconnect by yourself: no session was opened in time.
    NoSession = 4504,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 18] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidText,
        Self::Policy,
        Self::TooLarge,
        Self::Internal,
        Self::Drain,
        Self::Slow,
        Self::Heartbeat,
        Self::Overload,
        Self::BackboneLost,
        Self::TokenInvalid,
        Self::Revoked,
        Self::Abuse,
        Self::Replaced,
        Self::NoSession,
    ];

    /// The number on the wire.
    #[expect(clippy::as_conversions, reason = "the discriminant of a repr(u16) enum")]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// A short reason for humans, at most 123 bytes (RFC 6455 §5.5).
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::GoingAway => "going away",
            Self::Protocol => "protocol error",
            Self::Unsupported => "text messages only",
            Self::InvalidText => "text is not UTF-8",
            Self::Policy => "policy violation",
            Self::TooLarge => "message too large",
            Self::Internal => "internal error",
            Self::Drain => "node drains, reconnect",
            Self::Slow => "too slow, reconnect and sync",
            Self::Heartbeat => "no sign of life, reconnect",
            Self::Overload => "overloaded, reconnect later",
            Self::BackboneLost => "backbone lost, reconnect",
            Self::TokenInvalid => "token invalid or expired",
            Self::Revoked => "login revoked",
            Self::Abuse => "too many violations",
            Self::Replaced => "replaced by another connection",
            Self::NoSession => "no session opened in time",
        }
    }
}

/// Whether a client may come back by itself after this close code: our 4000–4499 and every code of the RFC that
/// does not blame the client.
pub const fn is_reconnect(code: u16) -> bool {
    !matches!(code, 1002 | 1003 | 1007 | 1008 | 1009 | 4500..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_says_whether_to_come_back() {
        assert!(is_reconnect(CloseCode::Slow.number()));
        assert!(is_reconnect(1006));
        assert!(!is_reconnect(CloseCode::TokenInvalid.number()));
        assert!(!is_reconnect(CloseCode::Protocol.number()));
    }
}
