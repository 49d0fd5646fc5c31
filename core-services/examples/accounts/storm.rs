//! What a storm of logins does to everybody else, and how fast a storm of refreshes passes: a worker of the auth
//! service behind Redis, and somebody who appends sealed envelopes as an edge does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hub_protocol::batch::{DownlinkBatch, EntryKind, EnvelopeHeader, UplinkWriter};
use hub_protocol::seal::{Binding, Sealer, Way};
use hub_protocol::{Address, LoginId, Method, NodeId, RoomId, Service, SessionId, UserId, keys};
use hub_services::delivery::Deliverer;
use hub_services::worker::{Status, Worker, WorkerOptions};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use redis::streams::StreamReadReply;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, Redis};
use crate::{auth, quantile, without_limits};

const ACCOUNTS: usize = 500;
const LOGINS: usize = 500;
const REFRESHES: usize = 5_000;
/// Of refreshes, and of reads, while nothing else happens and during the storm.
const EVERY: Duration = Duration::from_millis(20);

/// The method of each call under way, to which its seal is bound, and who waits.
type Waiting = Arc<Mutex<HashMap<u64, (Method, oneshot::Sender<Result<Value, String>>)>>>;

/// What an edge is to the services.
#[derive(Clone)]
struct Edge {
    node: NodeId,
    redis: MultiplexedConnection,
    sealer: Arc<Sealer>,
    waiting: Waiting,
    partitions: u16,
}

pub async fn run() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let outbox = tempfile::tempdir().unwrap();
    let sealer = Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap());
    let worker = Worker::new(
        redis::Client::open(redis.url()).unwrap(),
        auth(&db, &without_limits(), outbox.path()),
        Deliverer::new(4_000, Duration::ZERO),
        Arc::clone(&sealer),
        db.meta.clone(),
        WorkerOptions::default(),
        Status::new(Service::Auth),
    );
    let cancel = CancellationToken::new();
    let running = tokio::spawn(worker.run(cancel.clone()));
    let edge = Edge::start(&redis, sealer, db.meta.partitions.of(Service::Auth)).await;

    let mut accounts = Vec::new();
    for number in 0..ACCOUNTS {
        let params = json!({"username": format!("user{number}"), "password": "correct horse"});
        accounts.push(
            edge.call(number, Method::AuthRegister, None, params)
                .await
                .0
                .unwrap(),
        );
    }
    println!("{ACCOUNTS} accounts, argon2id as shipped");

    let others = Others::start(&edge, &accounts);
    tokio::time::sleep(Duration::from_secs(10)).await;
    others.end("alone").await;

    let others = Others::start(&edge, &accounts);
    let began = Instant::now();
    let mut logins = Vec::new();
    for number in 0..LOGINS {
        let edge = edge.clone();
        let params = json!({"username": format!("user{number}"), "password": "correct horse"});
        logins.push(tokio::spawn(async move {
            edge.call(number, Method::AuthLogin, None, params).await
        }));
    }
    let (mut good, mut busy) = (Vec::new(), Vec::new());
    for login in logins {
        match login.await.unwrap() {
            (Ok(_), took) => good.push(took),
            (Err(code), took) => {
                assert_eq!(code, "busy");
                busy.push(took);
            }
        }
    }
    let took = began.elapsed();
    println!(
        "{LOGINS} logins at once: answered within {took:.1?}, {} opened ({:.0} per second), {} told to come again",
        good.len(),
        per_second(good.len(), took),
        busy.len(),
    );
    report("logins that were opened", good);
    others.end("during the storm of logins").await;

    // Each refresh of its own login, one after the other: a chain per account.
    let mut tokens: Vec<Value> = accounts
        .iter()
        .map(|account| account["refresh_token"].clone())
        .collect();
    let others = Others::reads(&edge, &accounts);
    let (mut times, began) = (Vec::new(), Instant::now());
    for _ in 0..REFRESHES / ACCOUNTS {
        let mut round = Vec::new();
        for (number, token) in tokens.iter().enumerate() {
            let (edge, params) = (edge.clone(), json!({"refresh_token": token}));
            round.push(tokio::spawn(async move {
                edge.call(number, Method::AuthRefresh, None, params).await
            }));
        }
        tokens.clear();
        for refresh in round {
            let (answer, took) = refresh.await.unwrap();
            tokens.push(answer.unwrap()["refresh_token"].clone());
            times.push(took);
        }
    }
    let took = began.elapsed();
    println!(
        "{REFRESHES} refreshes, {ACCOUNTS} at a time: {:.0} per second",
        per_second(REFRESHES, took)
    );
    report("refreshes", times);
    others.end("during the storm of refreshes").await;
    cancel.cancel();
    running.await.unwrap();
}

fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

/// Refreshes and reads at a steady rate, measured from when each was due.
struct Others {
    tasks: Vec<(&'static str, tokio::task::JoinHandle<Vec<Duration>>)>,
    end: CancellationToken,
}

impl Others {
    /// Logins of their own, so that the chains of tokens of `accounts` stay whole.
    fn start(edge: &Edge, accounts: &[Value]) -> Self {
        let mut others = Self::reads(edge, accounts);
        let (edge, mut token) = (edge.clone(), None);
        let end = others.end.clone();
        let task = tokio::spawn(async move {
            let params =
                json!({"username": format!("other{}", rand::random::<u32>()), "password": "correct horse"});
            let made = edge.call(0, Method::AuthRegister, None, params).await.0.unwrap();
            let mut times = Vec::new();
            let mut due = Instant::now();
            while !end.is_cancelled() {
                tokio::time::sleep_until(due.into()).await;
                // The token before is good again for a minute: concurrent refreshes need one chain each.
                let shown = token.take().unwrap_or_else(|| made["refresh_token"].clone());
                let (answer, _) = edge
                    .call(0, Method::AuthRefresh, None, json!({"refresh_token": shown}))
                    .await;
                times.push(due.elapsed());
                token = Some(answer.unwrap()["refresh_token"].clone());
                due += EVERY;
            }
            times
        });
        others.tasks.push(("refreshes", task));
        others
    }

    fn reads(edge: &Edge, accounts: &[Value]) -> Self {
        let end = CancellationToken::new();
        let (edge, ending) = (edge.clone(), end.clone());
        let user: UserId = accounts[1]["user"]["id"].as_str().unwrap().parse().unwrap();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            let mut due = Instant::now();
            while !ending.is_cancelled() {
                tokio::time::sleep_until(due.into()).await;
                let (answer, _) = edge.call(1, Method::AuthLogins, Some(user), json!({})).await;
                answer.unwrap();
                times.push(due.elapsed());
                due += EVERY;
            }
            times
        });
        Self {
            tasks: vec![("auth.logins", task)],
            end,
        }
    }

    async fn end(self, when: &str) {
        self.end.cancel();
        for (name, task) in self.tasks {
            report(&format!("{name} {when}"), task.await.unwrap());
        }
    }
}

impl Edge {
    async fn start(redis: &Redis, sealer: Arc<Sealer>, partitions: u16) -> Self {
        let node = NodeId(rand::random());
        let mut connection = redis.connection().await;
        let _: String = cmd("XADD")
            .arg(keys::node(node))
            .arg("*")
            .arg("h")
            .arg(1)
            .query_async(&mut connection)
            .await
            .unwrap();
        let edge = Self {
            node,
            redis: connection,
            sealer,
            waiting: Arc::default(),
            partitions,
        };
        tokio::spawn(edge.clone().read(redis.connection().await));
        edge
    }

    /// One call: the result or the code of the refusal, and the time from its append to its answer.
    async fn call(
        &self,
        at: usize,
        method: Method,
        user: Option<UserId>,
        params: Value,
    ) -> (Result<Value, String>, Duration) {
        let request = rand::random::<u64>() >> 12;
        let header = EnvelopeHeader {
            address: Address {
                node: self.node,
                shard: 0,
                slot: 1,
                generation: 1,
            },
            request,
            method,
            user: user.unwrap_or_default(),
            login: user.map_or(LoginId::NIL, |user| LoginId(user.0)),
            session: SessionId::NIL,
            room: RoomId::NIL,
        };
        let body = json!({"id": request, "method": method.name(), "params": params}).to_string();
        let sealed = self
            .sealer
            .seal(&binding(&header, Way::Up), minute(), body.as_bytes())
            .unwrap();
        let mut writer = UplinkWriter::new(self.node);
        writer.push(&header, &sealed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(request, (method, sender));
        let partition = u16::try_from(at % usize::from(self.partitions)).unwrap();
        let began = Instant::now();
        let mut redis = self.redis.clone();
        let _: String = cmd("XADD")
            .arg(keys::requests(Service::Auth, partition))
            .arg("*")
            .arg("b")
            .arg(writer.take())
            .query_async(&mut redis)
            .await
            .unwrap();
        let answer = answer.await.unwrap();
        (answer, began.elapsed())
    }

    /// Gives answers to those who wait.
    async fn read(self, mut redis: MultiplexedConnection) {
        let mut cursor = "0".to_owned();
        loop {
            let mut command = cmd("XREAD");
            command
                .arg("BLOCK")
                .arg(50)
                .arg("STREAMS")
                .arg(keys::node(self.node))
                .arg(&cursor);
            let Ok(reply) = command.query_async::<Option<StreamReadReply>>(&mut redis).await else {
                return;
            };
            let streams = reply.into_iter().flat_map(|reply| reply.keys);
            for entry in streams.flat_map(|key| key.ids) {
                cursor.clone_from(&entry.id);
                let Some(batch) = entry.get::<Vec<u8>>("b") else {
                    continue;
                };
                self.take(&batch);
                let _: u64 = cmd("XDEL")
                    .arg(keys::node(self.node))
                    .arg(&entry.id)
                    .query_async(&mut redis)
                    .await
                    .unwrap();
            }
        }
    }

    fn take(&self, batch: &[u8]) {
        for entry in DownlinkBatch::parse(batch).unwrap().iter() {
            let EntryKind::Reply(reply) = entry.kind else {
                continue;
            };
            let Some((method, sender)) = self.waiting.lock().unwrap().remove(&reply.request) else {
                continue;
            };
            let header = EnvelopeHeader {
                address: Address {
                    node: self.node,
                    shard: 0,
                    slot: 1,
                    generation: 1,
                },
                request: reply.request,
                method,
                user: UserId::NIL,
                login: LoginId::NIL,
                session: SessionId::NIL,
                room: RoomId::NIL,
            };
            let text = self
                .sealer
                .open(&binding(&header, Way::Down), minute(), entry.body)
                .unwrap();
            let text: Value = serde_json::from_slice(&text).unwrap();
            let answer = match text.get("result") {
                Some(result) => Ok(result.clone()),
                None => Err(text["error"]["code"].as_str().unwrap().to_owned()),
            };
            let _ = sender.send(answer);
        }
    }
}

fn binding(header: &EnvelopeHeader, way: Way) -> Binding {
    Binding {
        way,
        method: header.method,
        address: header.address,
        request: header.request,
    }
}

fn minute() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs() / 60).unwrap()
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "  {name}: {} calls, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        times.len(),
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        times.last().copied().unwrap_or_default(),
    );
}
