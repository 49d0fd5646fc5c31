//! Rooms and their present members.

use std::sync::Arc;

use hashbrown::HashMap;
use hub_protocol::api::room::{self as api, Role, RoomKind};
use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::head;
use crate::chat::room::{Head, Room, Stay};
use crate::store::{StoreError, Tx};

/// Rooms with their present members.
pub(in crate::chat) async fn rooms(tx: &Tx, ids: &[Uuid]) -> Result<HashMap<RoomId, Arc<Room>>, StoreError> {
    const ROOMS: &str = "SELECT id, kind, name, created_by, created_at, topic, avatar, settings::text, \
             ended_at IS NOT NULL FROM rooms WHERE id = ANY($1)";
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
        rooms.insert(id, Arc::new(room));
    }
    Ok(rooms)
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
