//! The user service on a real database: profiles, lists, and that `sync` misses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; a failure shows its seed"
)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::service::{Call, Handler};
use hub_services::user::Profiles;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::Database;
use tokio_postgres::Client;
use uuid::Uuid;

struct World {
    db: Database,
    profiles: Profiles,
    user: UserId,
}

impl World {
    async fn start() -> Self {
        let db = Database::fresh().await;
        let profiles = Profiles::new(db.store.clone(), &db.meta);
        let user = UserId(Uuid::now_v7());
        let sql = "INSERT INTO users (id, username, display_name, created_at) VALUES ($1, $2, 'Ada', 7)";
        db.client()
            .await
            .execute(sql, &[&user.0, &"ada.l"])
            .await
            .unwrap();
        Self { db, profiles, user }
    }

    async fn call(&self, method: Method, params: Value) -> Result<Value, String> {
        let header = EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user: self.user,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        };
        let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
        let outcome = self
            .profiles
            .read(&Call {
                header,
                body: Bytes::from(body),
            })
            .await
            .unwrap();
        match outcome.reply.unwrap() {
            Ok(result) => Ok(serde_json::from_slice(&result).unwrap()),
            Err(error) => Err(error.code.name().to_owned()),
        }
    }

    /// All pages: rooms with their seq and read mark, rooms that were left, the cursor, whether it was a reset.
    async fn sync(
        &self,
        cursor: Option<&str>,
        limit: u32,
    ) -> (BTreeMap<String, (u64, u64)>, Vec<String>, String, bool) {
        let (mut rooms, mut left) = (BTreeMap::new(), Vec::new());
        let mut params = json!({"limit": limit});
        if let Some(cursor) = cursor {
            params["cursor"] = json!(cursor);
        }
        loop {
            let page = self.call(Method::Sync, params).await.unwrap();
            for room in page["rooms"].as_array().unwrap() {
                rooms.insert(
                    room["room"]["id"].as_str().unwrap().to_owned(),
                    (room["seq"].as_u64().unwrap(), room["read_seq"].as_u64().unwrap()),
                );
            }
            for room in page["left"].as_array().unwrap() {
                left.push(room["room"].as_str().unwrap().to_owned());
            }
            if page["next"].is_null() {
                let cursor = page["cursor"].as_str().unwrap().to_owned();
                return (rooms, left, cursor, page["reset"].as_bool().unwrap());
            }
            params = json!({"limit": limit, "page": page["next"]});
        }
    }

    async fn room(&self) -> Uuid {
        let room = Uuid::now_v7();
        let client = self.db.client().await;
        let sql = format!(
            "INSERT INTO rooms (id, kind, name, created_by, created_at) VALUES ('{room}', 'group', 'r', '{0}', 1);
             INSERT INTO room_heads (room, seq, n, last_at, changed) VALUES ('{room}', 1, 0, 1, pg_current_xact_id());
             INSERT INTO members (room, user_id, role, from_seq, changed)
             VALUES ('{room}', '{0}', 'member', 1, pg_current_xact_id())",
            self.user
        );
        client.batch_execute(&sql).await.unwrap();
        room
    }
}

/// What a message does to the tables, inside of whatever transaction is open.
async fn write(client: &Client, room: Uuid, actor: Uuid, text: &str) {
    let sql = "WITH head AS (
            UPDATE room_heads SET seq = seq + 1, n = n + 1, changed = pg_current_xact_id()
            WHERE room = $1 RETURNING seq, n)
        INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at)
        SELECT $1, seq, n, 2, $2, gen_random_uuid(), ''::bytea, $3, seq FROM head";
    client.execute(sql, &[&room, &actor, &text]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_learns_of_large_rooms_page_by_page() {
    let world = World::start().await;
    let client = world.db.client().await;
    let mut large = Vec::new();
    for number in 0..520_i64 {
        let room = Uuid::now_v7();
        let is_large = number % 52 != 0;
        client
            .execute(
                "INSERT INTO rooms (id, kind, name, created_by, created_at, large) VALUES ($1, 'group', 'r', $1, 0, $2)",
                &[&room, &is_large],
            )
            .await
            .unwrap();
        // Of every tenth large room he is a member no longer.
        let to_seq = (number % 10 == 1).then_some(5_i64);
        client
            .execute(
                "INSERT INTO members (room, user_id, role, from_seq, to_seq, changed) \
                 VALUES ($1, $2, 'member', 1, $3, pg_current_xact_id())",
                &[&room, &world.user.0, &to_seq],
            )
            .await
            .unwrap();
        if is_large && to_seq.is_none() {
            large.push(room);
        }
    }
    let page = world
        .call(Method::RoomLarge, json!({"after": Uuid::nil()}))
        .await
        .unwrap();
    assert_eq!(page, json!({"rooms": large, "more": false}));
    let rest = world
        .call(Method::RoomLarge, json!({"after": large[9]}))
        .await
        .unwrap();
    assert_eq!(rest["rooms"], json!(large[10..]));
}

#[tokio::test]
async fn profiles_are_found_by_id() {
    let world = World::start().await;
    let me = world.call(Method::UserMe, json!({})).await.unwrap();
    let expected = json!({"id": world.user, "username": "ada.l", "display_name": "Ada", "created_at": 7});
    assert_eq!(me["user"], expected);
    let users = world
        .call(Method::UserGet, json!({"users": [world.user, Uuid::nil()]}))
        .await
        .unwrap();
    assert_eq!(users["users"], json!([expected]));
    let many = vec![Uuid::nil(); 201];
    assert_eq!(
        world.call(Method::UserGet, json!({"users": many})).await,
        Err("too_large".to_owned())
    );
    assert_eq!(
        world.call(Method::UserMe, json!({"x": 1})).await,
        Err("bad_request".to_owned())
    );
}

#[tokio::test]
async fn rooms_are_listed_in_pages() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(world.room().await.to_string());
    }
    expected.sort();
    let (mut found, mut params) = (Vec::new(), json!({"limit": 2}));
    loop {
        let page = world.call(Method::RoomList, params).await.unwrap();
        found.extend(
            page["rooms"]
                .as_array()
                .unwrap()
                .iter()
                .map(|room| room["id"].as_str().unwrap().to_owned()),
        );
        if page["more"] == json!(false) {
            break;
        }
        params = json!({"limit": 2, "after": found.last().unwrap()});
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_sync_returns_what_changed_and_counts_it() {
    let world = World::start().await;
    let (quiet, busy, left) = (world.room().await, world.room().await, world.room().await);
    let (all, _, cursor, reset) = world.sync(None, 2).await;
    assert_eq!((all.len(), reset), (3, true));
    let client = world.db.client().await;
    let other = Uuid::now_v7();
    write(&client, busy, other, "hello").await;
    write(&client, busy, world.user.0, "mine").await;
    write(&client, busy, other, "for you").await;
    let mention =
        "UPDATE events SET mentions = ARRAY[$2, gen_random_uuid()] WHERE room = $1 AND body = 'for you'";
    client.execute(mention, &[&busy, &world.user.0]).await.unwrap();
    write(&client, busy, other, "taken away").await;
    let delete = "UPDATE events SET deleted_at = 1, body = '' WHERE room = $1 AND body = 'taken away'";
    client.execute(delete, &[&busy]).await.unwrap();
    write(&client, busy, other, "last").await;
    write(&client, busy, other, "hidden").await;
    let hide = "INSERT INTO hidden SELECT $2, room, seq FROM events WHERE room = $1 AND body = 'hidden'";
    client.execute(hide, &[&busy, &world.user.0]).await.unwrap();
    let sql = "UPDATE members SET to_seq = 1, changed = pg_current_xact_id() WHERE room = $1";
    client.execute(sql, &[&left]).await.unwrap();
    let page = world.call(Method::Sync, json!({"cursor": cursor})).await.unwrap();
    let rooms = page["rooms"].as_array().unwrap();
    let state = rooms
        .iter()
        .find(|room| room["room"]["id"] == busy.to_string())
        .unwrap();
    assert_eq!((&state["seq"], &state["n"]), (&json!(7), &json!(6)));
    assert_eq!((&state["unread"], &state["mentions"]), (&json!(3), &json!(1)));
    assert_eq!(state["last_message"]["text"], "last");
    assert_eq!(page["left"], json!([{"room": left, "seq": 1}]));
    assert_eq!(page["reset"], json!(false));
    // Transactions of other databases on the server hold the cursor back for a while: some rooms come twice then.
    let mut cursor = page["cursor"].as_str().unwrap().to_owned();
    for _ in 0..10_000 {
        let (later, _, next, _) = world.sync(Some(&cursor), 100).await;
        if !later.contains_key(&quiet.to_string()) {
            return;
        }
        cursor = next;
    }
    panic!("what did not change still comes");
}

#[tokio::test]
async fn of_several_stays_in_a_room_the_last_one_counts() {
    let world = World::start().await;
    let (back, gone) = (world.room().await, world.room().await);
    let (_, _, cursor, _) = world.sync(None, 100).await;
    let client = world.db.client().await;
    let other = Uuid::now_v7();
    for room in [back, gone] {
        write(&client, room, other, "unseen").await;
        let leave = "UPDATE members SET to_seq = 2, changed = pg_current_xact_id() WHERE room = $1";
        client.execute(leave, &[&room]).await.unwrap();
    }
    write(&client, back, other, "meanwhile").await;
    let join = "INSERT INTO members (room, user_id, role, from_seq, changed) \
         VALUES ($1, $2, 'member', 4, pg_current_xact_id())";
    client.execute(join, &[&back, &world.user.0]).await.unwrap();
    write(&client, back, other, "welcome").await;
    let page = world.call(Method::Sync, json!({"cursor": cursor})).await.unwrap();
    assert_eq!(page["left"], json!([{"room": gone, "seq": 2}]));
    let rooms = page["rooms"].as_array().unwrap();
    assert_eq!(rooms.len(), 1);
    assert_eq!(rooms[0]["room"]["id"], back.to_string());
    assert_eq!(
        (&rooms[0]["from_seq"], &rooms[0]["unread"]),
        (&json!(4), &json!(1))
    );
}

#[tokio::test]
async fn a_cursor_of_another_life_means_a_reset() {
    let world = World::start().await;
    world.room().await;
    // The last one is of a transaction that this database has not had yet.
    let ahead = format!("{}.ffffffffffff", world.db.meta.epoch);
    for cursor in ["", "nonsense", "another-epoch.ff", &ahead] {
        let (rooms, _, _, reset) = world.sync(Some(cursor), 100).await;
        assert_eq!((rooms.len(), reset), (1, true), "{cursor}");
    }
    assert_eq!(
        world.call(Method::Sync, json!({"page": "nonsense"})).await,
        Err("bad_request".to_owned())
    );
}

/// What a client knows of a room: every seq that it has applied, and the own mark.
#[derive(Default)]
struct Known {
    applied: std::collections::BTreeSet<u64>,
    read_seq: u64,
}

impl Known {
    fn last(&self) -> u64 {
        self.applied.last().copied().unwrap_or(0)
    }

    /// The range up to `seq`, as `message.history` would answer it: what is committed there has no hole.
    fn fetch(&mut self, seq: u64) {
        for next in self.last() + 1..=seq {
            assert!(self.applied.insert(next), "{next} was applied twice");
        }
    }

    /// The rule for a live event.
    fn live(&mut self, seq: u64) {
        if seq > self.last() {
            self.fetch(seq);
        }
    }
}

/// Writers whose transactions stay open while cursors are taken and live events come late, twice, or not at all:
/// what they commit must come by one way or the other. They send, edit, delete, and move the user's mark.
#[tokio::test]
async fn no_interleaving_of_transactions_and_live_events_hides_a_change() {
    let world = World::start().await;
    let mut rooms = Vec::new();
    for _ in 0..6 {
        rooms.push(world.room().await);
    }
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut writers: Vec<(Client, Option<Uuid>)> = Vec::new();
    for _ in 0..4 {
        writers.push((world.db.client().await, None));
    }
    let other = Uuid::now_v7();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut on_the_way: Vec<(String, u64)> = Vec::new();
    let reader = world.db.client().await;
    let mut cursor: Option<String> = None;
    for _ in 0..400 {
        let taken: Vec<Uuid> = writers.iter().filter_map(|(_, room)| *room).collect();
        let writer = rng.random_range(0..writers.len());
        let (client, open) = &mut writers[writer];
        match (rng.random_range(0..5), *open) {
            (0, _) => {
                let committed = stands(&reader, world.user).await;
                let (changed, _, next, _) = world.sync(cursor.as_deref(), rng.random_range(1..5)).await;
                take(&mut known, changed);
                cursor = Some(next);
                for (room, (seq, read_seq)) in committed {
                    let known = &known[&room];
                    assert!(known.last() >= seq && known.read_seq >= read_seq, "seed {seed}");
                }
            }
            (1, _) if !on_the_way.is_empty() => {
                let at = rng.random_range(0..on_the_way.len());
                let (room, seq) = on_the_way[at].clone();
                // Lost, delivered, or delivered and to be delivered again.
                let fate = rng.random_range(0..4);
                if fate > 0 {
                    on_the_way.swap_remove(at);
                }
                // Before the first sync a client knows no room.
                if fate != 1
                    && let Some(known) = known.get_mut(&room)
                {
                    known.live(seq);
                }
            }
            (_, Some(room)) => {
                client.batch_execute("COMMIT").await.unwrap();
                *open = None;
                let (seq, _) = stands(&reader, world.user).await[&room.to_string()];
                on_the_way.push((room.to_string(), seq));
            }
            (_, None) => {
                let room = rooms[rng.random_range(0..rooms.len())];
                if !taken.contains(&room) {
                    client.batch_execute("BEGIN").await.unwrap();
                    change(client, room, other, world.user, rng.random_range(0..4)).await;
                    *open = Some(room);
                }
            }
        }
    }
    for (client, open) in &writers {
        if open.is_some() {
            client.batch_execute("COMMIT").await.unwrap();
        }
    }
    let (changed, _, _, _) = world.sync(cursor.as_deref(), 100).await;
    take(&mut known, changed);
    for (room, (seq, read_seq)) in stands(&reader, world.user).await {
        let known = &known[&room];
        let applied: Vec<u64> = known.applied.iter().copied().collect();
        assert_eq!(applied, (1..=seq).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(known.read_seq, read_seq, "seed {seed}");
    }
}

fn take(known: &mut BTreeMap<String, Known>, changed: BTreeMap<String, (u64, u64)>) {
    for (room, (seq, read_seq)) in changed {
        let known = known.entry(room).or_default();
        known.fetch(seq);
        known.read_seq = known.read_seq.max(read_seq);
    }
}

/// One change inside of the open transaction: a message, an edit or a deletion with its event, or a mark.
async fn change(client: &Client, room: Uuid, other: Uuid, user: UserId, what: u32) {
    let event = |kind: u16| {
        format!(
            "WITH head AS (UPDATE room_heads SET seq = seq + 1, changed = pg_current_xact_id()
                WHERE room = '{room}' RETURNING seq)
            INSERT INTO events (room, seq, kind, actor, op, hash, body, created_at)
            SELECT '{room}', seq, {kind}, '{other}', gen_random_uuid(), ''::bytea, '{{}}', seq FROM head"
        )
    };
    let last = format!(
        "room = '{room}' AND seq = (SELECT max(seq) FROM events WHERE room = '{room}' AND n IS NOT NULL)"
    );
    let sql = match what {
        0 => return write(client, room, other, "x").await,
        1 => format!(
            "UPDATE events SET body = 'y', edited_at = 1 WHERE {last}; {}",
            event(5)
        ),
        2 => format!(
            "UPDATE events SET body = '', deleted_at = 1 WHERE {last}; {}",
            event(6)
        ),
        _ => format!(
            "UPDATE members m SET read_seq = h.seq, changed = pg_current_xact_id() FROM room_heads h
             WHERE h.room = m.room AND m.room = '{room}' AND m.user_id = '{user}'"
        ),
    };
    client.batch_execute(&sql).await.unwrap();
}

/// The head of every room and the user's mark in it, as committed.
async fn stands(client: &Client, user: UserId) -> BTreeMap<String, (u64, u64)> {
    let sql =
        "SELECT h.room, h.seq, m.read_seq FROM room_heads h JOIN members m USING (room) WHERE m.user_id = $1";
    let rows = client.query(sql, &[&user.0]).await.unwrap();
    let stand = |row: &tokio_postgres::Row| {
        let room: Uuid = row.get(0);
        let number = |column| row.get::<_, i64>(column).unsigned_abs();
        (room.to_string(), (number(1), number(2)))
    };
    rows.iter().map(stand).collect()
}
