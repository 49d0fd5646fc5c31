//! Profiles, contacts, blocks and searches on a real database.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::push::Endpoints;
use hub_services::service::{Audience, Call, Handler, Outcome};
use hub_services::user::{Profiles, PushSettings};
use serde_json::{Value, json};
use support::Database;
use uuid::Uuid;

struct World {
    db: Database,
    profiles: Profiles,
}

impl World {
    async fn start() -> Self {
        let db = Database::fresh().await;
        let profiles = Profiles::new(db.store.clone(), &db.meta).with_push(PushSettings {
            application_server_key: "key".to_owned(),
            endpoints: Endpoints::default(),
        });
        Self { db, profiles }
    }

    async fn user(&self, username: &str, display_name: &str) -> UserId {
        let user = UserId(Uuid::now_v7());
        let sql = "INSERT INTO users (id, username, display_name, created_at) VALUES ($1, $2, $3, 7)";
        let client = self.db.client().await;
        client
            .execute(sql, &[&user.0, &username, &display_name])
            .await
            .unwrap();
        user
    }

    async fn read(&self, user: UserId, method: Method, params: Value) -> Result<Value, String> {
        answer(&self.profiles.read(&call(user, method, &params)).await.unwrap())
    }

    async fn outcome(&self, user: UserId, method: Method, params: Value) -> Outcome {
        let written = self.profiles.write(&[call(user, method, &params)]).await;
        written.unwrap().pop().unwrap()
    }

    async fn write(&self, user: UserId, method: Method, mut params: Value) -> Result<Value, String> {
        if params.get("op").is_none() {
            params["op"] = json!(Uuid::now_v7());
        }
        answer(&self.outcome(user, method, params).await)
    }

    /// Names of all users whom a search finds, over all pages.
    async fn search(&self, user: UserId, query: &str, limit: u32) -> Vec<String> {
        let mut names = Vec::new();
        let mut params = json!({"query": query, "limit": limit});
        for _ in 0..200 {
            let page = self.read(user, Method::UserSearch, params.clone()).await.unwrap();
            let users = page["users"].as_array().unwrap();
            assert!(users.len() <= usize::try_from(limit).unwrap());
            names.extend(
                users
                    .iter()
                    .map(|user| user["username"].as_str().unwrap().to_owned()),
            );
            if page["next"].is_null() {
                return names;
            }
            params["page"] = page["next"].clone();
        }
        panic!("a search without an end");
    }
}

fn call(user: UserId, method: Method, params: &Value) -> Call {
    let header = EnvelopeHeader {
        address: Address::default(),
        request: 1,
        method,
        user,
        login: LoginId(user.0),
        session: SessionId::NIL,
        room: RoomId::NIL,
    };
    let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
    Call {
        header,
        body: Bytes::from(body),
    }
}

fn answer(outcome: &Outcome) -> Result<Value, String> {
    match outcome.reply.as_ref().unwrap() {
        Ok(result) => Ok(serde_json::from_slice(result).unwrap()),
        Err(error) => Err(error.code.name().to_owned()),
    }
}

fn error(code: &str) -> Result<Value, String> {
    Err(code.to_owned())
}

#[tokio::test]
async fn a_profile_is_changed_once_and_its_contacts_are_told() {
    let world = World::start().await;
    let (ada, bob, eve) = (
        world.user("ada", "ada").await,
        world.user("bob", "bob").await,
        world.user("eve", "eve").await,
    );
    for other in [bob, eve] {
        let set = json!({"user": ada, "alias": "A."});
        world.write(other, Method::ContactSet, set).await.unwrap();
    }
    world
        .write(ada, Method::BlockAdd, json!({"user": eve}))
        .await
        .unwrap();
    let (op, avatar) = (Uuid::now_v7(), Uuid::now_v7());
    let params = json!({"op": op, "display_name": "Ada Lovelace", "about": "first", "avatar": avatar,
        "last_seen_visible": "contacts"});
    let outcome = world.outcome(ada, Method::UserUpdate, params.clone()).await;
    let first = answer(&outcome).unwrap();
    assert_eq!(first["user"]["display_name"], "Ada Lovelace");
    assert_eq!(first["duplicate"], false);
    let [told] = outcome.deliveries.as_slice() else {
        panic!("one event: {:?}", outcome.deliveries)
    };
    let Audience::Users(users) = &told.audience else {
        panic!("a profile is told to users")
    };
    assert_eq!((told.seq, users.as_ref()), (None, [bob, ada].as_slice()));
    let event: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(
        (&event["event"], &event["data"]["user"]["about"]),
        (&json!("user.updated"), &json!("first"))
    );

    // A repeat changes nothing, even after another change.
    let other = json!({"about": "second", "avatar": null});
    world.write(ada, Method::UserUpdate, other).await.unwrap();
    let mut repeated = answer(&world.outcome(ada, Method::UserUpdate, params.clone()).await).unwrap();
    assert_eq!(repeated["duplicate"], true);
    repeated["duplicate"] = json!(false);
    assert_eq!(repeated, first);
    let me = world.read(ada, Method::UserMe, json!({})).await.unwrap();
    assert_eq!(
        (&me["user"]["about"], &me["last_seen_visible"]),
        (&json!("second"), &json!("contacts"))
    );
    assert!(me["user"].get("avatar").is_none(), "{me}");

    let mut other = params;
    other["about"] = json!("third");
    assert_eq!(
        world.write(ada, Method::UserUpdate, other).await,
        error("conflict")
    );
    let nobody = UserId(Uuid::now_v7());
    assert_eq!(
        world
            .write(nobody, Method::UserUpdate, json!({"about": "x"}))
            .await,
        error("not_found")
    );
    assert_eq!(
        world.write(UserId::NIL, Method::UserUpdate, json!({})).await,
        error("unauthenticated")
    );
    assert_eq!(
        world.write(ada, Method::UserUpdate, json!({"name": "x"})).await,
        error("bad_request")
    );
}

#[tokio::test]
async fn repeats_within_one_batch_are_found_too() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada", "ada").await, world.user("bob", "bob").await);
    let (op, other_op) = (Uuid::now_v7(), Uuid::now_v7());
    let set = |alias: &str, op: Uuid| {
        call(
            ada,
            Method::ContactSet,
            &json!({"op": op, "user": bob, "alias": alias}),
        )
    };
    let calls = [
        set("one", op),
        set("one", op),
        set("two", op),
        set("three", other_op),
    ];
    let written = world.profiles.write(&calls).await.unwrap();
    let answers: Vec<_> = written.iter().map(answer).collect();
    assert_eq!(
        answers,
        [
            Ok(json!({"duplicate": false})),
            Ok(json!({"duplicate": true})),
            error("conflict"),
            Ok(json!({"duplicate": false}))
        ]
    );
    let listed = world.read(ada, Method::ContactList, json!({})).await.unwrap();
    assert_eq!(listed["contacts"][0]["alias"], "three");
}

#[tokio::test]
async fn two_owners_at_once_apply_an_op_once() {
    let world = World::start().await;
    let ada = world.user("ada", "ada").await;
    let params = json!({"op": Uuid::now_v7(), "about": "x"});
    let calls = (0..8).map(|_| async {
        let outcome = world.outcome(ada, Method::UserUpdate, params.clone()).await;
        answer(&outcome).unwrap()["duplicate"].as_bool().unwrap()
    });
    let duplicates = futures_util::future::join_all(calls).await;
    assert_eq!(duplicates.iter().filter(|duplicate| !**duplicate).count(), 1);
}

#[tokio::test]
async fn contacts_and_blocks_are_listed_in_pages() {
    let world = World::start().await;
    let ada = world.user("ada", "ada").await;
    let mut others = Vec::new();
    for number in 0..5 {
        let other = world.user(&format!("u{number}"), "x").await;
        world
            .write(ada, Method::ContactSet, json!({"user": other}))
            .await
            .unwrap();
        world
            .write(ada, Method::BlockAdd, json!({"user": other}))
            .await
            .unwrap();
        others.push(other);
    }
    others.sort_unstable();
    for (method, list) in [(Method::ContactList, "contacts"), (Method::BlockList, "users")] {
        let mut seen: Vec<UserId> = Vec::new();
        let mut params = json!({"limit": 2});
        loop {
            let page = world.read(ada, method, params.clone()).await.unwrap();
            for item in page[list].as_array().unwrap() {
                let user = item.get("user").unwrap_or(item);
                seen.push(user["id"].as_str().unwrap().parse().unwrap());
            }
            if page["more"] == false {
                break;
            }
            params["after"] = json!(seen.last().unwrap());
        }
        assert_eq!(seen, others, "{list}");
    }
    let [first, ..] = others.as_slice() else { panic!() };
    world
        .write(ada, Method::ContactRemove, json!({"user": first}))
        .await
        .unwrap();
    world
        .write(ada, Method::BlockRemove, json!({"user": first}))
        .await
        .unwrap();
    let page = world.read(ada, Method::ContactList, json!({})).await.unwrap();
    assert_eq!(page["contacts"].as_array().unwrap().len(), 4);
    let nobody = json!({"user": Uuid::now_v7()});
    for method in [Method::ContactSet, Method::BlockAdd] {
        assert_eq!(world.write(ada, method, nobody.clone()).await, error("not_found"));
    }
    // What is not there can be taken away: it is so already.
    for method in [Method::ContactRemove, Method::BlockRemove] {
        assert!(world.write(ada, method, nobody.clone()).await.is_ok());
    }
}

#[tokio::test]
async fn users_are_found_by_the_starts_of_their_names() {
    let world = World::start().await;
    let ada = world.user("ada.l", "Ada Lovelace").await;
    world.user("adam", "Adam Ant").await;
    world.user("zoe", "Zoë Adams").await;
    world.user("bob", "Bob").await;
    assert_eq!(world.search(ada, "ada", 50).await, ["ada.l", "adam", "zoe"]);
    assert_eq!(world.search(ada, " ADA.", 50).await, ["ada.l"]);
    assert_eq!(world.search(ada, "ad love", 50).await, ["ada.l"]);
    assert_eq!(world.search(ada, "ant ada", 50).await, ["adam"]);
    assert_eq!(world.search(ada, "dam", 50).await, [""; 0]);
    for (query, code) in [
        ("", "bad_request"),
        (" \t", "bad_request"),
        ("a\0", "bad_request"),
    ] {
        let refused = world.read(ada, Method::UserSearch, json!({"query": query})).await;
        assert_eq!(refused, error(code), "{query:?}");
    }
    let strange = json!({"query": "ada", "page": "x"});
    assert_eq!(
        world.read(ada, Method::UserSearch, strange).await,
        error("bad_request")
    );

    // A new name is found, the old one is not.
    let update = json!({"display_name": "Grace Ñandú"});
    world.write(ada, Method::UserUpdate, update).await.unwrap();
    assert_eq!(world.search(ada, "ÑAN", 50).await, ["ada.l"]);
    assert_eq!(world.search(ada, "lovelace", 50).await, [""; 0]);
}

#[tokio::test]
async fn a_search_goes_page_by_page_without_hole_or_repeat() {
    let world = World::start().await;
    let me = world.user("me", "me").await;
    let client = world.db.client().await;
    let sql = "INSERT INTO users (id, username, display_name, created_at) \
         SELECT gen_random_uuid(), 'user' || i, 'Userine Usera' || (i % 7) || ' Mod' || (i % 3), 0 \
         FROM generate_series(1, 1700) AS i";
    client.batch_execute(sql).await.unwrap();
    let mut found = world.search(me, "us", 50).await;
    assert_eq!(found.len(), 1700);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 1700);
    // More candidates than one page looks at.
    assert_eq!(world.search(me, "userine mod1 usera2", 50).await.len(), 81);
}

#[tokio::test]
async fn who_is_blocked_or_gone_is_not_found() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada", "x").await, world.user("bob", "x").await);
    world
        .write(ada, Method::BlockAdd, json!({"user": bob}))
        .await
        .unwrap();
    assert_eq!(world.search(ada, "bob", 50).await, [""; 0]);
    assert_eq!(world.search(bob, "ada", 50).await, [""; 0]);
    world
        .write(ada, Method::BlockRemove, json!({"user": bob}))
        .await
        .unwrap();
    assert_eq!(world.search(bob, "ada", 50).await, ["ada"]);

    world
        .write(bob, Method::ContactSet, json!({"user": ada}))
        .await
        .unwrap();
    let client = world.db.client().await;
    let ended = "UPDATE users SET deleted_at = 1 WHERE id = $1";
    client.execute(ended, &[&ada.0]).await.unwrap();
    assert_eq!(world.search(bob, "ada", 50).await, [""; 0]);
    let listed = world.read(bob, Method::ContactList, json!({})).await.unwrap();
    assert_eq!(listed["contacts"], json!([]));
    let users = world
        .read(bob, Method::UserGet, json!({"users": [ada, bob]}))
        .await
        .unwrap();
    let users = users["users"].as_array().unwrap();
    let gone = users.iter().find(|user| user["id"] == json!(ada)).unwrap();
    assert_eq!((users.len(), &gone["deleted"]), (2, &json!(true)));
    assert_eq!(
        world.write(ada, Method::UserUpdate, json!({"about": "x"})).await,
        error("not_found")
    );
    assert_eq!(
        world.read(ada, Method::UserMe, json!({})).await,
        error("not_found")
    );
}

#[tokio::test]
async fn devices_subscribe_to_pushes_at_public_endpoints_only() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada", "x").await, world.user("bob", "x").await);
    let device = |endpoint: &str| {
        json!({"endpoint": endpoint, "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"})
    };
    let subscribed = world
        .write(ada, Method::PushSubscribe, device("https://push.example.com/a"))
        .await
        .unwrap();
    let list = world.read(ada, Method::PushList, json!({})).await.unwrap();
    assert_eq!(list["application_server_key"], "key");
    let [listed] = list["subscriptions"].as_array().unwrap().as_slice() else {
        panic!("{list}")
    };
    assert_eq!(
        (&listed["origin"], &listed["own"]),
        (&json!("https://push.example.com"), &json!(true))
    );
    assert_eq!(listed["id"], subscribed["id"]);
    for bad in [
        "http://push.example.com/a",
        "https://10.0.0.1/",
        "https://localhost/",
        "x",
    ] {
        assert_eq!(
            world.write(ada, Method::PushSubscribe, device(bad)).await,
            error("bad_request"),
            "{bad}"
        );
    }
    // The browser now belongs to somebody else.
    world
        .write(bob, Method::PushSubscribe, device("https://push.example.com/a"))
        .await
        .unwrap();
    let list = world.read(ada, Method::PushList, json!({})).await.unwrap();
    assert_eq!(list["subscriptions"], json!([]));
    let own = world.read(bob, Method::PushList, json!({})).await.unwrap();
    let id = own["subscriptions"][0]["id"].clone();
    world
        .write(ada, Method::PushUnsubscribe, json!({"id": id}))
        .await
        .unwrap();
    assert_eq!(
        world.read(bob, Method::PushList, json!({})).await.unwrap(),
        own,
        "only one's own"
    );
    world
        .write(bob, Method::PushUnsubscribe, json!({"id": id}))
        .await
        .unwrap();
    for number in 0..20 {
        let device = device(&format!("https://push.example.com/{number}"));
        world.write(bob, Method::PushSubscribe, device).await.unwrap();
    }
    let device = device("https://push.example.com/20");
    assert_eq!(
        world.write(bob, Method::PushSubscribe, device).await,
        error("too_large")
    );
}
