//! Pushes on real servers, to a push service of the test that reads what only the device can read.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "edge/mod.rs"]
mod edge;
#[path = "support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::signature::{self, ECDSA_P256_SHA256_FIXED};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge::{Device, Edge, Running, group, op, text, users};
use hub_protocol::{Method, RoomId, UserId, keys};
use hub_services::chat::Chat;
use hub_services::delivery::Deliverer;
use hub_services::presence::{Presence, Times};
use hub_services::push::{Endpoints, PushOptions, Pushes, VapidKey};
use hub_services::user::{Profiles, PushSettings};
use redis::cmd;
use serde_json::{Value, json};
use support::{Database, Redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);
const LOOPBACK: Endpoints = Endpoints { allow_loopback: true };
/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// One request to the push service.
#[derive(Clone, Debug)]
struct Posted {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// A push service: keeps what it gets, answers what it is told to.
struct Service {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
    status: Arc<Mutex<u16>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (posted, status) = (Arc::new(Mutex::default()), Arc::new(Mutex::new(201)));
        let (keep, answer) = (Arc::clone(&posted), Arc::clone(&status));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&keep), Arc::clone(&answer)));
            }
        });
        Self { port, posted, status }
    }

    fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    async fn count_is(&self, wanted: usize) {
        eventually("pushes", || async { self.posted().len() >= wanted }).await;
        assert_eq!(self.posted().len(), wanted);
    }
}

async fn serve(mut stream: TcpStream, keep: Arc<Mutex<Vec<Posted>>>, status: Arc<Mutex<u16>>) {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let header = |line: &str| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        };
        let headers: HashMap<String, String> = lines.filter_map(header).collect();
        let length: usize = headers["content-length"].parse().unwrap();
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0);
        }
        bytes = body.split_off(length);
        keep.lock().unwrap().push(Posted { path, headers, body });
        let answer = format!(
            "HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n",
            *status.lock().unwrap()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "no {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A device with its keys.
struct Browser {
    key: PrivateKey,
    auth: [u8; 16],
    path: String,
}

impl Browser {
    fn new(name: &str) -> Self {
        Self {
            key: PrivateKey::generate(&ECDH_P256).unwrap(),
            auth: rand::random(),
            path: format!("/{name}"),
        }
    }

    fn public(&self) -> Vec<u8> {
        self.key.compute_public_key().unwrap().as_ref().to_vec()
    }

    fn subscription(&self, port: u16) -> Value {
        json!({"op": op(), "endpoint": format!("http://127.0.0.1:{port}{}", self.path),
            "p256dh": BASE64_URL_SAFE_NO_PAD.encode(self.public()), "auth": BASE64_URL_SAFE_NO_PAD.encode(self.auth)})
    }

    /// What the push says, as RFC 8291 §3 and RFC 8188 §2 have it, by another way than the code under test.
    fn open(&self, posted: &Posted) -> Value {
        let (salt, rest) = posted.body.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert_eq!(u32::from_be_bytes(size.try_into().unwrap()), 4096);
        assert_eq!(rest[0], 65);
        let (server, sealed) = rest[1..].split_at(65);
        let peer = UnparsedPublicKey::new(&ECDH_P256, server);
        let public = self.public();
        let input = agree(&self.key, peer, (), |shared| {
            let info: [&[u8]; 3] = [b"WebPush: info\0", &public, server];
            Ok(expand::<32>(&self.auth, shared, &info))
        })
        .unwrap();
        let key = expand::<16>(salt, &input, &[b"Content-Encoding: aes128gcm\0"]);
        let nonce = expand::<12>(salt, &input, &[b"Content-Encoding: nonce\0"]);
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let mut sealed = sealed.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .unwrap();
        let (delimiter, text) = plain.split_last().unwrap();
        assert_eq!(*delimiter, 2, "the last record");
        serde_json::from_slice(text).unwrap()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(salt: &[u8], input: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(input);
    key.expand(info, Length(N)).unwrap().fill(&mut out).unwrap();
    out
}

/// Chat and user service with pushes, a push service, and two users in a room: the second has a device.
struct World {
    db: Database,
    redis: Redis,
    edge: Edge,
    workers: Vec<Running>,
    cancel: CancellationToken,
    service: Service,
    server_key: String,
    ada: Device,
    bob: Device,
    room: RoomId,
    browser: Browser,
}

impl World {
    async fn start(window: Duration) -> Self {
        let (db, redis) = (Database::fresh().await, Redis::start().await);
        let mut edge = Edge::start(&redis, db.meta.partitions).await;
        let client = redis::Client::open(redis.url()).unwrap();
        let cancel = CancellationToken::new();
        let key = VapidKey::read(&VapidKey::make().unwrap()).unwrap();
        let server_key = key.public();
        let options = PushOptions {
            subject: "mailto:a@example.com".to_owned(),
            endpoints: LOOPBACK,
            window,
            queue_max: 1_000,
            requests_max: 4,
            none_reuse: Duration::ZERO,
        };
        let (pushes, pusher) =
            Pushes::new(client.clone(), db.store.clone(), key, options, cancel.clone()).unwrap();
        tokio::spawn(pusher);
        let times = Times {
            tick: Duration::from_millis(10),
            ..Times::default()
        };
        let deliverer = Deliverer::new(4_000, Duration::ZERO);
        let (presence, teller) = Presence::new(client, db.store.clone(), deliverer, times, cancel.clone());
        tokio::spawn(teller);
        let chat = Chat::new(db.store.clone(), &db.meta, 100_000).with_pushes(pushes);
        let profiles = Profiles::new(db.store.clone(), &db.meta)
            .with_presence(presence)
            .with_push(PushSettings {
                application_server_key: server_key.clone(),
                endpoints: LOOPBACK,
            });
        let workers = vec![
            edge::start(chat, &db, &redis, 4_000),
            edge::start(profiles, &db, &redis, 4_000),
        ];
        let all = users(&db, 2).await;
        for user in &all {
            login(&db, *user).await;
        }
        let (ada, bob) = (edge.open(all[0]).await, edge.open(all[1]).await);
        let room = group(&mut edge, ada, &all[1..]).await;
        let mut world = Self {
            db,
            redis,
            edge,
            workers,
            cancel,
            service: Service::start().await,
            server_key,
            ada,
            bob,
            room,
            browser: Browser::new("bob"),
        };
        let subscription = world.browser.subscription(world.service.port);
        world.user_call(bob, Method::PushSubscribe, subscription).await;
        world
    }

    /// Another member of the room with a device.
    async fn join(&mut self, name: &str) -> (Device, Browser) {
        let user = users(&self.db, 1).await[0];
        login(&self.db, user).await;
        let device = self.edge.open(user).await;
        let browser = Browser::new(name);
        let subscription = browser.subscription(self.service.port);
        self.user_call(device, Method::PushSubscribe, subscription).await;
        let add = json!({"op": op(), "user": user});
        let (ada, room) = (self.ada, self.room);
        self.edge.call(ada, Method::MemberAdd, room, add).await.unwrap();
        (device, browser)
    }

    async fn user_call(&mut self, device: Device, method: Method, params: Value) -> Value {
        self.edge.call(device, method, RoomId::NIL, params).await.unwrap()
    }

    /// Sends a message; returns its seq.
    async fn send(&mut self, device: Device, words: &str) -> u64 {
        let sent = self
            .edge
            .call(device, Method::MessageSend, self.room, text(op(), words))
            .await;
        sent.unwrap()["seq"].as_u64().unwrap()
    }

    async fn read(&mut self, device: Device, seq: u64) {
        let params = json!({"seq": seq});
        self.edge
            .call(device, Method::ReceiptRead, self.room, params)
            .await
            .unwrap();
    }

    /// Says whether a device is active, and waits until that is known.
    async fn set(&mut self, device: Device, state: &str) {
        self.user_call(device, Method::PresenceSet, json!({"state": state}))
            .await;
        let letter = if state == "active" { "a " } else { "w " };
        let redis = self.redis.connection().await;
        eventually("mark", || async {
            let mark: Option<String> = cmd("HGET")
                .arg(keys::presence(device.user))
                .arg(device.address.to_string())
                .query_async(&mut redis.clone())
                .await
                .unwrap();
            mark.is_some_and(|mark| mark.starts_with(letter))
        })
        .await;
    }

    async fn end(self) {
        self.cancel.cancel();
        for worker in self.workers {
            worker.end().await;
        }
    }
}

/// A login that holds, named like its user, as the edge of the tests has it.
async fn login(db: &Database, user: UserId) {
    let sql = "INSERT INTO logins (id, user_id, token_hash, rotated_at, created_at, expires_at) \
         VALUES ($1, $1, '', 0, 0, $2)";
    db.client()
        .await
        .execute(sql, &[&user.0, &i64::MAX])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_pushed_to_a_device_that_nobody_looks_at() {
    let mut world = World::start(LONG).await;
    // The sender's own devices are told nothing.
    let own = Browser::new("ada");
    let (ada, room) = (world.ada, world.room);
    let subscription = own.subscription(world.service.port);
    world.user_call(ada, Method::PushSubscribe, subscription).await;
    let seq = world.send(ada, "Grüße").await;
    world.service.count_is(1).await;
    let [posted] = world.service.posted().try_into().unwrap();
    assert_eq!(posted.path, "/bob");
    assert_eq!(posted.headers["content-encoding"], "aes128gcm");
    assert_eq!(posted.headers["ttl"], "86400");
    assert!(posted.headers["topic"].len() <= 32);
    let said = world.browser.open(&posted);
    let name = said["sender_name"].as_str().unwrap();
    assert!(name.starts_with('u') && name.len() > 20, "{name}");
    assert_eq!(
        said,
        json!({"room": room, "room_name": "g", "seq": seq, "sender": ada.user, "sender_name": name,
            "text": "Grüße", "count": 1})
    );
    // RFC 8292: a token for this push service, signed by the key that browsers know.
    let header = posted.headers["authorization"]
        .strip_prefix("vapid t=")
        .unwrap()
        .to_owned();
    let (token, key) = header.split_once(", k=").unwrap();
    assert_eq!(key, world.server_key);
    let (signed, mark) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(key))
        .verify(signed.as_bytes(), &decode(mark))
        .unwrap();
    let claims: Value = serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
    assert_eq!(claims["aud"], format!("http://127.0.0.1:{}", world.service.port));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_active_gets_no_push() {
    let mut world = World::start(LONG).await;
    let (ada, bob) = (world.ada, world.bob);
    let (_, carols) = world.join("carol").await;
    world.set(bob, "active").await;
    let seen = world.send(ada, "seen").await;
    // Carol's push says that everybody's was decided.
    eventually("carol's push", || async { !world.service.posted().is_empty() }).await;
    world.set(bob, "away").await;
    let seq = world.send(ada, "not seen").await;
    world.service.count_is(2).await;
    let posted = world.service.posted();
    let said = [carols.open(&posted[0]), world.browser.open(&posted[1])];
    assert_eq!((&said[0]["seq"], &said[1]["seq"]), (&json!(seen), &json!(seq)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_pushed_once_until_it_is_read() {
    let mut world = World::start(LONG).await;
    let (ada, bob) = (world.ada, world.bob);
    let first = world.send(ada, "one").await;
    world.service.count_is(1).await;
    for words in ["two", "three"] {
        world.send(ada, words).await;
    }
    world.read(bob, first + 2).await;
    let last = world.send(ada, "four").await;
    world.service.count_is(2).await;
    let posted = world.service.posted();
    let said: Vec<Value> = posted.iter().map(|posted| world.browser.open(posted)).collect();
    assert_eq!((&said[0]["seq"], &said[1]["seq"]), (&json!(first), &json!(last)));
    assert_eq!(posted[0].headers["topic"], posted[1].headers["topic"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_comes_as_one_push() {
    let mut world = World::start(Duration::from_millis(100)).await;
    let ada = world.ada;
    for number in 0..20 {
        world.send(ada, &number.to_string()).await;
    }
    let said = || -> Vec<Value> {
        let posted = world.service.posted();
        posted.iter().map(|posted| world.browser.open(posted)).collect()
    };
    eventually("the last message", || async {
        said().last().is_some_and(|last| last["text"] == "19")
    })
    .await;
    let counts: u64 = said().iter().map(|said| said["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 20, "every message is in one push");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_gone_is_removed() {
    let mut world = World::start(LONG).await;
    let (ada, bob) = (world.ada, world.bob);
    *world.service.status.lock().unwrap() = 503;
    world.send(ada, "refused for now").await;
    world.service.count_is(1).await;
    let list = world.user_call(bob, Method::PushList, json!({})).await;
    assert_eq!(list["subscriptions"].as_array().unwrap().len(), 1);
    *world.service.status.lock().unwrap() = 410;
    let client = world.db.client().await;
    // The push that failed opens no window: the next message is pushed at once, or the one behind it.
    let began = Instant::now();
    loop {
        world.send(ada, "gone").await;
        let row = client
            .query_one("SELECT count(*) FROM push_subscriptions", &[])
            .await
            .unwrap();
        if row.get::<_, i64>(0) == 0 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the subscription stays");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_push_to_an_ended_login_a_muted_room_or_from_somebody_blocked() {
    let mut world = World::start(LONG).await;
    let (ada, bob) = (world.ada, world.bob);
    let (carol, _) = world.join("carol").await;
    let (dave, _) = world.join("dave").await;
    let (eve, eves) = world.join("eve").await;
    let client = world.db.client().await;
    let revoke = "UPDATE logins SET revoked_at = 1 WHERE user_id = $1";
    client.execute(revoke, &[&bob.user.0]).await.unwrap();
    let mute = "INSERT INTO room_preferences (user_id, room, archived, muted_until, pinned_at, changed) \
        VALUES ($1, $2, false, $3, 0, pg_current_xact_id())";
    client
        .execute(mute, &[&carol.user.0, &world.room.0, &i64::MAX])
        .await
        .unwrap();
    let block = json!({"op": op(), "user": ada.user});
    world.user_call(dave, Method::BlockAdd, block).await;

    for _ in 0..2 {
        let before = world.service.posted().len();
        let seq = world.send(ada, "hello").await;
        world.service.count_is(before + 1).await;
        let posted = world.service.posted();
        assert_eq!(eves.open(posted.last().unwrap())["seq"], seq);
        world.read(eve, seq).await;
    }
    assert!(world.service.posted().iter().all(|posted| posted.path == "/eve"));
    world.end().await;
}
