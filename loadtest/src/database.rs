//! The oracle's look into the database: not through the system under test, but by SQL.

use std::time::Duration;

use anyhow::{Context, Result};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hub_protocol::{Op, RoomId};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use uuid::Uuid;

use crate::oracle::{Stored, StoredRoom};
use crate::units::{at, index};

/// Half a second each.
const TRIES_MAX: u32 = 20;
const HEADS: &str = "SELECT coalesce(head.seq, 0) \
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked(room, place) \
    LEFT JOIN room_heads AS head ON head.room = asked.room ORDER BY asked.place";
const LOGS: &str = "SELECT room, count(*), max(seq) FROM events WHERE room = ANY($1) GROUP BY room";
const EVENTS: &str = "SELECT event.room, event.seq, event.op \
    FROM unnest($1::uuid[], $2::bigint[]) AS asked(room, after) \
    JOIN events AS event ON event.room = asked.room AND event.seq > asked.after \
    ORDER BY event.room, event.seq";

/// A connection that is read from and never written to.
pub struct Database {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Database {
    /// Connects, with patience: the database may come back from a fault just now.
    pub fn connect_patiently(url: &str) -> Result<Self> {
        let mut result = Self::connect(url);
        for _ in 0..TRIES_MAX {
            if result.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            result = Self::connect(url);
        }
        result
    }

    /// Connects.
    pub fn connect(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (client, connection) = runtime
            .block_on(tokio_postgres::connect(url, NoTls))
            .context("cannot connect to the database")?;
        runtime.spawn(async move {
            // Its end shows in the next query.
            let _ = connection.await;
        });
        Ok(Self { runtime, client })
    }

    fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.runtime
            .block_on(self.client.query(sql, params))
            .context("cannot read from the database")
    }

    /// The heads of the rooms, in their order; 0 for a room that is not there.
    pub fn heads(&self, rooms: &[RoomId]) -> Result<Vec<u64>> {
        let ids: Vec<Uuid> = rooms.iter().map(|room| room.0).collect();
        let rows = self.query(HEADS, &[&ids])?;
        Ok(rows.iter().map(|row| number(row.get(0))).collect())
    }

    /// What is stored of the rooms: each log as a whole, and its events behind `after` one by one.
    pub fn stored(&self, rooms: &[RoomId], after: &[u64]) -> Result<Stored> {
        let ids: Vec<Uuid> = rooms.iter().map(|room| room.0).collect();
        let after: Vec<i64> = after
            .iter()
            .map(|&seq| i64::try_from(seq).unwrap_or(i64::MAX))
            .collect();
        let by_id: HashMap<Uuid, u32, FixedState> =
            ids.iter().enumerate().map(|(at, &id)| (id, index(at))).collect();
        let mut stored = Stored {
            rooms: vec![StoredRoom::default(); ids.len()],
        };
        for (room, head) in stored.rooms.iter_mut().zip(self.heads(rooms)?) {
            room.head = head;
        }
        for row in self.query(LOGS, &[&ids])? {
            let room = &mut stored.rooms[at(by_id[&row.get::<_, Uuid>(0)])];
            room.events = number(row.get(1));
            room.last = number(row.get(2));
        }
        for row in self.query(EVENTS, &[&ids, &after])? {
            let room = &mut stored.rooms[at(by_id[&row.get::<_, Uuid>(0)])];
            room.log.push((number(row.get(1)), Op(row.get(2))));
        }
        Ok(stored)
    }
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
