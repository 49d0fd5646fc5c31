//! The auth service on a real database: accounts, logins, the life of refresh tokens.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::auth::Auth;
use hub_services::config::{Allowance, AuthConfig, OutboxConfig as Outbox};
use hub_services::keys::{self, Signer};
use hub_services::mail::Mailer;
use hub_services::service::{Call, Handler, Outcome};
use serde_json::{Value, json};
use support::Database;

struct World {
    db: Database,
    auth: Arc<Auth>,
}

impl World {
    async fn start() -> Self {
        let db = Database::fresh().await;
        let folder = tempfile::tempdir().unwrap();
        keys::make(folder.path(), SystemTime::now()).unwrap();
        let config = AuthConfig {
            argon2_memory_kib: 64,
            argon2_passes: 1,
            hash_threads: 2,
            // Tests of limits stand in tests/auth.
            account_attempts: Allowance {
                burst: 0,
                every: Duration::from_secs(1),
            },
            ..AuthConfig::default()
        };
        let signer = Signer::new(keys::load_signing(folder.path()).unwrap());
        let mailer = Mailer::start(&Outbox::none()).unwrap();
        let auth = Arc::new(Auth::new(db.store.clone(), &db.meta, &config, signer, mailer).unwrap());
        Self { db, auth }
    }

    async fn register(&self, name: &str, password: &str) -> Result<Value, String> {
        let params = json!({"username": name, "password": password});
        self.call(Method::AuthRegister, LoginId::NIL, UserId::NIL, params)
            .await
    }

    async fn login(&self, name: &str, password: &str) -> Result<Value, String> {
        let params = json!({"username": name, "password": password});
        self.call(Method::AuthLogin, LoginId::NIL, UserId::NIL, params)
            .await
    }

    async fn refresh(&self, token: &Value) -> Result<Value, String> {
        answer(
            self.outcome(
                Method::AuthRefresh,
                LoginId::NIL,
                UserId::NIL,
                json!({"refresh_token": token}),
            )
            .await,
        )
    }

    async fn call(
        &self,
        method: Method,
        login: LoginId,
        user: UserId,
        params: Value,
    ) -> Result<Value, String> {
        answer(self.outcome(method, login, user, params).await)
    }

    async fn outcome(&self, method: Method, login: LoginId, user: UserId, params: Value) -> Outcome {
        outcome(&self.auth, method, login, user, params).await
    }

    /// Moves the last rotation of every login into the past.
    async fn age_rotations(&self) {
        let client = self.db.client().await;
        client
            .execute("UPDATE logins SET rotated_at = rotated_at - 61000000", &[])
            .await
            .unwrap();
    }
}

async fn outcome(auth: &Auth, method: Method, login: LoginId, user: UserId, params: Value) -> Outcome {
    let header = EnvelopeHeader {
        address: Address::default(),
        request: 1,
        method,
        user,
        login,
        session: SessionId::NIL,
        room: RoomId::NIL,
    };
    let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
    let call = Call {
        header,
        body: Bytes::from(body),
    };
    auth.write(&[call]).await.unwrap().pop().unwrap()
}

fn answer(outcome: Outcome) -> Result<Value, String> {
    match outcome.reply.unwrap() {
        Ok(result) => Ok(serde_json::from_slice(&result).unwrap()),
        Err(error) => Err(error.code.name().to_owned()),
    }
}

/// The login in an access token's claims.
fn claims(tokens: &Value) -> Value {
    use base64::Engine;
    let token = tokens["access_token"].as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn an_account_is_made_once_and_logs_in() {
    let world = World::start().await;
    let made = world.register("ada", "correct horse").await.unwrap();
    assert_eq!(made["user"]["username"], "ada");
    assert_eq!(
        world.register("ada", "another one").await,
        Err("conflict".to_owned())
    );
    let again = world.register("ada", "correct horse").await.unwrap();
    assert_eq!(
        again["user"]["id"], made["user"]["id"],
        "a repeated registration logs in"
    );
    let tokens = world.login("ada", "correct horse").await.unwrap();
    let claims = claims(&tokens);
    assert_eq!(claims["sub"], made["user"]["id"]);
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        900
    );
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_answered_alike() {
    let world = World::start().await;
    world.register("ada", "correct horse").await.unwrap();
    let reply = |outcome: Outcome| format!("{:?}", outcome.reply);
    let mut replies = Vec::new();
    for (name, password) in [
        ("ada", "wrong horse"),
        ("nobody", "wrong horse"),
        ("a\0b", "wrong horse"),
    ] {
        let params = json!({"username": name, "password": password});
        replies.push(reply(
            world
                .outcome(Method::AuthLogin, LoginId::NIL, UserId::NIL, params)
                .await,
        ));
    }
    assert!(replies[0].contains("Unauthenticated"));
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
}

#[tokio::test]
async fn a_refresh_may_be_repeated_while_its_successor_is_unused() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let second = world.refresh(&first["refresh_token"]).await.unwrap();
    let again = world.refresh(&first["refresh_token"]).await.unwrap();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    assert_eq!(claims(&second)["sid"], claims(&first)["sid"], "the login goes on");
    let third = world.refresh(&second["refresh_token"]).await.unwrap();
    assert_ne!(third["refresh_token"], second["refresh_token"]);
}

#[tokio::test]
async fn a_used_refresh_token_that_comes_back_revokes_the_login() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let second = world.refresh(&first["refresh_token"]).await.unwrap();
    let third = world.refresh(&second["refresh_token"]).await.unwrap();
    let params = json!({"refresh_token": first["refresh_token"]});
    let reused = world
        .outcome(Method::AuthRefresh, LoginId::NIL, UserId::NIL, params)
        .await;
    let login: LoginId = claims(&first)["sid"].as_str().unwrap().parse().unwrap();
    assert_eq!(reused.revoked, [login]);
    assert_eq!(answer(reused), Err("unauthenticated".to_owned()));
    assert_eq!(
        world.refresh(&third["refresh_token"]).await,
        Err("unauthenticated".to_owned())
    );
}

#[tokio::test]
async fn after_the_grace_a_repeat_is_a_reuse() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let second = world.refresh(&first["refresh_token"]).await.unwrap();
    world.age_rotations().await;
    assert_eq!(
        world.refresh(&first["refresh_token"]).await,
        Err("unauthenticated".to_owned())
    );
    assert_eq!(
        world.refresh(&second["refresh_token"]).await,
        Err("unauthenticated".to_owned())
    );
}

#[tokio::test]
async fn guesses_revoke_nothing() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let token = first["refresh_token"].as_str().unwrap();
    for guess in ["x", &token[..token.len() - 2], &token.replace("hubr.", "hubr.0")] {
        assert_eq!(
            world.refresh(&json!(guess)).await,
            Err("unauthenticated".to_owned())
        );
    }
    assert!(world.refresh(&first["refresh_token"]).await.is_ok());
}

#[tokio::test]
async fn many_refreshes_at_once_give_one_successor() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (auth, token) = (Arc::clone(&world.auth), first["refresh_token"].clone());
        tasks.push(tokio::spawn(async move {
            let params = json!({"refresh_token": token});
            answer(outcome(&auth, Method::AuthRefresh, LoginId::NIL, UserId::NIL, params).await)
        }));
    }
    let mut successors = Vec::new();
    for task in tasks {
        successors.push(task.await.unwrap().unwrap()["refresh_token"].clone());
    }
    assert!(successors.iter().all(|token| *token == successors[0]));
}

#[tokio::test]
async fn a_logout_ends_the_login_and_tells_the_edges() {
    let world = World::start().await;
    let tokens = world.register("ada", "correct horse").await.unwrap();
    let login: LoginId = claims(&tokens)["sid"].as_str().unwrap().parse().unwrap();
    let user: UserId = tokens["user"]["id"].as_str().unwrap().parse().unwrap();
    let malformed = world
        .outcome(Method::AuthLogout, login, user, json!({"surprise": 1}))
        .await;
    assert_eq!(answer(malformed), Err("bad_request".to_owned()));
    let done = world.outcome(Method::AuthLogout, login, user, json!({})).await;
    assert_eq!(done.revoked, [login]);
    assert_eq!(answer(done), Ok(json!({})));
    assert_eq!(
        world.refresh(&tokens["refresh_token"]).await,
        Err("unauthenticated".to_owned())
    );
    assert!(
        world.login("ada", "correct horse").await.is_ok(),
        "other logins may follow"
    );
}

/// A batch as a storm makes it: every call gets its own answer in its own place, and each name one account.
#[tokio::test]
async fn a_batch_of_many_logins_answers_each_in_its_place() {
    let world = World::start().await;
    let first = world.register("ada", "correct horse").await.unwrap();
    let call = |method: Method, params: Value| Call {
        header: EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user: UserId::NIL,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        },
        body: Bytes::from(json!({"id": 1, "method": method.name(), "params": params}).to_string()),
    };
    let mut calls = Vec::new();
    for number in 0..40 {
        let (name, password) = (format!("user{}", number / 2), format!("password {number}"));
        calls.push(call(
            Method::AuthRegister,
            json!({"username": name, "password": password}),
        ));
        let password = ["correct horse", "wrong horse"][number % 2];
        calls.push(call(
            Method::AuthLogin,
            json!({"username": "ada", "password": password}),
        ));
    }
    calls.push(call(
        Method::AuthRefresh,
        json!({"refresh_token": first["refresh_token"]}),
    ));
    let outcomes = world.auth.write(&calls).await.unwrap();
    let answers: Vec<_> = outcomes.into_iter().map(answer).collect();
    assert_eq!(answers.len(), calls.len());
    for number in 0..40 {
        let login = &answers[number * 2 + 1];
        match number % 2 {
            0 => assert_eq!(login.as_ref().unwrap()["user"]["username"], "ada"),
            _ => assert_eq!(*login, Err("unauthenticated".to_owned())),
        }
    }
    for pair in 0..20 {
        let both = [&answers[pair * 4], &answers[pair * 4 + 2]];
        let made: Vec<_> = both.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(made.len(), 1, "{both:?}");
        assert_eq!(made[0]["user"]["username"], format!("user{pair}"));
        assert!(both.contains(&&Err("conflict".to_owned())));
    }
    assert_eq!(answers[80].as_ref().unwrap()["user"]["username"], "ada");
}
