//! Stays and marks.

use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::chat::plan::MemberRow;
use crate::store::{StoreError, Tx};

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

pub(super) async fn move_marks(
    tx: &Tx,
    marks: &[(RoomId, UserId, i64)],
) -> Result<Vec<(i64, bool)>, StoreError> {
    // Both parts see the rows as they were: the first moves them, the second says where they stand afterwards.
    const SQL: &str = "WITH w AS ( \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) WITH ORDINALITY AS w (room, user_id, seq, i)), \
         moved AS ( \
             UPDATE members m SET read_seq = w.seq, changed = pg_current_xact_id() FROM w \
             WHERE m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL AND m.read_seq < w.seq) \
         SELECT GREATEST(m.read_seq, w.seq), m.read_seq < w.seq FROM w \
         LEFT JOIN members m ON m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL ORDER BY w.i";
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<Uuid> = marks.iter().map(|(room, _, _)| room.0).collect();
    let users: Vec<Uuid> = marks.iter().map(|(_, user, _)| user.0).collect();
    let seqs: Vec<i64> = marks.iter().map(|(_, _, seq)| *seq).collect();
    let rows = tx.query(SQL, &[&rooms, &users, &seqs]).await?;
    // A stay that ended later in the same read has no row any more: nothing moves.
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get::<_, Option<bool>>(1).unwrap_or(false)))
        .collect())
}

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
