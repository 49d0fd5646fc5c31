//! Step 11: the way to PostgreSQL. Named transactions on pooled connections, and nothing in between.
//!
//! | module | holds |
//! |---|---|
//! | [`connect`] | connections: their settings, their pool, the warnings that the server sends |
//! | [`error`] | what an SQLSTATE means for the worker |
//! | [`meta`] | facts about the database: partitions, keys, epoch, durability |
//!
//! Invariant: what [`Store::run_tx`] returns as success was committed without a warning. Everything else, a commit
//! with unknown outcome included, is an error; its connection is thrown away and the server rolls back.

pub mod connect;
pub mod error;
pub mod meta;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool};
use metrics::{counter, histogram};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage};

pub use connect::StoreOptions;
pub use error::StoreError;
pub use meta::Meta;

use connect::Notices;

/// A transaction that lost against another one runs again this often.
const RUNS_MAX: u32 = 4;
/// How long a whole transaction may take, waiting for a connection included. Ends a wait that neither the server
/// nor TCP notices: a stopped server still acknowledges segments.
const TRANSACTION_MAX: Duration = Duration::from_secs(15);

/// How a transaction begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Write,
    Read,
}

impl Mode {
    /// Asks for the backend's number in the same round trip: it names the counter of warnings.
    const fn begin(self) -> &'static str {
        match self {
            Self::Write => "BEGIN; SELECT pg_backend_pid()",
            Self::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_backend_pid()",
        }
    }
}

/// Connections to one database.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    notices: Notices,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a pool and makes one connection, so that a wrong address or password is known now. Refuses a server
    /// that may forget what it committed, unless the options allow it.
    pub async fn connect(options: &StoreOptions) -> Result<Self, StoreError> {
        let (pool, notices) = connect::pool(options)?;
        let store = Self { pool, notices };
        store.check_durability(options.allow_unsafe_durability).await?;
        Ok(store)
    }

    /// Runs `body` in one transaction and commits it. `name` is the metric label and the log field. The body runs
    /// again when the transaction lost against another one, so it must not touch anything but its transaction.
    ///
    /// ```text
    /// store.run_tx("chat.append", |tx| async move { append(&tx, calls).await }).await?
    /// ```
    ///
    /// # Cancel safety
    /// Dropped half-way, the connection is closed; whether a commit under way happened is then unknown.
    pub async fn run_tx<T, F, R>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        self.run(name, Mode::Write, body).await
    }

    /// Runs `body` on one snapshot, read only.
    pub async fn run_read<T, F, R>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        self.run(name, Mode::Read, body).await
    }

    /// One reading statement outside of a transaction: one round trip.
    pub async fn query(
        &self,
        name: &'static str,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let began = Instant::now();
        let work = async {
            let tx = Tx::on(self.pool.get().await?);
            let rows = tx.query(sql, params).await?;
            tx.put_back();
            Ok(rows)
        };
        let done = within(work).await;
        observe(name, began, &done);
        done
    }

    async fn run<T, F, R>(&self, name: &'static str, mode: Mode, mut body: F) -> Result<T, StoreError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let mut runs = 0;
        loop {
            runs += 1;
            let began = Instant::now();
            let done = within(self.run_once(mode, &mut body)).await;
            observe(name, began, &done);
            match done {
                // Bound: RUNS_MAX.
                Err(StoreError::Conflict(source)) if runs < RUNS_MAX => {
                    tracing::debug!(name, runs, error = %source, "transaction lost against another, runs again");
                    let wait = rand::random_range(1..=5) * u64::from(runs);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                done => return done,
            }
        }
    }

    async fn run_once<T, F, R>(&self, mode: Mode, body: &mut F) -> Result<T, StoreError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let tx = Tx::on(self.pool.get().await?);
        let warnings = tx.begin(mode, &self.notices).await?;
        let value = body(tx.clone()).await?;
        tx.commit(&warnings).await?;
        Ok(value)
    }
}

/// An open transaction; clones are the same one. Dropped before its commit, it takes its connection with it and
/// the server rolls back.
#[derive(Clone)]
pub struct Tx {
    open: Arc<Open>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}

impl Tx {
    fn on(object: Object) -> Self {
        Self {
            open: Arc::new(Open { object: Some(object) }),
        }
    }

    /// The connection, for what the helpers here do not cover (`COPY`).
    pub fn client(&self) -> &deadpool_postgres::Client {
        self.open
            .object
            .as_ref()
            .expect("a transaction owns its connection until it ends")
    }

    /// Rows of a statement, which is prepared once per connection.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, params).await?)
    }

    /// The one row of a statement, if it has one.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs a statement; returns how many rows it touched.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, params).await?)
    }

    /// Begins; returns the connection's counter of warnings.
    async fn begin(&self, mode: Mode, notices: &Notices) -> Result<Arc<AtomicU64>, StoreError> {
        let answer = self.client().simple_query(mode.begin()).await?;
        let pid = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        pid.and_then(|pid| notices.find(pid))
            .ok_or(StoreError::Commit("the connection is not one of the pool"))
    }

    /// Commits. A server answers the COMMIT of a failed transaction with ROLLBACK, which the driver does not tell;
    /// the SELECT before it fails there. A warning (waiting for a standby was cancelled, no transaction open) means
    /// that the commit is not what was asked for.
    async fn commit(self, warnings: &AtomicU64) -> Result<(), StoreError> {
        let before = warnings.load(Ordering::Acquire);
        self.client()
            .simple_query("SELECT 1; COMMIT")
            .await
            .map_err(StoreError::commit)?;
        if warnings.load(Ordering::Acquire) != before {
            return Err(StoreError::Commit("the server answered COMMIT with a warning"));
        }
        self.put_back();
        Ok(())
    }

    /// Gives the connection back to its pool, unless the body kept a clone: then it is closed with the last one.
    fn put_back(self) {
        if let Some(mut open) = Arc::into_inner(self.open) {
            open.object = None;
        }
    }
}

/// A connection that is in use.
struct Open {
    /// `None` only after the connection went back to its pool.
    object: Option<Object>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            // Not back into the pool: it may be inside a transaction, or its next answer may be a late one.
            drop(Object::take(object));
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(TRANSACTION_MAX, work)
        .await
        .unwrap_or(Err(StoreError::TimeOut))
}

fn observe<T>(name: &'static str, began: Instant, done: &Result<T, StoreError>) {
    let outcome = match done {
        Ok(_) => "ok",
        Err(error) => error.kind(),
    };
    counter!("hub_services_transactions_total", "name" => name, "outcome" => outcome).increment(1);
    histogram!("hub_services_transaction_seconds", "name" => name).record(began.elapsed().as_secs_f64());
}

/// Describes the metrics of this module.
pub fn describe() {
    metrics::describe_counter!(
        "hub_services_transactions_total",
        "Transactions by name and outcome: ok, data, conflict, system."
    );
    metrics::describe_histogram!(
        "hub_services_transaction_seconds",
        metrics::Unit::Seconds,
        "Time of one run of a transaction, from asking for a connection to the answer of COMMIT."
    );
}
