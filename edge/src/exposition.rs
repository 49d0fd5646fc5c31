//! The counters of all shards in the text format of Prometheus.

use std::fmt::Write as _;

use crate::counters::{Reading, SharedCounters, Value};
use crate::histogram::{BOUNDS_US, Histogram};

/// Every counter with its help and type, one line per shard.
pub fn render<'a>(shards: impl IntoIterator<Item = &'a SharedCounters>) -> String {
    let shards: Vec<Vec<Reading>> = shards.into_iter().map(SharedCounters::read).collect();
    let mut text = String::new();
    for (index, first) in shards.first().into_iter().flatten().enumerate() {
        let kind = match first.value {
            Value::Gauge(_) | Value::GaugeMicros(_) => "gauge",
            Value::Counter(_) | Value::CounterMicros(_) => "counter",
            Value::Histogram(_) => "histogram",
        };
        let _ = writeln!(text, "# HELP {} {}", first.name, first.help);
        let _ = writeln!(text, "# TYPE {} {kind}", first.name);
        for (shard, reading) in shards
            .iter()
            .enumerate()
            .filter_map(|(shard, readings)| Some((shard, readings.get(index)?)))
        {
            write(&mut text, reading, shard);
        }
        text.push('\n');
    }
    text
}

fn write(text: &mut String, reading: &Reading, shard: usize) {
    let name = reading.name;
    let _ = match &reading.value {
        Value::Gauge(value) | Value::Counter(value) => writeln!(text, "{name}{{shard=\"{shard}\"}} {value}"),
        Value::GaugeMicros(us) | Value::CounterMicros(us) => {
            writeln!(text, "{name}{{shard=\"{shard}\"}} {}", seconds(*us))
        }
        Value::Histogram(histogram) => write_histogram(text, name, histogram, shard),
    };
}

fn write_histogram(text: &mut String, name: &str, histogram: &Histogram, shard: usize) -> std::fmt::Result {
    let bounds = BOUNDS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]);
    let mut count = 0;
    for (bound, in_bucket) in bounds.zip(histogram.counts) {
        count += in_bucket;
        writeln!(text, "{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {count}")?;
    }
    writeln!(
        text,
        "{name}_sum{{shard=\"{shard}\"}} {}",
        seconds(histogram.sum_us)
    )?;
    writeln!(text, "{name}_count{{shard=\"{shard}\"}} {count}")
}

/// Microseconds as seconds, exact.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn seconds_are_exact() {
        let texts = [0, 10, 1_500_000, 20_000_000].map(seconds);
        assert_eq!(texts, ["0", "0.00001", "1.5", "20"]);
    }

    #[test]
    fn each_metric_has_its_head_once_and_a_line_per_shard() {
        let shards = [SharedCounters::default(), SharedCounters::default()];
        let mut counters = Counters {
            turns: 7,
            turn_max_us: 250,
            ..Counters::default()
        };
        counters.turn_time.record(20);
        counters.turn_time.record(2_000_000);
        shards[1].publish(&counters);
        let text = render(&shards);
        let lines = |start: &str| {
            text.lines()
                .filter(|line| line.starts_with(start))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines("# TYPE hub_edge_turns_total"),
            ["# TYPE hub_edge_turns_total counter"]
        );
        assert_eq!(
            lines("hub_edge_turns_total"),
            [
                r#"hub_edge_turns_total{shard="0"} 0"#,
                r#"hub_edge_turns_total{shard="1"} 7"#
            ]
        );
        assert_eq!(
            lines("hub_edge_turn_max_seconds")[1],
            r#"hub_edge_turn_max_seconds{shard="1"} 0.00025"#
        );
        let buckets = lines(r#"hub_edge_turn_seconds_bucket{shard="1""#);
        assert_eq!(
            buckets[0],
            r#"hub_edge_turn_seconds_bucket{shard="1",le="0.00001"} 0"#
        );
        assert_eq!(
            buckets[1],
            r#"hub_edge_turn_seconds_bucket{shard="1",le="0.000025"} 1"#
        );
        assert_eq!(
            buckets.last(),
            Some(&r#"hub_edge_turn_seconds_bucket{shard="1",le="+Inf"} 2"#)
        );
        assert_eq!(
            lines(r#"hub_edge_turn_seconds_sum{shard="1"}"#),
            [r#"hub_edge_turn_seconds_sum{shard="1"} 2.00002"#]
        );
    }
}
