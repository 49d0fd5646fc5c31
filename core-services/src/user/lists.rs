//! Users by id, by their names, and in the lists of the caller.

use hub_protocol::api::user::{Blocked, Contact, Contacts, Found, Get, ListUsers, Profile, Search, Users};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{RESULT_BYTES_MAX, USER_GET_MAX, USER_LIST_MAX, USER_SEARCH_MAX};
use hub_protocol::{ErrorCode, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::Profiles;
use super::store::{profile, read_profile, unblocked};
use super::words::{Page, Query};
use crate::call::{json, params, refuse};
use crate::service::Call;
use crate::store::StoreError;

/// What an answer needs beside its list.
const FRAME_BYTES: usize = 1_024;
const SEARCH_DEFAULT: u32 = 20;
/// Words that one page of a search with several words looks at.
const SEARCH_SCAN: i64 = 500;

type Answer<T> = Result<Result<T, ErrorBody>, StoreError>;

impl Profiles {
    pub(super) async fn get(&self, call: &Call) -> Answer<Users> {
        const SQL: &str = concat!("SELECT ", profile!(), " FROM users u WHERE u.id = ANY($1)");
        let asked: Get = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        if asked.users.len() > USER_GET_MAX {
            return Ok(Err(refuse(ErrorCode::TooLarge, "at most 200 users in one call")));
        }
        let ids: Vec<Uuid> = asked.users.iter().map(|user| user.0).collect();
        let rows = self.store.query("user.get", SQL, &[&ids]).await?;
        let users = rows.iter().map(|row| read_profile(row, 0)).collect();
        let (users, more) = fitting(users, USER_GET_MAX);
        Ok(Ok(Users { users, more }))
    }

    pub(super) async fn search(&self, call: &Call) -> Answer<Found> {
        // The words of one range in the order of the index, from one place on (a second lower bound would make the scan
        // begin at the wrong one), no more than `$6` of them; each with whether it counts:
        // not blocked, the first word of its user in the range, and the other words are there too.
        const SQL: &str = concat!(
            "WITH range AS MATERIALIZED ( \
                 SELECT w.word, w.user_id FROM user_words w \
                 WHERE w.word < $3 AND (w.word, w.user_id) > ($4, $5) \
                 ORDER BY w.word, w.user_id LIMIT $6) \
             SELECT r.word, ",
            profile!(),
            ", u.deleted_at IS NULL AND ",
            unblocked!(),
            " AND NOT EXISTS (SELECT FROM user_words e \
                 WHERE e.user_id = u.id AND e.word >= $2 AND e.word < r.word) \
              AND NOT EXISTS (SELECT FROM unnest($7::text[]) AS o WHERE NOT EXISTS (SELECT FROM user_words e \
                 WHERE e.user_id = u.id AND e.word >= o AND e.word < o || U&'\\+10FFFF')) \
             FROM range r JOIN users u ON u.id = r.user_id ORDER BY r.word, r.user_id"
        );
        let asked = match params::<Search>(call).and_then(|asked| {
            let query = Query::read(&asked.query)?;
            let page = asked.page.as_deref().map(|text| Page::read(text, &query.lead));
            Ok((query, page.transpose()?, asked.limit))
        }) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        let (query, page, limit) = asked;
        let limit = limit.unwrap_or(SEARCH_DEFAULT).clamp(1, USER_SEARCH_MAX);
        let scan = if query.others.is_empty() {
            i64::from(limit) + 1
        } else {
            SEARCH_SCAN
        };
        let page = page.unwrap_or(Page {
            word: query.lead.from.clone(),
            user: UserId::NIL,
        });
        let (from, below) = (&query.lead.from, &query.lead.below);
        let rows = self
            .store
            .query(
                "user.search",
                SQL,
                &[
                    &call.header.user.0,
                    from,
                    below,
                    &page.word,
                    &page.user.0,
                    &scan,
                    &query.others,
                ],
            )
            .await?;
        let is_cut = rows.len() >= usize::try_from(scan).unwrap_or(usize::MAX);
        let mut found = Found {
            users: Vec::new(),
            next: None,
        };
        let mut bytes = FRAME_BYTES;
        for (at, row) in rows.iter().enumerate() {
            let user = read_profile(row, 1);
            let page = Page {
                word: row.get(0),
                user: user.id,
            };
            if row.get::<_, bool>(8) {
                bytes += json(&user).len();
                found.users.push(user);
            }
            let is_last = at + 1 == rows.len();
            let is_full = found.users.len() >= usize::try_from(limit).unwrap_or(usize::MAX)
                || bytes > RESULT_BYTES_MAX - 4 * FRAME_BYTES;
            if (is_full && !is_last) || (is_last && is_cut) {
                found.next = Some(page.write());
                break;
            }
        }
        Ok(Ok(found))
    }

    pub(super) async fn contacts(&self, call: &Call) -> Answer<Contacts> {
        const SQL: &str = concat!(
            "SELECT ",
            profile!(),
            ", c.alias FROM contacts c JOIN users u ON u.id = c.contact \
             WHERE c.user_id = $1 AND c.contact > $2 ORDER BY c.contact LIMIT $3"
        );
        let rows = match self.list("contact.list", SQL, call).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let (rows, limit) = rows;
        let contact = |row: &tokio_postgres::Row| Contact {
            user: read_profile(row, 0),
            alias: row.get(7),
        };
        let (contacts, more) = fitting(rows.iter().map(contact).collect(), limit);
        Ok(Ok(Contacts { contacts, more }))
    }

    pub(super) async fn blocked(&self, call: &Call) -> Answer<Blocked> {
        const SQL: &str = concat!(
            "SELECT ",
            profile!(),
            " FROM blocks b JOIN users u ON u.id = b.blocked \
             WHERE b.user_id = $1 AND b.blocked > $2 ORDER BY b.blocked LIMIT $3"
        );
        let rows = match self.list("block.list", SQL, call).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let (rows, limit) = rows;
        let users: Vec<Profile> = rows.iter().map(|row| read_profile(row, 0)).collect();
        let (users, more) = fitting(users, limit);
        Ok(Ok(Blocked { users, more }))
    }

    /// The rows of one page, one more than asked for if there are more, and how many were asked for.
    async fn list(
        &self,
        name: &'static str,
        sql: &'static str,
        call: &Call,
    ) -> Answer<(Vec<tokio_postgres::Row>, usize)> {
        let asked: ListUsers = match params(call) {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(error)),
        };
        let limit = asked.limit.unwrap_or(USER_LIST_MAX).clamp(1, USER_LIST_MAX);
        let after = asked.after.unwrap_or(UserId::NIL);
        let wanted = i64::from(limit) + 1;
        let rows = self
            .store
            .query(name, sql, &[&call.header.user.0, &after.0, &wanted])
            .await?;
        Ok(Ok((rows, usize::try_from(limit).unwrap_or(usize::MAX))))
    }
}

/// The first items, at most `limit`, that fit into an answer; and whether there are more.
fn fitting<T: Serialize>(mut items: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let mut bytes = FRAME_BYTES;
    let fit = items.iter().take(limit).take_while(|item| {
        bytes += json(item).len() + 1;
        bytes <= RESULT_BYTES_MAX
    });
    let fit = fit.count();
    let more = items.len() > fit;
    items.truncate(fit);
    (items, more)
}
