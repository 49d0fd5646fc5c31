//! Rooms and their present members.

use std::sync::Arc;

use hashbrown::HashMap;
use hub_protocol::api::room::{self as api, Role, RoomKind};
use hub_protocol::{Op, RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::head;
use crate::chat::plan::LargeRow;
use crate::chat::room::{Head, Room, Stay};
use crate::store::{StoreError, Tx};

/// Rooms with their present members.
pub(in crate::chat) async fn rooms(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<RoomId, Arc<Room>>, StoreError> {
    const ROOMS: &str = "SELECT id, kind, name, created_by, created_at, topic, avatar, settings::text, \
             ended_at IS NOT NULL, large, switched_seq, switched_op FROM rooms WHERE id = ANY($1)";
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
        let id = info.id;
        let mut room = Room::new(info, stays);
        room.ended = row.get(8);
        room.switched_seq = row.get(10);
        room.switched_op = row.get::<_, Option<Uuid>>(11).map(Op);
        room.set_large(row.get(9));
        rooms.insert(id, Arc::new(room));
    }
    Ok(rooms)
}

/// Writes which rooms became large, or are so no longer.
pub(super) async fn update_large(tx: &Tx, large: &[LargeRow]) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE rooms r SET large = w.large, switched_seq = w.seq, switched_op = w.op \
         FROM unnest($1::uuid[], $2::boolean[], $3::bigint[], $4::uuid[]) AS w (room, large, seq, op) \
         WHERE r.id = w.room";
    if large.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = large.iter().map(|row| row.room.0).collect();
    let flags: Vec<bool> = large.iter().map(|row| row.is_large).collect();
    let seqs: Vec<i64> = large.iter().map(|row| row.seq).collect();
    let ops: Vec<Uuid> = large.iter().map(|row| row.op.0).collect();
    tx.execute(SQL, &[&rooms, &flags, &seqs, &ops]).await?;
    Ok(())
}

/// Reads a room's columns in the order id, kind, name, `created_by`, `created_at`, topic, avatar, settings as
/// JSON text.
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
        topic: row.get(5),
        avatar: row.get(6),
        settings: serde_json::from_str(row.get(7))
            .map_err(|error| StoreError::Corrupt(anyhow::anyhow!("settings of a room: {error}")))?,
    })
}

/// A room and its head on one snapshot, for reads.
pub(in crate::chat) async fn room(tx: &Tx, id: RoomId) -> Result<Option<(Head, Arc<Room>)>, StoreError> {
    const HEAD: &str = "SELECT room, seq, n, revision, last_at FROM room_heads WHERE room = $1";
    let Some(row) = tx.query_opt(HEAD, &[&id.0]).await? else {
        return Ok(None);
    };
    let room = rooms(tx, &[id.0]).await?.remove(&id);
    Ok(room.map(|room| (head(&row), room)))
}
