//! Two samples → what each shard does per second.

use std::time::Duration;

use super::sample::{Sample, Shard};

/// One shard between two samples. Rates are per second, times are seconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Row {
    /// Its number, or `all`.
    pub name: String,
    /// Share of a core that its thread used, from 0 to 1.
    pub cpu: f64,
    /// Share of the time that it spent in turns. Above `cpu` where the core was taken away in the middle of turns.
    pub busy: f64,
    /// Open connections.
    pub connections: f64,
    /// Open sessions.
    pub sessions: f64,
    /// Messages of clients.
    pub messages: f64,
    /// Frames queued for clients.
    pub deliveries: f64,
    /// Bytes received.
    pub bytes_in: f64,
    /// Bytes sent.
    pub bytes_out: f64,
    /// Half of the turns were shorter; `None` without turns.
    pub turn_p50: Option<f64>,
    /// The longest turn of the last seconds.
    pub turn_max: f64,
    /// Completions of one turn; `None` without turns.
    pub completions: Option<f64>,
    /// Bytes that wait for slow connections.
    pub queue_bytes: f64,
    /// Events left out and connections closed for slowness.
    pub sheds: f64,
    /// How long an envelope waits until Redis has it: the 99th percentile, or the oldest that still waits.
    pub uplink_lag: f64,
    /// Whether it takes no connections.
    pub is_draining: bool,
}

/// Rows of all shards and one for all of them together; `None` if the node was started anew in between.
pub fn rows(before: &Sample, after: &Sample) -> Option<Vec<Row>> {
    let elapsed = after.at.saturating_duration_since(before.at);
    let mut rows = Vec::new();
    for (index, shard) in &after.shards {
        let earlier = before.shards.get(index)?;
        if shard.value("turns_total") < earlier.value("turns_total") {
            return None;
        }
        rows.push(row(index.to_string(), earlier, shard, elapsed));
    }
    if rows.len() > 1 {
        rows.push(total(&rows));
    }
    Some(rows)
}

fn row(name: String, before: &Shard, after: &Shard, elapsed: Duration) -> Row {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let grown = |name: &str| (after.value(name) - before.value(name)).max(0.0);
    let rate = |name: &str| grown(name) / seconds;
    let turns = grown("turns_total");
    let quantile = |name: &str, share| quantile(before.buckets(name), after.buckets(name), share);
    Row {
        name,
        cpu: rate("cpu_seconds_total"),
        busy: rate("busy_seconds_total"),
        connections: after.value("connections"),
        sessions: after.value("sessions"),
        messages: rate("messages_total"),
        deliveries: rate("deliveries_total"),
        bytes_in: rate("ring_recv_bytes_total"),
        bytes_out: rate("ring_send_bytes_total"),
        turn_p50: quantile("turn_seconds", 0.5),
        turn_max: after.value("turn_max_seconds"),
        completions: (turns > 0.0).then(|| grown("ring_completions_total") / turns),
        queue_bytes: after.value("outbound_bytes"),
        sheds: rate("shed_ephemeral_total") + rate("shed_bump_total") + rate("closed_slow_total"),
        uplink_lag: quantile("uplink_lag_seconds", 0.99)
            .unwrap_or(0.0)
            .max(after.value("uplink_oldest_seconds")),
        is_draining: after.value("shard_draining") > 0.0,
    }
}

fn total(rows: &[Row]) -> Row {
    let sum = |value: fn(&Row) -> f64| rows.iter().map(value).sum::<f64>();
    let max = |value: fn(&Row) -> f64| rows.iter().map(value).fold(0.0, f64::max);
    let mean = |value: fn(&Row) -> f64| sum(value) / sum(|_| 1.0);
    Row {
        name: "all".to_owned(),
        cpu: mean(|row| row.cpu),
        busy: mean(|row| row.busy),
        connections: sum(|row| row.connections),
        sessions: sum(|row| row.sessions),
        messages: sum(|row| row.messages),
        deliveries: sum(|row| row.deliveries),
        bytes_in: sum(|row| row.bytes_in),
        bytes_out: sum(|row| row.bytes_out),
        turn_p50: None,
        turn_max: max(|row| row.turn_max),
        completions: None,
        queue_bytes: sum(|row| row.queue_bytes),
        sheds: sum(|row| row.sheds),
        uplink_lag: max(|row| row.uplink_lag),
        is_draining: rows.iter().all(|row| row.is_draining),
    }
}

/// The time below which `share` of what happened between two states of a histogram lies; within a bucket its times are
/// taken as spread evenly, above the last bound as equal to it. `None` if nothing happened.
fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> Option<f64> {
    let grown = |index: usize| {
        let earlier = before.get(index).map_or(0.0, |(_, count)| *count);
        after.get(index).map_or(0.0, |(_, count)| count - earlier)
    };
    let wanted = share * grown(after.len().checked_sub(1)?);
    if wanted <= 0.0 {
        return None;
    }
    let (mut lower, mut below) = (0.0, 0.0);
    for (index, (bound, _)) in after.iter().enumerate() {
        let count = grown(index);
        if count >= wanted {
            let part = (wanted - below) / (count - below);
            return Some(if bound.is_finite() {
                lower + (bound - lower) * part
            } else {
                lower
            });
        }
        (lower, below) = (*bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sample(start: Instant, seconds: u64, text: &str) -> Sample {
        Sample::read(text, start + Duration::from_secs(seconds))
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-9
    }

    #[test]
    fn rates_are_per_second_and_the_last_row_is_all_shards() {
        let start = Instant::now();
        let text = |turns: u32, cpu: f64, messages: u32| {
            format!(
                "hub_edge_turns_total{{shard=\"0\"}} {turns}\nhub_edge_cpu_seconds_total{{shard=\"0\"}} {cpu}\n\
                 hub_edge_messages_total{{shard=\"0\"}} {messages}\nhub_edge_connections{{shard=\"0\"}} 7\n\
                 hub_edge_ring_completions_total{{shard=\"0\"}} {}\nhub_edge_turns_total{{shard=\"1\"}} 0\n\
                 hub_edge_shard_draining{{shard=\"1\"}} 1\nhub_edge_connections{{shard=\"1\"}} 3\n",
                turns * 4
            )
        };
        let before = sample(start, 0, &text(100, 1.0, 1000));
        let after = sample(start, 2, &text(150, 2.5, 1400));
        let rows = rows(&before, &after).expect("the same node");
        assert_eq!(
            rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["0", "1", "all"]
        );
        assert!(near(rows[0].cpu, 0.75) && near(rows[0].messages, 200.0));
        assert_eq!((rows[0].completions, rows[1].completions), (Some(4.0), None));
        assert!(near(rows[2].cpu, 0.375) && near(rows[2].connections, 10.0));
        assert_eq!(
            rows.iter().map(|row| row.is_draining).collect::<Vec<_>>(),
            [false, true, false]
        );
    }

    #[test]
    fn a_node_that_was_started_anew_has_no_rates_yet() {
        let start = Instant::now();
        let before = sample(start, 0, "hub_edge_turns_total{shard=\"0\"} 100\n");
        let after = sample(start, 1, "hub_edge_turns_total{shard=\"0\"} 5\n");
        assert_eq!(rows(&before, &after), None);
        let more = sample(
            start,
            1,
            "hub_edge_turns_total{shard=\"0\"} 200\nhub_edge_turns_total{shard=\"1\"} 5\n",
        );
        assert_eq!(rows(&before, &more), None);
    }

    #[test]
    fn quantiles_are_of_what_happened_in_between() {
        let before = [(0.001, 10.0), (0.002, 10.0), (f64::INFINITY, 10.0)];
        let after = [(0.001, 10.0), (0.002, 14.0), (f64::INFINITY, 18.0)];
        assert!(near(quantile(&before, &after, 0.25).unwrap(), 0.0015));
        assert!(
            near(quantile(&before, &after, 0.99).unwrap(), 0.002),
            "no bound above"
        );
        assert_eq!(quantile(&after, &after, 0.5), None);
        assert_eq!(quantile(&[], &[], 0.5), None);
    }

    #[test]
    fn a_stuck_uplink_shows_although_nothing_arrives() {
        let start = Instant::now();
        let text = "hub_edge_turns_total{shard=\"0\"} 1\nhub_edge_uplink_oldest_seconds{shard=\"0\"} 3.5\n";
        let rows = rows(&sample(start, 0, text), &sample(start, 1, text)).expect("the same node");
        assert!(near(rows[0].uplink_lag, 3.5));
    }
}
