//! Changes that are no events of a room, under their op: a repeat changes nothing and returns the first result, the
//! same op with another content is a conflict. Recognised for seven days.
//!
//! Invariant: whoever loads and saves holds a lock that all changes of the actor take (his row in `users`), so that
//! two owners of one partition do not apply an op twice.

use aws_lc_rs::hmac;
use bytes::Bytes;
use hashbrown::HashMap;
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Method, Op, UserId};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::call::{json, refuse};
use crate::store::{StoreError, Tx};

/// Repeats are recognised this long, µs.
const APPLIED_US: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Old rows that one transaction takes away.
const TIDY_ROWS: i64 = 64;
const HASH_BYTES: usize = 16;

/// Of what the client sent, keyed.
pub(crate) type Hash = [u8; HASH_BYTES];

/// HMAC-SHA-256, cut to 128 bits, over the method and the arguments in one fixed notation.
pub(crate) fn hash<P: Serialize>(key: &hmac::Key, method: Method, params: &P) -> Hash {
    let mut text = method.code().to_le_bytes().to_vec();
    serde_json::to_writer(&mut text, params).expect("arguments that were read can be written");
    let tag = hmac::sign(key, &text);
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&tag.as_ref()[..HASH_BYTES]);
    hash
}

/// One change by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// Who asks for it.
    pub(crate) actor: UserId,
    /// His name for it.
    pub(crate) op: Op,
    /// What it says.
    pub(crate) hash: Hash,
}

/// What was applied before, and what this transaction adds.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    known: HashMap<(UserId, Op), (Hash, Bytes)>,
    new: Vec<(Change, Bytes)>,
}

impl Applied {
    /// Finds those of the changes that were applied before.
    pub(crate) async fn load(tx: &Tx, changes: &[Change]) -> Result<Self, StoreError> {
        const SQL: &str = "SELECT a.actor, a.op, a.hash, a.result \
             FROM unnest($1::uuid[], $2::uuid[]) AS w (actor, op) \
             JOIN applied_ops a ON a.actor = w.actor AND a.op = w.op";
        let actors: Vec<Uuid> = changes.iter().map(|change| change.actor.0).collect();
        let ops: Vec<Uuid> = changes.iter().map(|change| change.op.0).collect();
        let mut applied = Self::default();
        for row in tx.query(SQL, &[&actors, &ops]).await? {
            let stored: &[u8] = row.get(2);
            let mut hash = Hash::default();
            if let Some(stored) = stored.get(..HASH_BYTES) {
                hash.copy_from_slice(stored);
            }
            let result = Bytes::from(row.get::<_, String>(3));
            applied
                .known
                .insert((UserId(row.get(0)), Op(row.get(1))), (hash, result));
        }
        Ok(applied)
    }

    /// The first result of a change, marked as a repeat; `None` if it is new.
    pub(crate) fn find(&self, change: &Change) -> Result<Option<Bytes>, ErrorBody> {
        match self.known.get(&(change.actor, change.op)) {
            None => Ok(None),
            Some((hash, _)) if *hash != change.hash => {
                Err(refuse(ErrorCode::Conflict, "the op was used for another change"))
            }
            Some((_, result)) => Ok(Some(repeated(result))),
        }
    }

    /// Remembers the result of a change, for its repeats.
    pub(crate) fn add(&mut self, change: Change, result: Bytes) {
        let first = (change.hash, result.clone());
        self.known.insert((change.actor, change.op), first);
        self.new.push((change, result));
    }

    /// Writes what was added.
    pub(crate) async fn save(self, tx: &Tx, now: i64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO applied_ops (actor, op, hash, result, applied_at) \
             SELECT w.*, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[]) AS w";
        // Bound: each transaction that adds rows also takes away some that are too old.
        const TIDY: &str = "DELETE FROM applied_ops WHERE ctid = ANY (ARRAY(SELECT ctid FROM applied_ops \
             WHERE applied_at < $1 ORDER BY applied_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
        if self.new.is_empty() {
            return Ok(());
        }
        let actors: Vec<Uuid> = self.new.iter().map(|(change, _)| change.actor.0).collect();
        let ops: Vec<Uuid> = self.new.iter().map(|(change, _)| change.op.0).collect();
        let hashes: Vec<&[u8]> = self
            .new
            .iter()
            .map(|(change, _)| change.hash.as_slice())
            .collect();
        let results: Vec<String> = self
            .new
            .iter()
            .map(|(_, result)| String::from_utf8_lossy(result).into_owned())
            .collect();
        tx.execute(SQL, &[&actors, &ops, &hashes, &results, &now]).await?;
        tx.execute(TIDY, &[&(now - APPLIED_US), &TIDY_ROWS]).await?;
        Ok(())
    }
}

/// A result as a repeat gets it: with `duplicate: true`.
fn repeated(result: &Bytes) -> Bytes {
    match serde_json::from_slice(result) {
        Ok(Value::Object(mut members)) => {
            members.insert("duplicate".to_owned(), Value::Bool(true));
            json(&members)
        }
        // Only a hand that writes into the table can bring this about.
        _ => result.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_gets_the_first_result_and_another_content_a_conflict() {
        let change = Change {
            actor: UserId(Uuid::from_u128(1)),
            op: Op(Uuid::from_u128(2)),
            hash: [3; HASH_BYTES],
        };
        let mut applied = Applied::default();
        assert_eq!(applied.find(&change).unwrap(), None);
        applied.add(change, Bytes::from_static(br#"{"a":1,"duplicate":false}"#));
        let again = applied.find(&change).unwrap().unwrap();
        assert_eq!(again.as_ref(), br#"{"a":1,"duplicate":true}"#);
        let other = Change {
            hash: [4; HASH_BYTES],
            ..change
        };
        assert_eq!(applied.find(&other).unwrap_err().code, ErrorCode::Conflict);
        let stranger = Change {
            actor: UserId(Uuid::from_u128(9)),
            ..change
        };
        assert_eq!(applied.find(&stranger).unwrap(), None);
    }
}
