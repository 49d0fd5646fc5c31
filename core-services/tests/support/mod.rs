//! Fresh databases and private Redis servers for tests.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hub_services::migrate::{self, WantedPartitions};
use hub_services::store::{Meta, Store, StoreOptions};
use tokio_postgres::{Client, NoTls};

/// A database of one test, dropped with it.
pub struct Database {
    /// Its address.
    pub url: String,
    /// A pool on it.
    pub store: Store,
    /// What `migrate` decided.
    pub meta: Meta,
    admin_url: String,
    name: String,
}

impl Database {
    /// Makes and migrates a database.
    pub async fn fresh() -> Self {
        let (url, admin_url, name) = create().await;
        let options = options(&url);
        let meta = migrate::run(&options, WantedPartitions::default())
            .await
            .expect("migrates")
            .meta;
        let store = Store::connect(&options).await.expect("connects");
        Self {
            url,
            store,
            meta,
            admin_url,
            name,
        }
    }

    /// A connection of its own, outside of the pool.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        // A runtime of its own: that of the test may be ending.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("builds");
            runtime.block_on(drop_database(&url, &name));
        });
        let _ = dropper.join();
    }
}

/// Options for the test server, which runs without fsync.
pub fn options(url: &str) -> StoreOptions {
    StoreOptions {
        allow_unsafe_durability: true,
        ..StoreOptions::new(url)
    }
}

/// An empty database without tables: its address, that of the server, its name.
pub async fn create() -> (String, String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let admin_url = std::env::var("HUB_TEST_DATABASE_URL").expect(
        "HUB_TEST_DATABASE_URL names a PostgreSQL server for tests: run scripts/test, which starts one",
    );
    let name = format!(
        "hub_test_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let client = connect(&admin_url).await;
    client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        .await
        .expect("drops");
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .expect("creates a database");
    (with_database(&admin_url, &name), admin_url, name)
}

/// Drops a database of [`create`].
pub async fn drop_database(admin_url: &str, name: &str) {
    let client = connect(admin_url).await;
    let _ = client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        .await;
}

/// A plain connection.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("PostgreSQL for tests answers");
    tokio::spawn(connection);
    client
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let end = base[after_scheme..]
        .find('/')
        .map_or(base.len(), |at| after_scheme + at);
    format!("{}/{name}{query}", &base[..end])
}

/// A Redis server of one test.
pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one without persistence on a socket in a folder of its own.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("makes a folder");
        let child = spawn(folder.path());
        let redis = Self { child, folder };
        redis.wait().await;
        redis
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// A connection.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("opens");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis for tests answers")
    }

    /// Kills it and starts another one, empty, at the same address.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path());
        self.wait().await;
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn wait(&self) {
        let client = redis::Client::open(self.url()).expect("opens");
        for _ in 0..500 {
            if client.get_multiplexed_async_connection().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server did not start");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--unixsocket",
            "redis.sock",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
