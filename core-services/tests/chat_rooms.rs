//! Rooms, members, invites and preferences on a real database, and what happens when several ask at once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use edge::{Device, Edge, Running, chat, group, new_room, op, stored_seqs, text, users};
use hub_protocol::api::room::direct_room;
use hub_protocol::{Method, RoomId, UserId};
use serde_json::{Value, json};
use support::{Database, Redis};

struct World {
    db: Database,
    redis: Redis,
    worker: Running,
    edge: Edge,
    devices: Vec<Device>,
}

impl World {
    async fn start(count: u32) -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let worker = chat(&db, &redis);
        let mut edge = Edge::start(&redis, db.meta.partitions).await;
        let mut devices = Vec::new();
        for id in users(&db, count).await {
            devices.push(edge.open(id).await);
        }
        Self {
            db,
            redis,
            worker,
            edge,
            devices,
        }
    }

    async fn call(
        &mut self,
        by: usize,
        method: Method,
        room: RoomId,
        params: Value,
    ) -> Result<Value, String> {
        self.edge.call(self.devices[by], method, room, params).await
    }

    fn user(&self, of: usize) -> UserId {
        self.devices[of].user
    }

    /// A group of user 0 and those others.
    async fn group(&mut self, others: &[usize]) -> RoomId {
        let ids: Vec<UserId> = others.iter().map(|of| self.user(*of)).collect();
        group(&mut self.edge, self.devices[0], &ids).await
    }

    async fn role(&mut self, by: usize, room: RoomId, role: &str) -> Value {
        let page = self
            .call(by, Method::MemberList, room, json!({"role": role}))
            .await
            .unwrap();
        let ids = page["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["user"].clone());
        Value::Array(ids.collect())
    }

    async fn count(&self, sql: &str, room: RoomId) -> i64 {
        self.db
            .client()
            .await
            .query_one(sql, &[&room.0])
            .await
            .unwrap()
            .get(0)
    }
}

fn refused(code: &str) -> Result<Value, String> {
    Err(code.to_owned())
}

fn with_op(mut params: Value) -> Value {
    params["op"] = json!(op());
    params
}

const OWNERS: &str = "SELECT count(*) FROM members WHERE room = $1 AND to_seq IS NULL AND role = 'owner'";

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_asks_at_the_same_time_gets_one_room() {
    let mut world = World::start(2).await;
    let (a, b) = (world.devices[0], world.devices[1]);
    let room = direct_room(a.user, b.user);
    let create = |other: UserId| with_op(json!({"id": room, "kind": "direct", "members": [other]}));
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push((a, Method::RoomCreate, room, create(b.user)));
        calls.push((b, Method::RoomCreate, room, create(a.user)));
    }
    let mut made = 0;
    for request in world.edge.send(&calls).await {
        made += u32::from(world.edge.reply(request).await.unwrap()["duplicate"] == false);
    }
    assert_eq!((made, stored_seqs(&world.db, room).await), (1, vec![1]));
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_an_event_and_decides_who_writes() {
    let mut world = World::start(2).await;
    let room = world.group(&[1]).await;
    let update = with_op(json!({"name": "Crew", "topic": "a\nb", "settings": {"write": "admin"}}));
    let first = world
        .call(0, Method::RoomUpdate, room, update.clone())
        .await
        .unwrap();
    assert_eq!((&first["seq"], &first["duplicate"]), (&json!(2), &json!(false)));
    assert_eq!(first["room"]["settings"]["write"], "admin");
    let again = world.call(0, Method::RoomUpdate, room, update).await.unwrap();
    assert_eq!(
        (&again["room"], &again["duplicate"]),
        (&first["room"], &json!(true))
    );
    assert_eq!(
        world.call(1, Method::MessageSend, room, text(op(), "x")).await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(1, Method::RoomUpdate, room, with_op(json!({"name": "x"})))
            .await,
        refused("forbidden")
    );
    for (params, code) in [
        (json!({}), "bad_request"),
        (json!({"settings": {"write": "reader"}}), "bad_request"),
        (json!({"settings": {"slow_mode_s": 21_601}}), "bad_request"),
        (json!({"settings": {"slow": 1}}), "bad_request"),
        (json!({"name": "x".repeat(129)}), "too_large"),
        (json!({"topic": "x".repeat(1025)}), "too_large"),
    ] {
        let answer = world
            .call(0, Method::RoomUpdate, room, with_op(params.clone()))
            .await;
        assert_eq!(answer, refused(code), "{params}");
    }
    // What is so already is no event.
    let same = world
        .call(0, Method::RoomUpdate, room, with_op(json!({"name": "Crew"})))
        .await
        .unwrap();
    assert_eq!((&same["seq"], &same["duplicate"]), (&json!(0), &json!(true)));
    let reader = world.devices[1];
    world
        .edge
        .until("the update", |edge| edge.seqs(reader, room).starts_with(&[1, 2]))
        .await;
    // Another worker reads it from the tables.
    let (db, redis) = (&world.db, &world.redis);
    world.worker.end().await;
    world.worker = chat(db, redis);
    let got = world.call(1, Method::RoomGet, room, json!({})).await.unwrap();
    assert_eq!(got["room"], first["room"]);
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_members_see_the_log_from_where_the_settings_say() {
    let mut world = World::start(3).await;
    let room = world.group(&[]).await;
    world
        .call(0, Method::MessageSend, room, text(op(), "early"))
        .await
        .unwrap();
    let add = |user: UserId| with_op(json!({"user": user}));
    let (b, c) = (world.user(1), world.user(2));
    world.call(0, Method::MemberAdd, room, add(b)).await.unwrap();
    let all = with_op(json!({"settings": {"history": "all"}}));
    world.call(0, Method::RoomUpdate, room, all).await.unwrap();
    world.call(0, Method::MemberAdd, room, add(c)).await.unwrap();
    // Somebody who was there before sees the gap too, and nothing twice.
    world
        .call(1, Method::RoomLeave, room, with_op(json!({})))
        .await
        .unwrap();
    world
        .call(0, Method::MessageSend, room, text(op(), "gap"))
        .await
        .unwrap();
    let page = world
        .call(1, Method::MessageHistory, room, json!({"after": 0}))
        .await
        .unwrap();
    assert_eq!(page["hidden"], json!([[1, 2]]));
    world.call(0, Method::MemberAdd, room, add(b)).await.unwrap();
    for by in [1, 2] {
        let page = world
            .call(by, Method::MessageHistory, room, json!({"after": 0}))
            .await
            .unwrap();
        let seqs: Vec<u64> = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["seq"].as_u64().unwrap())
            .collect();
        assert_eq!((seqs, &page["hidden"]), ((1..=8).collect(), &json!([])));
    }
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_handed_over_once_and_never_doubled() {
    let mut world = World::start(6).await;
    let room = world.group(&[1, 2, 3, 4, 5]).await;
    // The owner hands the room to all others at once, and leaves: the first counts, the rest is refused.
    let owner = world.devices[0];
    let mut calls = Vec::new();
    for of in 1..6 {
        let set = with_op(json!({"user": world.user(of), "role": "owner"}));
        calls.push((owner, Method::MemberSetRole, room, set));
    }
    calls.push((owner, Method::RoomLeave, room, with_op(json!({}))));
    let requests = world.edge.send(&calls).await;
    let mut answers = Vec::new();
    for request in requests {
        answers.push(
            world
                .edge
                .reply(request)
                .await
                .map(|result| result["seq"].clone()),
        );
    }
    let late = || Err("forbidden".to_owned());
    assert_eq!(
        answers,
        [Ok(json!(2)), late(), late(), late(), late(), Ok(json!(3))]
    );
    assert_eq!(world.count(OWNERS, room).await, 1);
    assert_eq!(world.role(1, room, "owner").await, json!([world.user(1)]));
    // Everybody who is asked hands it on at once with others who leave: there is one owner at the end.
    let mut calls = Vec::new();
    for by in 1..6 {
        let next = world.user(1 + by % 5);
        let set = with_op(json!({"user": next, "role": "owner"}));
        calls.push((world.devices[by], Method::MemberSetRole, room, set));
        calls.push((world.devices[by], Method::RoomLeave, room, with_op(json!({}))));
    }
    calls.truncate(8);
    for request in world.edge.send(&calls).await {
        let _either = world.edge.reply(request).await;
    }
    assert_eq!(world.count(OWNERS, room).await, 1);
    assert_eq!(world.role(5, room, "owner").await, json!([world.user(5)]));
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_ends_with_its_last_member() {
    let mut world = World::start(3).await;
    let room = world.group(&[1]).await;
    let link = world
        .call(0, Method::InviteCreate, room, with_op(json!({})))
        .await
        .unwrap();
    let leave = || with_op(json!({}));
    let calls = [
        (world.devices[0], Method::RoomLeave, room, leave()),
        (world.devices[1], Method::RoomLeave, room, leave()),
    ];
    for request in world.edge.send(&calls).await {
        world.edge.reply(request).await.unwrap();
    }
    let accept = with_op(json!({"code": link["code"]}));
    assert_eq!(
        world.call(2, Method::InviteAccept, room, accept).await,
        refused("not_found")
    );
    let ended = "SELECT count(*) FROM rooms WHERE id = $1 AND ended_at IS NOT NULL";
    assert_eq!(world.count(ended, room).await, 1);
    assert_eq!(
        world
            .count("SELECT count(*) FROM invites WHERE room = $1", room)
            .await,
        0
    );
    let create = with_op(json!({"id": room, "kind": "group"}));
    assert_eq!(
        world.call(2, Method::RoomCreate, room, create).await,
        refused("conflict")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_is_the_last_event_of_everybody() {
    let mut world = World::start(3).await;
    let room = new_room();
    let create = with_op(json!({"id": room, "kind": "channel", "members": [world.user(1)]}));
    world.call(0, Method::RoomCreate, room, create).await.unwrap();
    let delete = with_op(json!({}));
    assert_eq!(
        world.call(1, Method::RoomDelete, room, delete.clone()).await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(0, Method::RoomDelete, room, delete.clone())
            .await
            .unwrap()["seq"],
        2
    );
    assert_eq!(
        world.call(0, Method::RoomDelete, room, delete).await.unwrap()["duplicate"],
        true
    );
    for (method, params) in [
        (Method::MessageSend, text(op(), "x")),
        (Method::RoomJoin, with_op(json!({}))),
        (Method::RoomGet, json!({})),
        (Method::MemberList, json!({})),
    ] {
        for by in 0..3 {
            assert_eq!(
                world.call(by, method, room, params.clone()).await,
                refused("not_found"),
                "{method:?}"
            );
        }
    }
    let reader = world.devices[1];
    world
        .edge
        .until("the end", |edge| edge.seqs(reader, room).starts_with(&[1, 2]))
        .await;
    let page = world
        .call(1, Method::MessageHistory, room, json!({}))
        .await
        .unwrap();
    assert_eq!(page["events"][1]["event"], "room.deleted");
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_stays_out_by_every_door_until_the_ban_ends() {
    let mut world = World::start(3).await;
    let room = new_room();
    let create = with_op(json!({"id": room, "kind": "channel", "members": [world.user(1)]}));
    world.call(0, Method::RoomCreate, room, create).await.unwrap();
    let link = world
        .call(0, Method::InviteCreate, room, with_op(json!({})))
        .await
        .unwrap();
    let (banned, stranger) = (world.user(1), world.user(2));
    let of = |user: UserId| with_op(json!({"user": user}));
    assert_eq!(
        world.call(0, Method::MemberBan, room, of(banned)).await.unwrap()["seq"],
        2
    );
    // One who never came can be kept out as well: nobody is told.
    assert_eq!(
        world
            .call(0, Method::MemberBan, room, of(stranger))
            .await
            .unwrap()["seq"],
        0
    );
    let code = json!({"code": link["code"]});
    for by in [1, 2] {
        for (method, params) in [
            (Method::RoomJoin, json!({})),
            (Method::InviteAccept, code.clone()),
        ] {
            assert_eq!(
                world.call(by, method, room, with_op(params)).await,
                refused("forbidden")
            );
        }
        assert_eq!(
            world.call(by, Method::InviteLook, room, code.clone()).await,
            refused("forbidden")
        );
    }
    assert_eq!(
        world.call(0, Method::MemberAdd, room, of(banned)).await,
        refused("forbidden")
    );
    let bans = world
        .call(0, Method::MemberBans, room, json!({"limit": 1}))
        .await
        .unwrap();
    assert_eq!(
        (bans["bans"].as_array().unwrap().len(), &bans["more"]),
        (1, &json!(true))
    );
    world
        .call(0, Method::MemberUnban, room, of(banned))
        .await
        .unwrap();
    assert_eq!(
        world
            .call(1, Method::RoomJoin, room, with_op(json!({})))
            .await
            .unwrap()["seq"],
        0
    );
    assert_eq!(
        world.call(1, Method::MemberBans, room, json!({})).await,
        refused("forbidden")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_in_exactly_as_many_as_it_says() {
    let mut world = World::start(12).await;
    let room = world.group(&[]).await;
    let create = with_op(json!({"uses_max": 4, "expires_in_s": 3600}));
    let link = world
        .call(0, Method::InviteCreate, room, create.clone())
        .await
        .unwrap();
    let code = link["code"].as_str().unwrap().to_owned();
    assert_eq!((code.len(), &link["invite"]["role"]), (22, &json!("member")));
    // A repeat gets the same code, although it is stored nowhere.
    let again = world.call(0, Method::InviteCreate, room, create).await.unwrap();
    assert_eq!(
        (&again["code"], &again["invite"], &again["duplicate"]),
        (&link["code"], &link["invite"], &json!(true))
    );
    let client = world.db.client().await;
    let sql = "SELECT count(*) FROM applied_ops WHERE strpos(result, $1) > 0";
    assert_eq!(client.query_one(sql, &[&code]).await.unwrap().get::<_, i64>(0), 0);
    let looked = world
        .call(5, Method::InviteLook, room, json!({"code": code}))
        .await
        .unwrap();
    assert_eq!(
        (&looked["name"], &looked["members"], &looked["joined"]),
        (&json!("g"), &json!(1), &json!(false))
    );
    assert_eq!(
        world
            .call(5, Method::InviteLook, room, json!({"code": "x"}))
            .await,
        refused("not_found")
    );
    // All others at once, and each twice.
    let mut calls = Vec::new();
    for by in 1..12 {
        let accept = with_op(json!({"code": code}));
        calls.push((world.devices[by], Method::InviteAccept, room, accept.clone()));
        calls.push((world.devices[by], Method::InviteAccept, room, accept));
    }
    let (mut first, mut repeated, mut late) = (0, 0, 0);
    for request in world.edge.send(&calls).await {
        match world.edge.reply(request).await {
            Ok(result) if result["duplicate"] == false => first += 1,
            Ok(_) => repeated += 1,
            Err(code) => {
                assert_eq!(code, "not_found");
                late += 1;
            }
        }
    }
    assert_eq!((first, repeated, late), (4, 4, 14));
    assert_eq!(stored_seqs(&world.db, room).await, [1, 2, 3, 4, 5]);
    let invites = world.call(0, Method::InviteList, room, json!({})).await.unwrap();
    assert_eq!(
        (&invites["invites"][0]["uses"], invites["invites"][0].get("code")),
        (&json!(4), None)
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_and_expired_links_let_nobody_in() {
    let mut world = World::start(3).await;
    let room = world.group(&[2]).await;
    let link = world
        .call(0, Method::InviteCreate, room, with_op(json!({})))
        .await
        .unwrap();
    let revoke = |id: &Value| with_op(json!({"invite": id}));
    let id = link["invite"]["id"].clone();
    assert_eq!(
        world.call(2, Method::InviteRevoke, room, revoke(&id)).await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(0, Method::InviteRevoke, room, revoke(&id))
            .await
            .unwrap()["duplicate"],
        false
    );
    let accept = |link: &Value| with_op(json!({"code": link["code"]}));
    assert_eq!(
        world.call(1, Method::InviteAccept, room, accept(&link)).await,
        refused("not_found")
    );
    let link = world
        .call(
            0,
            Method::InviteCreate,
            room,
            with_op(json!({"expires_in_s": 60})),
        )
        .await
        .unwrap();
    let client = world.db.client().await;
    client
        .execute("UPDATE invites SET expires_at = 1 WHERE room = $1", &[&room.0])
        .await
        .unwrap();
    assert_eq!(
        world.call(1, Method::InviteAccept, room, accept(&link)).await,
        refused("not_found")
    );
    assert_eq!(
        world
            .call(2, Method::InviteCreate, room, with_op(json!({})))
            .await,
        refused("forbidden")
    );
    assert_eq!(
        world
            .call(0, Method::InviteCreate, room, with_op(json!({"role": "admin"})))
            .await,
        refused("bad_request")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_stops_messages_both_ways_and_invites() {
    let mut world = World::start(3).await;
    let (a, b) = (world.user(0), world.user(1));
    let room = direct_room(a, b);
    let create =
        |other: UserId, room: RoomId| with_op(json!({"id": room, "kind": "direct", "members": [other]}));
    world
        .call(0, Method::RoomCreate, room, create(b, room))
        .await
        .unwrap();
    let client = world.db.client().await;
    let block = "INSERT INTO blocks (user_id, blocked, created_at) VALUES ($1, $2, 0)";
    client.execute(block, &[&a.0, &b.0]).await.unwrap();
    for by in [0, 1] {
        assert_eq!(
            world.call(by, Method::MessageSend, room, text(op(), "x")).await,
            refused("forbidden")
        );
        let typing = json!({"typing": true});
        assert_eq!(
            world.call(by, Method::TypingSet, room, typing).await,
            refused("forbidden")
        );
    }
    let group = world.group(&[]).await;
    let add = with_op(json!({"user": b}));
    assert_eq!(
        world.call(0, Method::MemberAdd, group, add).await,
        refused("forbidden")
    );
    let link = world
        .call(0, Method::InviteCreate, group, with_op(json!({})))
        .await
        .unwrap();
    let accept = with_op(json!({"code": link["code"]}));
    assert_eq!(
        world.call(1, Method::InviteAccept, group, accept).await,
        refused("forbidden")
    );
    let other = new_room();
    let made = with_op(json!({"id": other, "kind": "group", "members": [a]}));
    assert_eq!(
        world.call(1, Method::RoomCreate, other, made).await,
        refused("forbidden")
    );
    let c = world.user(2);
    client.execute(block, &[&c.0, &a.0]).await.unwrap();
    let pair = direct_room(a, c);
    assert_eq!(
        world.call(0, Method::RoomCreate, pair, create(c, pair)).await,
        refused("forbidden")
    );
    client.execute("DELETE FROM blocks", &[]).await.unwrap();
    world
        .call(1, Method::MessageSend, room, text(op(), "x"))
        .await
        .unwrap();
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_mode_holds_members_and_not_admins() {
    let mut world = World::start(2).await;
    let room = world.group(&[1]).await;
    let slow = with_op(json!({"settings": {"slow_mode_s": 3600}}));
    world.call(0, Method::RoomUpdate, room, slow).await.unwrap();
    let first = text(op(), "one");
    world
        .call(1, Method::MessageSend, room, first.clone())
        .await
        .unwrap();
    let (device, second) = (world.devices[1], text(op(), "two"));
    let request = world
        .edge
        .send(&[(device, Method::MessageSend, room, second.clone())])
        .await[0];
    assert_eq!(world.edge.reply(request).await, refused("rate_limited"));
    let wait = world.edge.replies[&request]["error"]["retry_after_ms"]
        .as_u64()
        .unwrap();
    assert!((1..=3_600_001).contains(&wait), "{wait}");
    // A repeat of what was stored is no new message.
    assert_eq!(
        world.call(1, Method::MessageSend, room, first).await.unwrap()["duplicate"],
        true
    );
    for _ in 0..2 {
        world
            .call(0, Method::MessageSend, room, text(op(), "owner"))
            .await
            .unwrap();
    }
    // The time comes from the table: another one there lets him write.
    let client = world.db.client().await;
    client
        .execute("UPDATE members SET last_sent_at = 1 WHERE room = $1", &[&room.0])
        .await
        .unwrap();
    world.call(1, Method::MessageSend, room, second).await.unwrap();
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_kept_per_user_and_repeats_change_nothing() {
    let mut world = World::start(2).await;
    let room = world.group(&[1]).await;
    let mute = with_op(json!({"muted_until": 9_000_000_000_000_000_i64, "pinned": true}));
    let first = world
        .call(0, Method::RoomPreferences, room, mute.clone())
        .await
        .unwrap();
    assert!(first["preferences"]["pinned_at"].as_i64().unwrap() > 0);
    let archive = with_op(json!({"archived": true, "pinned": false}));
    let second = world
        .call(0, Method::RoomPreferences, room, archive)
        .await
        .unwrap();
    let wanted = json!({"archived": true, "muted_until": 9_000_000_000_000_000_i64, "pinned_at": 0});
    assert_eq!(second["preferences"], wanted);
    let again = world.call(0, Method::RoomPreferences, room, mute).await.unwrap();
    assert_eq!(
        (&again["preferences"], &again["duplicate"]),
        (&first["preferences"], &json!(true))
    );
    let rows = "SELECT count(*) FROM room_preferences WHERE room = $1 AND archived";
    assert_eq!(world.count(rows, room).await, 1);
    // No event, and no number.
    assert_eq!(stored_seqs(&world.db, room).await, [1]);
    assert_eq!(
        world
            .call(0, Method::RoomPreferences, room, with_op(json!({})))
            .await,
        refused("bad_request")
    );
    world.worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_in_pages() {
    let mut world = World::start(5).await;
    let room = world.group(&[1, 2, 3]).await;
    let (mut after, mut seen) = (Value::Null, Vec::new());
    loop {
        let page = world
            .call(1, Method::MemberList, room, json!({"after": after, "limit": 3}))
            .await
            .unwrap();
        let members = page["members"].as_array().unwrap();
        seen.extend(members.iter().map(|member| member["user"].clone()));
        after = members.last().unwrap()["user"].clone();
        if page["more"] == false {
            break;
        }
    }
    let wanted: Vec<Value> = (0..4).map(|of| json!(world.user(of))).collect();
    assert_eq!(seen, wanted);
    assert_eq!(
        world.call(4, Method::MemberList, room, json!({})).await,
        refused("not_found")
    );
    let demote = with_op(json!({"user": world.user(1), "role": "reader"}));
    assert_eq!(
        world.call(0, Method::MemberSetRole, room, demote).await.unwrap()["seq"],
        2
    );
    assert_eq!(world.role(0, room, "reader").await, json!([world.user(1)]));
    assert_eq!(
        world.call(1, Method::MessageSend, room, text(op(), "x")).await,
        refused("forbidden")
    );
    world.worker.end().await;
}
