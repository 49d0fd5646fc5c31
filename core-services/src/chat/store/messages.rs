//! Reads of messages: pages of threads and searches, pins, former texts, and what answers say beside a row.
//!
//! Each list shows what the caller's stays cover and what he did not take away for himself.

use hub_protocol::api::message::{Reaction, Replies};
use hub_protocol::{RoomId, UserId};
use tokio_postgres::types::ToSql;

use super::events::{event, event_columns};
use crate::chat::log::LogEvent;
use crate::store::{StoreError, Tx};

/// `e` is a message that the user `$1` sees.
macro_rules! visible {
    () => {
        "e.kind = 2 AND EXISTS (SELECT FROM members m WHERE m.user_id = $1 AND m.room = e.room \
            AND m.from_seq <= e.seq AND (m.to_seq IS NULL OR m.to_seq >= e.seq)) \
         AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)"
    };
}

/// The words of a text; the expression of the index `events_words`.
macro_rules! words {
    () => {
        "to_tsvector('simple', left(e.body, 4096)) @@ websearch_to_tsquery('simple', $3)"
    };
}

/// Messages of a thread after a seq: user, room, root, after, limit.
pub(in crate::chat) const THREAD_AFTER_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events e WHERE e.room = $2 AND e.thread = $3 AND e.seq > $4 AND ",
    visible!(),
    " ORDER BY e.seq LIMIT $5"
);

/// Messages of a thread before a seq, the newest first: user, room, root, before, limit.
pub(in crate::chat) const THREAD_BEFORE_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events e WHERE e.room = $2 AND e.thread = $3 AND e.seq < $4 AND ",
    visible!(),
    " ORDER BY e.seq DESC LIMIT $5"
);

/// Messages of a room with some words, the newest first: user, room, query, before, limit.
pub(in crate::chat) const SEARCH_ROOM_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events e WHERE e.room = $2 AND ",
    words!(),
    " AND e.seq < $4 AND e.deleted_at IS NULL AND ",
    visible!(),
    " ORDER BY e.seq DESC LIMIT $5"
);

/// Messages of some rooms with some words, the newest first: user, rooms, query, and before which time and room,
/// limit.
pub(in crate::chat) const SEARCH_ALL_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events e WHERE e.room = ANY($2::uuid[]) AND ",
    words!(),
    " AND (e.created_at, e.room) < ($4, $5) AND e.deleted_at IS NULL AND ",
    visible!(),
    " ORDER BY e.created_at DESC, e.room DESC LIMIT $6"
);

/// Rooms of a user, past ones too.
pub(in crate::chat) const ROOMS_SQL: &str = "SELECT DISTINCT room FROM members WHERE user_id = $1";

/// Pinned messages, the one pinned last first: user, room. The two columns after the event: by whom, when.
pub(in crate::chat) const PINS_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", p.pinned_by, p.pinned_at FROM pins p JOIN events e ON e.room = p.room AND e.seq = p.seq \
     WHERE p.room = $2 AND ",
    visible!(),
    " ORDER BY p.pinned_at DESC, p.seq DESC"
);

/// One message: user, room, seq.
pub(in crate::chat) const MESSAGE_SQL: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events e WHERE e.room = $2 AND e.seq = $3 AND ",
    visible!()
);

/// Former texts of a message: room, seq, after, limit.
pub(in crate::chat) const EDITS_SQL: &str = "SELECT edit_seq, body, extras, until FROM edits \
     WHERE room = $1 AND seq = $2 AND edit_seq > $3 ORDER BY edit_seq LIMIT $4";

/// Reactions to a message: room, seq, after, limit.
pub(in crate::chat) const REACTIONS_SQL: &str = "SELECT user_id, emoji, event_seq FROM reactions \
     WHERE room = $1 AND seq = $2 AND event_seq > $3 ORDER BY event_seq LIMIT $4";

/// Adds to messages of one room what does not stand in their rows: reactions and threads.
pub(in crate::chat) async fn decorate(
    tx: &Tx,
    room: RoomId,
    user: UserId,
    events: &mut [LogEvent],
) -> Result<(), StoreError> {
    const KINDS: &str = "SELECT c.seq, c.emoji, c.count, EXISTS (SELECT FROM reactions r \
             WHERE r.room = c.room AND r.seq = c.seq AND r.user_id = $3 AND r.emoji = c.emoji) \
         FROM reaction_counts c WHERE c.room = $1 AND c.seq = ANY($2) ORDER BY c.seq, c.first_seq, c.emoji";
    const THREADS: &str =
        "SELECT root, count, last_seq, last_at FROM threads WHERE room = $1 AND root = ANY($2) AND count > 0";
    let seqs: Vec<i64> = events
        .iter()
        .filter(|event| event.n.is_some())
        .map(|event| event.seq)
        .collect();
    if seqs.is_empty() {
        return Ok(());
    }
    let of_kinds: [&(dyn ToSql + Sync); 3] = [&room.0, &seqs, &user.0];
    let of_threads: [&(dyn ToSql + Sync); 2] = [&room.0, &seqs];
    let (kinds, threads) = tokio::try_join!(tx.query(KINDS, &of_kinds), tx.query(THREADS, &of_threads))?;
    for row in kinds {
        let Some(event) = find(events, row.get(0)) else {
            continue;
        };
        let reaction = Reaction {
            emoji: row.get(1),
            count: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
            own: row.get(3),
        };
        event.extras.get_or_insert_default().reactions.push(reaction);
    }
    for row in threads {
        let Some(event) = find(events, row.get(0)) else {
            continue;
        };
        event.extras.get_or_insert_default().replies = Some(Replies {
            count: u32::try_from(row.get::<_, i64>(1)).unwrap_or(u32::MAX),
            last_seq: row.get::<_, i64>(2).unsigned_abs(),
            last_at: row.get(3),
        });
    }
    Ok(())
}

fn find(events: &mut [LogEvent], seq: i64) -> Option<&mut LogEvent> {
    events.iter_mut().find(|event| event.seq == seq)
}

/// Those of a room's messages between two seqs that the user took away for himself.
pub(in crate::chat) async fn hidden(
    tx: &Tx,
    room: RoomId,
    user: UserId,
    low: i64,
    high: i64,
) -> Result<Vec<i64>, StoreError> {
    const SQL: &str = "SELECT seq FROM hidden WHERE user_id = $1 AND room = $2 AND seq BETWEEN $3 AND $4";
    let rows = tx.query(SQL, &[&user.0, &room.0, &low, &high]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Reads the events of rows.
pub(in crate::chat) fn events(rows: &[tokio_postgres::Row]) -> Result<Vec<LogEvent>, StoreError> {
    rows.iter().map(event).collect()
}
