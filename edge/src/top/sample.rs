//! What `/metrics` said at one moment.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// One answer of `/metrics`.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// When it was asked for.
    pub at: Instant,
    /// Shards by their number.
    pub shards: BTreeMap<u16, Shard>,
    /// The version of the node.
    pub version: String,
    /// Whether Redis answers it.
    pub is_backbone_up: bool,
}

/// The values of one shard.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shard {
    values: HashMap<String, f64>,
    /// Upper bounds of buckets in seconds with the count up to each, by the name of their histogram.
    buckets: HashMap<String, Vec<(f64, f64)>>,
}

impl Shard {
    /// A value by its name without `hub_edge_`; 0 if the node does not have it.
    pub fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// The buckets of a histogram by its name without `hub_edge_`.
    pub fn buckets(&self, name: &str) -> &[(f64, f64)] {
        self.buckets.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Sample {
    /// Reads the text of `/metrics`; what it does not know it skips.
    pub fn read(text: &str, at: Instant) -> Self {
        let mut sample = Self {
            at,
            shards: BTreeMap::new(),
            version: String::new(),
            is_backbone_up: false,
        };
        for line in text.lines() {
            if let Some((name, labels, value)) = read_line(line) {
                sample.take(name, labels, value);
            }
        }
        sample
    }

    fn take(&mut self, name: &str, labels: &str, value: f64) {
        match name {
            "backbone_up" => self.is_backbone_up = value > 0.0,
            "build_info" => label(labels, "version")
                .unwrap_or_default()
                .clone_into(&mut self.version),
            _ => {
                let Some(shard) = label(labels, "shard").and_then(|shard| shard.parse().ok()) else {
                    return;
                };
                let shard = self.shards.entry(shard).or_default();
                match (name.strip_suffix("_bucket"), label(labels, "le")) {
                    (Some(name), Some(bound)) => {
                        let bound = bound.parse().unwrap_or(f64::INFINITY);
                        shard
                            .buckets
                            .entry(name.to_owned())
                            .or_default()
                            .push((bound, value));
                    }
                    _ => {
                        shard.values.insert(name.to_owned(), value);
                    }
                }
            }
        }
    }
}

/// Name without `hub_edge_`, labels and value of a line; `None` for comments and what is not ours.
fn read_line(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.strip_prefix("hub_edge_")?.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some((name, labels, value.parse().ok()?))
}

/// The value of a label; ours hold neither commas nor quotes.
fn label<'t>(labels: &'t str, name: &str) -> Option<&'t str> {
    labels.split(',').find_map(|label| {
        let (found, value) = label.split_once('=')?;
        (found == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_writes_is_read() {
        use crate::counters::{Counters, SharedCounters};
        let shards = [SharedCounters::default(), SharedCounters::default()];
        let mut counters = Counters {
            connections: 5,
            busy_us: 1_500_000,
            ..Counters::default()
        };
        counters.turn_time.record(20);
        shards[1].publish(&counters);
        let text = crate::exposition::render(&shards)
            + "hub_edge_build_info{version=\"1.2.3\"} 1\nhub_edge_backbone_up 1\nother{shard=\"7\"} 1\n";
        let sample = Sample::read(&text, Instant::now());
        assert_eq!(sample.shards.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!((sample.version.as_str(), sample.is_backbone_up), ("1.2.3", true));
        let shard = &sample.shards[&1];
        assert!((shard.value("connections") - 5.0).abs() < f64::EPSILON);
        assert!((shard.value("busy_seconds_total") - 1.5).abs() < f64::EPSILON);
        assert_eq!(
            shard.buckets("turn_seconds")[..2],
            [(0.000_01, 0.0), (0.000_025, 1.0)]
        );
        assert_eq!(shard.buckets("turn_seconds").last(), Some(&(f64::INFINITY, 1.0)));
    }

    #[test]
    fn damaged_lines_are_skipped() {
        for text in [
            "",
            "hub_edge_",
            "hub_edge_x{shard=\"0\" 1",
            "hub_edge_x{shard=\"a\"} 1",
            "hub_edge_x{} y",
        ] {
            assert!(Sample::read(text, Instant::now()).shards.is_empty(), "{text}");
        }
    }
}
