//! Stays and marks.

use hub_protocol::limits::UNREAD_COUNT_MAX;
use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::chat::plan::MemberRow;
use crate::store::{StoreError, Tx};
use crate::unread::unread_sql;

pub(super) async fn upsert(tx: &Tx, members: &[MemberRow]) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO members AS m (room, user_id, role, from_seq, to_seq, read_seq, changed) \
         SELECT w.room, w.user_id, w.role, w.from_seq, w.to_seq, w.read_seq, pg_current_xact_id() \
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
             AS w (room, user_id, role, from_seq, to_seq, read_seq) \
         ON CONFLICT (user_id, room, from_seq) DO UPDATE SET role = EXCLUDED.role, to_seq = EXCLUDED.to_seq, \
             read_seq = GREATEST(m.read_seq, EXCLUDED.read_seq), changed = EXCLUDED.changed";
    if members.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = members.iter().map(|row| row.room.0).collect();
    let users: Vec<Uuid> = members.iter().map(|row| row.user.0).collect();
    let roles: Vec<&str> = members.iter().map(|row| row.role.name()).collect();
    let froms: Vec<i64> = members.iter().map(|row| row.from_seq).collect();
    let tos: Vec<Option<i64>> = members.iter().map(|row| row.to_seq).collect();
    let reads: Vec<i64> = members.iter().map(|row| row.read_seq).collect();
    tx.execute(SQL, &[&rooms, &users, &roles, &froms, &tos, &reads])
        .await?;
    Ok(())
}

/// Where a member's marks stand after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::chat) struct Stand {
    pub(in crate::chat) read: i64,
    /// At least `read`.
    pub(in crate::chat) delivered: i64,
    /// True if one of them moved.
    pub(in crate::chat) moved: bool,
    /// True if the read mark did.
    pub(in crate::chat) read_moved: bool,
    /// Counted only if the read mark moved.
    pub(in crate::chat) unread: u32,
    /// Like `unread`.
    pub(in crate::chat) mentions: u32,
}

pub(super) async fn move_marks(
    tx: &Tx,
    marks: &[(RoomId, UserId, i64, i64)],
) -> Result<Vec<Stand>, StoreError> {
    // Both parts see the rows as they were: the first moves them, the second says where they stand afterwards.
    // What was received is nothing that a sync tells, so it does not touch `changed`.
    const SQL: &str = "WITH w AS ( \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) \
                 WITH ORDINALITY AS w (room, user_id, read, delivered, i)), \
         moved AS ( \
             UPDATE members m SET read_seq = greatest(m.read_seq, w.read), \
                 delivered_seq = greatest(m.delivered_seq, m.read_seq, w.read, w.delivered), \
                 changed = CASE WHEN m.read_seq < w.read THEN pg_current_xact_id() ELSE m.changed END \
             FROM w WHERE m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL \
                 AND (m.read_seq < w.read OR greatest(m.delivered_seq, m.read_seq) < w.delivered)) \
         SELECT greatest(m.read_seq, w.read), greatest(m.delivered_seq, m.read_seq, w.read, w.delivered), \
             m.read_seq < w.read OR greatest(m.delivered_seq, m.read_seq) < w.delivered, m.read_seq < w.read \
         FROM w LEFT JOIN members m ON m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL ORDER BY w.i";
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<Uuid> = marks.iter().map(|(room, ..)| room.0).collect();
    let users: Vec<Uuid> = marks.iter().map(|(_, user, ..)| user.0).collect();
    let reads: Vec<i64> = marks.iter().map(|(_, _, read, _)| *read).collect();
    let delivered: Vec<i64> = marks.iter().map(|(.., delivered)| *delivered).collect();
    let rows = tx.query(SQL, &[&rooms, &users, &reads, &delivered]).await?;
    // A stay that ended later in the same read has no row any more: nothing moves.
    let stand = |row: &Row| Stand {
        read: row.get(0),
        delivered: row.get(1),
        moved: row.get::<_, Option<bool>>(2).unwrap_or(false),
        read_moved: row.get::<_, Option<bool>>(3).unwrap_or(false),
        ..Stand::default()
    };
    let mut stands: Vec<Stand> = rows.iter().map(stand).collect();
    count_unread(tx, marks, &mut stands).await?;
    Ok(stands)
}

/// Counts for those whose read mark moved what is left to read.
async fn count_unread(
    tx: &Tx,
    marks: &[(RoomId, UserId, i64, i64)],
    stands: &mut [Stand],
) -> Result<(), StoreError> {
    const SQL: &str = concat!(
        "SELECT w.i, u.count, u.mentions \
         FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (room, user_id, i) \
         JOIN members m ON m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL CROSS JOIN LATERAL (",
        unread_sql!("m.room", "m.user_id", "m.read_seq", "m.from_seq", "$3"),
        ") u"
    );
    let moved: Vec<usize> = (0..stands.len()).filter(|at| stands[*at].read_moved).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = moved.iter().map(|at| marks[*at].0.0).collect();
    let users: Vec<Uuid> = moved.iter().map(|at| marks[*at].1.0).collect();
    let rows = tx
        .query(SQL, &[&rooms, &users, &i64::from(UNREAD_COUNT_MAX)])
        .await?;
    let count = |row: &Row, column: usize| u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX);
    for row in &rows {
        let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        let Some(stand) = moved.get(place).and_then(|at| stands.get_mut(*at)) else {
            continue;
        };
        (stand.unread, stand.mentions) = (count(row, 1), count(row, 2));
    }
    Ok(())
}

/// Marks of the present members of a room, by user: room.
pub(in crate::chat) const MARKS_SQL: &str = "SELECT user_id, read_seq, greatest(delivered_seq, read_seq) \
     FROM members WHERE room = $1 AND to_seq IS NULL ORDER BY user_id";

/// How many present members have read and received up to a seq, and how many there are: room, seq.
pub(in crate::chat) const COUNTS_SQL: &str = "SELECT count(*) FILTER (WHERE read_seq >= $2), \
     count(*) FILTER (WHERE greatest(delivered_seq, read_seq) >= $2), count(*) \
     FROM members WHERE room = $1 AND to_seq IS NULL";

/// Where a caller may look in a room: its head, and his stays by their start.
pub(in crate::chat) struct View {
    pub(in crate::chat) head_seq: i64,
    pub(in crate::chat) stays: Vec<(i64, Option<i64>)>,
}

/// The statement of a [`View`]: room and user.
pub(in crate::chat) const VIEW_SQL: &str = "SELECT h.seq, m.from_seq, m.to_seq FROM room_heads h \
     JOIN members m ON m.room = h.room AND m.user_id = $2 WHERE h.room = $1 ORDER BY m.from_seq";

/// Reads the rows of [`VIEW_SQL`]; `None` if the user never belonged to the room, or it does not exist.
pub(in crate::chat) fn view(rows: &[Row]) -> Option<View> {
    let head_seq = rows.first()?.get(0);
    let mut stays: Vec<(i64, Option<i64>)> = Vec::new();
    for row in rows {
        let (from, to): (i64, Option<i64>) = (row.get(1), row.get(2));
        match stays.last_mut() {
            // A stay that sees the log from its start covers earlier ones: they count once.
            Some((_, end)) if end.is_none_or(|end| from <= end) => {
                *end = end.and_then(|end| to.map(|to| to.max(end)));
            }
            _ => stays.push((from, to)),
        }
    }
    Some(View { head_seq, stays })
}
