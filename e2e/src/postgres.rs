//! The database of a test: on the server that `scripts/test` starts, or on a server of its own that may be killed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::process::{Process, free_address};
use crate::wait;

/// Names the server of tests.
pub const SERVER: &str = "HUB_TEST_DATABASE_URL";

/// A database that ends with its test.
#[derive(Debug)]
pub struct Database {
    url: String,
    home: Home,
}

#[derive(Debug)]
enum Home {
    /// A database on the server of all tests.
    Shared { server: String, name: String },
    /// A server; the folder is removed after the process has ended, because fields drop in this order.
    Own { process: Process, _folder: TempDir },
}

impl Database {
    /// A new database on the server of all tests.
    pub async fn shared() -> Result<Self> {
        let server = std::env::var(SERVER)
            .with_context(|| format!("{SERVER} is not set: run scripts/check e2e, which starts a server"))?;
        let name = format!("hub_e2e_{}", uuid::Uuid::now_v7().simple());
        connect(&server)
            .await?
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await?;
        let base = server.rsplit_once('/').map_or(server.as_str(), |(base, _)| base);
        Ok(Self {
            url: format!("{base}/{name}"),
            home: Home::Shared { server, name },
        })
    }

    /// A server of its own, with fsync, which may be killed.
    pub async fn own() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hub-e2e-")
            .tempdir_in("/var/tmp")
            .context("makes a folder")?;
        let data = folder.path().join("pg");
        let bin = programs()?;
        if is_root() {
            run(Command::new("chown").arg("nobody:nogroup").arg(folder.path()))?;
        }
        // Trust is enough: the server listens on loopback, lives for one test and holds nothing.
        let (program, prefix) = as_server(bin.join("initdb"));
        run(Command::new(program)
            .args(prefix)
            .current_dir(folder.path())
            .env("LC_ALL", "C.UTF-8")
            .args([
                "-D",
                "pg",
                "-U",
                "hub",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]))?;
        let address = free_address()?;
        let (program, prefix) = as_server(bin.join("postgres"));
        let mut process = Process::new("postgres", program, folder.path())
            .args(prefix)
            .args(["-D".into(), data.into_os_string()])
            .args([
                "-p",
                &address.port().to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=200"]);
        process.start()?;
        let url = format!("postgres://hub@{address}/hub");
        let server = format!("postgres://hub@{address}/postgres");
        let client = wait::until("PostgreSQL answers", async || connect(&server).await.ok()).await;
        client.batch_execute("CREATE DATABASE hub").await?;
        Ok(Self {
            url,
            home: Home::Own {
                process,
                _folder: folder,
            },
        })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// True if the server runs without the safety that the services demand.
    pub fn is_unsafe(&self) -> bool {
        matches!(self.home, Home::Shared { .. })
    }

    /// A connection to it.
    pub async fn client(&self) -> Result<Client> {
        connect(&self.url).await
    }

    /// SIGKILL to an own server.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.home {
            Home::Own { process, .. } => process.kill(),
            Home::Shared { .. } => bail!("the server of all tests is not killed"),
        }
    }

    /// Starts an own server again and waits until it has recovered.
    pub async fn start(&mut self) -> Result<()> {
        let Home::Own { process, .. } = &mut self.home else {
            bail!("the server of all tests runs")
        };
        process.start()?;
        let url = &self.url;
        wait::until("PostgreSQL has recovered", async || {
            if process.has_ended() {
                // Its former workers were not gone yet.
                process.start().ok()?;
            }
            connect(url).await.ok()
        })
        .await;
        Ok(())
    }

    /// Drops a database of the shared server.
    pub async fn remove(&self) -> Result<()> {
        if let Home::Shared { server, name } = &self.home {
            connect(server)
                .await?
                .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
                .await?;
        }
        Ok(())
    }
}

/// A plain connection.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The newest PostgreSQL programs of this machine.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL is not installed")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// PostgreSQL refuses to run as root: it becomes `nobody`.
fn as_server(program: PathBuf) -> (PathBuf, Vec<String>) {
    if !is_root() {
        return (program, Vec::new());
    }
    let words = [
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ];
    let mut arguments: Vec<String> = words.iter().map(ToString::to_string).collect();
    arguments.push(program.display().to_string());
    (PathBuf::from("setpriv"), arguments)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("runs {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
