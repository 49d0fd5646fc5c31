//! The command line of `hub-services`.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use hub_protocol::Service;
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, Flags};
use crate::migrate::{self, WantedPartitions};
use crate::seed::Wanted;
use crate::store::Store;
use crate::{app, keys, seed};

/// The auth, chat and user services of Socket-Hub.
#[derive(Debug, Parser)]
#[command(name = "hub-services", version, about)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Settings that win over file and environment.
#[derive(Debug, Args)]
struct Common {
    /// A settings file; what it does not name keeps its default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the database.
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Address of Redis.
    #[arg(long, global = true, value_name = "URL")]
    redis: Option<String>,
    /// The keys folder, made by `config keys`.
    #[arg(long, global = true, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, global = true, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the auth service.
    Auth,
    /// Runs the chat service.
    Chat,
    /// Runs the user service.
    User,
    /// Runs all three services in one process.
    All,
    /// Brings the database up to date and tells Redis. Runs again without harm.
    Migrate(Migrate),
    /// Makes accounts, rooms and logins for load runs.
    Seed(Seed),
    /// Settings and keys.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
struct Migrate {
    /// Partitions of the chat service; decided once per database (8).
    #[arg(long, value_name = "N")]
    chat_partitions: Option<u16>,
    /// Partitions of the auth service; decided once per database (2).
    #[arg(long, value_name = "N")]
    auth_partitions: Option<u16>,
    /// Partitions of the user service; decided once per database (4).
    #[arg(long, value_name = "N")]
    user_partitions: Option<u16>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
struct Seed {
    /// Accounts to make.
    #[arg(long, value_name = "N")]
    users: usize,
    /// Rooms to make.
    #[arg(long, value_name = "M")]
    rooms: usize,
    /// Mean members of a room.
    #[arg(long, value_name = "K")]
    members: usize,
    /// Seeds the choice of members.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tokens and rooms are written, one JSON line each; readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Makes a keys folder, or adds a new key of each kind to one (rotation).
    Keys {
        /// The folder.
        dir: PathBuf,
    },
    /// Prints the settings that are in force, without passwords.
    Print,
    /// Says whether the settings can be used.
    Check,
}

impl Cli {
    /// Runs the command; what went wrong stands on stderr, one line each.
    pub fn run(self) -> ExitCode {
        log();
        match self.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let text = format!("{error:#}");
                let mut stderr = std::io::stderr().lock();
                for line in text.lines() {
                    let _ = writeln!(stderr, "hub-services: {line}");
                }
                ExitCode::FAILURE
            }
        }
    }

    fn execute(self) -> anyhow::Result<()> {
        let Common {
            config,
            database,
            redis,
            keys,
            admin,
        } = self.common;
        let flags = Flags {
            config,
            database,
            redis,
            keys,
            admin,
        };
        match self.command {
            Command::Auth => run(&flags, &[Service::Auth]),
            Command::Chat => run(&flags, &[Service::Chat]),
            Command::User => run(&flags, &[Service::User]),
            Command::All => run(&flags, &Service::ALL),
            Command::Migrate(wanted) => migrate(&flags, &wanted),
            Command::Seed(wanted) => seed(&flags, &wanted),
            Command::Config(ConfigCommand::Keys { dir }) => {
                let kid = keys::make(&dir, SystemTime::now())?;
                print(&format!("made key {kid} in {}", dir.display()))
            }
            Command::Config(ConfigCommand::Print) => print(config::load(&flags)?.print().trim_end()),
            Command::Config(ConfigCommand::Check) => {
                config::read(&flags)?;
                print("configuration is valid")
            }
        }
    }
}

fn run(flags: &Flags, services: &[Service]) -> anyhow::Result<()> {
    let config = config::read(flags)?;
    runtime()?
        .block_on(app::run(services, config))
        .map_err(|problems| anyhow!(problems.join("\n")))
}

fn seed(flags: &Flags, wanted: &Seed) -> anyhow::Result<()> {
    let config = config::read(flags)?;
    let signing = keys::load_signing(&config.keys_dir).context("keys")?;
    let amount = Wanted {
        users: wanted.users,
        rooms: wanted.rooms,
        members: wanted.members,
        seed: wanted.seed,
    };
    runtime()?.block_on(async {
        let store = Store::connect(&config.store).await?;
        let meta = store.meta().await?;
        seed::run(&store, &meta, &signing, amount, &wanted.out).await
    })?;
    print(&format!(
        "made {} users in {} rooms; tokens are in {}",
        wanted.users,
        wanted.rooms,
        wanted.out.display()
    ))
}

fn migrate(flags: &Flags, wanted: &Migrate) -> anyhow::Result<()> {
    let config: Config = config::read(flags)?;
    let wanted = WantedPartitions {
        auth: wanted.auth_partitions,
        chat: wanted.chat_partitions,
        user: wanted.user_partitions,
    };
    runtime()?.block_on(async {
        let migrated = migrate::run(&config.store, wanted).await?;
        for step in &migrated.applied {
            print(&format!("applied {step}"))?;
        }
        let client = redis::Client::open(config.redis_url.as_str()).context("the address of Redis")?;
        let mut redis = crate::backbone::connect(&client, std::time::Duration::ZERO)
            .await
            .context("the database is up to date, but Redis does not answer")?;
        migrate::publish(&mut redis, &migrated.meta)
            .await
            .context("hub:meta was not written")?;
        let partitions = migrated.meta.partitions;
        print(&format!(
            "database is up to date; partitions: auth {}, chat {}, user {}",
            partitions.auth, partitions.chat, partitions.user
        ))
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")
}

/// One line for whoever called.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("stdout")
}

/// Logs go to stderr: text for people, JSON for machines.
fn log() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| EnvFilter::new("info,tokio_postgres=warn,refinery_core=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.init();
    } else {
        logs.json().init();
    }
}
