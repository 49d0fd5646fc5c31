//! The private system of one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use hub_protocol::RoomId;
use serde_json::json;
use tempfile::TempDir;

use crate::client::Connection;
use crate::http::{self, Account};
use crate::postgres::Database;
use crate::process::{Process, free_address};
use crate::{op, room_id, wait};

/// What a stack consists of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Edge nodes, with two shards each.
    pub edges: usize,
    /// Processes of the chat service.
    pub chats: usize,
    /// A PostgreSQL server of its own, which may be killed.
    pub own_postgres: bool,
    /// Variables for the edges.
    pub edge_env: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            edges: 1,
            chats: 1,
            own_postgres: false,
            edge_env: Vec::new(),
        }
    }
}

/// A running system. Dropping it kills all of it.
#[derive(Debug)]
pub struct Stack {
    /// The edges.
    pub edges: Vec<Process>,
    /// The chat services.
    pub chats: Vec<Process>,
    /// The auth service.
    pub auth: Process,
    /// The user service.
    pub user: Process,
    /// Redis.
    pub redis: Process,
    /// The database.
    pub database: Database,
    redis_url: String,
    addresses: Vec<SocketAddr>,
    folder: TempDir,
}

impl Stack {
    /// Starts a system and waits until all of it is ready.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::tempdir().context("makes a folder")?;
        let path = folder.path();
        let database = if options.own_postgres {
            Database::own().await?
        } else {
            Database::shared().await?
        };
        let redis_address = free_address()?;
        let redis_url = format!("redis://{redis_address}/");
        let mut redis = Process::new("redis", "redis-server", path)
            .args([
                "--port",
                &redis_address.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args([
                "--appendonly",
                "no",
                "--maxmemory",
                "256mb",
                "--maxmemory-policy",
                "noeviction",
            ]);
        redis.start()?;
        redis_answers(&redis_url).await;

        let keys = path.join("keys");
        let durability = database
            .is_unsafe()
            .then_some(("HUB_SERVICES__POSTGRES__ALLOW_UNSAFE_DURABILITY", "true"));
        // Addresses may be up to half a second old, which is why clients sync once more a second after they open.
        // These clients do not, and expect every event.
        let fresh = ("HUB_SERVICES__DELIVERY__DIRECTORY_REUSE_MS", "0");
        let services_env: Vec<(String, String)> = durability
            .into_iter()
            .chain([fresh])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        run(
            path,
            &services_env,
            &["config", "keys", &keys.display().to_string()],
        )?;
        run(
            path,
            &services_env,
            &["migrate", "--database", database.url(), "--redis", &redis_url],
        )?;

        let service = |service: &str, name: &str| -> Result<Process> {
            let admin = free_address()?;
            Ok(Process::new(name, program("hub-services"), path)
                .args([service, "--database", database.url(), "--redis", &redis_url])
                .args(["--keys".into(), keys.clone().into_os_string()])
                .args(["--admin", &admin.to_string()])
                .env(&services_env)
                .admin(admin))
        };
        let auth = service("auth", "auth")?;
        let user = service("user", "user")?;
        let chats = (0..options.chats)
            .map(|number| service("chat", &format!("chat{number}")))
            .collect::<Result<Vec<_>>>()?;
        let mut edges = Vec::new();
        let mut addresses = Vec::new();
        for number in 0..options.edges {
            let (listen, admin) = (free_address()?, free_address()?);
            let edge = Process::new(&format!("edge{number}"), program("hub-edge"), path)
                .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
                .args(["--redis", &redis_url, "--shards", "2"])
                .args(["--keys".into(), keys.clone().into_os_string()])
                // Tests share the machine: a pinned shard would wait for its neighbour's core.
                .env(&[("HUB_EDGE__SERVER__PIN".to_owned(), "false".to_owned())])
                .env(&options.edge_env)
                .admin(admin);
            edges.push(edge);
            addresses.push(listen);
        }
        let mut stack = Self {
            edges,
            chats,
            auth,
            user,
            redis,
            database,
            redis_url,
            addresses,
            folder,
        };
        for part in stack.parts() {
            part.start()?;
        }
        stack.ready().await?;
        Ok(stack)
    }

    /// Waits until every service and edge is ready.
    pub async fn ready(&mut self) -> Result<()> {
        for part in self.parts() {
            part.ready().await?;
        }
        Ok(())
    }

    /// Where edge `number` listens.
    pub fn edge(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// A connection to Redis.
    pub async fn redis_connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.redis_url.as_str())?
            .get_multiplexed_async_connection()
            .await?)
    }

    /// SIGKILL to Redis, then a new and empty one at the same address.
    pub async fn restart_redis(&mut self) -> Result<()> {
        self.redis.kill()?;
        self.redis.start()?;
        redis_answers(&self.redis_url).await;
        Ok(())
    }

    /// The keys folder of all parts.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Adds a key of each kind to the keys folder, as an operator does.
    pub fn rotate_keys(&self) -> Result<()> {
        let keys = self.keys().display().to_string();
        run(self.folder.path(), &[], &["config", "keys", &keys])
    }

    /// A metric of an edge, summed over its labels.
    pub async fn edge_metric(&self, number: usize, name: &str) -> Result<f64> {
        let admin = self.edges[number]
            .admin_address()
            .context("an edge has an admin port")?;
        metric(admin, name).await
    }

    /// Accounts, each with a login.
    pub async fn accounts<const N: usize>(&self) -> Result<[Account; N]> {
        let mut accounts = Vec::with_capacity(N);
        for _ in 0..N {
            accounts.push(Account::register(self.edge(0)).await?);
        }
        accounts.try_into().ok().context("as many as were made")
    }

    /// A group of these users; the first one owns it.
    pub async fn group(&self, accounts: &[Account]) -> Result<RoomId> {
        let (owner, others) = accounts.split_first().context("a group has an owner")?;
        let room = room_id();
        let members: Vec<_> = others.iter().map(|account| account.user).collect();
        let params = json!({"op": op(), "id": room, "kind": "group", "name": "Crew", "members": members});
        let answer = owner
            .call(self.edge(0), "room.create", Some(room), params)
            .await?;
        if answer.result()?["seq"] != 1 {
            bail!("a new room begins at 1: {answer:?}");
        }
        Ok(room)
    }

    /// Connections of two users that live on different shards of edge 0, told by the edge's own counters.
    pub async fn on_two_shards(&self, first: &Account, second: &Account) -> Result<[Connection; 2]> {
        let admin = self.edges[0]
            .admin_address()
            .context("an edge has an admin port")?;
        let first = Connection::open(self.edge(0), first).await?;
        let before = wait::until("the counters have seen the first session", async || {
            let now = sessions_by_shard(admin).await.ok()?;
            (now.iter().sum::<f64>() >= 1.0).then_some(now)
        })
        .await;
        // The kernel chooses the shard by the connection's addresses: another try is another draw.
        for _ in 0..64 {
            let connection = Connection::open(self.edge(0), second).await?;
            let now = wait::until("the counters have seen the new session", async || {
                let now = sessions_by_shard(admin).await.ok()?;
                (now.iter().sum::<f64>() > before.iter().sum::<f64>()).then_some(now)
            })
            .await;
            if now.iter().all(|&sessions| sessions >= 1.0) {
                return Ok([first, connection]);
            }
            connection.close().await?;
            wait::until("the counters have seen the session go", async || {
                (sessions_by_shard(admin).await.ok()? == before).then_some(())
            })
            .await;
        }
        bail!("64 connections in a row came to one shard")
    }

    /// Ends the test: the database is dropped.
    pub async fn finish(mut self) -> Result<()> {
        for part in self.parts() {
            part.kill()?;
        }
        self.database.remove().await
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.auth, &mut self.user]
            .into_iter()
            .chain(&mut self.chats)
            .chain(&mut self.edges)
    }
}

/// A metric of an admin port, summed over its labels.
pub async fn metric(admin: SocketAddr, name: &str) -> Result<f64> {
    let samples = samples(admin, name).await?;
    if samples.is_empty() {
        bail!("{admin} has no metric named {name}");
    }
    Ok(samples.iter().map(|(_, value)| value).sum())
}

async fn sessions_by_shard(admin: SocketAddr) -> Result<Vec<f64>> {
    let mut samples = samples(admin, "hub_edge_sessions").await?;
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(samples.into_iter().map(|(_, value)| value).collect())
}

/// Labels and values of a metric.
async fn samples(admin: SocketAddr, name: &str) -> Result<Vec<(String, f64)>> {
    let answer = http::get(admin, "/metrics").await?;
    let text = answer.body.as_str().context("metrics are text")?.to_owned();
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .map(|rest| {
            let (labels, value) = rest.rsplit_once(' ').context("a sample has a value")?;
            Ok((labels.to_owned(), value.parse()?))
        })
        .collect()
}

async fn redis_answers(url: &str) {
    wait::until("Redis answers", async || {
        let client = redis::Client::open(url).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING")
            .query_async::<String>(&mut connection)
            .await
            .ok()
    })
    .await;
}

/// Where the programs under test lie: `HUB_BIN`, else the release folder of this workspace.
fn program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("HUB_BIN") {
        return Path::new(&folder).join(name);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    target.join("release").join(name)
}

/// Runs `hub-services` to its end.
fn run(folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Result<()> {
    let path = program("hub-services");
    let output = Command::new(&path)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .output()
        .with_context(|| {
            format!(
                "{} does not start; build it with scripts/check build",
                path.display()
            )
        })?;
    if !output.status.success() {
        bail!(
            "hub-services {}: {}",
            arguments[0],
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
