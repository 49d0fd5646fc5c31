//! The SQL of accounts; there is none elsewhere in this service.
//!
//! | module | holds |
//! |---|---|
//! | `account` | accounts, passwords, the end of an account |
//! | `login` | logins and known devices |
//! | `code` | one-time codes |
//! | `totp` | second factors |

pub(super) mod account;
pub(super) mod code;
pub(super) mod login;
pub(super) mod totp;

use hub_protocol::UserId;
use hub_protocol::api::user::User;
use tokio_postgres::Row;

/// The first four columns: id, username, display name, time.
fn user(row: &Row) -> User {
    User {
        id: UserId(row.get(0)),
        username: row.get(1),
        display_name: row.get(2),
        created_at: row.get(3),
    }
}
