//! What is asked for page by page: members, bans, links; and what a link leads to. Each is one statement, which also
//! says what the caller is in the room.

use hub_protocol::api::Empty;
use hub_protocol::api::invite::{Invites, LookInvite, Looked};
use hub_protocol::api::member::{Banned, Bans, ListBans, ListMembers, Members};
use hub_protocol::api::room::{Member, Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::MEMBERS_PAGE_MAX;
use hub_protocol::{ErrorCode, UserId};
use serde::Serialize;
use tokio_postgres::Row;

use super::command::code_hash;
use super::rules::invite::{no_such_invite, not_for_you};
use super::rules::no_such_room;
use super::store;
use crate::call::{json, now_us, params, refuse};
use crate::service::{Call, Outcome, WorkError};
use crate::store::Store;

/// The caller's role and the kind of the room, on every row; a first row without more if there is nothing else.
const STANDING: &str = "WITH me AS ( \
         SELECT r.kind, m.role FROM rooms r \
         JOIN members m ON m.room = r.id AND m.user_id = $2 AND m.to_seq IS NULL WHERE r.id = $1) ";

fn outcome<T: Serialize>(done: Result<T, ErrorBody>) -> Outcome {
    match done {
        Ok(result) => Outcome::result(json(&result)),
        Err(refusal) => Outcome::refused(refusal),
    }
}

/// One row more than asked for tells whether there is more.
fn limit(asked: Option<u32>) -> (usize, i64) {
    let limit = asked.unwrap_or(MEMBERS_PAGE_MAX).clamp(1, MEMBERS_PAGE_MAX);
    (usize::try_from(limit).unwrap_or(usize::MAX), i64::from(limit) + 1)
}

/// What the caller is, from the first two columns of any row.
fn standing(rows: &[Row]) -> Result<(RoomKind, Role), ErrorBody> {
    let row = rows.first().ok_or_else(no_such_room)?;
    let kind = RoomKind::find(row.get(0));
    kind.zip(Role::find(row.get(1))).ok_or_else(no_such_room)
}

fn admin(rows: &[Row], what: &str) -> Result<(), ErrorBody> {
    match standing(rows)? {
        (kind, role) if role >= Role::Admin && kind != RoomKind::Direct => Ok(()),
        _ => Err(refuse(ErrorCode::Forbidden, what)),
    }
}

/// `member.list`.
pub(super) async fn members(store: &Store, call: &Call) -> Result<Outcome, WorkError> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "{STANDING} SELECT me.kind, me.role, l.user_id, l.role FROM me LEFT JOIN LATERAL ( \
                 SELECT user_id, role FROM members WHERE room = $1 AND to_seq IS NULL AND user_id > $3 \
                     AND ($4::text IS NULL OR role = $4) ORDER BY user_id LIMIT $5) l ON true ORDER BY l.user_id"
        )
    });
    let asked: ListMembers = match params(call) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Outcome::refused(refusal)),
    };
    let (limit, wanted) = limit(asked.limit);
    let after = asked.after.unwrap_or(UserId::NIL).0;
    let role = asked.role.map(Role::name);
    let (room, user) = (call.header.room.0, call.header.user.0);
    let rows = store
        .query("chat.members", &SQL, &[&room, &user, &after, &role, &wanted])
        .await?;
    let member = |row: &Row| {
        let user: Option<uuid::Uuid> = row.get(2);
        let role = Role::find(row.get::<_, Option<&str>>(3)?)?;
        Some(Member {
            user: UserId(user?),
            role,
        })
    };
    Ok(outcome(standing(&rows).map(|_member| {
        let mut members: Vec<Member> = rows.iter().filter_map(member).collect();
        let more = members.len() > limit;
        members.truncate(limit);
        Members { members, more }
    })))
}

/// `member.bans`.
pub(super) async fn bans(store: &Store, call: &Call) -> Result<Outcome, WorkError> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "{STANDING} SELECT me.kind, me.role, l.user_id, l.by_user, l.created_at FROM me LEFT JOIN LATERAL ( \
                 SELECT user_id, by_user, created_at FROM bans WHERE room = $1 AND user_id > $3 \
                     ORDER BY user_id LIMIT $4) l ON true ORDER BY l.user_id"
        )
    });
    let asked: ListBans = match params(call) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Outcome::refused(refusal)),
    };
    let (limit, wanted) = limit(asked.limit);
    let after = asked.after.unwrap_or(UserId::NIL).0;
    let (room, user) = (call.header.room.0, call.header.user.0);
    let rows = store
        .query("chat.bans", &SQL, &[&room, &user, &after, &wanted])
        .await?;
    let ban = |row: &Row| {
        let user: Option<uuid::Uuid> = row.get(2);
        Some(Banned {
            user: UserId(user?),
            by: UserId(row.get(3)),
            created_at: row.get(4),
        })
    };
    let allowed = admin(&rows, "only admins and the owner see who is kept out");
    Ok(outcome(allowed.map(|()| {
        let mut bans: Vec<Banned> = rows.iter().filter_map(ban).collect();
        let more = bans.len() > limit;
        bans.truncate(limit);
        Bans { bans, more }
    })))
}

/// `invite.list`: all of them for who manages members, the own ones for others.
pub(super) async fn invites(store: &Store, call: &Call) -> Result<Outcome, WorkError> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("{STANDING} SELECT kind, role FROM me"));
    if let Err(refusal) = params::<Empty>(call) {
        return Ok(Outcome::refused(refusal));
    }
    let (room, user) = (call.header.room, call.header.user);
    let rows = store.query("chat.standing", &SQL, &[&room.0, &user.0]).await?;
    let (kind, role) = match standing(&rows) {
        Ok(standing) => standing,
        Err(refusal) => return Ok(Outcome::refused(refusal)),
    };
    if kind == RoomKind::Direct {
        return Ok(Outcome::refused(refuse(
            ErrorCode::Forbidden,
            "a direct room has no invites",
        )));
    }
    let links = store::links(store, room).await?;
    let seen = links
        .into_iter()
        .map(|link| link.info)
        .filter(|info| role >= Role::Admin || info.created_by == user);
    Ok(outcome(Ok(Invites {
        invites: seen.collect(),
    })))
}

/// `invite.look`.
pub(super) async fn look(store: &Store, call: &Call) -> Result<Outcome, WorkError> {
    const SQL: &str = "SELECT r.kind, r.name, r.topic, r.avatar, i.role, \
             (SELECT count(*) FROM members m WHERE m.room = $1 AND m.to_seq IS NULL), \
             EXISTS (SELECT FROM members m WHERE m.room = $1 AND m.user_id = $3 AND m.to_seq IS NULL), \
             EXISTS (SELECT FROM bans b WHERE b.room = $1 AND b.user_id = $3) OR EXISTS (SELECT FROM blocks b \
                 WHERE (b.user_id, b.blocked) IN ((i.created_by, $3), ($3, i.created_by))) \
         FROM invites i JOIN rooms r ON r.id = i.room \
         WHERE i.room = $1 AND i.code_hash = $2 AND r.ended_at IS NULL \
             AND (i.expires_at IS NULL OR i.expires_at > $4) AND (i.uses_max IS NULL OR i.uses < i.uses_max)";
    let asked: LookInvite = match params(call) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Outcome::refused(refusal)),
    };
    let code = match code_hash(&asked.code) {
        Ok(code) => code,
        Err(refusal) => return Ok(Outcome::refused(refusal)),
    };
    let (room, user) = (call.header.room, call.header.user);
    let rows = store
        .query("chat.look", SQL, &[&room.0, &code.as_slice(), &user.0, &now_us()])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Outcome::refused(no_such_invite()));
    };
    if row.get(7) {
        return Ok(Outcome::refused(not_for_you()));
    }
    Ok(outcome(Ok(Looked {
        room,
        // Both columns have checks of their own.
        kind: RoomKind::find(row.get(0)).unwrap_or(RoomKind::Group),
        name: row.get(1),
        topic: row.get(2),
        avatar: row.get(3),
        role: Role::find(row.get(4)).unwrap_or(Role::Reader),
        members: u32::try_from(row.get::<_, i64>(5)).unwrap_or(u32::MAX),
        joined: row.get(6),
    })))
}

/// True if one of two users has blocked the other.
pub(super) async fn is_blocked(store: &Store, a: UserId, b: UserId) -> Result<bool, WorkError> {
    const SQL: &str = "SELECT FROM blocks WHERE (user_id, blocked) IN (($1, $2), ($2, $1)) LIMIT 1";
    Ok(!store.query("chat.blocked", SQL, &[&a.0, &b.0]).await?.is_empty())
}
