//! Whether the time of an answer tells that an account exists. Goal: no difference of medians above 1 ms.
//!
//! Method: two kinds of calls that must look alike, one after the other in random order, each with its time; hashes
//! as cheap as argon2 allows, so that what is around them is not hidden by them, and once with the shipped ones.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{Address, Class, LoginId, Method, RoomId, SessionId, UserId};
use hub_services::auth::Auth;
use hub_services::config::AuthConfig;
use hub_services::service::{Call, Handler, Outcome};
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use crate::support::Database;
use crate::{auth, quantile, without_limits};

const PAIRS: usize = 10_000;
/// One of each pair.
const CODES: i64 = 2 * 10_000;
const _: () = assert!(PAIRS == 10_000);
/// With hashes of the shipped strength.
const STRONG_PAIRS: usize = 1_000;

pub async fn run() {
    let cheap = AuthConfig {
        argon2_memory_kib: 64,
        argon2_passes: 1,
        ..without_limits()
    };
    let (db, outbox) = (Database::fresh().await, tempfile::tempdir().unwrap());
    let service = auth(&db, &cheap, outbox.path());
    prepare(&db, &service).await;
    let login = |name: &str| json!({"username": name, "password": "wrong horse"});

    let kinds = shuffled(PAIRS);
    let [known, unknown] = measure(&service, Method::AuthLogin, &kinds, |is_known, _| {
        login(if is_known { "ada" } else { "nobody" })
    })
    .await;
    report("auth.login, cheap hashes", known, unknown);

    let mut challenges = [Vec::new(), Vec::new()];
    let mut times = [Vec::new(), Vec::new()];
    for &is_known in &kinds {
        let name = if is_known { "ada" } else { "nobody" };
        let began = Instant::now();
        let mut answer = call(&service, Method::AuthRequestReset, json!({"username": name})).await;
        let mut took = began.elapsed();
        while answer.is_err() {
            // The desk has enough to do.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let began = Instant::now();
            answer = call(&service, Method::AuthRequestReset, json!({"username": name})).await;
            took = began.elapsed();
        }
        times[usize::from(!is_known)].push(took);
        challenges[usize::from(!is_known)].push(answer.unwrap()["challenge"].clone());
    }
    let [known, unknown] = times;
    report("auth.request_reset", known, unknown);
    let client = db.client().await;
    while client
        .query_one("SELECT count(*) FROM codes", &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        < CODES
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let [known, unknown] = measure(&service, Method::AuthResetPassword, &kinds, |is_known, number| {
        // One try of each challenge.
        let challenge = &challenges[usize::from(!is_known)][number];
        json!({"challenge": challenge, "code": "x", "password": "another horse"})
    })
    .await;
    report("auth.reset_password, cheap hashes", known, unknown);

    let db = Database::fresh().await;
    let service = auth(&db, &without_limits(), outbox.path());
    prepare(&db, &service).await;
    let [known, unknown] = measure(
        &service,
        Method::AuthLogin,
        &shuffled(STRONG_PAIRS),
        |is_known, _| login(if is_known { "ada" } else { "nobody" }),
    )
    .await;
    report("auth.login, shipped hashes", known, unknown);
}

async fn prepare(db: &Database, service: &Auth) {
    let params = json!({"username": "ada", "password": "correct horse"});
    call(service, Method::AuthRegister, params).await.unwrap();
    let client = db.client().await;
    client
        .execute("UPDATE credentials SET email = 'ada@example.org'", &[])
        .await
        .unwrap();
}

/// As many of one kind as of the other.
fn shuffled(pairs: usize) -> Vec<bool> {
    let mut kinds: Vec<bool> = (0..pairs * 2).map(|number| number % 2 == 0).collect();
    kinds.shuffle(&mut rand::rng());
    kinds
}

/// Times of refused calls: those about what exists, and those about what does not.
async fn measure(
    service: &Auth,
    method: Method,
    kinds: &[bool],
    params: impl Fn(bool, usize) -> Value,
) -> [Vec<Duration>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for &is_known in kinds {
        let of_kind = &mut times[usize::from(!is_known)];
        let params = params(is_known, of_kind.len());
        let began = Instant::now();
        let answer = call(service, method, params).await;
        of_kind.push(began.elapsed());
        assert_eq!(answer.unwrap_err(), "unauthenticated");
    }
    times
}

async fn call(service: &Auth, method: Method, params: Value) -> Result<Value, String> {
    let header = EnvelopeHeader {
        address: Address::default(),
        request: 1,
        method,
        user: UserId::NIL,
        login: LoginId::NIL,
        session: SessionId::NIL,
        room: RoomId::NIL,
    };
    let body = json!({"id": 1, "method": method.name(), "params": params}).to_string();
    let call = Call {
        header,
        body: Bytes::from(body),
    };
    let outcome: Outcome = match method.class() {
        Class::Write => service.write(&[call]).await.unwrap().pop().unwrap(),
        _ => service.read(&call).await.unwrap(),
    };
    match outcome.reply.unwrap() {
        Ok(result) => Ok(serde_json::from_slice(&result).unwrap()),
        Err(error) => Err(error.code.name().to_owned()),
    }
}

fn report(name: &str, mut known: Vec<Duration>, mut unknown: Vec<Duration>) {
    known.sort_unstable();
    unknown.sort_unstable();
    let (a, b) = (quantile(&known, 0.5), quantile(&unknown, 0.5));
    println!(
        "{name}: {} of each; median known {a:.1?}, unknown {b:.1?}, difference {:.1?}; p99 {:.1?} and {:.1?}",
        known.len(),
        a.abs_diff(b),
        quantile(&known, 0.99),
        quantile(&unknown, 0.99),
    );
}
