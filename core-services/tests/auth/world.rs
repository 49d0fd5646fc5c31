//! An auth service on a database of its own, and somebody who calls it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::error::ErrorBody;
use hub_protocol::{Address, Class, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::auth::Auth;
use hub_services::config::{AuthConfig, OutboxConfig, OutboxKind};
use hub_services::keys::{self, Signer};
use hub_services::mail::Mailer;
use hub_services::service::{Call, Handler, Outcome};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::support::Database;

pub const PASSWORD: &str = "correct horse";

pub struct World {
    pub db: Database,
    pub auth: Arc<Auth>,
    outbox: tempfile::TempDir,
}

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: String,
    pub user: UserId,
    pub login: LoginId,
    pub refresh_token: Value,
    pub device_token: Value,
}

/// Weak hashes: what is tested is what happens around them.
pub fn config() -> AuthConfig {
    AuthConfig {
        argon2_memory_kib: 64,
        argon2_passes: 1,
        hash_threads: 2,
        ..AuthConfig::default()
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: AuthConfig) -> Self {
        let outbox = tempfile::tempdir().unwrap();
        let kind = OutboxKind::File(outbox.path().to_owned());
        Self::with_outbox(config, kind, outbox).await
    }

    pub async fn with_outbox(config: AuthConfig, kind: OutboxKind, outbox: tempfile::TempDir) -> Self {
        let db = Database::fresh().await;
        let folder = tempfile::tempdir().unwrap();
        keys::make(folder.path(), SystemTime::now()).unwrap();
        let signer = Signer::new(keys::load_signing(folder.path()).unwrap());
        let from = "Hub <hub@example.org>".to_owned();
        let mailer = Mailer::start(&OutboxConfig { kind, from }).unwrap();
        let auth = Auth::new(db.store.clone(), &db.meta, &config, signer, mailer).unwrap();
        Self {
            db,
            auth: Arc::new(auth),
            outbox,
        }
    }

    /// An account with a login.
    pub async fn register(&self, name: &str) -> Caller {
        let params = json!({"username": name, "password": PASSWORD, "device": "first"});
        caller(&self.public(Method::AuthRegister, params).await.unwrap())
    }

    /// A further login.
    pub async fn log_in(&self, name: &str, device: &str) -> Caller {
        let params = json!({"username": name, "password": PASSWORD, "device": device});
        caller(&self.public(Method::AuthLogin, params).await.unwrap())
    }

    /// A call without a token from this machine.
    pub async fn public(&self, method: Method, params: Value) -> Result<Value, ErrorBody> {
        self.public_from(1, method, params).await
    }

    /// A call without a token from the network address 10.0.0.`host`.
    pub async fn public_from(&self, host: u8, method: Method, params: Value) -> Result<Value, ErrorBody> {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let session = EnvelopeHeader::session_of_origin(address);
        answer(
            self.outcome(method, (UserId::NIL, LoginId::NIL, session), params)
                .await,
        )
    }

    /// A call of somebody who is logged in.
    pub async fn call(&self, caller: &Caller, method: Method, params: Value) -> Result<Value, ErrorBody> {
        answer(self.revoking(caller, method, params).await)
    }

    /// The same, with the logins that end.
    pub async fn revoking(&self, caller: &Caller, method: Method, params: Value) -> Outcome {
        self.outcome(method, (caller.user, caller.login, SessionId::NIL), params)
            .await
    }

    pub async fn refresh(&self, token: &Value) -> Result<Value, ErrorBody> {
        self.public(Method::AuthRefresh, json!({"refresh_token": token}))
            .await
    }

    pub async fn outcome(
        &self,
        method: Method,
        (user, login, session): (UserId, LoginId, SessionId),
        params: Value,
    ) -> Outcome {
        outcome(&self.auth, method, (user, login, session), params).await
    }

    /// Changes or asks the database as an operator would.
    pub async fn sql(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<tokio_postgres::Row> {
        self.db.client().await.query(sql, params).await.unwrap()
    }

    /// Waits until so many messages have left, and returns the text of the last one.
    pub async fn message(&self, count: usize) -> String {
        let files = files(self.outbox.path(), count).await;
        std::fs::read_to_string(&files[count - 1]).unwrap()
    }

    /// The digits in the message that leaves as number `count`.
    pub async fn code(&self, count: usize) -> String {
        digits(&self.message(count).await)
    }

    /// Messages so far.
    pub fn messages(&self) -> usize {
        listed(self.outbox.path()).len()
    }

    /// Sets and confirms an address; it takes one message.
    pub async fn confirm_email(&self, caller: &Caller) {
        let count = self.messages() + 1;
        let params = json!({"password": PASSWORD, "email": format!("{}@example.org", caller.name)});
        let asked = self.call(caller, Method::AuthSetEmail, params).await.unwrap();
        let params = json!({"challenge": asked["challenge"], "code": self.code(count).await});
        self.call(caller, Method::AuthConfirmEmail, params).await.unwrap();
    }

    /// Kinds in the audit log of a user, oldest first.
    pub async fn audited(&self, user: UserId) -> Vec<String> {
        let rows = self
            .sql(
                "SELECT kind FROM audit WHERE user_id = $1 ORDER BY id",
                &[&user.0],
            )
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// One call on its way through the handler that its class chooses.
pub async fn outcome(
    auth: &Auth,
    method: Method,
    (user, login, session): (UserId, LoginId, SessionId),
    params: Value,
) -> Outcome {
    let header = EnvelopeHeader {
        address: Address::default(),
        request: 1,
        method,
        user,
        login,
        session,
        room: RoomId::NIL,
    };
    let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
    let call = Call {
        header,
        body: Bytes::from(body),
    };
    match method.class() {
        Class::Write => auth.write(&[call]).await.unwrap().pop().unwrap(),
        _ => auth.read(&call).await.unwrap(),
    }
}

pub fn answer(outcome: Outcome) -> Result<Value, ErrorBody> {
    outcome
        .reply
        .unwrap()
        .map(|result| serde_json::from_slice(&result).unwrap())
}

/// Code and reason of a refusal.
pub fn refusal(answer: Result<Value, ErrorBody>) -> (&'static str, Option<String>) {
    let error = answer.expect_err("a refusal");
    (error.code.name(), error.reason.map(Into::into))
}

pub fn because(code: &'static str, reason: &str) -> (&'static str, Option<String>) {
    (code, Some(reason.to_owned()))
}

pub fn caller(tokens: &Value) -> Caller {
    Caller {
        name: tokens["user"]["username"].as_str().unwrap().to_owned(),
        user: tokens["user"]["id"].as_str().unwrap().parse().unwrap(),
        login: claims(tokens)["sid"].as_str().unwrap().parse().unwrap(),
        refresh_token: tokens["refresh_token"].clone(),
        device_token: tokens["device_token"].clone(),
    }
}

fn claims(tokens: &Value) -> Value {
    use base64::Engine;
    let token = tokens["access_token"].as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// The eight digits of a message.
pub fn digits(text: &str) -> String {
    let is_code = |word: &&str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split_whitespace().find(is_code).expect("a code").to_owned()
}

async fn files(folder: &Path, count: usize) -> Vec<std::path::PathBuf> {
    for _ in 0..6_000 {
        let files = listed(folder);
        if files.len() >= count {
            return files;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no message {count}");
}

fn listed(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    files.sort();
    files
}
