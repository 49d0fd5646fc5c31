//! `message.search` and `search`: messages that hold some words.
//!
//! A search that takes too long is refused as busy: words that stand in most messages of a large system have no
//! answer that is worth its time.

use hub_protocol::api::message::{Message, Messages, Search, SearchRoom};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{QUERY_BYTES_MAX, RESULT_BYTES_MAX, SEARCH_DEFAULT, SEARCH_MAX};
use hub_protocol::{ErrorCode, RoomId, UserId};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::log::LogEvent;
use super::rules::no_such_room;
use super::store::messages::{ROOMS_SQL, SEARCH_ALL_SQL, SEARCH_ROOM_SQL, decorate, events};
use super::store::{self, VIEW_SQL};
use crate::call::{json, refuse};
use crate::store::{Store, StoreError, Tx};

/// What an answer needs beside its messages.
const FRAME_BYTES: usize = 4 * 1024;
/// The plan depends on how rare the words are, so it is made for each search; and a search is no reason to let a
/// connection wait for long.
const SETTINGS: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL statement_timeout = '3s'";

/// Answers `message.search`.
pub(super) async fn in_room(
    store: &Store,
    room: RoomId,
    user: UserId,
    asked: SearchRoom,
) -> Result<Result<Messages, ErrorBody>, StoreError> {
    if let Err(refusal) = check(&asked.query) {
        return Ok(Err(refusal));
    }
    let limit = limit(asked.limit);
    let before = asked
        .before
        .map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let query = &asked.query;
    let found = store
        .run_read("chat.search", |tx| async move {
            let rows = tx.query(VIEW_SQL, &[&room.0, &user.0]).await?;
            if store::view(&rows).is_none() {
                return Ok(Err(no_such_room()));
            }
            let wanted = i64::from(limit) + 1;
            let rows =
                within_time(&tx, SEARCH_ROOM_SQL, &[&user.0, &room.0, query, &before, &wanted]).await?;
            let Some(rows) = rows else {
                return Ok(Err(too_long()));
            };
            let mut found = events(&rows)?;
            decorate(&tx, room, user, &mut found).await?;
            Ok(Ok(found))
        })
        .await?;
    Ok(found.map(|found| cut(&found, limit).0))
}

/// Answers `search`.
pub(crate) async fn everywhere(
    store: &Store,
    user: UserId,
    asked: Search,
) -> Result<Result<Messages, ErrorBody>, StoreError> {
    if let Err(refusal) = check(&asked.query) {
        return Ok(Err(refusal));
    }
    let start = match &asked.page {
        None => (i64::MAX, RoomId::NIL),
        Some(page) => match read_page(page) {
            Some(start) => start,
            None => {
                return Ok(Err(refuse(
                    ErrorCode::BadRequest,
                    "page: not the `next` of a search",
                )));
            }
        },
    };
    let limit = limit(asked.limit);
    let query = &asked.query;
    let found = store
        .run_read("user.search_messages", |tx| async move {
            let rooms = tx.query(ROOMS_SQL, &[&user.0]).await?;
            let rooms: Vec<Uuid> = rooms.iter().map(|row| row.get(0)).collect();
            let wanted = i64::from(limit) + 1;
            let (time, room) = (start.0, start.1.0);
            let rows = within_time(
                &tx,
                SEARCH_ALL_SQL,
                &[&user.0, &rooms, query, &time, &room, &wanted],
            )
            .await?;
            let Some(rows) = rows else {
                return Ok(Err(too_long()));
            };
            Ok(Ok(events(&rows)?))
        })
        .await?;
    Ok(found.map(|found| {
        let (mut messages, last) = cut(&found, limit);
        messages.next = last
            .filter(|_| messages.more)
            .map(|event| format!("{:x}.{}", event.created_at, event.room));
        messages
    }))
}

fn read_page(page: &str) -> Option<(i64, RoomId)> {
    let (time, room) = page.split_once('.')?;
    Some((i64::from_str_radix(time, 16).ok()?, room.parse().ok()?))
}

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(SEARCH_DEFAULT).clamp(1, SEARCH_MAX)
}

fn check(query: &str) -> Result<(), ErrorBody> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the query is longer than 256 bytes"));
    }
    if query.contains('\0') || !query.chars().any(char::is_alphanumeric) {
        return Err(refuse(ErrorCode::BadRequest, "the query holds no word"));
    }
    Ok(())
}

fn too_long() -> ErrorBody {
    refuse(
        ErrorCode::Busy,
        "these words stand in too many messages for a search",
    )
    .retry_after_ms(5_000)
}

/// Rows of a search; `None` if the server gave up.
async fn within_time(
    tx: &Tx,
    sql: &'static str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Option<Vec<Row>>, StoreError> {
    tx.client().batch_execute(SETTINGS).await?;
    match tx.query(sql, params).await {
        Ok(rows) => Ok(Some(rows)),
        Err(StoreError::System(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
            // The transaction has failed with it, and its COMMIT would too.
            tx.client().batch_execute("ROLLBACK; BEGIN").await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The messages of a page, below the bound of a result, and the last of them.
pub(super) fn cut(found: &[LogEvent], limit: u32) -> (Messages, Option<&LogEvent>) {
    let mut bytes = FRAME_BYTES;
    let mut messages: Vec<Message> = Vec::new();
    let (mut last, mut more) = (None, false);
    for (number, event) in (0..).zip(found) {
        let message = event.message();
        bytes += json(&message).len() + 1;
        if number >= limit || (bytes > RESULT_BYTES_MAX && number > 0) {
            more = true;
            break;
        }
        messages.push(message);
        last = Some(event);
    }
    let messages = Messages {
        messages,
        more,
        next: None,
    };
    (messages, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_a_word() {
        for query in ["a", "\"two words\" -three", "日本"] {
            assert!(check(query).is_ok(), "{query}");
        }
        for query in ["", " - ", "\"\"", "a\0"] {
            assert_eq!(check(query).unwrap_err().code, ErrorCode::BadRequest, "{query}");
        }
        assert_eq!(check(&"x".repeat(257)).unwrap_err().code, ErrorCode::TooLarge);
    }

    #[test]
    fn pages_of_others_are_refused() {
        let room = RoomId(Uuid::from_u128(7));
        assert_eq!(read_page(&format!("ff.{room}")), Some((255, room)));
        for page in ["", "ff", "x.y", "ff."] {
            assert_eq!(read_page(page), None);
        }
    }
}
