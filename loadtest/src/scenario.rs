//! What a run does, from a TOML file (one is built in) and from flags. Checked once; later code meets valid values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hub_protocol::limits::TEXT_BYTES_MAX;
use serde::Deserialize;

use crate::arrivals::Spacing;
use crate::client::TEXT_BYTES_MIN;

/// Scenarios that are built in: name and text.
pub const BUILT_IN: [(&str, &str); 1] = [("chat", include_str!("../scenarios/chat.toml"))];

/// A scenario as it is written.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Sends per second.
    pub rate: f64,
    /// How arrivals follow each other.
    pub spacing: Spacing,
    /// Seconds of load beside the warm-up.
    pub duration_s: f64,
    /// Seconds of load that are not measured.
    pub warmup_s: f64,
    /// Length of a text.
    pub text_bytes: usize,
    /// Exponent of the rooms' popularity.
    pub zipf: f64,
    /// Seeds everything random.
    pub seed: u64,
    /// Engine threads.
    pub threads: u32,
    /// Connections per second at the start.
    pub connects_per_second: u32,
    /// Clients per loopback source address; 0: one address.
    pub clients_per_address: u32,
    /// Seconds for everybody to get ready.
    pub ready_s: f64,
    /// Seconds for the last answers.
    pub settle_s: f64,
    /// Seconds of silence at the end.
    pub quiet_s: f64,
    /// Sends of a burst; 0: none.
    pub burst: u32,
    /// Seconds between bursts.
    pub burst_every_s: f64,
    /// Bounds by the name of a figure.
    pub thresholds: BTreeMap<String, f64>,
}

impl Scenario {
    /// A built-in scenario by its name, or a file by its path.
    pub fn load(name_or_path: &str) -> Result<Self> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == name_or_path);
        if let Some((_, text)) = built_in {
            return Self::parse(text);
        }
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let text = fs::read_to_string(Path::new(name_or_path)).with_context(|| {
            format!(
                "{name_or_path} is neither a built-in scenario ({}) nor a file",
                names.join(", ")
            )
        })?;
        Self::parse(&text).with_context(|| format!("{name_or_path} is no scenario"))
    }

    /// Reads a scenario; what it leaves out is as in the built-in `chat`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut values: toml::Table = BUILT_IN[0].1.parse().context("the built-in scenario is TOML")?;
        values.extend(text.parse::<toml::Table>()?);
        Ok(values.try_into()?)
    }

    /// Ranges and relations.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.rate.is_finite() && self.rate > 0.0 && self.rate <= 1e6,
            "rate is above 0 and at most a million"
        );
        ensure!((0.0..=10.0).contains(&self.zipf), "zipf is between 0 and 10");
        let texts = TEXT_BYTES_MIN..=TEXT_BYTES_MAX;
        ensure!(
            texts.contains(&self.text_bytes),
            "text_bytes is between {TEXT_BYTES_MIN} and {TEXT_BYTES_MAX}"
        );
        ensure!((1..=64).contains(&self.threads), "threads is between 1 and 64");
        ensure!(self.connects_per_second > 0, "connects_per_second is at least 1");
        for (name, seconds) in [
            ("duration_s", self.duration_s),
            ("warmup_s", self.warmup_s),
            ("ready_s", self.ready_s),
            ("settle_s", self.settle_s),
            ("quiet_s", self.quiet_s),
            ("burst_every_s", self.burst_every_s),
        ] {
            ensure!(
                (0.0..=86_400.0).contains(&seconds),
                "{name} is between 0 and a day"
            );
        }
        if self.burst > 0 && self.burst_every_s == 0.0 {
            bail!("burst needs burst_every_s");
        }
        Ok(())
    }
}

/// Reads `1500ms`, `60s`, `2m`, or a plain number of seconds.
pub fn duration(text: &str) -> Result<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .with_context(|| format!("{text} is no duration, try 60s or 500ms"))?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => bail!("{text} is no duration, try 60s or 500ms"),
    };
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text} is no duration, try 60s or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid() {
        for (name, _) in BUILT_IN {
            Scenario::load(name).unwrap().check().unwrap();
        }
    }

    #[test]
    fn a_file_changes_what_it_names_and_misspelt_names_are_refused() {
        let scenario = Scenario::parse("rate = 50.0\n[thresholds]\nack_p99_ms = 9.0").unwrap();
        assert!((scenario.rate - 50.0).abs() < 1e-9);
        assert_eq!((scenario.text_bytes, scenario.thresholds.len()), (128, 1));
        assert!(Scenario::parse("rat = 50.0").is_err());
        assert!(Scenario::load("no-such-file.toml").is_err());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for text in [
            "rate = 0.0",
            "rate = nan",
            "zipf = -1.0",
            "text_bytes = 3",
            "threads = 0",
            "quiet_s = -1.0",
            "burst = 5",
        ] {
            assert!(Scenario::parse(text).unwrap().check().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("60s").unwrap(), Duration::from_mins(1));
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("2m").unwrap(), Duration::from_mins(2));
        assert_eq!(duration("3").unwrap(), Duration::from_secs(3));
        for text in ["", "s", "5d", "-1s", "1e400"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
