//! Accounts, rooms and logins for load runs, without one password hash per user.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use aws_lc_rs::hmac;
use hub_protocol::api::event::Kind;
use hub_protocol::api::room::{Member, Role, Room, RoomKind};
use hub_protocol::api::setting::Settings;
use hub_protocol::limits::{ACCESS_TOKEN_S, ROOM_FIRST_MEMBERS_MAX, ROOM_LARGE_ABOVE};
use hub_protocol::{LoginId, Op, RoomId, UserId};
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use serde_json::json;
use uuid::Uuid;

use crate::auth::token::{RefreshToken, access_token};
use crate::call::now_us;
use crate::chat::created_body;
use crate::keys::SigningKey;
use crate::store::{Meta, Store, StoreError, Tx};

/// Life of a seeded login, µs.
const LOGIN_US: i64 = 24 * 3600 * 1_000_000;
/// Members of a room, a quarter above the mean included: what `chat.room_members_max` is by default.
const SEED_MEMBERS_MAX: usize = 100_000;
/// Users or rooms of one transaction.
const ROWS_MAX: usize = 1000;

/// How much to make.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Accounts.
    pub users: usize,
    /// Rooms.
    pub rooms: usize,
    /// Mean members of a room; sizes vary by a quarter around it.
    pub members: usize,
    /// Seeds the choice of members.
    pub seed: u64,
}

struct SeedUser {
    id: UserId,
    name: String,
    login: LoginId,
    token: RefreshToken,
}

struct SeedRoom {
    room: Room,
    op: Op,
    members: Vec<Member>,
}

/// Makes everything and writes the tokens to `out`, readable by its owner alone. A transaction holds
/// [`ROWS_MAX`] users or rooms, so that large amounts stay within its time; names are new in each run, so what an
/// aborted run left does no harm.
pub async fn run(store: &Store, meta: &Meta, signing: &SigningKey, wanted: Wanted, out: &Path) -> Result<()> {
    if wanted.users < 2 || wanted.members < 2 || wanted.members > wanted.users {
        bail!("at least 2 users, and from 2 to that many members per room");
    }
    if wanted.members > SEED_MEMBERS_MAX * 4 / 5 {
        bail!("rooms hold at most {SEED_MEMBERS_MAX} members, a quarter above the mean included");
    }
    let now = now_us();
    let mut rng = StdRng::seed_from_u64(wanted.seed);
    let users = make_users(wanted.users)?;
    let rooms: Vec<SeedRoom> = (0..wanted.rooms)
        .map(|number| make_room(number, wanted, &users, &mut rng, now))
        .collect();
    let file = private_file(out).with_context(|| format!("cannot write {}", out.display()))?;
    for users in users.chunks(ROWS_MAX) {
        store
            .run_tx(
                "seed.users",
                |tx| async move { insert_users(&tx, users, now).await },
            )
            .await?;
    }
    for rooms in rooms.chunks(ROWS_MAX) {
        store
            .run_tx(
                "seed.rooms",
                |tx| async move { insert_rooms(&tx, rooms, now).await },
            )
            .await?;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &meta.refresh_key);
    write_tokens(file, &users, &rooms, signing, &key, now)
        .with_context(|| format!("cannot write {}", out.display()))
}

fn make_users(count: usize) -> Result<Vec<SeedUser>> {
    let run = Uuid::new_v4().simple().to_string();
    let run = run.get(..8).unwrap_or_default();
    let user = |number: usize| {
        let login = LoginId(Uuid::now_v7());
        Ok(SeedUser {
            id: UserId(spread_id()),
            name: format!("seed-{run}-{number}"),
            login,
            token: RefreshToken::first(login).context("no random bytes")?,
        })
    };
    (0..count).map(user).collect()
}

/// A `UUIDv7` (RFC 9562 §5.7) without a counter. `Uuid::now_v7` counts within a millisecond in the very bits that
/// choose the partition: thousands of ids made at once would all fall into a few of them.
fn spread_id() -> Uuid {
    let millis = now_us().unsigned_abs() / 1_000;
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// A group whose size is within a quarter of the mean, or all users if the mean is their number. Room `n` holds user `n`, so that with enough rooms nobody is
/// left out.
fn make_room(number: usize, wanted: Wanted, users: &[SeedUser], rng: &mut StdRng, now: i64) -> SeedRoom {
    let spread = if wanted.members == users.len() {
        0
    } else {
        wanted.members / 4
    };
    let size = rng
        .random_range(wanted.members - spread..=wanted.members + spread)
        .clamp(2, users.len());
    let mut chosen: Vec<usize> = index::sample(rng, users.len(), size).into_vec();
    // Every user gets into some room before any room is all chance.
    let per_room = users.len().div_ceil(wanted.rooms.max(1)).min(size);
    for (place, offset) in chosen.iter_mut().zip(0..per_room) {
        *place = (number * per_room + offset) % users.len();
    }
    chosen.sort_unstable();
    chosen.dedup();
    let mut members: Vec<Member> = chosen
        .iter()
        .filter_map(|index| users.get(*index))
        .map(|user| Member {
            user: user.id,
            role: Role::Member,
        })
        .collect();
    members.sort_by_key(|member| member.user);
    let owner = members.first_mut().map_or(UserId::NIL, |member| {
        member.role = Role::Owner;
        member.user
    });
    let room = Room {
        id: RoomId(spread_id()),
        kind: RoomKind::Group,
        name: format!("Room {number}"),
        created_by: owner,
        created_at: now,
        topic: String::new(),
        avatar: None,
        settings: Settings::default(),
    };
    SeedRoom {
        room,
        op: Op(Uuid::now_v7()),
        members,
    }
}

async fn insert_users(tx: &Tx, users: &[SeedUser], now: i64) -> Result<(), StoreError> {
    const USERS: &str = "INSERT INTO users (id, username, display_name, created_at) \
         SELECT id, name, name, $3 FROM unnest($1::uuid[], $2::text[]) AS t (id, name)";
    const LOGINS: &str = "INSERT INTO logins (id, user_id, token_hash, rotated_at, created_at, expires_at) \
         SELECT login, id, hash, $4, $4, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS t (login, id, hash)";
    let ids: Vec<Uuid> = users.iter().map(|user| user.id.0).collect();
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let logins: Vec<Uuid> = users.iter().map(|user| user.login.0).collect();
    let hashes: Vec<Vec<u8>> = users.iter().map(|user| user.token.hash()).collect();
    tx.execute(USERS, &[&ids, &names, &now]).await?;
    tx.execute(LOGINS, &[&logins, &ids, &hashes, &now, &(now + LOGIN_US)])
        .await?;
    Ok(())
}

async fn insert_rooms(tx: &Tx, rooms: &[SeedRoom], now: i64) -> Result<(), StoreError> {
    const ROOMS: &str = "INSERT INTO rooms (id, kind, name, created_by, created_at, large) \
         SELECT id, 'group', name, owner, $4, large \
         FROM unnest($1::uuid[], $2::text[], $3::uuid[], $5::boolean[]) AS t (id, name, owner, large)";
    const HEADS: &str = "INSERT INTO room_heads (room, seq, n, last_at, changed) \
         SELECT id, 1, 0, $2, pg_current_xact_id() FROM unnest($1::uuid[]) AS t (id)";
    const EVENTS: &str = "INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at) \
         SELECT room, 1, NULL, $5, actor, op, ''::bytea, body, $6 \
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) AS t (room, actor, op, body)";
    const MEMBERS: &str = "INSERT INTO members (room, user_id, role, from_seq, changed) \
         SELECT room, user_id, role, 1, pg_current_xact_id() \
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS t (room, user_id, role)";
    let ids: Vec<Uuid> = rooms.iter().map(|room| room.room.id.0).collect();
    let names: Vec<&str> = rooms.iter().map(|room| room.room.name.as_str()).collect();
    let owners: Vec<Uuid> = rooms.iter().map(|room| room.room.created_by.0).collect();
    let ops: Vec<Uuid> = rooms.iter().map(|room| room.op.0).collect();
    let bodies: Vec<String> = rooms
        .iter()
        .map(|room| {
            // An event fits into an answer: the others are as if they had joined without one.
            let first = room
                .members
                .get(..ROOM_FIRST_MEMBERS_MAX)
                .unwrap_or(&room.members);
            created_body(room.op, &room.room, first)
        })
        .collect();
    let large: Vec<bool> = rooms
        .iter()
        .map(|room| room.members.len() > ROOM_LARGE_ABOVE)
        .collect();
    tx.execute(ROOMS, &[&ids, &names, &owners, &now, &large]).await?;
    tx.execute(HEADS, &[&ids, &now]).await?;
    tx.execute(
        EVENTS,
        &[&ids, &owners, &ops, &bodies, &Kind::RoomCreated.number(), &now],
    )
    .await?;
    let stays = || {
        rooms
            .iter()
            .flat_map(|room| room.members.iter().map(move |member| (room, member)))
    };
    let at: Vec<Uuid> = stays().map(|(room, _)| room.room.id.0).collect();
    let who: Vec<Uuid> = stays().map(|(_, member)| member.user.0).collect();
    let roles: Vec<&str> = stays().map(|(_, member)| member.role.name()).collect();
    tx.execute(MEMBERS, &[&at, &who, &roles]).await?;
    Ok(())
}

/// An empty file that only its owner reads, also if it was there before.
fn private_file(path: &Path) -> std::io::Result<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// One JSON line each: first the counts, then users with their tokens, then rooms.
fn write_tokens(
    file: File,
    users: &[SeedUser],
    rooms: &[SeedRoom],
    signing: &SigningKey,
    key: &hmac::Key,
    now: i64,
) -> Result<()> {
    let mut file = std::io::BufWriter::new(file);
    let now_s = u64::try_from(now / 1_000_000).unwrap_or(0);
    writeln!(
        file,
        "{}",
        json!({"type": "meta", "users": users.len(), "rooms": rooms.len()})
    )?;
    for user in users {
        let token = access_token(signing, user.id, user.login, now_s, ACCESS_TOKEN_S);
        let line = json!({
            "type": "user",
            "user": user.id,
            "username": user.name,
            "token": token.context("a token could not be signed")?,
            "refresh_token": user.token.write(key),
        });
        writeln!(file, "{line}")?;
    }
    for room in rooms {
        let members: Vec<UserId> = room.members.iter().map(|member| member.user).collect();
        writeln!(
            file,
            "{}",
            json!({"type": "room", "room": room.room.id, "members": members})
        )?;
    }
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hub_protocol::partition;

    use super::*;

    #[test]
    fn ids_made_at_once_fall_into_all_partitions_alike() {
        let mut rooms = [0_u32; 8];
        for _ in 0..8_000 {
            rooms[usize::from(partition::of_room(RoomId(spread_id()), 8))] += 1;
        }
        // The standard deviation is 30.
        assert!(
            rooms.iter().all(|count| (800..1_200).contains(count)),
            "{rooms:?}"
        );
    }
}
