//! `seed`: what it makes can be used like what people made.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use hub_protocol::api::auth::{AUDIENCE, Claims, ISSUER};
use hub_protocol::api::event::CreatedData;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::auth::Auth;
use hub_services::config::{AuthConfig, OutboxConfig};
use hub_services::keys::Signer;
use hub_services::mail::Mailer;
use hub_services::seed::{self, Wanted};
use hub_services::service::{Call, Handler};
use hub_services::{keys, user::Profiles};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use support::Database;

const WANTED: Wanted = Wanted {
    users: 60,
    rooms: 20,
    members: 8,
    seed: 7,
};

struct Seeded {
    db: Database,
    folder: tempfile::TempDir,
}

impl Seeded {
    async fn start() -> Self {
        let db = Database::fresh().await;
        let folder = tempfile::tempdir().unwrap();
        keys::make(folder.path(), SystemTime::now()).unwrap();
        Self { db, folder }
    }

    async fn run(&self, out: &Path) -> Vec<Value> {
        let signing = keys::load_signing(self.folder.path()).unwrap();
        seed::run(&self.db.store, &self.db.meta, &signing, WANTED, out)
            .await
            .unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn of_type(lines: &[Value], kind: &str) -> Vec<Value> {
    lines
        .iter()
        .filter(|line| line["type"] == kind)
        .cloned()
        .collect()
}

fn id(value: &Value) -> UserId {
    value.as_str().unwrap().parse().unwrap()
}

async fn call<H: Handler>(handler: &H, method: Method, user: UserId, params: Value) -> Value {
    let header = EnvelopeHeader {
        address: Address::default(),
        request: 1,
        method,
        user,
        login: LoginId::NIL,
        session: SessionId::NIL,
        room: RoomId::NIL,
    };
    let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
    let call = Call {
        header,
        body: Bytes::from(body),
    };
    let outcome = match method {
        Method::Sync => handler.read(&call).await.unwrap(),
        _ => handler.write(&[call]).await.unwrap().pop().unwrap(),
    };
    serde_json::from_slice(&outcome.reply.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn everybody_is_in_a_room_and_the_rooms_are_as_chat_makes_them() {
    let seeded = Seeded::start().await;
    let out = seeded.folder.path().join("tokens.jsonl");
    std::fs::write(&out, "older and readable").unwrap();
    let lines = seeded.run(&out).await;
    assert_eq!(lines[0], json!({"type": "meta", "users": 60, "rooms": 20}));
    assert_eq!(
        std::fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let (users, rooms) = (of_type(&lines, "user"), of_type(&lines, "room"));
    assert_eq!((users.len(), rooms.len()), (60, 20));
    let members = |room: &Value| {
        room["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(id)
            .collect::<Vec<_>>()
    };
    let placed: BTreeSet<UserId> = rooms.iter().flat_map(members).collect();
    assert_eq!(placed, users.iter().map(|user| id(&user["user"])).collect());

    let client = seeded.db.client().await;
    for room in &rooms {
        let room_id: RoomId = room["room"].as_str().unwrap().parse().unwrap();
        let sql = "SELECT e.body, h.seq, h.n FROM events e JOIN room_heads h USING (room) WHERE e.room = $1";
        let row = client.query_one(sql, &[&room_id.0]).await.unwrap();
        assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 0));
        let created: CreatedData = serde_json::from_str(row.get(0)).unwrap();
        assert_eq!(created.room.id, room_id);
        let in_event: Vec<UserId> = created.members.iter().map(|member| member.user).collect();
        assert_eq!(in_event, members(room));
        let sql = "SELECT count(*) FROM members WHERE room = $1 AND to_seq IS NULL";
        let stays: i64 = client.query_one(sql, &[&room_id.0]).await.unwrap().get(0);
        assert_eq!(usize::try_from(stays).unwrap(), in_event.len());
        assert!((2..=10).contains(&in_event.len()));
    }
}

#[tokio::test]
async fn tokens_open_sessions_and_are_renewed_and_runs_do_not_collide() {
    let seeded = Seeded::start().await;
    let first = seeded.run(&seeded.folder.path().join("first")).await;
    let second = seeded.run(&seeded.folder.path().join("second")).await;
    let names = |lines: &[Value]| {
        of_type(lines, "user")
            .iter()
            .map(|user| user["username"].to_string())
            .collect()
    };
    let (one, two): (BTreeSet<String>, BTreeSet<String>) = (names(&first), names(&second));
    assert!(one.is_disjoint(&two));

    let user = &of_type(&first, "user")[3];
    let kid = keys::load_signing(seeded.folder.path()).unwrap().kid;
    let public = std::fs::read(seeded.folder.path().join(format!("public/{kid}.pem"))).unwrap();
    let mut policy = Validation::new(Algorithm::EdDSA);
    policy.set_audience(&[AUDIENCE]);
    policy.set_issuer(&[ISSUER]);
    let key = DecodingKey::from_ed_pem(&public).unwrap();
    let token = jsonwebtoken::decode::<Claims>(user["token"].as_str().unwrap(), &key, &policy).unwrap();
    assert_eq!(token.claims.sub, id(&user["user"]));
    assert_eq!(token.header.kid, Some(kid));

    let config = AuthConfig {
        argon2_memory_kib: 64,
        argon2_passes: 1,
        hash_threads: 1,
        ..AuthConfig::default()
    };
    let signing = keys::load_signing(seeded.folder.path()).unwrap();
    let mailer = Mailer::start(&OutboxConfig::none()).unwrap();
    let auth = Auth::new(
        seeded.db.store.clone(),
        &seeded.db.meta,
        &config,
        Signer::new(signing),
        mailer,
    )
    .unwrap();
    let params = json!({"refresh_token": user["refresh_token"]});
    let renewed = call(&auth, Method::AuthRefresh, UserId::NIL, params).await;
    assert_eq!(renewed["user"]["id"], user["user"]);

    let profiles = Profiles::new(seeded.db.store.clone(), &seeded.db.meta);
    let synced = call(&profiles, Method::Sync, id(&user["user"]), json!({})).await;
    let synced: BTreeSet<String> = synced["rooms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room["room"]["id"].to_string())
        .collect();
    let expected: BTreeSet<String> = of_type(&first, "room")
        .iter()
        .filter(|room| room["members"].as_array().unwrap().contains(&user["user"]))
        .map(|room| room["room"].to_string())
        .collect();
    assert_eq!(synced, expected);
}
