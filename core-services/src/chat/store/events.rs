//! Rows of the log.

use hub_protocol::api::event::Kind;
use hub_protocol::{Op, RoomId, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::changes::mentions_text;
use crate::chat::command::Hash;
use crate::chat::extras::Extras;
use crate::chat::log::LogEvent;
use crate::metric::float;
use crate::store::{StoreError, Tx};

/// The columns of an event `e`, in the order in which [`event`] reads them.
macro_rules! event_columns {
    () => {
        "e.room, e.seq, e.n, e.kind, e.actor, e.op, e.hash, e.body, e.created_at, e.reply_to, e.thread, e.extras, \
         e.mentions, e.edited_at, e.deleted_at"
    };
}
pub(super) use event_columns;

/// Reads an event's columns, see [`event_columns`].
pub(in crate::chat) fn event(row: &Row) -> Result<LogEvent, StoreError> {
    let number: i16 = row.get(3);
    let kind = Kind::from_number(number)
        .ok_or_else(|| StoreError::Corrupt(anyhow::anyhow!("an event of unknown kind {number}")))?;
    Ok(LogEvent {
        room: RoomId(row.get(0)),
        seq: row.get(1),
        n: row.get(2),
        kind,
        actor: UserId(row.get(4)),
        op: Op(row.get(5)),
        hash: hash(row.get(6)),
        body: row.get(7),
        created_at: row.get(8),
        extras: Extras::read(row, 9),
    })
}

pub(super) fn hash(bytes: &[u8]) -> Hash {
    // Rows of other origin (a seeded database) may hold another length: then no repeat matches them.
    let mut hash = Hash::default();
    if let Some(stored) = bytes.get(..hash.len()) {
        hash.copy_from_slice(stored);
    }
    hash
}

pub(super) async fn insert(tx: &Tx, events: &[LogEvent]) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::smallint[], $5::uuid[], $6::uuid[], \
             $7::bytea[], $8::text[], $9::bigint[])";
    if events.is_empty() {
        return Ok(());
    }
    metrics::histogram!("hub_services_transaction_rows", "name" => "chat.write").record(float(events.len()));
    let (plain, rich): (Vec<&LogEvent>, Vec<&LogEvent>) =
        events.iter().partition(|event| event.extras.is_none());
    insert_rich(tx, &rich).await?;
    if plain.is_empty() {
        return Ok(());
    }
    let events = plain;
    let rooms: Vec<Uuid> = events.iter().map(|event| event.room.0).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let ns: Vec<Option<i64>> = events.iter().map(|event| event.n).collect();
    let kinds: Vec<i16> = events.iter().map(|event| event.kind.number()).collect();
    let actors: Vec<Uuid> = events.iter().map(|event| event.actor.0).collect();
    let ops: Vec<Uuid> = events.iter().map(|event| event.op.0).collect();
    let hashes: Vec<&[u8]> = events.iter().map(|event| event.hash.as_slice()).collect();
    let bodies: Vec<&str> = events.iter().map(|event| event.body.as_str()).collect();
    let times: Vec<i64> = events.iter().map(|event| event.created_at).collect();
    let columns: [&(dyn ToSql + Sync); 9] = [
        &rooms, &seqs, &ns, &kinds, &actors, &ops, &hashes, &bodies, &times,
    ];
    tx.execute(SQL, &columns).await?;
    Ok(())
}

/// Messages that carry more than their text. A statement of its own, so that plain ones do not pay for its columns.
async fn insert_rich(tx: &Tx, events: &[&LogEvent]) -> Result<(), StoreError> {
    // Arrays of arrays do not exist: those who are mentioned come as the text of an array.
    const SQL: &str = "INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at, reply_to, thread, \
             extras, mentions) \
         SELECT w.room, w.seq, w.n, w.kind, w.actor, w.op, w.hash, w.body, w.created_at, w.reply_to, w.thread, \
             w.extras, w.mentions::uuid[] \
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::smallint[], $5::uuid[], $6::uuid[], \
             $7::bytea[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[]) \
             AS w (room, seq, n, kind, actor, op, hash, body, created_at, reply_to, thread, extras, mentions)";
    if events.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = events.iter().map(|event| event.room.0).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let ns: Vec<Option<i64>> = events.iter().map(|event| event.n).collect();
    let kinds: Vec<i16> = events.iter().map(|event| event.kind.number()).collect();
    let actors: Vec<Uuid> = events.iter().map(|event| event.actor.0).collect();
    let ops: Vec<Uuid> = events.iter().map(|event| event.op.0).collect();
    let hashes: Vec<&[u8]> = events.iter().map(|event| event.hash.as_slice()).collect();
    let bodies: Vec<&str> = events.iter().map(|event| event.body.as_str()).collect();
    let times: Vec<i64> = events.iter().map(|event| event.created_at).collect();
    let replies: Vec<Option<i64>> = events
        .iter()
        .map(|event| event.extras.as_ref()?.reply_to)
        .collect();
    let threads: Vec<Option<i64>> = events.iter().map(|event| event.extras.as_ref()?.thread).collect();
    let extras: Vec<Option<String>> = events
        .iter()
        .map(|event| event.extras.as_ref()?.stored())
        .collect();
    let mentions: Vec<Option<String>> = events.iter().map(|event| mentions_text(event)).collect();
    let columns: [&(dyn ToSql + Sync); 13] = [
        &rooms, &seqs, &ns, &kinds, &actors, &ops, &hashes, &bodies, &times, &replies, &threads, &extras,
        &mentions,
    ];
    tx.execute(SQL, &columns).await?;
    Ok(())
}

/// The statement of a page: room, and the inclusive ranges to read. `OFFSET 0` keeps the planner from reading the whole
/// room and joining it with the ranges.
pub(in crate::chat) const PAGE_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM unnest($2::bigint[], $3::bigint[]) AS r (low, high) \
     CROSS JOIN LATERAL (SELECT * FROM events WHERE room = $1 AND seq BETWEEN r.low AND r.high OFFSET 0) AS e \
     ORDER BY e.seq"
);
