//! Messages that calls are about: what must be known of them, and what becomes of them.

use hashbrown::HashMap;
use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::events::{event, event_columns};
use crate::chat::command::{About, Command, Write};
use crate::chat::log::LogEvent;
use crate::chat::plan::message::{EditRow, MessageKey, MessageRows, Messages, ThreadGain, emptied};
use crate::store::{StoreError, Tx};

/// Pairs of room and seq as two columns.
#[derive(Default)]
struct Keys {
    rooms: Vec<Uuid>,
    seqs: Vec<i64>,
}

impl Keys {
    fn of(keys: impl IntoIterator<Item = MessageKey>) -> Self {
        let mut keys: Vec<MessageKey> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let (rooms, seqs) = keys.into_iter().map(|(room, seq)| (room.0, seq)).unzip();
        Self { rooms, seqs }
    }

    const fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

fn key(row: &Row) -> MessageKey {
    (RoomId(row.get(0)), row.get(1))
}

/// What the calls name.
#[derive(Default)]
struct Named {
    events: Vec<MessageKey>,
    sources: Vec<(UserId, MessageKey)>,
    edits: Vec<MessageKey>,
    reactions: Vec<(UserId, MessageKey)>,
    pins: Vec<Uuid>,
}

fn named(writes: &[&Write]) -> Named {
    let mut named = Named::default();
    for write in writes {
        let own = |seq: u64| (write.room, i64::try_from(seq).unwrap_or(i64::MAX));
        match &write.command {
            Command::Send(send) => {
                named
                    .events
                    .extend([send.reply_to, send.thread].into_iter().flatten().map(own));
                if let Some(source) = send.forward {
                    let key = (source.room, i64::try_from(source.seq).unwrap_or(i64::MAX));
                    named.events.push(key);
                    named.sources.push((write.actor, key));
                }
            }
            Command::About(about) => {
                let key = own(about.seq());
                named.events.push(key);
                match about {
                    About::Edit(_) => named.edits.push(key),
                    About::React(_) => named.reactions.push((write.actor, key)),
                    About::Pin(_) => named.pins.push(write.room.0),
                    About::Delete(_) => {}
                }
            }
            _ => {}
        }
    }
    named
}

/// Loads what calls about messages need; nothing if there are none. After the locks.
pub(super) async fn load(tx: &Tx, writes: &[&Write]) -> Result<Messages, StoreError> {
    const EVENTS: &str = concat!(
        "SELECT ",
        event_columns!(),
        " FROM unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         CROSS JOIN LATERAL (SELECT * FROM events WHERE room = w.room AND seq = w.seq LIMIT 1) AS e"
    );
    const SOURCES: &str = "SELECT w.room, w.seq, w.user_id \
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS w (room, seq, user_id) \
         WHERE EXISTS (SELECT FROM members m WHERE m.user_id = w.user_id AND m.room = w.room \
             AND m.from_seq <= w.seq AND (m.to_seq IS NULL OR m.to_seq >= w.seq)) \
         AND NOT EXISTS (SELECT FROM hidden h \
             WHERE h.user_id = w.user_id AND h.room = w.room AND h.seq = w.seq)";
    const EDITS: &str = "SELECT w.room, w.seq, (SELECT count(*) FROM edits e WHERE e.room = w.room AND e.seq = w.seq) \
         FROM unnest($1::uuid[], $2::bigint[]) AS w (room, seq)";
    const KINDS: &str = "SELECT c.room, c.seq, c.emoji, c.count \
         FROM unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         JOIN reaction_counts c ON c.room = w.room AND c.seq = w.seq";
    const OWN: &str = "SELECT r.room, r.seq, r.user_id, r.emoji \
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS w (room, seq, user_id) \
         JOIN reactions r ON r.room = w.room AND r.seq = w.seq AND r.user_id = w.user_id";
    const PINS: &str = "SELECT room, seq FROM pins WHERE room = ANY($1)";
    let mut messages = Messages::default();
    let named = named(writes);
    let keys = Keys::of(named.events);
    if keys.is_empty() {
        return Ok(messages);
    }
    for row in tx.query(EVENTS, &[&keys.rooms, &keys.seqs]).await? {
        let event = event(&row)?;
        messages.events.insert((event.room, event.seq), event);
    }
    if !named.sources.is_empty() {
        let (rooms, seqs, users) = columns(&named.sources);
        for row in tx.query(SOURCES, &[&rooms, &seqs, &users]).await? {
            messages.sources.insert((UserId(row.get(2)), key(&row)));
        }
    }
    if !named.edits.is_empty() {
        let keys = Keys::of(named.edits);
        for row in tx.query(EDITS, &[&keys.rooms, &keys.seqs]).await? {
            let count = usize::try_from(row.get::<_, i64>(2)).unwrap_or(usize::MAX);
            messages.edit_counts.insert(key(&row), count);
        }
    }
    if !named.reactions.is_empty() {
        let keys = Keys::of(named.reactions.iter().map(|(_, key)| *key));
        for row in tx.query(KINDS, &[&keys.rooms, &keys.seqs]).await? {
            messages
                .kinds
                .entry(key(&row))
                .or_default()
                .insert(row.get(2), row.get(3));
        }
        let (rooms, seqs, users) = columns(&named.reactions);
        for row in tx.query(OWN, &[&rooms, &seqs, &users]).await? {
            messages
                .reactions
                .insert((key(&row), UserId(row.get(2)), row.get(3)));
        }
    }
    if !named.pins.is_empty() {
        for row in tx.query(PINS, &[&named.pins]).await? {
            messages
                .pins
                .entry(RoomId(row.get(0)))
                .or_default()
                .insert(row.get(1));
        }
    }
    Ok(messages)
}

fn columns(pairs: &[(UserId, MessageKey)]) -> (Vec<Uuid>, Vec<i64>, Vec<Uuid>) {
    let rooms = pairs.iter().map(|(_, (room, _))| room.0).collect();
    let seqs = pairs.iter().map(|(_, (_, seq))| *seq).collect();
    (rooms, seqs, pairs.iter().map(|(user, _)| user.0).collect())
}

/// Writes what becomes of messages, after new events were inserted.
pub(super) async fn save(tx: &Tx, rows: &MessageRows) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    update(tx, &rows.changed).await?;
    insert_edits(tx, &rows.edits).await?;
    save_reactions(tx, rows).await?;
    save_pins(tx, &rows.pins).await?;
    save_threads(tx, &rows.threads).await?;
    save_hidden(tx, rows).await?;
    purge(tx, &rows.purged).await
}

async fn update(tx: &Tx, changed: &HashMap<MessageKey, LogEvent>) -> Result<(), StoreError> {
    // Arrays of arrays do not exist: those who are mentioned come as the text of an array.
    const SQL: &str = "UPDATE events e SET body = w.body, hash = w.hash, extras = w.extras, \
             mentions = w.mentions::uuid[], edited_at = w.edited_at, deleted_at = w.deleted_at \
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::bigint[], \
             $8::bigint[]) AS w (room, seq, body, hash, extras, mentions, edited_at, deleted_at) \
         WHERE e.room = w.room AND e.seq = w.seq";
    if changed.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<&LogEvent> = changed.values().collect();
    rows.sort_unstable_by_key(|event| (event.room, event.seq));
    let rooms: Vec<Uuid> = rows.iter().map(|event| event.room.0).collect();
    let seqs: Vec<i64> = rows.iter().map(|event| event.seq).collect();
    let bodies: Vec<&str> = rows.iter().map(|event| event.body.as_str()).collect();
    let hashes: Vec<&[u8]> = rows
        .iter()
        .map(|event| {
            if event.is_deleted() {
                &[][..]
            } else {
                event.hash.as_slice()
            }
        })
        .collect();
    let extras: Vec<Option<String>> = rows.iter().map(|event| event.extras.as_ref()?.stored()).collect();
    let mentions: Vec<Option<String>> = rows.iter().map(|event| mentions_text(event)).collect();
    let edited: Vec<Option<i64>> = rows
        .iter()
        .map(|event| event.extras.as_ref()?.edited_at)
        .collect();
    let deleted: Vec<Option<i64>> = rows
        .iter()
        .map(|event| event.extras.as_ref()?.deleted_at)
        .collect();
    let columns: [&(dyn ToSql + Sync); 8] = [
        &rooms, &seqs, &bodies, &hashes, &extras, &mentions, &edited, &deleted,
    ];
    tx.execute(SQL, &columns).await?;
    Ok(())
}

/// The text of an array of those who are mentioned.
pub(super) fn mentions_text(event: &LogEvent) -> Option<String> {
    let users = event.extras.as_ref()?.mentioned()?;
    let users: Vec<String> = users.iter().map(Uuid::to_string).collect();
    Some(format!("{{{}}}", users.join(",")))
}

async fn insert_edits(tx: &Tx, edits: &HashMap<MessageKey, Vec<EditRow>>) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO edits (room, seq, edit_seq, body, extras, until) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])";
    let rows: Vec<(MessageKey, &EditRow)> = edits
        .iter()
        .flat_map(|(key, rows)| rows.iter().map(move |row| (*key, row)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = rows.iter().map(|((room, _), _)| room.0).collect();
    let seqs: Vec<i64> = rows.iter().map(|((_, seq), _)| *seq).collect();
    let edit_seqs: Vec<i64> = rows.iter().map(|(_, row)| row.edit_seq).collect();
    let bodies: Vec<&str> = rows.iter().map(|(_, row)| row.body.as_str()).collect();
    let extras: Vec<Option<&str>> = rows.iter().map(|(_, row)| row.extras.as_deref()).collect();
    let until: Vec<i64> = rows.iter().map(|(_, row)| row.until).collect();
    tx.execute(SQL, &[&rooms, &seqs, &edit_seqs, &bodies, &extras, &until])
        .await?;
    Ok(())
}

async fn save_reactions(tx: &Tx, rows: &MessageRows) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM reactions r \
         USING unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[]) AS w (room, seq, user_id, emoji) \
         WHERE r.room = w.room AND r.seq = w.seq AND r.user_id = w.user_id AND r.emoji = w.emoji";
    const INSERT: &str = "INSERT INTO reactions (room, seq, user_id, emoji, event_seq) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[])";
    const COUNT: &str = "INSERT INTO reaction_counts AS c (room, seq, emoji, count, first_seq) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) \
         ON CONFLICT (room, seq, emoji) DO UPDATE SET count = c.count + EXCLUDED.count";
    const EMPTY: &str = "DELETE FROM reaction_counts c USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         WHERE c.room = w.room AND c.seq = w.seq AND c.count <= 0";
    if rows.reactions.is_empty() {
        return Ok(());
    }
    // One that was there and came again within the transaction has another event: out first, then in.
    let (mut rooms, mut seqs, mut users, mut emoji) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((room, seq), user, kind) in rows.reactions.keys() {
        rooms.push(room.0);
        seqs.push(*seq);
        users.push(user.0);
        emoji.push(kind.as_str());
    }
    tx.execute(DELETE, &[&rooms, &seqs, &users, &emoji]).await?;
    let (mut rooms, mut seqs, mut users, mut emoji) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut events = Vec::new();
    for (((room, seq), user, kind), event) in &rows.reactions {
        let Some(event) = event else { continue };
        rooms.push(room.0);
        seqs.push(*seq);
        users.push(user.0);
        emoji.push(kind.as_str());
        events.push(*event);
    }
    tx.execute(INSERT, &[&rooms, &seqs, &users, &emoji, &events])
        .await?;
    let (mut rooms, mut seqs, mut emoji) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gains, mut firsts) = (Vec::new(), Vec::new());
    for (((room, seq), kind), (gain, first)) in &rows.kinds {
        rooms.push(room.0);
        seqs.push(*seq);
        emoji.push(kind.as_str());
        gains.push(*gain);
        firsts.push(*first);
    }
    tx.execute(COUNT, &[&rooms, &seqs, &emoji, &gains, &firsts])
        .await?;
    tx.execute(EMPTY, &[&rooms, &seqs]).await?;
    Ok(())
}

async fn save_pins(tx: &Tx, pins: &HashMap<MessageKey, Option<(UserId, i64)>>) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO pins (room, seq, pinned_by, pinned_at) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[]) ON CONFLICT (room, seq) DO NOTHING";
    const DELETE: &str = "DELETE FROM pins p USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         WHERE p.room = w.room AND p.seq = w.seq";
    if pins.is_empty() {
        return Ok(());
    }
    let (mut rooms, mut seqs) = (Vec::new(), Vec::new());
    let (mut by, mut at) = (Vec::new(), Vec::new());
    for ((room, seq), pin) in pins {
        let Some((user, time)) = pin else { continue };
        rooms.push(room.0);
        seqs.push(*seq);
        by.push(user.0);
        at.push(*time);
    }
    tx.execute(INSERT, &[&rooms, &seqs, &by, &at]).await?;
    let gone = Keys::of(pins.iter().filter(|(_, pin)| pin.is_none()).map(|(key, _)| *key));
    tx.execute(DELETE, &[&gone.rooms, &gone.seqs]).await?;
    Ok(())
}

async fn save_threads(tx: &Tx, threads: &HashMap<MessageKey, ThreadGain>) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO threads AS t (room, root, count, last_seq, last_at) \
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
         ON CONFLICT (room, root) DO UPDATE SET count = t.count + EXCLUDED.count, \
             last_seq = greatest(t.last_seq, EXCLUDED.last_seq), last_at = greatest(t.last_at, EXCLUDED.last_at)";
    if threads.is_empty() {
        return Ok(());
    }
    let rooms: Vec<Uuid> = threads.keys().map(|(room, _)| room.0).collect();
    let roots: Vec<i64> = threads.keys().map(|(_, root)| *root).collect();
    let counts: Vec<i64> = threads.values().map(|gain| gain.count).collect();
    let seqs: Vec<i64> = threads.values().map(|gain| gain.last_seq).collect();
    let times: Vec<i64> = threads.values().map(|gain| gain.last_at).collect();
    tx.execute(SQL, &[&rooms, &roots, &counts, &seqs, &times]).await?;
    Ok(())
}

async fn save_hidden(tx: &Tx, rows: &MessageRows) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO hidden (user_id, room, seq) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) ON CONFLICT DO NOTHING";
    if rows.hidden.is_empty() {
        return Ok(());
    }
    let pairs: Vec<(UserId, MessageKey)> = rows.hidden.iter().copied().collect();
    let (rooms, seqs, users) = columns(&pairs);
    tx.execute(SQL, &[&users, &rooms, &seqs]).await?;
    Ok(())
}

async fn purge(tx: &Tx, purged: &[MessageKey]) -> Result<(), StoreError> {
    const EDITS: &str = "WITH gone AS ( \
             DELETE FROM edits d USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
             WHERE d.room = w.room AND d.seq = w.seq RETURNING d.room, d.edit_seq) \
         SELECT e.room, e.seq, e.body FROM gone g \
         CROSS JOIN LATERAL (SELECT * FROM events WHERE room = g.room AND seq = g.edit_seq LIMIT 1) AS e";
    const EVENTS: &str = "UPDATE events e SET body = w.body \
         FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS w (room, seq, body) \
         WHERE e.room = w.room AND e.seq = w.seq";
    const REACTIONS: &str = "DELETE FROM reactions r USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         WHERE r.room = w.room AND r.seq = w.seq";
    const COUNTS: &str = "DELETE FROM reaction_counts r USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         WHERE r.room = w.room AND r.seq = w.seq";
    const PINS: &str = "DELETE FROM pins p USING unnest($1::uuid[], $2::bigint[]) AS w (room, seq) \
         WHERE p.room = w.room AND p.seq = w.seq";
    if purged.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(purged.iter().copied());
    let rows = tx.query(EDITS, &[&keys.rooms, &keys.seqs]).await?;
    if !rows.is_empty() {
        let rooms: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        let seqs: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
        let bodies: Vec<String> = rows.iter().map(|row| emptied(row.get(2))).collect();
        tx.execute(EVENTS, &[&rooms, &seqs, &bodies]).await?;
    }
    for sql in [REACTIONS, COUNTS, PINS] {
        tx.execute(sql, &[&keys.rooms, &keys.seqs]).await?;
    }
    Ok(())
}
