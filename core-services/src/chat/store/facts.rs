//! What a plan knows beside rooms: read here, each by one statement, and only if a call needs it.

use hashbrown::{HashMap, HashSet};
use hub_protocol::api::invite::Invite;
use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::api::setting::Preferences;
use hub_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::events::hash;
use crate::chat::command::{Command, Write};
use crate::chat::facts::{Facts, Link};
use crate::chat::plan::Loaded;
use crate::store::{Store, StoreError, Tx};

/// A day, µs.
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Accounts that can be added to rooms: the one place that says which they are.
const ACCOUNTS_SQL: &str = "SELECT id FROM users WHERE id = ANY($1) AND deleted_at IS NULL";

const LINKS_SQL: &str = "SELECT room, id, code_hash, role, created_by, created_at, expires_at, uses_max, uses \
     FROM invites WHERE room = ANY($1) ORDER BY created_at DESC, id";

/// What must be known before rooms are made.
pub(super) async fn before(tx: &Tx, writes: &[&Write], now: i64) -> Result<Facts, StoreError> {
    const MADE: &str = "SELECT created_by, count(*) FROM rooms WHERE created_by = ANY($1) AND created_at > $2 \
         GROUP BY created_by";
    let mut facts = Facts {
        now,
        ..Facts::default()
    };
    let (mut users, mut makers, mut pairs) = (Vec::new(), Vec::new(), HashSet::new());
    for write in writes {
        match &write.command {
            Command::Create(create) => {
                users.push(write.actor.0);
                users.extend(create.members.iter().map(|user| user.0));
                makers.push(write.actor.0);
                pairs.extend(create.members.iter().map(|user| (write.actor, *user)));
            }
            Command::Add(add) => {
                users.push(add.user.0);
                pairs.insert((write.actor, add.user));
            }
            Command::Ban(ban) => users.push(ban.user.0),
            _ => {}
        }
    }
    users.sort_unstable();
    users.dedup();
    if !users.is_empty() {
        let rows = tx.query(ACCOUNTS_SQL, &[&users]).await?;
        facts.users = rows.iter().map(|row| UserId(row.get(0))).collect();
    }
    if !makers.is_empty() {
        let rows = tx.query(MADE, &[&makers, &(now - DAY_US)]).await?;
        facts.made = rows.iter().map(|row| (UserId(row.get(0)), row.get(1))).collect();
    }
    load_blocks(tx, &pairs, &mut facts).await?;
    Ok(facts)
}

/// The rest, once the heads are locked and the rooms are known: bans, links and preferences only change under the
/// locks.
pub(super) async fn after(tx: &Tx, writes: &[&Write], loaded: &mut Loaded) -> Result<(), StoreError> {
    let (mut linked, mut preferred, mut kept_out, mut slow) = (vec![], vec![], vec![], vec![]);
    let mut pairs = HashSet::new();
    for write in writes {
        let room = loaded.rooms.get(&write.room);
        // Whatever is written in a direct room goes to the other one.
        pairs.extend(room.and_then(|room| Some((write.actor, room.peer(write.actor)?))));
        match &write.command {
            Command::Join => kept_out.push((write.room.0, write.actor.0)),
            Command::Add(add) => kept_out.push((write.room.0, add.user.0)),
            Command::Remove(remove) => kept_out.push((write.room.0, remove.user.0)),
            Command::Ban(ban) | Command::Unban(ban) => kept_out.push((write.room.0, ban.user.0)),
            Command::AcceptInvite(_) => {
                kept_out.push((write.room.0, write.actor.0));
                linked.push(write.room.0);
            }
            Command::CreateInvite(..) | Command::RevokeInvite(_) => linked.push(write.room.0),
            Command::Prefer(_) => preferred.push((write.room.0, write.actor.0)),
            Command::Send(_) if room.is_some_and(|room| is_slow(room)) => {
                slow.push((write.room.0, write.actor.0));
            }
            _ => {}
        }
    }
    let facts = &mut loaded.facts;
    load_bans(tx, kept_out, facts).await?;
    load_preferences(tx, preferred, facts).await?;
    load_last_sent(tx, slow, facts).await?;
    if !linked.is_empty() {
        for row in tx.query(LINKS_SQL, &[&linked]).await? {
            let (room, link) = link(&row)?;
            facts.links.entry(room).or_default().push(link);
        }
        for write in writes {
            if let Command::AcceptInvite(code) = &write.command {
                let links = facts.links.get(&write.room).into_iter().flatten();
                let maker = links.filter(|link| link.code == *code);
                pairs.extend(maker.map(|link| (write.actor, link.info.created_by)));
            }
        }
    }
    load_blocks(tx, &pairs, facts).await
}

fn is_slow(room: &crate::chat::room::Room) -> bool {
    room.info.settings.slow_mode_s > 0 && room.info.kind != RoomKind::Direct
}

async fn load_blocks(
    tx: &Tx,
    pairs: &HashSet<(UserId, UserId)>,
    facts: &mut Facts,
) -> Result<(), StoreError> {
    const SQL: &str = "SELECT b.user_id, b.blocked FROM unnest($1::uuid[], $2::uuid[]) AS w (a, b) \
         JOIN blocks b ON b.user_id = w.a AND b.blocked = w.b";
    if pairs.is_empty() {
        return Ok(());
    }
    let both = pairs.iter().flat_map(|(a, b)| [(a.0, b.0), (b.0, a.0)]);
    let (from, to): (Vec<Uuid>, Vec<Uuid>) = both.unzip();
    let rows = tx.query(SQL, &[&from, &to]).await?;
    facts
        .blocks
        .extend(rows.iter().map(|row| (UserId(row.get(0)), UserId(row.get(1)))));
    Ok(())
}

async fn load_bans(tx: &Tx, of: Vec<(Uuid, Uuid)>, facts: &mut Facts) -> Result<(), StoreError> {
    const SQL: &str = "SELECT b.room, b.user_id FROM unnest($1::uuid[], $2::uuid[]) AS w (room, user_id) \
         JOIN bans b ON b.room = w.room AND b.user_id = w.user_id";
    facts.bans = by_room_and_user(tx, SQL, of).await?.iter().map(key).collect();
    Ok(())
}

async fn load_preferences(tx: &Tx, of: Vec<(Uuid, Uuid)>, facts: &mut Facts) -> Result<(), StoreError> {
    const SQL: &str = "SELECT p.room, p.user_id, p.archived, p.muted_until, p.pinned_at \
         FROM unnest($1::uuid[], $2::uuid[]) AS w (room, user_id) \
         JOIN room_preferences p ON p.room = w.room AND p.user_id = w.user_id";
    let preferences = |row: &Row| Preferences {
        archived: row.get(2),
        muted_until: row.get(3),
        pinned_at: row.get(4),
    };
    facts.preferences = by_room_and_user(tx, SQL, of)
        .await?
        .iter()
        .map(|row| (key(row), preferences(row)))
        .collect();
    Ok(())
}

async fn load_last_sent(tx: &Tx, of: Vec<(Uuid, Uuid)>, facts: &mut Facts) -> Result<(), StoreError> {
    const SQL: &str = "SELECT m.room, m.user_id, m.last_sent_at \
         FROM unnest($1::uuid[], $2::uuid[]) AS w (room, user_id) \
         JOIN members m ON m.room = w.room AND m.user_id = w.user_id AND m.to_seq IS NULL WHERE m.last_sent_at > 0";
    facts.last_sent = by_room_and_user(tx, SQL, of)
        .await?
        .iter()
        .map(|row| (key(row), row.get(2)))
        .collect::<HashMap<_, _>>();
    Ok(())
}

async fn by_room_and_user(tx: &Tx, sql: &str, of: Vec<(Uuid, Uuid)>) -> Result<Vec<Row>, StoreError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let (rooms, users): (Vec<Uuid>, Vec<Uuid>) = of.into_iter().unzip();
    tx.query(sql, &[&rooms, &users]).await
}

fn key(row: &Row) -> (RoomId, UserId) {
    (RoomId(row.get(0)), UserId(row.get(1)))
}

fn link(row: &Row) -> Result<(RoomId, Link), StoreError> {
    let role: &str = row.get(3);
    let role = Role::find(role)
        .ok_or_else(|| StoreError::Corrupt(anyhow::anyhow!("an invite of unknown role {role}")))?;
    let count = |at: usize| row.get::<_, Option<i32>>(at).map(i32::unsigned_abs);
    let info = Invite {
        id: row.get(1),
        created_by: UserId(row.get(4)),
        created_at: row.get(5),
        role,
        expires_at: row.get(6),
        uses_max: count(7),
        uses: count(8).unwrap_or(0),
    };
    let code = hash(row.get(2));
    Ok((RoomId(row.get(0)), Link { info, code }))
}

/// The links of a room, newest first.
pub(in crate::chat) async fn links(store: &Store, room: RoomId) -> Result<Vec<Link>, StoreError> {
    let rows = store.query("chat.invites", LINKS_SQL, &[&vec![room.0]]).await?;
    rows.iter()
        .map(|row| link(row).map(|(_room, link)| link))
        .collect()
}
