//! A run from its start to its exit code: connect → warm-up → load → settle → quiet → judge.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::arrivals::{Arrivals, Zipf};
use crate::cli::Run;
use crate::database::Database;
use crate::engine::{self, Desks, Finished, Settings};
use crate::live::{Live, Stage};
use crate::oracle::{Expect, Stored, judge};
use crate::pacer::{Plan, Struck, pace};
use crate::renew::{self, Renewer};
use crate::report::{Material, Report};
use crate::scenario::Scenario;
use crate::stats::Stats;
use crate::target::Target;
use crate::units::{as_f64, count, index, nanos};
use crate::world::{World, issued_at};

/// Tokens that are older at the start are renewed before it.
const TOKEN_AGE_S_MAX: u64 = 10 * 60 - 30;
const LOOK: Duration = Duration::from_millis(50);

/// Does the run and prints its table; returns the exit code.
pub fn run(args: &Run) -> Result<u8> {
    let scenario = args.scenario()?;
    let (targets, http) = args.targets()?;
    // Another run's texts are told apart even if it had the same seed.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nonce = SmallRng::seed_from_u64(scenario.seed ^ nanos(since_epoch)).random();
    let mut world = World::read(&args.tokens, nonce, scenario.text_bytes)?;
    renew_old_tokens(&mut world, args, &http)?;
    let rooms: Vec<_> = world.room_ids().collect();
    let database = args.database.as_deref().map(Database::connect).transpose()?;
    let start_heads = database
        .as_ref()
        .map(|database| database.heads(&rooms))
        .transpose()?;
    if let Some(heads) = &start_heads {
        world.set_start_heads(heads);
    }
    let load = Load::start(args, &scenario, targets, http, world)?;
    let played = load.play(args, &scenario)?;

    let stored: Option<Stored> = match (&args.database, &start_heads) {
        // A new connection: the old one may have met the fault.
        (Some(url), Some(heads)) => Some(Database::connect_patiently(url)?.stored(&rooms, heads)?),
        _ => None,
    };
    let Played {
        finished,
        start,
        struck,
        connected,
        quiet_reconnects,
        world,
    } = played;
    let mut stats = Stats::default();
    let mut sends = Vec::new();
    let mut recorders = Vec::new();
    for thread in finished {
        stats.merge(&thread.stats);
        sends.extend_from_slice(thread.recorder.sends());
        recorders.push(thread.recorder);
    }
    let expect = Expect {
        acked_share_min: args.acked_share_min(),
        quiet_reconnects,
    };
    let findings = judge(recorders, stored.as_ref(), expect);
    let report = Report::new(&Material {
        scenario: &scenario,
        stats: &stats,
        sends: &sends,
        findings: &findings,
        database_checked: stored.is_some(),
        connected,
        users: world.accounts.len(),
        rooms: world.rooms(),
        start,
        struck,
    });
    print(&report.table(&findings));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.exit_code())
}

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "notes for the person at the terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// Old tokens would be refused at the door. What was renewed is written back at once: the old refresh tokens are
/// good no more.
fn renew_old_tokens(world: &mut World, args: &Run, http: &Target) -> Result<()> {
    let now_s = world.wall_ms(world.clock().now()) / 1_000;
    let is_old = |issued_at: u64| issued_at > 0 && issued_at + TOKEN_AGE_S_MAX < now_s;
    let old: Vec<usize> = (0..world.accounts.len())
        .filter(|&at| is_old(world.accounts[at].issued_at))
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    note(&format!("renewing {} old tokens", old.len()));
    let mut result = Ok(());
    for at in old {
        let account = &mut world.accounts[at];
        match renew::call(http, &account.refresh_token) {
            Ok(Ok(tokens)) => {
                account.issued_at = issued_at(&tokens.access_token).unwrap_or(0);
                account.token = tokens.access_token.into();
                account.refresh_token = tokens.refresh_token;
            }
            Ok(Err(code)) => {
                let name = &account.username;
                result = Err(anyhow::anyhow!(
                    "the token of {name} cannot be renewed ({}): seed again",
                    code.name()
                ));
                break;
            }
            Err(error) => {
                result = Err(error.context(format!("cannot renew tokens at {}", http.host)));
                break;
            }
        }
    }
    world.write(&args.tokens)?;
    result
}

/// Clients at work.
struct Load {
    world: Arc<World>,
    desks: Desks,
    threads: Vec<JoinHandle<Result<Finished>>>,
    renewed: renew::Renewed,
    live: Live,
}

/// What is left of it.
struct Played {
    finished: Vec<Finished>,
    start: u64,
    struck: Option<Struck>,
    connected: u64,
    quiet_reconnects: u64,
    world: World,
}

impl Load {
    fn start(
        args: &Run,
        scenario: &Scenario,
        targets: Vec<Target>,
        http: Target,
        world: World,
    ) -> Result<Self> {
        let threads = scenario.threads.min(index(world.accounts.len()));
        let desks = Desks::new(threads);
        let refresh = world
            .accounts
            .iter()
            .map(|account| account.refresh_token.clone())
            .collect();
        let (renewer, renewed) = Renewer::start(http, refresh, desks.clone());
        let world = Arc::new(world);
        let targets: Arc<[Target]> = targets.into();
        let live = Live::start(desks.clone(), args.status_file.clone());
        let spawn = |thread: u32| {
            let settings = Settings {
                thread,
                desks: desks.clone(),
                world: Arc::clone(&world),
                targets: Arc::clone(&targets),
                clients_per_address: scenario.clients_per_address,
                connects_per_second: scenario.connects_per_second.div_ceil(threads),
                seed: scenario.seed,
                renewer: renewer.clone(),
            };
            std::thread::Builder::new()
                .name(format!("engine-{thread}"))
                .spawn(move || engine::run(&settings))
        };
        let threads = (0..threads).map(spawn).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self {
            world,
            desks,
            threads,
            renewed,
            live,
        })
    }

    fn play(self, args: &Run, scenario: &Scenario) -> Result<Played> {
        let result = self.stages(args, scenario);
        let connected = self.desks.snapshot().connected;
        self.live.stage(Stage::Judge);
        for desk in self.desks.iter() {
            desk.stop();
        }
        let mut finished = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok(thread) => finished.push(thread?),
                Err(_) => bail!("an engine thread panicked"),
            }
        }
        drop(self.live);
        let mut world = Arc::into_inner(self.world).context("the threads have ended")?;
        let renewed = std::mem::take(&mut *self.renewed.lock().unwrap_or_else(PoisonError::into_inner));
        keep(&mut world, renewed, args)?;
        let (start, struck, quiet_reconnects) = result?;
        Ok(Played {
            finished,
            start,
            struck,
            connected,
            quiet_reconnects,
            world,
        })
    }

    /// Returns the time of the first offer, the fault, and the reconnects of the quiet time.
    fn stages(&self, args: &Run, scenario: &Scenario) -> Result<(u64, Option<Struck>, u64)> {
        let users = count(self.world.accounts.len());
        let seconds = Duration::from_secs_f64;
        self.wait("get ready", seconds(scenario.ready_s), |load| {
            load.desks.snapshot().ready == users
        })?;
        self.warn_of_limits(scenario);
        let warmup = nanos(seconds(scenario.warmup_s));
        let members = (0..index(self.world.rooms())).map(|room| index(self.world.members(room).len()));
        let plan = Plan {
            arrivals: Arrivals::new(
                scenario.seed,
                members.collect(),
                scenario.zipf,
                scenario.rate,
                scenario.spacing,
            ),
            length: warmup + nanos(seconds(scenario.duration_s)),
            burst: (scenario.burst > 0).then(|| (scenario.burst, nanos(seconds(scenario.burst_every_s)))),
            fault: args.fault(),
        };
        self.live.stage(Stage::Warmup);
        let start = self.world.clock().now();
        self.world.measure_from(start + warmup);
        let struck = std::thread::scope(|scope| {
            let pacer = scope.spawn(|| pace(plan, &self.world, &self.desks));
            std::thread::sleep(seconds(scenario.warmup_s));
            self.live.stage(Stage::Load);
            pacer.join()
        });
        let Ok(struck) = struck else {
            bail!("the pacer panicked")
        };
        self.live.stage(Stage::Settle);
        // Whoever does not settle in time shows in the verdict.
        let is_settled = |load: &Self| {
            let snapshot = load.desks.snapshot();
            snapshot.busy == 0
                && snapshot.ready + snapshot.counts.stopped >= users
                && load.desks.unacked() == 0
        };
        // What was offered last has reached the snapshots by then.
        std::thread::sleep(Duration::from_millis(300));
        if let Err(error) = self.wait("settle", seconds(scenario.settle_s), is_settled) {
            note(&format!("{error:#}"));
        }
        self.live.stage(Stage::Quiet);
        let before = self.desks.snapshot().counts.reconnects;
        std::thread::sleep(seconds(scenario.quiet_s));
        // The snapshot is at most 100 ms old.
        std::thread::sleep(Duration::from_millis(150));
        Ok((start, struck, self.desks.snapshot().counts.reconnects - before))
    }

    fn wait(&self, what: &str, patience: Duration, is_done: impl Fn(&Self) -> bool) -> Result<()> {
        let end = self.world.clock().now() + nanos(patience);
        while !is_done(self) {
            if self.threads.iter().any(JoinHandle::is_finished) {
                bail!("an engine thread has ended too early");
            }
            if self.world.clock().now() >= end {
                let snapshot = self.desks.snapshot();
                bail!(
                    "not all clients {what} in {patience:?}: of {} clients {} are connected, {} caught up, {} still \
                     have to send; {} connects failed, {} clients are stopped",
                    self.world.accounts.len(),
                    snapshot.connected,
                    snapshot.ready,
                    snapshot.busy,
                    snapshot.counts.connects_failed,
                    snapshot.counts.stopped,
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Rooms are unequally popular: their members send more than the average, perhaps more than they may.
    fn warn_of_limits(&self, scenario: &Scenario) {
        let Some(limit) = self.world.messages_per_second().filter(|&limit| limit > 0) else {
            return;
        };
        let zipf = Zipf::new(index(self.world.rooms()), scenario.zipf);
        let mut rates: HashMap<u32, f64> = HashMap::new();
        for room in 0..index(self.world.rooms()) {
            let members = self.world.members(room);
            let each = scenario.rate * zipf.share(crate::units::at(room)) / as_f64(count(members.len()));
            for &user in members {
                *rates.entry(user).or_default() += each;
            }
        }
        let busiest = rates.values().copied().fold(0.0, f64::max);
        if busiest > f64::from(limit) * 0.8 {
            note(&format!(
                "warning: the busiest user sends {busiest:.1} messages/s on average and the hub allows {limit}/s per \
                 session: expect rate_limited. Set limits.messages_per_second = 0 at the edge for load."
            ));
        }
    }
}

/// Writes back what was renewed during the run.
fn keep(world: &mut World, renewed: HashMap<u32, (String, String)>, args: &Run) -> Result<()> {
    if renewed.is_empty() {
        return Ok(());
    }
    for (user, (token, refresh_token)) in renewed {
        let account = &mut world.accounts[crate::units::at(user)];
        account.token = token.into();
        account.refresh_token = refresh_token;
    }
    world.write(&args.tokens)
}
