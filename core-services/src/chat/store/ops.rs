//! Which calls were applied before, and who was told.

use std::sync::Arc;

use hashbrown::HashMap;
use hub_protocol::{Op, UserId};
use uuid::Uuid;

use super::events::{event, event_columns, hash};
use crate::chat::command::{Command, Write};
use crate::chat::log::LogEvent;
use crate::chat::plan::{AppliedRow, Known, OpKey, applied_key};
use crate::store::{StoreError, Tx};

/// Repeats of changes that are no events are recognised this long.
const APPLIED_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// Finds calls that were applied before. After the locks: another owner of the partition has committed by then.
pub(super) async fn known(tx: &Tx, writes: &[&Write]) -> Result<HashMap<OpKey, Known>, StoreError> {
    const EVENTS: &str = concat!(
        "SELECT ",
        event_columns!(),
        " FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (room, actor, op) \
         CROSS JOIN LATERAL (SELECT * FROM events \
             WHERE room = w.room AND actor = w.actor AND op = w.op LIMIT 1) AS e"
    );
    const APPLIED: &str = "SELECT a.actor, a.op, a.hash, a.result \
         FROM unnest($1::uuid[], $2::uuid[]) AS w (actor, op) \
         JOIN applied_ops a ON a.actor = w.actor AND a.op = w.op";
    let mut known = HashMap::new();
    let (mut rooms, mut actors, mut ops) = (Vec::new(), Vec::new(), Vec::new());
    let (mut other_actors, mut other_ops) = (Vec::new(), Vec::new());
    for write in writes {
        let Some((op, _hash)) = write.op else { continue };
        rooms.push(write.room.0);
        actors.push(write.actor.0);
        ops.push(op.0);
        // Messages are always events.
        if !matches!(write.command, Command::Send(_)) {
            other_actors.push(write.actor.0);
            other_ops.push(op.0);
        }
    }
    if !ops.is_empty() {
        let rows = tx.query(EVENTS, &[&rooms, &actors, &ops]).await?;
        let events: Vec<LogEvent> = rows.iter().map(event).collect::<Result<_, _>>()?;
        let receivers = receivers_of(tx, &events).await?;
        for (event, receivers) in events.into_iter().zip(receivers) {
            known.insert(
                (event.room, event.actor, event.op),
                Known::Event(event, receivers),
            );
        }
    }
    if !other_ops.is_empty() {
        for row in tx.query(APPLIED, &[&other_actors, &other_ops]).await? {
            let key = applied_key(UserId(row.get(0)), Op(row.get(1)));
            known.insert(key, Known::Applied(hash(row.get(2)), row.get(3)));
        }
    }
    Ok(known)
}

/// For each stored event everybody whose stay covers it: those it was, or should have been, delivered to.
pub(super) async fn receivers_of(tx: &Tx, events: &[LogEvent]) -> Result<Vec<Arc<[UserId]>>, StoreError> {
    // In two parts, each with its own index: those who are members now, and those who were.
    // Nobody is named where events go to whoever is attached.
    const SQL: &str = "WITH w AS ( \
             SELECT w.* FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (room, seq, seen, i) \
             JOIN rooms r ON r.id = w.room AND NOT (r.large AND w.seq > r.switched_seq)) \
         SELECT w.i, m.user_id FROM w \
         JOIN members m ON m.room = w.room AND m.to_seq IS NULL AND m.from_seq <= w.seen \
         UNION \
         SELECT w.i, m.user_id FROM w \
         JOIN members m ON m.room = w.room AND m.to_seq IS NOT NULL AND m.to_seq >= w.seq AND m.from_seq <= w.seen \
         ORDER BY 1, 2";
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<Uuid> = events.iter().map(|event| event.room.0).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let seen: Vec<i64> = events.iter().map(LogEvent::seen_with).collect();
    let mut found: Vec<Vec<UserId>> = vec![Vec::new(); events.len()];
    for row in tx.query(SQL, &[&rooms, &seqs, &seen]).await? {
        let position: i64 = row.get(0);
        let slot = usize::try_from(position - 1)
            .ok()
            .and_then(|at| found.get_mut(at));
        slot.expect("an ordinal counts the rows that were sent")
            .push(UserId(row.get(1)));
    }
    let mut receivers = Vec::with_capacity(events.len());
    for (mut users, event) in found.into_iter().zip(events) {
        if let Some(subject) = event.subject()
            && !users.contains(&subject)
        {
            users.push(subject);
        }
        receivers.push(users.into());
    }
    Ok(receivers)
}

pub(super) async fn insert_applied(tx: &Tx, applied: &[AppliedRow], now: i64) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO applied_ops (actor, op, hash, result, applied_at) \
         SELECT w.*, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[]) AS w";
    // Bound: each transaction that adds rows also takes away some that are too old.
    const TIDY: &str = "DELETE FROM applied_ops WHERE (actor, op) IN (SELECT actor, op FROM applied_ops \
         WHERE applied_at < $1 ORDER BY applied_at LIMIT 64 FOR UPDATE SKIP LOCKED)";
    if applied.is_empty() {
        return Ok(());
    }
    let actors: Vec<Uuid> = applied.iter().map(|row| row.actor.0).collect();
    let ops: Vec<Uuid> = applied.iter().map(|row| row.op.0).collect();
    let hashes: Vec<&[u8]> = applied.iter().map(|row| row.hash.as_slice()).collect();
    let results: Vec<&str> = applied.iter().map(|row| row.result.as_str()).collect();
    tx.execute(SQL, &[&actors, &ops, &hashes, &results, &now]).await?;
    tx.execute(TIDY, &[&(now - APPLIED_US)]).await?;
    Ok(())
}
