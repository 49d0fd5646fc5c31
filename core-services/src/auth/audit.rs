//! The audit log: what happened to an account, in the transaction in which it happened.

use hub_protocol::{LoginId, UserId};

use crate::store::{StoreError, Tx};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Registered,
    LoggedIn,
    LoginFailed,
    TokenReused,
    LoggedOut,
    LoginRevoked,
    PasswordChanged,
    ResetRequested,
    ResetFailed,
    PasswordReset,
    EmailAsked,
    EmailFailed,
    EmailSet,
    EmailRemoved,
    TotpEnrolled,
    TotpConfirmed,
    TotpDisabled,
    AccountDeleted,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::LoggedIn => "logged_in",
            Self::LoginFailed => "login_failed",
            Self::TokenReused => "token_reused",
            Self::LoggedOut => "logged_out",
            Self::LoginRevoked => "login_revoked",
            Self::PasswordChanged => "password_changed",
            Self::ResetRequested => "reset_requested",
            Self::ResetFailed => "reset_failed",
            Self::PasswordReset => "password_reset",
            Self::EmailAsked => "email_asked",
            Self::EmailFailed => "email_failed",
            Self::EmailSet => "email_set",
            Self::EmailRemoved => "email_removed",
            Self::TotpEnrolled => "totp_enrolled",
            Self::TotpConfirmed => "totp_confirmed",
            Self::TotpDisabled => "totp_disabled",
            Self::AccountDeleted => "account_deleted",
        }
    }
}

/// Who did it, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub(super) user: Option<UserId>,
    pub(super) login: Option<LoginId>,
    /// Keyed hash of the network address.
    pub(super) address: Option<Vec<u8>>,
}

impl Who {
    /// The same place, this account.
    pub(super) fn with(&self, user: Option<UserId>, login: Option<LoginId>) -> Self {
        Self {
            user,
            login,
            address: self.address.clone(),
        }
    }
}

/// Writes one line.
pub(super) async fn write(tx: &Tx, now: i64, who: &Who, kind: Kind, detail: &str) -> Result<(), StoreError> {
    const SQL: &str =
        "INSERT INTO audit (at, user_id, login_id, kind, address, detail) VALUES ($1, $2, $3, $4, $5, $6)";
    let (user, login) = (who.user.map(|user| user.0), who.login.map(|login| login.0));
    tx.execute(SQL, &[&now, &user, &login, &kind.name(), &who.address, &detail])
        .await?;
    Ok(())
}
