//! `sync`: the rooms whose head or whose member row changed since a cursor, in one statement on one snapshot.
//!
//! The cursor is the lowest transaction that was still running when the first page began: whatever commits later
//! has at least that number, so some rooms come twice and none is missed.

use std::sync::LazyLock;

use hub_protocol::api::message::Message;
use hub_protocol::api::room::Role;
use hub_protocol::api::setting::Preferences;
use hub_protocol::api::sync::{Left, RoomState, Sync, Synced};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{RESULT_BYTES_MAX, SYNC_ROOMS_MAX, UNREAD_COUNT_MAX};
use hub_protocol::{ErrorCode, Op, RoomId, UserId};
use tokio_postgres::Row;

use super::cursor::{Cursor, Page};
use super::{Profiles, room};
use crate::call::{json, params, refuse};
use crate::chat::fill;
use crate::mutants::Mutant;
use crate::service::Call;
use crate::store::StoreError;
use crate::store::meta::EPOCH_SQL;
use crate::unread::unread_sql;

/// What an answer needs beside its rooms.
const FRAME_BYTES: usize = 4 * 1024;

/// One row per room that changed, with its last message and counts.
/// `$1` user, `$2` since, `$3` after room, `$4` rows, `$5` counts are exact up to here.
const SYNC_SQL: &str = concat!(
    "
WITH mine AS (
    SELECT DISTINCT ON (m.room) m.room, m.role, m.from_seq, m.to_seq, m.read_seq, m.changed
    FROM members m WHERE m.user_id = $1 AND m.room > $3
    ORDER BY m.room, m.to_seq DESC NULLS FIRST
), changed AS (
    SELECT mine.room, mine.role, mine.from_seq, mine.to_seq, mine.read_seq, h.seq, h.n,
           greatest(mine.changed, h.changed) AS changed
    FROM mine JOIN room_heads h ON h.room = mine.room
    WHERE mine.changed >= $2::text::xid8 OR (mine.to_seq IS NULL AND h.changed >= $2::text::xid8)
    ORDER BY mine.room LIMIT $4
)
SELECT r.id, r.kind, r.name, r.created_by, r.created_at,
       c.role, c.from_seq, c.to_seq, c.read_seq, c.seq, c.n,
       last.seq, last.n, last.actor, last.op, last.body, last.created_at,
       unread.count, unread.mentions, c.changed::text,
       r.topic, r.avatar, r.settings::text, p.archived, p.muted_until, p.pinned_at,
       last.reply_to, last.thread, last.extras, last.mentions, last.edited_at, last.deleted_at
FROM changed c
JOIN rooms r ON r.id = c.room
LEFT JOIN room_preferences p ON p.user_id = $1 AND p.room = c.room
LEFT JOIN LATERAL (
    SELECT e.seq, e.n, e.actor, e.op, e.body, e.created_at,
           e.reply_to, e.thread, e.extras, e.mentions, e.edited_at, e.deleted_at FROM events e
    WHERE e.room = c.room AND e.n IS NOT NULL AND e.seq >= c.from_seq AND c.to_seq IS NULL
      AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
    ORDER BY e.seq DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    ",
    unread_sql!("c.room", "$1", "c.read_seq", "c.from_seq", "$5"),
    "
) unread ON c.to_seq IS NULL
ORDER BY c.room"
);

impl Profiles {
    pub(super) async fn sync(&self, call: &Call) -> Result<Result<Synced, ErrorBody>, StoreError> {
        let asked: Sync = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        let limit = asked.limit.unwrap_or(SYNC_ROOMS_MAX).clamp(1, SYNC_ROOMS_MAX);
        let (asked, user) = (&asked, call.header.user);
        let found = self
            .store
            .run_read("user.sync", |tx| async move {
                // The epoch comes with the snapshot: after a failover this process may still be the old one.
                let about = tx.query(about_sql(), &[]).await?;
                let about = about.first().ok_or(StoreError::Unfit("no answer".to_owned()))?;
                let epoch: String = about.get(0);
                let snapshot = about.get::<_, String>(1).parse().unwrap_or(0);
                let start = match Start::read(asked, &epoch, snapshot) {
                    Ok(start) => start,
                    Err(error) => return Ok(Err(error)),
                };
                // One row more than asked for tells whether there is more.
                let (since, wanted) = (start.since.to_string(), i64::from(limit) + 1);
                let unread = i64::from(UNREAD_COUNT_MAX);
                let rows = tx
                    .query(SYNC_SQL, &[&user.0, &since, &start.after.0, &wanted, &unread])
                    .await?;
                Ok(Ok((start, epoch, rows)))
            })
            .await?;
        Ok(found.map(|(start, epoch, rows)| answer(start, &epoch, &rows, limit)))
    }
}

/// The epoch, and the lowest transaction that is still running.
fn about_sql() -> &'static str {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("SELECT {EPOCH_SQL}, pg_snapshot_xmin(pg_current_snapshot())::text"));
    &SQL
}

fn answer(start: Start, epoch: &str, rows: &[Row], limit: u32) -> Synced {
    let mut next = start.next;
    if Mutant::SyncSequence.is_on() {
        let seen = |row: &Row| row.get::<_, String>(19).parse::<u64>().ok();
        let before = if start.after.is_nil() {
            start.since
        } else {
            start.next
        };
        next = rows
            .iter()
            .filter_map(seen)
            .map(|seen| seen + 1)
            .fold(before, u64::max);
    }
    let mut synced = Synced {
        rooms: Vec::new(),
        left: Vec::new(),
        cursor: Cursor { since: next }.write(epoch),
        next: None,
        reset: start.reset,
    };
    let mut bytes = FRAME_BYTES;
    let mut last = start.after;
    for (number, row) in (0..).zip(rows) {
        let state = state(row);
        let len = json(&state).len();
        if number >= limit || (bytes + len > RESULT_BYTES_MAX && number > 0) {
            let page = Page {
                after: last,
                since: start.since,
                next,
                reset: start.reset,
            };
            synced.next = Some(page.write(epoch));
            break;
        }
        bytes += len;
        last = state.room.id;
        match row.get::<_, Option<i64>>(7) {
            // A room that was left before the first sync of a client is nothing to him.
            Some(_) if start.reset => {}
            Some(to_seq) => synced.left.push(Left {
                room: state.room.id,
                seq: to_seq.unsigned_abs(),
            }),
            None => synced.rooms.push(state),
        }
    }
    synced
}

/// Where a page begins.
#[derive(Clone, Copy)]
struct Start {
    since: u64,
    after: RoomId,
    /// The cursor that the whole sync returns: fixed by its first page.
    next: u64,
    reset: bool,
}

impl Start {
    /// From what the client sent. A cursor of another epoch, or of a transaction that this database has not had
    /// yet, means everything from the start.
    fn read(asked: &Sync, epoch: &str, snapshot: u64) -> Result<Self, ErrorBody> {
        if let Some(page) = &asked.page {
            let page = Page::read(page, epoch)
                .ok_or_else(|| refuse(ErrorCode::BadRequest, "page: not the `next` of this system"))?;
            return Ok(Self {
                since: page.since,
                after: page.after,
                next: page.next,
                reset: page.reset,
            });
        }
        let cursor = asked.cursor.as_ref().and_then(|text| Cursor::read(text, epoch));
        let cursor = cursor.filter(|cursor| cursor.since <= snapshot || Mutant::SyncSequence.is_on());
        Ok(Self {
            since: cursor.map_or(0, |cursor| cursor.since),
            after: RoomId::NIL,
            next: snapshot,
            reset: cursor.is_none(),
        })
    }
}

fn state(row: &Row) -> RoomState {
    let number = |index: usize| row.get::<_, Option<i64>>(index).unwrap_or(0).unsigned_abs();
    let count = |index: usize| u32::try_from(number(index)).unwrap_or(u32::MAX);
    let room = room(row, 20);
    let mut last_message = row.get::<_, Option<i64>>(11).map(|seq| Message {
        room: room.id,
        seq: seq.unsigned_abs(),
        n: number(12),
        sender: UserId(row.get(13)),
        client_message_id: Op(row.get(14)),
        text: row.get(15),
        created_at: row.get(16),
        ..Message::default()
    });
    if let Some(message) = &mut last_message {
        fill(message, row, 26);
    }
    RoomState {
        seq: number(9),
        n: number(10),
        from_seq: number(6),
        role: Role::find(row.get(5)).unwrap_or(Role::Reader),
        read_seq: number(8),
        unread: count(17),
        mentions: count(18),
        preferences: Preferences {
            archived: row.get::<_, Option<bool>>(23).unwrap_or(false),
            muted_until: row.get::<_, Option<i64>>(24).unwrap_or(0),
            pinned_at: row.get::<_, Option<i64>>(25).unwrap_or(0),
        },
        last_message,
        room,
    }
}
