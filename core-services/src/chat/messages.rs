//! Reads of messages and marks of one room: threads, pins, former texts, reactions, receipts.

use hub_protocol::api::message::{
    Message, Messages, OfMessage, Pinned, Pins, Reacted, Reactions, SearchRoom, Thread, Version, Versions,
};
use hub_protocol::api::receipt::{List, Listed, Mark};
use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{
    HISTORY_EVENTS_DEFAULT, HISTORY_EVENTS_MAX, OF_MESSAGE_MAX, RESULT_BYTES_MAX, ROOM_LARGE_ABOVE,
};
use hub_protocol::{ErrorCode, Method, RoomId, UserId};
use serde::Serialize;
use tokio_postgres::Row;

use super::extras::entities;
use super::rules::message::no_such_message;
use super::rules::no_such_room;
use super::search;
use super::store::messages::{
    EDITS_SQL, MESSAGE_SQL, PINS_SQL, REACTIONS_SQL, THREAD_AFTER_SQL, THREAD_BEFORE_SQL, decorate, events,
};
use super::store::{self, COUNTS_SQL, MARKS_SQL, VIEW_SQL};
use crate::call::{json, params, refuse};
use crate::service::{Call, Outcome, WorkError};
use crate::store::{Store, StoreError, Tx};

/// What an answer needs beside its list.
const FRAME_BYTES: usize = 4 * 1024;

type Answer<T> = Result<Result<T, ErrorBody>, StoreError>;

/// Answers the reads of this module and `message.search`.
pub(super) async fn read(store: &Store, call: &Call) -> Result<Outcome, WorkError> {
    fn outcome<T: Serialize>(answer: Answer<T>) -> Result<Outcome, WorkError> {
        Ok(match answer? {
            Ok(result) => Outcome::result(json(&result)),
            Err(refusal) => Outcome::refused(refusal),
        })
    }
    macro_rules! answer {
        ($of:path) => {
            match params(call) {
                Ok(asked) => outcome($of(store, call.header.room, call.header.user, asked).await),
                Err(refusal) => Ok(Outcome::refused(refusal)),
            }
        };
    }
    match call.header.method {
        Method::MessageThread => answer!(thread),
        Method::MessageSearch => answer!(search_room),
        Method::MessagePins => answer!(pins),
        Method::MessageEdits => answer!(edits),
        Method::MessageReactions => answer!(reactions),
        _ => answer!(receipts),
    }
}

async fn search_room(store: &Store, room: RoomId, user: UserId, asked: SearchRoom) -> Answer<Messages> {
    search::in_room(store, room, user, asked).await
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// True if the user belongs to the room or did.
async fn knows(tx: &Tx, room: RoomId, user: UserId) -> Result<bool, StoreError> {
    let rows = tx.query(VIEW_SQL, &[&room.0, &user.0]).await?;
    Ok(store::view(&rows).is_some())
}

async fn thread(store: &Store, room: RoomId, user: UserId, asked: Thread) -> Answer<Messages> {
    if asked.after.is_some() && asked.before.is_some() {
        return Ok(Err(refuse(
            ErrorCode::BadRequest,
            "at most one of after and before",
        )));
    }
    let limit = asked
        .limit
        .unwrap_or(HISTORY_EVENTS_DEFAULT)
        .clamp(1, HISTORY_EVENTS_MAX);
    let found = store
        .run_read("chat.thread", |tx| async move {
            if !knows(&tx, room, user).await? {
                return Ok(Err(no_such_room()));
            }
            let (sql, from) = match asked.after {
                Some(after) => (THREAD_AFTER_SQL, number(after)),
                None => (THREAD_BEFORE_SQL, asked.before.map_or(i64::MAX, number)),
            };
            let (root, wanted) = (number(asked.root), i64::from(limit) + 1);
            let rows = tx.query(sql, &[&user.0, &room.0, &root, &from, &wanted]).await?;
            let mut found = events(&rows)?;
            decorate(&tx, room, user, &mut found).await?;
            Ok(Ok(found))
        })
        .await?;
    Ok(found.map(|found| {
        let (mut page, _last) = search::cut(&found, limit);
        page.messages.sort_unstable_by_key(|message| message.seq);
        page
    }))
}

async fn pins(store: &Store, room: RoomId, user: UserId, _asked: hub_protocol::api::Empty) -> Answer<Pins> {
    store
        .run_read("chat.pins", |tx| async move {
            if !knows(&tx, room, user).await? {
                return Ok(Err(no_such_room()));
            }
            let rows = tx.query(PINS_SQL, &[&user.0, &room.0]).await?;
            let mut found = events(&rows)?;
            decorate(&tx, room, user, &mut found).await?;
            let pinned = |(event, row): (&super::log::LogEvent, &Row)| Pinned {
                by: UserId(row.get("pinned_by")),
                pinned_at: row.get("pinned_at"),
                message: event.message(),
            };
            let (pins, more) = bounded(found.iter().zip(&rows).map(pinned));
            Ok(Ok(Pins { pins, more }))
        })
        .await
}

/// As much of a list as fits into a result, at least one, and whether something is missing.
fn bounded<T: Serialize>(list: impl Iterator<Item = T>) -> (Vec<T>, bool) {
    let mut bytes = FRAME_BYTES;
    let mut kept = Vec::new();
    for item in list {
        bytes += json(&item).len() + 1;
        if bytes > RESULT_BYTES_MAX && !kept.is_empty() {
            return (kept, true);
        }
        kept.push(item);
    }
    (kept, false)
}

/// The message, if the user sees it.
async fn message(tx: &Tx, room: RoomId, user: UserId, seq: u64) -> Result<Option<Message>, StoreError> {
    let rows = tx.query(MESSAGE_SQL, &[&user.0, &room.0, &number(seq)]).await?;
    Ok(events(&rows)?.first().map(super::log::LogEvent::message))
}

/// What was edited away is for its author, and for those who keep order.
async fn edits(store: &Store, room: RoomId, user: UserId, asked: OfMessage) -> Answer<Versions> {
    store
        .run_read("chat.edits", |tx| async move {
            let Some((_head, state)) = store::room(&tx, room).await? else {
                return Ok(Err(no_such_room()));
            };
            let Some(stay) = state.find(user) else {
                return Ok(Err(no_such_room()));
            };
            let Some(message) = message(&tx, room, user, asked.seq).await? else {
                return Ok(Err(no_such_message()));
            };
            if message.sender != user && stay.role < Role::Admin {
                return Ok(Err(refuse(
                    ErrorCode::Forbidden,
                    "only its author and admins see what a message said before",
                )));
            }
            let (seq, after) = (number(asked.seq), number(asked.after.unwrap_or(0)));
            let wanted = i64::from(OF_MESSAGE_MAX) + 1;
            let rows = tx.query(EDITS_SQL, &[&room.0, &seq, &after, &wanted]).await?;
            let version = |row: &Row| Version {
                edit_seq: row.get::<_, i64>(0).unsigned_abs(),
                text: row.get(1),
                entities: entities(row.get(2)),
                until: row.get(3),
            };
            let (edits, more) = bounded(
                rows.iter()
                    .take(usize::try_from(OF_MESSAGE_MAX).unwrap_or(0))
                    .map(version),
            );
            let next = (more || edits.len() < rows.len()).then(|| edits.last().map(|edit| edit.edit_seq));
            Ok(Ok(Versions {
                next: next.flatten(),
                edits,
            }))
        })
        .await
}

async fn reactions(store: &Store, room: RoomId, user: UserId, asked: OfMessage) -> Answer<Reactions> {
    store
        .run_read("chat.reactions", |tx| async move {
            if !knows(&tx, room, user).await? {
                return Ok(Err(no_such_room()));
            }
            if message(&tx, room, user, asked.seq).await?.is_none() {
                return Ok(Err(no_such_message()));
            }
            let (seq, after) = (number(asked.seq), number(asked.after.unwrap_or(0)));
            let wanted = i64::from(OF_MESSAGE_MAX) + 1;
            let rows = tx.query(REACTIONS_SQL, &[&room.0, &seq, &after, &wanted]).await?;
            let reacted = |row: &Row| Reacted {
                user: UserId(row.get(0)),
                emoji: row.get(1),
                seq: row.get::<_, i64>(2).unsigned_abs(),
            };
            let reactions: Vec<Reacted> = rows
                .iter()
                .take(usize::try_from(OF_MESSAGE_MAX).unwrap_or(0))
                .map(reacted)
                .collect();
            let next = (reactions.len() < rows.len()).then(|| reactions.last().map(|last| last.seq));
            Ok(Ok(Reactions {
                next: next.flatten(),
                reactions,
            }))
        })
        .await
}

async fn receipts(store: &Store, room: RoomId, user: UserId, asked: List) -> Answer<Listed> {
    // Member by member where all know each other, counts alone where many only read.
    const ABOUT: &str = "SELECT r.kind, h.seq FROM rooms r JOIN room_heads h ON h.room = r.id \
         JOIN members m ON m.room = r.id AND m.user_id = $2 AND m.to_seq IS NULL WHERE r.id = $1";
    store
        .run_read("chat.receipts", |tx| async move {
            let Some(about) = tx.query_opt(ABOUT, &[&room.0, &user.0]).await? else {
                return Ok(Err(no_such_room()));
            };
            let (kind, head): (&str, i64) = (about.get(0), about.get(1));
            let seq = asked.seq.map_or(head, |seq| number(seq).min(head));
            let counts = tx.query(COUNTS_SQL, &[&room.0, &seq]).await?;
            let count = |column: usize| {
                counts
                    .first()
                    .map_or(0, |row| row.get::<_, i64>(column).unsigned_abs())
            };
            let is_small = count(2) <= u64::try_from(ROOM_LARGE_ABOVE).unwrap_or(0);
            let mut marks = None;
            if is_small && RoomKind::find(kind) != Some(RoomKind::Channel) {
                let mark = |row: &Row| Mark {
                    user: UserId(row.get(0)),
                    read_seq: row.get::<_, i64>(1).unsigned_abs(),
                    delivered_seq: row.get::<_, i64>(2).unsigned_abs(),
                };
                marks = Some(tx.query(MARKS_SQL, &[&room.0]).await?.iter().map(mark).collect());
            }
            Ok(Ok(Listed {
                seq: seq.unsigned_abs(),
                read: count(0),
                delivered: count(1),
                marks,
            }))
        })
        .await
}
