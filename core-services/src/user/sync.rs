//! `sync`: the rooms whose head or whose member row changed since a cursor, in one statement on one snapshot.
//!
//! The cursor is the lowest transaction that was still running when the first page began: whatever commits later
//! has at least that number, so some rooms come twice and none is missed.

use hub_protocol::api::message::Message;
use hub_protocol::api::room::Role;
use hub_protocol::api::sync::{Left, RoomState, Sync, Synced};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{RESULT_BYTES_MAX, SYNC_ROOMS_MAX, UNREAD_COUNT_MAX};
use hub_protocol::{ErrorCode, Op, RoomId, UserId};
use tokio_postgres::Row;

use super::cursor::{Cursor, Page};
use super::{Profiles, room};
use crate::call::{json, params, refuse};
use crate::mutants::Mutant;
use crate::service::Call;
use crate::store::StoreError;

/// What an answer needs beside its rooms.
const FRAME_BYTES: usize = 4 * 1024;

/// The lowest transaction still running, and one row per room that changed, with its last message and counts.
/// `$1` user, `$2` since, `$3` after room, `$4` rows, `$5` counts are exact up to here, `$6` mention of the user.
const SYNC_SQL: &str = "
WITH mine AS (
    SELECT m.room, m.role, m.from_seq, m.to_seq, m.read_seq, m.changed
    FROM members m
    WHERE m.user_id = $1 AND m.room > $3
      AND NOT EXISTS (SELECT 1 FROM members later
                      WHERE later.user_id = m.user_id AND later.room = m.room AND later.from_seq > m.from_seq)
), changed AS (
    SELECT mine.room, mine.role, mine.from_seq, mine.to_seq, mine.read_seq, h.seq, h.n,
           greatest(mine.changed, h.changed) AS changed
    FROM mine JOIN room_heads h ON h.room = mine.room
    WHERE mine.changed >= $2::text::xid8 OR (mine.to_seq IS NULL AND h.changed >= $2::text::xid8)
    ORDER BY mine.room LIMIT $4
)
SELECT pg_snapshot_xmin(pg_current_snapshot())::text,
       r.id, r.kind, r.name, r.created_by, r.created_at,
       c.role, c.from_seq, c.to_seq, c.read_seq, c.seq, c.n,
       last.seq, last.n, last.actor, last.op, last.body, last.created_at,
       unread.count, unread.mentions, c.changed::text
FROM (SELECT 1) one
LEFT JOIN changed c ON true
LEFT JOIN rooms r ON r.id = c.room
LEFT JOIN LATERAL (
    SELECT e.seq, e.n, e.actor, e.op, e.body, e.created_at FROM events e
    WHERE e.room = c.room AND e.n IS NOT NULL AND e.seq >= c.from_seq AND c.to_seq IS NULL
    ORDER BY e.seq DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS count, count(*) FILTER (WHERE e.body ~* $6) AS mentions FROM (
        SELECT e.body FROM events e
        WHERE e.room = c.room AND e.n IS NOT NULL AND e.actor <> $1
          AND e.seq > greatest(c.read_seq, c.from_seq - 1) AND c.to_seq IS NULL
        ORDER BY e.seq LIMIT $5
    ) e
) unread ON true
ORDER BY c.room";

impl Profiles {
    pub(super) async fn sync(&self, call: &Call) -> Result<Result<Synced, ErrorBody>, StoreError> {
        let asked: Sync = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        let start = match self.start(&asked) {
            Ok(start) => start,
            Err(error) => return Ok(Err(error)),
        };
        let limit = asked.limit.unwrap_or(SYNC_ROOMS_MAX).clamp(1, SYNC_ROOMS_MAX);
        let user = call.header.user;
        let (since, after) = (start.since.to_string(), start.after);
        let (since, unread) = (&since, i64::from(UNREAD_COUNT_MAX));
        let rows = self
            .store
            .run_read("user.sync", |tx| async move {
                const NAME: &str = "SELECT username FROM users WHERE id = $1";
                let name = tx.query_opt(NAME, &[&user.0]).await?;
                let mention = mention(name.map_or_else(String::new, |row| row.get(0)).as_str());
                // One row more than asked for tells whether there is more.
                let wanted = i64::from(limit) + 1;
                tx.query(SYNC_SQL, &[&user.0, since, &after.0, &wanted, &unread, &mention])
                    .await
            })
            .await?;
        Ok(Ok(self.answer(start, &rows, limit)))
    }

    /// Where this page begins; `next` is filled from the snapshot if this is the first page.
    fn start(&self, asked: &Sync) -> Result<Start, ErrorBody> {
        if let Some(page) = &asked.page {
            let page = Page::read(page, &self.epoch)
                .ok_or_else(|| refuse(ErrorCode::BadRequest, "page: not the `next` of this system"))?;
            return Ok(Start {
                since: page.since,
                after: page.after,
                next: Some(page.next),
                reset: page.reset,
            });
        }
        let cursor = asked
            .cursor
            .as_ref()
            .and_then(|text| Cursor::read(text, &self.epoch));
        Ok(Start {
            since: cursor.map_or(0, |cursor| cursor.since),
            after: RoomId::NIL,
            next: None,
            reset: cursor.is_none(),
        })
    }

    fn answer(&self, start: Start, rows: &[Row], limit: u32) -> Synced {
        let snapshot = rows
            .first()
            .and_then(|row| row.get::<_, String>(0).parse().ok())
            .unwrap_or(0);
        let mut next = start.next.unwrap_or(snapshot);
        if Mutant::SyncSequence.is_on() {
            let seen = |row: &Row| row.get::<_, Option<String>>(20)?.parse::<u64>().ok();
            next = rows
                .iter()
                .filter_map(seen)
                .max()
                .map_or(start.since, |seen| seen + 1);
        }
        let mut synced = Synced {
            rooms: Vec::new(),
            left: Vec::new(),
            cursor: Cursor { since: next }.write(&self.epoch),
            next: None,
            reset: start.reset,
        };
        let mut bytes = FRAME_BYTES;
        let mut last = start.after;
        for (number, row) in (0..).zip(
            rows.iter()
                .filter(|row| row.get::<_, Option<uuid::Uuid>>(1).is_some()),
        ) {
            let state = state(row);
            let len = json(&state).len();
            if number >= limit || (bytes + len > RESULT_BYTES_MAX && number > 0) {
                let page = Page {
                    after: last,
                    since: start.since,
                    next,
                    reset: start.reset,
                };
                synced.next = Some(page.write(&self.epoch));
                break;
            }
            bytes += len;
            last = state.room.id;
            match row.get::<_, Option<i64>>(8) {
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
}

/// Where a page begins.
#[derive(Clone, Copy)]
struct Start {
    since: u64,
    after: RoomId,
    /// The cursor that the whole sync returns, if a page before has fixed it.
    next: Option<u64>,
    reset: bool,
}

fn state(row: &Row) -> RoomState {
    let number = |index: usize| row.get::<_, Option<i64>>(index).unwrap_or(0).unsigned_abs();
    let count = |index: usize| u32::try_from(number(index)).unwrap_or(u32::MAX);
    let room = room(row, 1);
    let last_message = row.get::<_, Option<i64>>(12).map(|seq| Message {
        room: room.id,
        seq: seq.unsigned_abs(),
        n: number(13),
        sender: UserId(row.get(14)),
        client_message_id: Op(row.get(15)),
        text: row.get(16),
        created_at: row.get(17),
    });
    RoomState {
        seq: number(10),
        n: number(11),
        from_seq: number(7),
        role: Role::find(row.get(6)).unwrap_or(Role::Reader),
        read_seq: number(9),
        unread: count(18),
        mentions: count(19),
        last_message,
        room,
    }
}

/// A pattern for `@name` as a word; names hold nothing that a pattern would read otherwise but dots.
fn mention(name: &str) -> String {
    format!("@{}($|[^a-z0-9_.-])", name.replace('.', "\\."))
}
