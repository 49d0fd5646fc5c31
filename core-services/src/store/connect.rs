//! Connections: what is set on each of them, and a pool that hears the server's warnings.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use super::error::StoreError;

/// A dead peer is noticed after this, by TCP.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A transaction whose program went away or stands still loses its locks after this.
const IDLE_IN_TRANSACTION_MS: u64 = 3_000;
const LOCK_TIMEOUT_MS: u64 = 5_000;

/// How to reach the database and what to demand of it.
#[derive(Clone)]
pub struct StoreOptions {
    /// `postgres://user:password@host:port/database`, or `host=/socket/folder` as query argument.
    pub url: String,
    /// Connections at most.
    pub pool_max: usize,
    /// The server ends a statement after this.
    pub statement_timeout: Duration,
    /// Work with a server that may forget commits. For tests.
    pub allow_unsafe_durability: bool,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("url", &"[redacted]")
            .field("pool_max", &self.pool_max)
            .field("statement_timeout", &self.statement_timeout)
            .field("allow_unsafe_durability", &self.allow_unsafe_durability)
            .finish_non_exhaustive()
    }
}

impl StoreOptions {
    /// The defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool_max: 16,
            statement_timeout: Duration::from_secs(10),
            allow_unsafe_durability: false,
            application_name: "hub-services".to_owned(),
        }
    }

    /// The driver's configuration, with our settings for each connection.
    pub fn driver_config(&self) -> Result<Config, StoreError> {
        let mut config = Config::from_str(&self.url)
            .map_err(|error| StoreError::Unfit(format!("the database URL cannot be read: {error}")))?;
        if config.get_hosts().is_empty() {
            return Err(StoreError::Unfit("the database URL names no host".to_owned()));
        }
        let options = format!(
            "{} -c statement_timeout={} -c lock_timeout={LOCK_TIMEOUT_MS} \
             -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS} \
             -c client_min_messages=warning -c jit=off -c timezone=UTC",
            config.get_options().unwrap_or_default(),
            self.statement_timeout.as_millis(),
        );
        config.options(options.trim());
        config.application_name(&self.application_name);
        config.connect_timeout(CONNECT_TIMEOUT);
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_))) {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
            config.keepalives_idle(TCP_USER_TIMEOUT);
        }
        Ok(config)
    }
}

/// A pool, and the warnings that its connections count.
pub(super) fn pool(options: &StoreOptions) -> Result<(Pool, Notices), StoreError> {
    let notices = Notices::default();
    let manager = Manager::from_connect(
        options.driver_config()?,
        Listening {
            notices: notices.clone(),
        },
        // A connection goes back only after a clean end, so looking whether it is open is enough.
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let pool = Pool::builder(manager)
        .max_size(options.pool_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .build()
        .map_err(|error| StoreError::Unfit(error.to_string()))?;
    Ok((pool, notices))
}

/// Counters of warnings, by the number of the server's process.
#[derive(Clone, Default)]
pub(super) struct Notices {
    // Bound: entries of closed connections are dropped whenever one is made.
    by_pid: Arc<Mutex<HashMap<i32, Weak<AtomicU64>>>>,
}

impl Notices {
    pub(super) fn find(&self, pid: i32) -> Option<Arc<AtomicU64>> {
        let by_pid = self.by_pid.lock().unwrap_or_else(PoisonError::into_inner);
        by_pid.get(&pid)?.upgrade()
    }

    fn add(&self, pid: i32, counter: &Arc<AtomicU64>) {
        let mut by_pid = self.by_pid.lock().unwrap_or_else(PoisonError::into_inner);
        by_pid.retain(|_, counter| counter.strong_count() > 0);
        by_pid.insert(pid, Arc::downgrade(counter));
    }
}

/// Opens connections whose task counts warnings before it passes on what follows them.
struct Listening {
    notices: Notices,
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for Listening {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, mut connection) = config.connect(NoTls).await?;
            let counter = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&counter);
            let task = tokio::spawn(async move {
                loop {
                    match poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notice(notice))) => {
                            counter.fetch_add(1, Ordering::AcqRel);
                            tracing::warn!(code = notice.code().code(), "PostgreSQL: {}", notice.message());
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "connection to PostgreSQL ended");
                            break;
                        }
                        None => break,
                    }
                }
            });
            let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
            self.notices.add(pid, &counted);
            Ok((client, task))
        })
    }
}
