//! Facts about a database: what `migrate` decided once, what names its life, whether it keeps what it commits.

use hub_protocol::batch;
use hub_protocol::keys::meta as field;
use hub_protocol::partition::Partitions;
use tokio_postgres::Row;

use super::{Store, StoreError, Tx};

/// Names the life of a database as SQL: system identifier, timeline, number of the database. It changes when the
/// database is restored, or fails over to a standby.
pub const EPOCH_SQL: &str = "(SELECT to_hex(system_identifier) FROM pg_control_system()) \
     || '-' || ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0') \
     || '-' || (SELECT oid::text FROM pg_database WHERE datname = current_database())";

/// Key in the table `meta`: see [`Meta::op_hash_key`].
pub const OP_HASH_KEY: &str = "op_hash_key";
/// Key in the table `meta`: see [`Meta::refresh_key`].
pub const REFRESH_KEY: &str = "refresh_key";
/// Length of each key, bytes.
pub const KEY_BYTES: usize = 32;

/// What `migrate` wrote into the table `meta`, and the epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// Partitions of each service; never change.
    pub partitions: Partitions,
    /// Keys the hash by which a repeated op is told from a conflicting one.
    pub op_hash_key: [u8; KEY_BYTES],
    /// Derives a refresh token's successor.
    pub refresh_key: [u8; KEY_BYTES],
    /// Names the life of the database.
    pub epoch: String,
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta")
            .field("partitions", &self.partitions)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Meta {
    /// Fields and values of `hub:meta`.
    pub fn redis_fields(&self) -> [(&'static str, String); 5] {
        [
            (field::AUTH_PARTITIONS, self.partitions.auth.to_string()),
            (field::CHAT_PARTITIONS, self.partitions.chat.to_string()),
            (field::USER_PARTITIONS, self.partitions.user.to_string()),
            (field::EPOCH, self.epoch.clone()),
            (field::BATCH_VERSION, batch::VERSION.to_string()),
        ]
    }

    fn from_rows(rows: &[Row]) -> Result<Self, String> {
        let text = |key: &str| {
            rows.iter()
                .find(|row| row.get::<_, &str>(0) == key)
                .map(|row| row.get::<_, String>(1))
                .ok_or_else(|| format!("the table meta has no `{key}`: run `hub-services migrate`"))
        };
        let count = |key: &str| match text(key)?.parse::<u16>() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("the table meta holds no partition count as `{key}`")),
        };
        let key = |key: &str| {
            from_hex(&text(key)?)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| format!("the table meta holds no key as `{key}`"))
        };
        Ok(Self {
            partitions: Partitions {
                auth: count(field::AUTH_PARTITIONS)?,
                chat: count(field::CHAT_PARTITIONS)?,
                user: count(field::USER_PARTITIONS)?,
            },
            op_hash_key: key(OP_HASH_KEY)?,
            refresh_key: key(REFRESH_KEY)?,
            epoch: text(field::EPOCH)?,
        })
    }
}

impl Store {
    /// Reads the table `meta` and the epoch. Refuses a database that was not migrated.
    pub async fn meta(&self) -> Result<Meta, StoreError> {
        let exists = self
            .query("store.meta_exists", "SELECT to_regclass('meta') IS NOT NULL", &[])
            .await?;
        if !exists.first().is_some_and(|row| row.get(0)) {
            let advice = "the database has no tables yet: run `hub-services migrate`";
            return Err(StoreError::Unfit(advice.to_owned()));
        }
        self.run_read("store.meta", |tx| async move { tx.meta().await })
            .await
    }

    /// True if the database answers. For `/readyz`.
    pub async fn is_ready(&self) -> bool {
        self.query("store.ping", "SELECT 1", &[]).await.is_ok()
    }

    /// Refuses a server on which a commit does not survive a crash.
    pub(super) async fn check_durability(&self, allow_unsafe: bool) -> Result<(), StoreError> {
        const SQL: &str = "SELECT name, setting FROM pg_settings \
             WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name";
        let rows = self.query("store.durability", SQL, &[]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let off: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let off = off.join(", ");
        if allow_unsafe {
            tracing::warn!(
                "PostgreSQL runs without {off}: committed messages may be lost (allowed by configuration)"
            );
            return Ok(());
        }
        let text = format!(
            "PostgreSQL runs without {off}: a crash would lose acknowledged messages; turn it on, or set \
             postgres.allow_unsafe_durability for tests"
        );
        Err(StoreError::Unfit(text))
    }
}

impl Tx {
    /// See [`Store::meta`].
    pub async fn meta(&self) -> Result<Meta, StoreError> {
        let sql = format!("SELECT key, value FROM meta UNION ALL SELECT 'epoch', {EPOCH_SQL}");
        let rows = self.query(&sql, &[]).await?;
        Meta::from_rows(&rows).map_err(StoreError::Unfit)
    }
}

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The bytes of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_round_trip() {
        assert_eq!(from_hex(&to_hex(&[0, 15, 16, 255])), Some(vec![0, 15, 16, 255]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("é0"), None);
    }
}
