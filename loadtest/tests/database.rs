//! What the oracle reads from a real PostgreSQL with the real schema.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hub_load::database::Database;
use hub_protocol::{Op, RoomId};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const SCHEMA: [&str; 2] = [
    include_str!("../../core-services/migrations/V1__accounts.sql"),
    include_str!("../../core-services/migrations/V2__rooms.sql"),
];
const NAME: &str = "hub_load_oracle";

/// Replaces the database's name in a URL.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, ""), |(base, query)| (base, query));
    let base = match base.match_indices('/').nth(2) {
        Some((slash, _)) => &base[..slash],
        None => base,
    };
    if query.is_empty() {
        format!("{base}/{name}")
    } else {
        format!("{base}/{name}?{query}")
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn heads_logs_and_events_are_read_as_they_are_stored() {
    let url = std::env::var("HUB_TEST_DATABASE_URL").expect(
        "HUB_TEST_DATABASE_URL names a private PostgreSQL server: run scripts/test, which starts one",
    );
    let name = format!("{NAME}_{}", std::process::id());
    let mine = with_database(&url, &name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let admin = runtime.block_on(connect(&url));
    runtime
        .block_on(admin.batch_execute(&format!("CREATE DATABASE {name}")))
        .unwrap();
    runtime.block_on(async {
        let client = connect(&mine).await;
        for part in SCHEMA {
            client.batch_execute(part).await.unwrap();
        }
        for (room, head) in [(id(1), 3_i64), (id(2), 1)] {
            client
                .execute("INSERT INTO rooms VALUES ($1, 'group', '', $1, 0)", &[&room])
                .await
                .unwrap();
            let head_sql = "INSERT INTO room_heads (room, seq, n, last_at, changed) \
                            VALUES ($1, $2, $2, 0, pg_current_xact_id())";
            client.execute(head_sql, &[&room, &head]).await.unwrap();
            // One event too few in room 2 would be a finding; in room 1 all are there.
            for seq in 1..=head {
                let event = "INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at) \
                             VALUES ($1, $2, $2, 2, $1, $3, '', '', 0)";
                let op = id(room.as_u128() * 100 + u128::from(seq.unsigned_abs()));
                client.execute(event, &[&room, &seq, &op]).await.unwrap();
            }
        }
        client
            .execute("DELETE FROM events WHERE room = $1", &[&id(2)])
            .await
            .unwrap();
    });

    let rooms = [RoomId(id(2)), RoomId(id(9)), RoomId(id(1))];
    let database = Database::connect(&mine).unwrap();
    assert_eq!(database.heads(&rooms).unwrap(), [1, 0, 3]);
    let stored = database.stored(&rooms, &[0, 0, 1]).unwrap();
    let room = &stored.rooms[2];
    assert_eq!((room.head, room.events, room.last), (3, 3, 3));
    assert_eq!(room.log, [(2, Op(id(102))), (3, Op(id(103)))]);
    assert_eq!((stored.rooms[0].head, stored.rooms[0].events), (1, 0));
    assert_eq!(stored.rooms[1].log, []);

    drop(database);
    runtime
        .block_on(admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")))
        .unwrap();
}
