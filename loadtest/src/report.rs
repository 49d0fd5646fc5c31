//! The end of a run for people and for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::oracle::{Findings, Outcome, SendRecord};
use crate::pacer::Struck;
use crate::scenario::Scenario;
use crate::stats::{Latency, Stats};
use crate::units::{as_f64, as_ms, count, share};

/// The figures of a run. Names are part of the interface: scripts and thresholds use them.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `pass`, `violation` or `threshold`.
    pub verdict: &'static str,
    /// Sends that were offered, warm-up included.
    pub offered: u64,
    /// Sends that were acknowledged.
    pub acked: u64,
    /// The same as a share.
    pub acked_share: f64,
    /// Findings of the oracle: something is missing.
    pub lost: u64,
    /// Something is there twice.
    pub duplicated: u64,
    /// An order differs.
    pub reordered: u64,
    /// All findings by kind.
    pub findings: BTreeMap<&'static str, u64>,
    /// A few examples of each.
    pub examples: BTreeMap<&'static str, Vec<String>>,
    /// Whether the database was looked into.
    pub database_checked: bool,
    /// Latencies by name: `ack_p50_ms`, … `delivery_max_ms`.
    #[serde(flatten)]
    pub latencies: BTreeMap<String, f64>,
    /// Sends whose answer was measured.
    pub ack_measured: u64,
    /// Deliveries that were measured.
    pub delivery_measured: u64,
    /// Messages of the run per second of load, as they were acknowledged.
    pub acked_per_s: f64,
    /// Messages of the run per second of load, as they were shown.
    pub delivered_per_s: f64,
    /// The longest time without any ack while sends were unanswered.
    pub longest_ack_gap_ms: f64,
    /// When it began, from the first offer.
    pub longest_ack_gap_start_ms: f64,
    /// When an ack ended it, from the first offer.
    pub first_ack_after_gap_ms: f64,
    /// When the fault command was run, from the first offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_at_ms: Option<f64>,
    /// Unacknowledged sends at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_unacked: Option<u64>,
    /// From the fault to the first ack of a send that was written after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_new_ack_after_fault_ms: Option<f64>,
    /// Clients.
    pub users: u64,
    /// Rooms.
    pub rooms: u64,
    /// Clients with an open session at the end.
    pub connected: u64,
    /// Plain counts.
    #[serde(flatten)]
    pub counts: BTreeMap<&'static str, u64>,
    /// Refusals by code, retryable ones included.
    pub refused: BTreeMap<&'static str, u64>,
    /// Ends of connections by close code.
    pub closes: BTreeMap<u16, u64>,
    /// Thresholds that were exceeded.
    pub exceeded: Vec<String>,
    /// The rate that was offered.
    pub rate: f64,
    /// Seconds of load, warm-up included.
    pub load_s: f64,
    /// The seed.
    pub seed: u64,
}

/// What a report is made of.
#[derive(Debug)]
pub struct Material<'a> {
    /// What was to be done.
    pub scenario: &'a Scenario,
    /// Counts and latencies of all threads.
    pub stats: &'a Stats,
    /// All sends.
    pub sends: &'a [SendRecord],
    /// The oracle's word.
    pub findings: &'a Findings,
    /// Whether the database was looked into.
    pub database_checked: bool,
    /// Clients with an open session before the end.
    pub connected: u64,
    /// Clients.
    pub users: usize,
    /// Rooms.
    pub rooms: usize,
    /// The time of the first offer.
    pub start: u64,
    /// The fault, if there was one.
    pub struck: Option<Struck>,
}

impl Report {
    /// Sums up a run.
    pub fn new(material: &Material<'_>) -> Self {
        let Material {
            scenario,
            stats,
            sends,
            findings,
            start,
            ..
        } = *material;
        let offered = count(sends.len());
        let acked = count(sends.iter().filter(|send| send.outcome == Outcome::Acked).count());
        let load_s = scenario.duration_s + scenario.warmup_s;
        let gap = longest_gap(sends);
        let after_start = |at: u64| as_ms(at.saturating_sub(start));
        let mut latencies = BTreeMap::new();
        add_latencies(&mut latencies, "ack", &stats.ack);
        add_latencies(&mut latencies, "delivery", &stats.delivery);
        let names = ["offered", "acked"];
        let counts = stats
            .counts
            .list()
            .into_iter()
            .filter(|(name, _)| !names.contains(name))
            .collect();
        let mut report = Self {
            verdict: "pass",
            offered,
            acked,
            acked_share: share(acked, offered),
            lost: findings.lost(),
            duplicated: findings.duplicated(),
            reordered: findings.reordered(),
            findings: findings
                .iter()
                .map(|(kind, count, _)| (kind.name(), count))
                .collect(),
            examples: findings
                .iter()
                .map(|(kind, _, examples)| (kind.name(), examples.to_vec()))
                .collect(),
            database_checked: material.database_checked,
            latencies,
            ack_measured: stats.ack.count(),
            delivery_measured: stats.delivery.count(),
            acked_per_s: as_f64(acked) / load_s.max(1e-9),
            delivered_per_s: as_f64(stats.counts.delivered_ours) / load_s.max(1e-9),
            longest_ack_gap_ms: as_ms(gap.1 - gap.0),
            longest_ack_gap_start_ms: after_start(gap.0),
            first_ack_after_gap_ms: after_start(gap.1),
            fault_at_ms: material.struck.map(|struck| after_start(struck.at)),
            fault_unacked: material.struck.map(|struck| struck.unacked),
            first_new_ack_after_fault_ms: material.struck.and_then(|struck| first_new_ack(sends, struck.at)),
            users: count(material.users),
            rooms: count(material.rooms),
            connected: material.connected,
            counts,
            refused: stats.refusals.clone(),
            closes: stats.closes.clone(),
            exceeded: Vec::new(),
            rate: scenario.rate,
            load_s,
            seed: scenario.seed,
        };
        report.judge(findings, &scenario.thresholds);
        report
    }

    fn judge(&mut self, findings: &Findings, thresholds: &BTreeMap<String, f64>) {
        let figures = serde_json::to_value(&*self).unwrap_or_default();
        for (name, max) in thresholds {
            match figures.get(name).and_then(serde_json::Value::as_f64) {
                Some(value) if value <= *max => {}
                Some(value) => self
                    .exceeded
                    .push(format!("{name} is {value:.3}, at most {max} is allowed")),
                None => self.exceeded.push(format!("{name} is no figure of the report")),
            }
        }
        if !findings.is_clean() {
            self.verdict = "violation";
        } else if !self.exceeded.is_empty() {
            self.verdict = "threshold";
        }
    }

    /// 0, 2 or 99.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            "violation" => 2,
            "threshold" => 99,
            _ => 0,
        }
    }

    /// The table for people.
    pub fn table(&self, findings: &Findings) -> String {
        let mut text = String::new();
        let count = |name: &str| self.counts.get(name).copied().unwrap_or(0);
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<12} {value}");
        };
        line(
            "clients",
            format!(
                "{} in {} rooms, {} connected at the end",
                self.users, self.rooms, self.connected
            ),
        );
        line("offered", format!("{} in {:.0} s", self.offered, self.load_s));
        line(
            "acked",
            format!(
                "{} ({:.2} %), {:.0}/s",
                self.acked,
                self.acked_share * 100.0,
                self.acked_per_s
            ),
        );
        line(
            "shown",
            format!(
                "{} messages, {:.0}/s",
                count("delivered_ours"),
                self.delivered_per_s
            ),
        );
        for name in ["ack", "delivery"] {
            let ms = |suffix: &str| {
                self.latencies
                    .get(&format!("{name}_{suffix}_ms"))
                    .copied()
                    .unwrap_or(0.0)
            };
            let (p50, p99, p999, max) = (ms("p50"), ms("p99"), ms("p999"), ms("max"));
            line(
                name,
                format!("p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.0} ms"),
            );
        }
        line(
            "repairs",
            format!(
                "{} ranges, {} events again, {} syncs, {} system.sync, {} bumps",
                count("ranges"),
                count("redelivered"),
                count("syncs"),
                count("sync_notices"),
                count("bumps"),
            ),
        );
        line(
            "retries",
            format!(
                "{} resends, {} reconnects, {} stopped",
                count("resends"),
                count("reconnects"),
                count("stopped")
            ),
        );
        if !self.refused.is_empty() {
            line("refusals", format!("{:?}", self.refused));
        }
        if !self.closes.is_empty() {
            line("closes", format!("{:?}", self.closes));
        }
        if count("malformed") + count("ranges_broken") > 0 {
            let (malformed, broken) = (count("malformed"), count("ranges_broken"));
            line(
                "protocol",
                format!("{malformed} texts not understood, {broken} ranges with a hole"),
            );
        }
        line(
            "ack gap",
            format!(
                "longest {:.0} ms, ended at {:.0} ms",
                self.longest_ack_gap_ms, self.first_ack_after_gap_ms
            ),
        );
        if let (Some(at), Some(unacked)) = (self.fault_at_ms, self.fault_unacked) {
            let next = self
                .first_new_ack_after_fault_ms
                .map_or("never".to_owned(), |ms| format!("{ms:.0} ms later"));
            line(
                "fault",
                format!("at {at:.0} ms with {unacked} unacknowledged; first new ack {next}"),
            );
        }
        let database = if self.database_checked {
            ""
        } else {
            " (without the database)"
        };
        line(
            "oracle",
            if findings.is_clean() {
                format!("clean{database}")
            } else {
                format!("OBJECTS{database}")
            },
        );
        if !findings.is_clean() {
            text.push_str(&findings.to_string());
        }
        for exceeded in &self.exceeded {
            let _ = writeln!(text, "  threshold    {exceeded}");
        }
        text
    }
}

fn add_latencies(into: &mut BTreeMap<String, f64>, name: &str, latency: &Latency) {
    for (suffix, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        into.insert(format!("{name}_{suffix}_ms"), latency.quantile_ms(quantile));
    }
    into.insert(format!("{name}_max_ms"), latency.max_ms());
}

/// The longest stretch between two acks, or between the first write and the first ack.
fn longest_gap(sends: &[SendRecord]) -> (u64, u64) {
    let acked = || sends.iter().filter(|send| send.outcome == Outcome::Acked);
    let first = acked().map(|send| send.sent).min();
    let mut times: Vec<u64> = first.into_iter().chain(acked().map(|send| send.acked)).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| (pair[0], pair[1]));
    gaps.max_by_key(|(from, to)| to - from).unwrap_or((0, 0))
}

fn first_new_ack(sends: &[SendRecord], after: u64) -> Option<f64> {
    let new = sends
        .iter()
        .filter(|send| send.outcome == Outcome::Acked && send.sent > after);
    new.map(|send| send.acked).min().map(|at| as_ms(at - after))
}

#[cfg(test)]
mod tests {
    use hub_protocol::Op;

    use super::*;
    use crate::oracle::{Kind, UNKNOWN};
    use crate::units::MS;

    fn send(sent: u64, acked: u64) -> SendRecord {
        let outcome = if acked == UNKNOWN {
            Outcome::Open
        } else {
            Outcome::Acked
        };
        SendRecord {
            op: Op::NIL,
            room: 0,
            sender: 0,
            intended: sent,
            sent,
            acked,
            seq: 1,
            outcome,
        }
    }

    fn report(findings: &Findings, thresholds: &str) -> Report {
        let scenario = Scenario::parse(thresholds).unwrap();
        let mut stats = Stats::default();
        stats.ack.record(10 * MS);
        let sends = [
            send(100 * MS, 110 * MS),
            send(120 * MS, UNKNOWN),
            send(500 * MS, 900 * MS),
        ];
        Report::new(&Material {
            scenario: &scenario,
            stats: &stats,
            sends: &sends,
            findings,
            database_checked: true,
            connected: 1,
            users: 1,
            rooms: 1,
            start: 100 * MS,
            struck: Some(Struck {
                at: 300 * MS,
                unacked: 1,
            }),
        })
    }

    #[test]
    fn gaps_and_the_first_new_ack_are_measured_from_the_right_moments() {
        let report = report(&Findings::default(), "");
        let ms = |value: f64, expected: f64| (value - expected).abs() < 0.01;
        assert!(ms(report.longest_ack_gap_ms, 790.0) && ms(report.first_ack_after_gap_ms, 800.0));
        assert!(ms(report.fault_at_ms.unwrap(), 200.0));
        assert!(ms(report.first_new_ack_after_fault_ms.unwrap(), 600.0));
        assert_eq!((report.offered, report.acked, report.exit_code()), (3, 2, 0));
    }

    #[test]
    fn the_json_has_every_figure_that_scripts_ask_for() {
        let json = serde_json::to_value(report(&Findings::default(), "")).unwrap();
        for name in [
            "offered",
            "acked",
            "lost",
            "duplicated",
            "reordered",
            "ack_p50_ms",
            "ack_p99_ms",
            "ack_p999_ms",
            "delivery_p50_ms",
            "delivery_p99_ms",
            "delivery_p999_ms",
            "connected",
            "reconnects",
            "resends",
            "refused",
            "longest_ack_gap_ms",
            "first_ack_after_gap_ms",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_oracle_goes_before_thresholds() {
        let mut findings = Findings::default();
        let exceeded = "[thresholds]\nack_p99_ms = 5.0";
        assert_eq!(report(&findings, exceeded).exit_code(), 99);
        assert_eq!(
            report(&findings, "[thresholds]\nack_p99_ms = 50.0").exit_code(),
            0
        );
        assert_eq!(
            report(&findings, "[thresholds]\nno_such_figure = 5.0").exit_code(),
            99
        );
        findings.add(Kind::Lost, String::new);
        let report = report(&findings, exceeded);
        assert_eq!((report.exit_code(), report.lost), (2, 1));
        assert!(report.table(&findings).contains("OBJECTS"));
    }
}
