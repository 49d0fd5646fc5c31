//! Step 11: the only SQL of the chat service. Set-based: one statement for all rooms and calls of a read.
//!
//! Order inside a transaction: rooms to make → heads locked in id order → repeats found → rooms reloaded that are
//! not as the cache says → [`plan`](super::plan) → rows.

use std::sync::Arc;

use hashbrown::HashMap;
use hub_protocol::api::event::Kind;
use hub_protocol::api::room::{self as api, Role, RoomKind};
use hub_protocol::{Op, RoomId, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::cache::Cache;
use super::command::{Command, Hash, Write};
use super::log::LogEvent;
use super::plan::{AppliedRow, Known, Loaded, MemberRow, OpKey, Plan, applied_key};
use super::room::{Head, Room, Stay};
use crate::metric::float;
use crate::store::{StoreError, Tx};

/// Repeats of changes that are no events are recognised this long.
const APPLIED_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// Loads and locks all that a plan needs.
pub(super) async fn load(tx: &Tx, writes: &[&Write], cache: &Cache, now: i64) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let named = named_users(writes);
    if !named.is_empty() {
        let rows = tx
            .query("SELECT id FROM users WHERE id = ANY($1)", &[&named])
            .await?;
        loaded.users = rows.iter().map(|row| UserId(row.get(0))).collect();
    }
    make_rooms(tx, writes, &loaded, now).await?;
    loaded.heads = lock_heads(tx, writes).await?;
    loaded.known = known_ops(tx, writes).await?;
    let mut stale = Vec::new();
    for (id, head) in loaded.heads.iter().filter(|(_, head)| head.seq > 0) {
        match cache.find_at(*id, head) {
            Some(room) => {
                loaded.rooms.insert(*id, room);
            }
            None => stale.push(id.0),
        }
    }
    if !stale.is_empty() {
        metrics::counter!("hub_services_chat_rooms_loaded_total").increment(stale.len() as u64);
        loaded.rooms.extend(rooms(tx, &stale).await?);
    }
    Ok(loaded)
}

/// Users who must have an account for the calls to succeed.
fn named_users(writes: &[&Write]) -> Vec<Uuid> {
    let mut users = Vec::new();
    for write in writes {
        match &write.command {
            Command::Create(create) => {
                users.push(write.actor.0);
                users.extend(create.members.iter().map(|user| user.0));
            }
            Command::Add(add) => users.push(add.user.0),
            Command::Join | Command::Leave | Command::Remove(_) | Command::Send(_) | Command::Read(_) => {}
        }
    }
    users.sort_unstable();
    users.dedup();
    users
}

/// Makes the rooms of valid creations, with a head at 0, if they do not exist. In id order, so that two owners of
/// one partition wait for each other instead of dying of a deadlock.
async fn make_rooms(tx: &Tx, writes: &[&Write], loaded: &Loaded, now: i64) -> Result<(), StoreError> {
    const SQL: &str = "WITH made AS ( \
             INSERT INTO rooms (id, kind, name, created_by, created_at) \
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[]) \
             ON CONFLICT (id) DO NOTHING RETURNING id) \
         INSERT INTO room_heads (room, seq, n, revision, last_at, changed) \
         SELECT id, 0, 0, 0, $6, pg_current_xact_id() FROM made";
    let mut new: Vec<(Uuid, &api::Create, UserId)> = Vec::new();
    for write in writes {
        if let Command::Create(create) = &write.command
            && create
                .members
                .iter()
                .chain([&write.actor])
                .all(|user| loaded.users.contains(user))
        {
            new.push((write.room.0, create, write.actor));
        }
    }
    // The first creation of a room counts; the sort is stable.
    new.sort_by_key(|(id, _, _)| *id);
    new.dedup_by_key(|(id, _, _)| *id);
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = new.iter().map(|(id, _, _)| *id).collect();
    let kinds: Vec<&str> = new.iter().map(|(_, create, _)| create.kind.name()).collect();
    let names: Vec<&str> = new.iter().map(|(_, create, _)| create.name.as_str()).collect();
    let makers: Vec<Uuid> = new.iter().map(|(_, _, actor)| actor.0).collect();
    let times = vec![now; new.len()];
    tx.execute(SQL, &[&ids, &kinds, &names, &makers, &times, &(now - 1)])
        .await?;
    Ok(())
}

async fn lock_heads(tx: &Tx, writes: &[&Write]) -> Result<HashMap<RoomId, Head>, StoreError> {
    const SQL: &str = "SELECT room, seq, n, revision, last_at FROM room_heads \
         WHERE room = ANY($1) ORDER BY room FOR UPDATE";
    let mut ids: Vec<Uuid> = writes.iter().map(|write| write.room.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = tx.query(SQL, &[&ids]).await?;
    Ok(rows.iter().map(|row| (RoomId(row.get(0)), head(row))).collect())
}

fn head(row: &Row) -> Head {
    Head {
        seq: row.get(1),
        n: row.get(2),
        revision: row.get(3),
        last_at: row.get(4),
    }
}

/// Finds calls that were applied before. After the locks: another owner of the partition has committed by then.
async fn known_ops(tx: &Tx, writes: &[&Write]) -> Result<HashMap<OpKey, Known>, StoreError> {
    const EVENTS: &str = "SELECT e.room, e.seq, e.n, e.kind, e.actor, e.op, e.hash, e.body, e.created_at \
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (room, actor, op) \
         CROSS JOIN LATERAL (SELECT * FROM events \
             WHERE room = w.room AND actor = w.actor AND op = w.op LIMIT 1) AS e";
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
async fn receivers_of(tx: &Tx, events: &[LogEvent]) -> Result<Vec<Arc<[UserId]>>, StoreError> {
    // In two parts, each with its own index: those who are members now, and those who were.
    const SQL: &str = "WITH w AS ( \
             SELECT * FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w (room, seq, i)) \
         SELECT w.i, m.user_id FROM w \
         JOIN members m ON m.room = w.room AND m.to_seq IS NULL AND m.from_seq <= w.seq \
         UNION \
         SELECT w.i, m.user_id FROM w \
         JOIN members m ON m.room = w.room AND m.to_seq IS NOT NULL AND m.to_seq >= w.seq AND m.from_seq <= w.seq \
         ORDER BY 1, 2";
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<Uuid> = events.iter().map(|event| event.room.0).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let mut found: Vec<Vec<UserId>> = vec![Vec::new(); events.len()];
    for row in tx.query(SQL, &[&rooms, &seqs]).await? {
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

/// Reads an event's columns in the order room, seq, n, kind, actor, op, hash, body, `created_at`.
pub(super) fn event(row: &Row) -> Result<LogEvent, StoreError> {
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
    })
}

fn hash(bytes: &[u8]) -> Hash {
    // Rows of other origin (a seeded database) may hold another length: then no repeat matches them.
    let mut hash = Hash::default();
    if let Some(stored) = bytes.get(..hash.len()) {
        hash.copy_from_slice(stored);
    }
    hash
}

/// Rooms with their present members.
pub(super) async fn rooms(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<RoomId, Arc<Room>>, StoreError> {
    const ROOMS: &str = "SELECT id, kind, name, created_by, created_at FROM rooms WHERE id = ANY($1)";
    const MEMBERS: &str =
        "SELECT room, user_id, role, from_seq FROM members WHERE room = ANY($1) AND to_seq IS NULL";
    let mut stays: HashMap<RoomId, Vec<Stay>> = HashMap::new();
    for row in tx.query(MEMBERS, &[&ids]).await? {
        let role: &str = row.get(2);
        let role = Role::find(role)
            .ok_or_else(|| StoreError::Corrupt(anyhow::anyhow!("a member of unknown role {role}")))?;
        let stay = Stay {
            user: UserId(row.get(1)),
            role,
            from_seq: row.get(3),
        };
        stays.entry(RoomId(row.get(0))).or_default().push(stay);
    }
    let mut rooms = HashMap::new();
    for row in tx.query(ROOMS, &[&ids]).await? {
        let info = info(&row)?;
        let stays = stays.remove(&info.id).unwrap_or_default();
        rooms.insert(info.id, Arc::new(Room::new(info, stays)));
    }
    Ok(rooms)
}

/// Reads a room's columns in the order id, kind, name, `created_by`, `created_at`.
fn info(row: &Row) -> Result<api::Room, StoreError> {
    let kind: &str = row.get(1);
    let kind = RoomKind::find(kind)
        .ok_or_else(|| StoreError::Corrupt(anyhow::anyhow!("a room of unknown kind {kind}")))?;
    Ok(api::Room {
        id: RoomId(row.get(0)),
        kind,
        name: row.get(2),
        created_by: UserId(row.get(3)),
        created_at: row.get(4),
    })
}

/// A room and its head on one snapshot, for reads.
pub(super) async fn room(tx: &Tx, id: RoomId) -> Result<Option<(Head, Arc<Room>)>, StoreError> {
    const HEAD: &str = "SELECT room, seq, n, revision, last_at FROM room_heads WHERE room = $1";
    let Some(row) = tx.query_opt(HEAD, &[&id.0]).await? else {
        return Ok(None);
    };
    let room = rooms(tx, &[id.0]).await?.remove(&id);
    Ok(room.map(|room| (head(&row), room)))
}

/// Writes what a plan says; returns for each of its marks where it stands, and whether it moved.
pub(super) async fn save(tx: &Tx, plan: &Plan, now: i64) -> Result<Vec<(i64, bool)>, StoreError> {
    // Sent together: neither reads what the other writes.
    tokio::try_join!(insert_events(tx, &plan.events), update_heads(tx, &plan.heads))?;
    upsert_members(tx, &plan.members).await?;
    insert_applied(tx, &plan.applied, now).await?;
    move_marks(tx, &plan.marks).await
}

async fn update_heads(tx: &Tx, heads: &[(RoomId, Head)]) -> Result<(), StoreError> {
    if !heads.is_empty() {
        const SQL: &str = "UPDATE room_heads h SET seq = w.seq, n = w.n, revision = w.revision, \
                 last_at = w.last_at, changed = pg_current_xact_id() \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
                 AS w (room, seq, n, revision, last_at) \
             WHERE h.room = w.room";
        let ids: Vec<Uuid> = heads.iter().map(|(id, _)| id.0).collect();
        let column = |of: fn(&Head) -> i64| heads.iter().map(|(_, head)| of(head)).collect::<Vec<i64>>();
        let (seqs, ns) = (column(|head| head.seq), column(|head| head.n));
        let (revisions, times) = (column(|head| head.revision), column(|head| head.last_at));
        tx.execute(SQL, &[&ids, &seqs, &ns, &revisions, &times]).await?;
    }
    Ok(())
}

async fn insert_events(tx: &Tx, events: &[LogEvent]) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::smallint[], $5::uuid[], $6::uuid[], \
             $7::bytea[], $8::text[], $9::bigint[])";
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
    let columns: [&(dyn ToSql + Sync); 9] = [
        &rooms, &seqs, &ns, &kinds, &actors, &ops, &hashes, &bodies, &times,
    ];
    tx.execute(SQL, &columns).await?;
    metrics::histogram!("hub_services_transaction_rows", "name" => "chat.write").record(float(events.len()));
    Ok(())
}

async fn upsert_members(tx: &Tx, members: &[MemberRow]) -> Result<(), StoreError> {
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

async fn insert_applied(tx: &Tx, applied: &[AppliedRow], now: i64) -> Result<(), StoreError> {
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

async fn move_marks(tx: &Tx, marks: &[(RoomId, UserId, i64)]) -> Result<Vec<(i64, bool)>, StoreError> {
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
pub(super) struct View {
    pub(super) head_seq: i64,
    pub(super) stays: Vec<(i64, Option<i64>)>,
}

/// The statement of a [`View`]: room and user.
pub(super) const VIEW_SQL: &str = "SELECT h.seq, m.from_seq, m.to_seq FROM room_heads h \
     JOIN members m ON m.room = h.room AND m.user_id = $2 WHERE h.room = $1 ORDER BY m.from_seq";

/// The statement of a page: room, and the inclusive ranges to read.
pub(super) const PAGE_SQL: &str = "SELECT e.room, e.seq, e.n, e.kind, e.actor, e.op, e.hash, e.body, e.created_at \
     FROM unnest($2::bigint[], $3::bigint[]) AS r (low, high) \
     CROSS JOIN LATERAL (SELECT * FROM events WHERE room = $1 AND seq BETWEEN r.low AND r.high) AS e \
     ORDER BY e.seq";

/// Reads the rows of [`VIEW_SQL`]; `None` if the user never belonged to the room, or it does not exist.
pub(super) fn view(rows: &[Row]) -> Option<View> {
    let head_seq = rows.first()?.get(0);
    Some(View {
        head_seq,
        stays: rows.iter().map(|row| (row.get(1), row.get(2))).collect(),
    })
}
