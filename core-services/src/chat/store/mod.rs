//! Step 11: the only SQL of the chat service. Set-based: one statement for all rooms and calls of a read.
//!
//! Order inside a transaction: rooms to make → heads locked in id order → repeats found → rooms reloaded that are
//! not as the cache says → [`plan`](super::plan) → rows.

mod changes;
mod events;
mod facts;
mod members;
pub(super) mod messages;
mod ops;
mod rooms;
mod rows;

use hashbrown::HashMap;
use hub_protocol::api::room as api;
use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::cache::Cache;
use super::command::{Command, Write};
use super::plan::{Loaded, Plan};
use super::room::Head;
use crate::store::{StoreError, Tx};

pub(super) use events::PAGE_SQL;
pub(super) use facts::links;
pub(super) use members::{COUNTS_SQL, MARKS_SQL, Stand, VIEW_SQL, View, view};
pub(super) use rooms::room;

/// Loads and locks all that a plan needs.
pub(super) async fn load(tx: &Tx, writes: &[&Write], cache: &Cache, now: i64) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded {
        facts: facts::before(tx, writes, now).await?,
        ..Loaded::default()
    };
    make_rooms(tx, writes, &loaded, now).await?;
    loaded.heads = lock_heads(tx, writes).await?;
    loaded.known = ops::known(tx, writes).await?;
    loaded.messages = changes::load(tx, writes).await?;
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
        loaded.rooms.extend(rooms::rooms(tx, &stale).await?);
    }
    facts::after(tx, writes, &mut loaded).await?;
    Ok(loaded)
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
            && loaded.facts.may_create(write.actor, create).is_ok()
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

/// Writes what a plan says; returns for each of its marks where it stands.
pub(super) async fn save(tx: &Tx, plan: &Plan, now: i64) -> Result<Vec<Stand>, StoreError> {
    // Sent together: neither reads what the other writes.
    tokio::try_join!(events::insert(tx, &plan.events), update_heads(tx, &plan.heads))?;
    changes::save(tx, &plan.messages).await?;
    members::upsert(tx, &plan.members).await?;
    rooms::update_large(tx, &plan.large).await?;
    rows::update_rooms(tx, &plan.updated, now).await?;
    rows::save(tx, &plan.rows, now).await?;
    ops::insert_applied(tx, &plan.applied, now).await?;
    members::move_marks(tx, &plan.marks).await
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
