//! Writes of the small tables: rooms, bans, links, preferences, the times of slow mode. Each by one statement, and
//! only if there is anything to write.

use hub_protocol::{RoomId, UserId};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::chat::facts::Link;
use crate::chat::plan::{RoomRow, Rows};
use crate::store::{StoreError, Tx};

pub(super) async fn update_rooms(tx: &Tx, updated: &[RoomRow], now: i64) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE rooms r SET name = w.name, topic = w.topic, avatar = w.avatar, \
             settings = w.settings::jsonb, ended_at = CASE WHEN w.ended THEN $7::bigint END \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::boolean[]) \
             AS w (id, name, topic, avatar, settings, ended) WHERE r.id = w.id";
    const ENDED: &str = "DELETE FROM invites WHERE room = ANY($1)";
    if updated.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = updated.iter().map(|row| row.info.id.0).collect();
    let names: Vec<&str> = updated.iter().map(|row| row.info.name.as_str()).collect();
    let topics: Vec<&str> = updated.iter().map(|row| row.info.topic.as_str()).collect();
    let avatars: Vec<Option<Uuid>> = updated.iter().map(|row| row.info.avatar).collect();
    let settings: Vec<String> = updated
        .iter()
        .map(|row| crate::chat::log::body(&row.info.settings))
        .collect();
    let ended: Vec<bool> = updated.iter().map(|row| row.ended).collect();
    let columns: [&(dyn ToSql + Sync); 7] = [&ids, &names, &topics, &avatars, &settings, &ended, &now];
    tx.execute(SQL, &columns).await?;
    let gone = updated.iter().filter(|row| row.ended);
    let gone: Vec<Uuid> = gone.map(|row| row.info.id.0).collect();
    if !gone.is_empty() {
        tx.execute(ENDED, &[&gone]).await?;
    }
    Ok(())
}

pub(super) async fn save(tx: &Tx, rows: &Rows, now: i64) -> Result<(), StoreError> {
    save_bans(tx, rows, now).await?;
    save_links(tx, rows).await?;
    save_preferences(tx, rows).await?;
    save_sent(tx, rows).await
}

async fn save_bans(tx: &Tx, rows: &Rows, now: i64) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO bans (room, user_id, by_user, created_at) \
         SELECT w.*, $4 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w ON CONFLICT DO NOTHING";
    const DELETE: &str = "DELETE FROM bans b USING unnest($1::uuid[], $2::uuid[]) AS w (room, user_id) \
         WHERE b.room = w.room AND b.user_id = w.user_id";
    let new = rows.bans.iter().filter_map(|(key, by)| Some((*key, (*by)?)));
    let new: Vec<((RoomId, UserId), UserId)> = new.collect();
    if !new.is_empty() {
        let (rooms, users) = pairs(new.iter().map(|(key, _)| key));
        let makers: Vec<Uuid> = new.iter().map(|(_, by)| by.0).collect();
        tx.execute(INSERT, &[&rooms, &users, &makers, &now]).await?;
    }
    let (rooms, users) = pairs(
        rows.bans
            .iter()
            .filter(|(_, by)| by.is_none())
            .map(|(key, _)| key),
    );
    if !rooms.is_empty() {
        tx.execute(DELETE, &[&rooms, &users]).await?;
    }
    Ok(())
}

async fn save_links(tx: &Tx, rows: &Rows) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO invites (room, id, code_hash, role, created_by, created_at, expires_at, \
             uses_max, uses) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::uuid[], $6::bigint[], \
             $7::bigint[], $8::integer[], $9::integer[]) \
         ON CONFLICT (room, id) DO UPDATE SET uses = EXCLUDED.uses";
    const DELETE: &str = "DELETE FROM invites i USING unnest($1::uuid[], $2::uuid[]) AS w (room, id) \
         WHERE i.room = w.room AND i.id = w.id";
    let kept = rows
        .links
        .iter()
        .filter_map(|((room, _), link)| Some((*room, (*link)?)));
    let kept: Vec<(RoomId, Link)> = kept.collect();
    if !kept.is_empty() {
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let rooms: Vec<Uuid> = kept.iter().map(|(room, _)| room.0).collect();
        let ids: Vec<Uuid> = kept.iter().map(|(_, link)| link.info.id).collect();
        let codes: Vec<&[u8]> = kept.iter().map(|(_, link)| link.code.as_slice()).collect();
        let roles: Vec<&str> = kept.iter().map(|(_, link)| link.info.role.name()).collect();
        let makers: Vec<Uuid> = kept.iter().map(|(_, link)| link.info.created_by.0).collect();
        let times: Vec<i64> = kept.iter().map(|(_, link)| link.info.created_at).collect();
        let ends: Vec<Option<i64>> = kept.iter().map(|(_, link)| link.info.expires_at).collect();
        let maxima: Vec<Option<i32>> = kept
            .iter()
            .map(|(_, link)| link.info.uses_max.map(count))
            .collect();
        let uses: Vec<i32> = kept.iter().map(|(_, link)| count(link.info.uses)).collect();
        let columns: [&(dyn ToSql + Sync); 9] = [
            &rooms, &ids, &codes, &roles, &makers, &times, &ends, &maxima, &uses,
        ];
        tx.execute(UPSERT, &columns).await?;
    }
    let gone = rows.links.iter().filter(|(_, link)| link.is_none());
    let (rooms, ids): (Vec<Uuid>, Vec<Uuid>) = gone.map(|((room, id), _)| (room.0, *id)).unzip();
    if !rooms.is_empty() {
        tx.execute(DELETE, &[&rooms, &ids]).await?;
    }
    Ok(())
}

async fn save_preferences(tx: &Tx, rows: &Rows) -> Result<(), StoreError> {
    // Syncs look at the row of members: it counts as changed too.
    const SQL: &str = "WITH w AS ( \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::bigint[], $5::bigint[]) \
                 AS w (room, user_id, archived, muted_until, pinned_at)), \
         seen AS ( \
             UPDATE members m SET changed = pg_current_xact_id() FROM w \
             WHERE m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL) \
         INSERT INTO room_preferences (user_id, room, archived, muted_until, pinned_at, changed) \
         SELECT user_id, room, archived, muted_until, pinned_at, pg_current_xact_id() FROM w \
         ON CONFLICT (user_id, room) DO UPDATE SET archived = EXCLUDED.archived, \
             muted_until = EXCLUDED.muted_until, pinned_at = EXCLUDED.pinned_at, changed = EXCLUDED.changed";
    if rows.preferences.is_empty() {
        return Ok(());
    }
    let (rooms, users) = pairs(rows.preferences.keys());
    let archived: Vec<bool> = rows.preferences.values().map(|p| p.archived).collect();
    let muted: Vec<i64> = rows.preferences.values().map(|p| p.muted_until).collect();
    let pinned: Vec<i64> = rows.preferences.values().map(|p| p.pinned_at).collect();
    tx.execute(SQL, &[&rooms, &users, &archived, &muted, &pinned])
        .await?;
    Ok(())
}

async fn save_sent(tx: &Tx, rows: &Rows) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE members m SET last_sent_at = w.at \
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS w (room, user_id, at) \
         WHERE m.room = w.room AND m.user_id = w.user_id AND m.to_seq IS NULL";
    if rows.sent.is_empty() {
        return Ok(());
    }
    let (rooms, users) = pairs(rows.sent.keys());
    let times: Vec<i64> = rows.sent.values().copied().collect();
    tx.execute(SQL, &[&rooms, &users, &times]).await?;
    Ok(())
}

fn pairs<'a>(keys: impl Iterator<Item = &'a (RoomId, UserId)>) -> (Vec<Uuid>, Vec<Uuid>) {
    keys.map(|(room, user)| (room.0, user.0)).unzip()
}
