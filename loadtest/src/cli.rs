//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::arrivals::Spacing;
use crate::pacer::Fault;
use crate::scenario::{Scenario, duration};
use crate::target::Target;
use crate::units::nanos;

/// Load harness of Socket-Hub: many correct clients, open-loop load, honest latencies, and an oracle that checks
/// every acknowledged message.
#[derive(Parser, Debug)]
#[command(name = "hub-load", version, after_help = GUIDE, args_override_self = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const GUIDE: &str = "\
First steps, beside a running system (scripts/up --detach; . .run/env):
  hub-services seed --users 2000 --rooms 500 --members 8 --out tokens.jsonl
  hub-load run chat --tokens tokens.jsonl --url $HUB_WS_URL --database $DATABASE_URL --rate 2000 --duration 60s

What the figures mean:
  offered    sends that were meant to happen; they never wait for the hub (open loop)
  acked      answered by the hub: stored, at a place in the room's log
  ack        from the intended moment of a send to its answer, so waiting in the client's outbox counts
  delivery   from the same moment until a member is shown the message, for every member
  lost, duplicated, reordered
             findings of the oracle; `hub-load oracle --self-test` shows what it looks for

The edge refuses load that looks like abuse: for the busiest rooms set limits.messages_per_second = 0 in its
configuration.

Exit codes: 0 all promises kept, 1 the run could not be done, 2 the oracle objects, 99 a threshold is exceeded.";

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs a scenario against a hub and judges it.
    Run(Box<Run>),
    /// The oracle by itself.
    Oracle(Oracle),
    /// Lists the built-in scenarios, or prints one.
    Scenarios {
        /// Print this one, as a start for your own file.
        name: Option<String>,
    },
}

/// Arguments of `oracle`.
#[derive(Args, Debug)]
pub struct Oracle {
    /// Break a clean history in every way that the oracle knows; it must find each.
    #[arg(long, required = true)]
    pub self_test: bool,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// A built-in scenario (`chat`) or the path of a TOML file.
    pub scenario: String,
    /// Users, tokens and rooms, as `hub-services seed` writes them. Renewed tokens are written back.
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
    /// An edge, `ws://HOST:PORT[/v1/ws]`. Several: clients are spread, and try another one when they reconnect.
    #[arg(long = "url", required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Where tokens are renewed, `http://HOST:PORT` [default: the first edge].
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// The database, for the oracle: without it half of the promises are not checked.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database: Option<String>,
    /// Sends offered per second.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How arrivals follow each other.
    #[arg(long, value_enum)]
    pub spacing: Option<Spacing>,
    /// How long sends are offered and measured.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// How long sends are offered before that, checked but not measured.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub warmup: Option<Duration>,
    /// Silence at the end, in which nobody may reconnect.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub quiet: Option<Duration>,
    /// Longest wait for the last answers.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub settle: Option<Duration>,
    /// Length of a text, bytes.
    #[arg(long, value_name = "N")]
    pub text_bytes: Option<usize>,
    /// Exponent of the rooms' popularity.
    #[arg(long, value_name = "S")]
    pub zipf: Option<f64>,
    /// Seeds arrivals, jitter and ops.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Engine threads.
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,
    /// Connections per second at the start.
    #[arg(long, value_name = "N")]
    pub connects_per_second: Option<u32>,
    /// Clients per loopback source address; 0: one address.
    #[arg(long, value_name = "N")]
    pub clients_per_address: Option<u32>,
    /// Faults are expected: 95 % of the offered sends must be acknowledged instead of 99 %.
    #[arg(long)]
    pub faults: bool,
    /// Run this command (`sh -c`) during the load, e.g. `kill -9 PID`. Implies --faults.
    #[arg(long, value_name = "COMMAND")]
    pub fault_command: Option<String>,
    /// When, from the first offer.
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "20s", requires = "fault_command")]
    pub fault_after: Duration,
    /// Not before this many sends are unacknowledged; what is missing is offered at that moment.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "fault_command")]
    pub fault_unacked: u64,
    /// Offer this many sends at once, every --burst-every.
    #[arg(long, value_name = "N", requires = "burst_every")]
    pub burst: Option<u32>,
    /// See --burst.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub burst_every: Option<Duration>,
    /// Fail with 99 if a figure of the JSON report is above a bound, e.g. `ack_p99_ms=250`.
    #[arg(long, value_parser = threshold, value_name = "NAME=MAX")]
    pub threshold: Vec<(String, f64)>,
    /// Write the report here.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Rewrite this file every 100 ms with `phase=… offered=N acked=N unacked=N connected=N`.
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
    /// The target is not this machine, and I may put load on it.
    #[arg(long)]
    pub i_own_this_host: bool,
}

impl Run {
    /// The scenario with what the flags change, checked.
    pub fn scenario(&self) -> Result<Scenario> {
        let mut scenario = Scenario::load(&self.scenario)?;
        let seconds =
            |given: Option<Duration>, default: f64| given.map_or(default, |given| given.as_secs_f64());
        scenario.duration_s = seconds(self.duration, scenario.duration_s);
        scenario.warmup_s = seconds(self.warmup, scenario.warmup_s);
        scenario.quiet_s = seconds(self.quiet, scenario.quiet_s);
        scenario.settle_s = seconds(self.settle, scenario.settle_s);
        scenario.burst_every_s = seconds(self.burst_every, scenario.burst_every_s);
        scenario.rate = self.rate.unwrap_or(scenario.rate);
        scenario.spacing = self.spacing.unwrap_or(scenario.spacing);
        scenario.text_bytes = self.text_bytes.unwrap_or(scenario.text_bytes);
        scenario.zipf = self.zipf.unwrap_or(scenario.zipf);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.threads = self.threads.unwrap_or(scenario.threads);
        scenario.connects_per_second = self.connects_per_second.unwrap_or(scenario.connects_per_second);
        scenario.clients_per_address = self.clients_per_address.unwrap_or(scenario.clients_per_address);
        scenario.burst = self.burst.unwrap_or(scenario.burst);
        scenario
            .thresholds
            .extend(self.threshold.iter().cloned().collect::<BTreeMap<_, _>>());
        scenario.check()?;
        Ok(scenario)
    }

    /// The edges, and where tokens are renewed.
    pub fn targets(&self) -> Result<(Vec<Target>, Target)> {
        let targets = self
            .urls
            .iter()
            .map(|url| Target::ws(url))
            .collect::<Result<Vec<_>>>()?;
        let first = targets.first().context("at least one --url is needed")?;
        let http = self
            .http
            .as_deref()
            .map_or_else(|| Ok(first.rpc()), Target::http)?;
        let foreign = targets.iter().chain([&http]).find(|target| !target.is_loopback());
        if let Some(target) = foreign.filter(|_| !self.i_own_this_host) {
            bail!(
                "{} is not this machine: say --i-own-this-host if you may put load on it",
                target.host
            );
        }
        Ok((targets, http))
    }

    /// The fault, if one is asked for.
    pub fn fault(&self) -> Option<Fault> {
        let command = self.fault_command.clone()?;
        Some(Fault {
            after: nanos(self.fault_after),
            unacked: self.fault_unacked,
            command,
        })
    }

    /// The share of the offered sends that must be acknowledged.
    pub fn acked_share_min(&self) -> f64 {
        if self.faults || self.fault_command.is_some() {
            0.95
        } else {
            0.99
        }
    }
}

fn threshold(text: &str) -> Result<(String, f64)> {
    let (name, max) = text
        .split_once('=')
        .with_context(|| format!("{text} is not NAME=MAX"))?;
    Ok((
        name.to_owned(),
        max.parse().with_context(|| format!("{max} is no number"))?,
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(args: &[&str]) -> Run {
        let args = ["hub-load", "run", "chat", "--tokens", "t"].iter().chain(args);
        match Cli::try_parse_from(args).unwrap().command {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_scenario() {
        let run = run(&[
            "--url",
            "ws://127.0.0.1:1",
            "--rate",
            "7",
            "--duration",
            "1500ms",
            "--threshold",
            "ack_p99_ms=5",
        ]);
        let scenario = run.scenario().unwrap();
        assert!((scenario.rate - 7.0).abs() < 1e-9 && (scenario.duration_s - 1.5).abs() < 1e-9);
        assert_eq!(scenario.thresholds["ack_p99_ms"].to_string(), "5");
        assert!((run.acked_share_min() - 0.99).abs() < 1e-9);
    }

    #[test]
    fn other_machines_are_refused_unless_one_owns_them() {
        let url = ["--url", "ws://192.0.2.7:80"];
        assert!(run(&url).targets().is_err());
        assert!(run(&[url[0], url[1], "--i-own-this-host"]).targets().is_ok());
        let both = ["--url", "ws://127.0.0.1:80", "--http", "http://192.0.2.7:80"];
        assert!(run(&both).targets().is_err());
    }

    #[test]
    fn a_fault_lowers_what_must_be_acknowledged() {
        let run = run(&[
            "--url",
            "ws://127.0.0.1:1",
            "--fault-command",
            "true",
            "--fault-after",
            "3s",
        ]);
        assert!((run.acked_share_min() - 0.95).abs() < 1e-9);
        assert_eq!(run.fault().unwrap().after, 3_000_000_000);
    }
}
