//! What a shard counts: plain integers on the shard, copied out for the admin side ten times a second.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::histogram::{Histogram, SharedHistogram};

macro_rules! value {
    (gauge, $value:expr) => {
        Value::Gauge($value)
    };
    (counter, $value:expr) => {
        Value::Counter($value)
    };
    (gauge_us, $value:expr) => {
        Value::GaugeMicros($value)
    };
    (counter_us, $value:expr) => {
        Value::CounterMicros($value)
    };
}

macro_rules! counters {
    (
        $($field:ident: $kind:ident, $name:literal, $help:literal;)*
        @histograms $($times:ident: $times_name:literal, $times_help:literal;)*
    ) => {
        /// Counters of one shard; see the table in this module for the meaning of each.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $field: u64,)*
            $(#[doc = $times_help] pub $times: Histogram,)*
        }

        /// The same, readable from other threads.
        #[derive(Debug, Default)]
        pub struct SharedCounters {
            $($field: AtomicU64,)*
            $($times: SharedHistogram,)*
        }

        impl SharedCounters {
            /// Publishes the counters of a shard.
            pub fn publish(&self, counters: &Counters) {
                $(self.$field.store(counters.$field, Ordering::Relaxed);)*
                $(self.$times.publish(&counters.$times);)*
            }

            /// Everything, in the order of the table.
            pub fn read(&self) -> Vec<Reading> {
                vec![
                    $(Reading {
                        name: $name,
                        help: $help,
                        value: value!($kind, self.$field.load(Ordering::Relaxed)),
                    },)*
                    $(Reading {
                        name: $times_name,
                        help: $times_help,
                        value: Value::Histogram(Box::new(self.$times.read())),
                    },)*
                ]
            }

            /// True while the shard takes no connections.
            pub fn is_draining(&self) -> bool {
                self.draining.load(Ordering::Relaxed) > 0
            }
        }
    };
}

/// One value for `/metrics`.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Its name there.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its kind and the value.
    pub value: Value,
}

/// A value and how it moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Goes up and down.
    Gauge(u64),
    /// Goes up.
    Counter(u64),
    /// Microseconds that go up and down.
    GaugeMicros(u64),
    /// Microseconds that go up.
    CounterMicros(u64),
    /// Times.
    Histogram(Box<Histogram>),
}

counters! {
    connections: gauge, "hub_edge_connections", "Open WebSocket connections";
    sessions: gauge, "hub_edge_sessions", "Open sessions";
    calls: gauge, "hub_edge_calls", "HTTP calls that wait for their answer";
    outbound_bytes: gauge, "hub_edge_outbound_bytes", "Bytes that wait for slow connections";
    draining: gauge, "hub_edge_shard_draining", "1 while the shard takes no connections and moves away those it has";
    turns: counter, "hub_edge_turns_total", "Turns of the shard";
    busy_us: counter_us, "hub_edge_busy_seconds_total", "Time spent in turns; its rate is the busy share of the core";
    cpu_us: counter_us, "hub_edge_cpu_seconds_total", "CPU time of the shard's thread: turns, handshakes and calls";
    turn_max_us: gauge_us, "hub_edge_turn_max_seconds", "The longest turn of the last 5 to 10 seconds";
    turn_completions_max: gauge, "hub_edge_turn_completions_max", "The most completions in a turn of the last 5 to 10 seconds";
    receive_exhausted: counter, "hub_edge_receive_exhausted_turns_total", "Turns that used every slice of the receive arena and left connections readable";
    enters: counter, "hub_edge_ring_enters_total", "System calls of the data ring";
    completions: counter, "hub_edge_ring_completions_total", "Completions or events of the data ring";
    received_bytes: counter, "hub_edge_ring_recv_bytes_total", "Bytes received on the data ring";
    sent_bytes: counter, "hub_edge_ring_send_bytes_total", "Bytes sent on the data ring";
    sends: counter, "hub_edge_ring_sends_total", "Sends on the data ring";
    short_sends: counter, "hub_edge_ring_short_sends_total", "Sends that were not taken whole";
    rearms: counter, "hub_edge_ring_rearms_total", "Polls that ended by themselves and were armed again";
    handshakes: counter, "hub_edge_handshakes_total", "Upgraded connections that the shard took over";
    messages: counter, "hub_edge_messages_total", "Messages of clients";
    calls_total: counter, "hub_edge_calls_total", "Calls over HTTP";
    refused: counter, "hub_edge_refused_total", "Requests that the edge itself refused";
    rate_limited: counter, "hub_edge_rate_limited_total", "Messages above the rate of their connection";
    byte_limited: counter, "hub_edge_byte_limited_total", "Messages above the bytes per second of their connection";
    busy: counter, "hub_edge_busy_total", "Requests answered busy";
    unavailable: counter, "hub_edge_unavailable_total", "Requests answered unavailable";
    uplink_batches: counter, "hub_edge_uplink_batches_total", "Batches handed to the backbone";
    uplink_envelopes: counter, "hub_edge_uplink_envelopes_total", "Envelopes in these batches";
    uplink_pending_bytes: gauge, "hub_edge_uplink_pending_bytes", "Bytes of envelopes that Redis has not confirmed";
    uplink_oldest_us: gauge_us, "hub_edge_uplink_oldest_seconds", "Age of the oldest envelope that Redis has not confirmed";
    mailbox_items_max: gauge, "hub_edge_mailbox_items_max", "The most items that a turn found in the mailbox, of the last 5 to 10 seconds";
    downlink_entries: counter, "hub_edge_downlink_entries_total", "Entries with a target on this shard";
    deliveries: counter, "hub_edge_deliveries_total", "Frames queued for connections";
    stale: counter, "hub_edge_stale_targets_total", "Targets whose connection is gone or belongs to another user";
    large_rooms: gauge, "hub_edge_large_rooms", "Large rooms whose events the shard takes";
    room_attachments: gauge, "hub_edge_room_attachments", "Seats of connections in large rooms, those that wait for an answer included";
    room_attached: counter, "hub_edge_room_attached_total", "Answers that gave a connection its seat in a large room";
    room_detached: counter, "hub_edge_room_detached_total", "Seats that ended because their user left the room";
    room_events: counter, "hub_edge_room_events_total", "Events of large rooms that went to everybody attached";
    room_repeats: counter, "hub_edge_room_repeats_total", "Events of large rooms that came again";
    room_gaps: counter, "hub_edge_room_gaps_total", "Events of large rooms with something missing before them: everybody attaches anew";
    room_bumps: counter, "hub_edge_room_bumps_total", "Bumps of large rooms: one at each attachment, and the merged ones for who does not look";
    room_sessions_over: counter, "hub_edge_room_sessions_over_total", "Sessions with more large rooms than one attaches to";
    shed_ephemeral: counter, "hub_edge_shed_ephemeral_total", "Ephemeral events left out for slow connections";
    shed_bump: counter, "hub_edge_shed_bump_total", "Room events replaced by a bump for slow connections";
    shed_presence: counter, "hub_edge_shed_presence_total", "Sessions whose beginning or end was not told to the user service";
    closed_slow: counter, "hub_edge_closed_slow_total", "Connections closed because they read too slowly";
    closed_heartbeat: counter, "hub_edge_closed_heartbeat_total", "Connections closed after silence";
    closed_protocol: counter, "hub_edge_closed_protocol_total", "Connections closed for breaking the protocol";
    closed_tls: counter, "hub_edge_closed_tls_total", "Connections closed for breaking TLS, after their handshake";
    closed_drain: counter, "hub_edge_closed_drain_total", "Connections closed by a drain because they had not moved";
    closed_abuse: counter, "hub_edge_closed_abuse_total", "Connections closed because they went on after they were told to wait";
    closed_late_messages: counter, "hub_edge_closed_late_messages_total", "Connections closed because a message was not complete in time";
    closed_memory: counter, "hub_edge_closed_memory_total", "Slow receivers closed above the memory ceiling";
    closed: counter, "hub_edge_closed_total", "Connections closed for whatever reason";
    deflated: counter, "hub_edge_deflated_total", "Frames that were compressed";
    deflate_saved_bytes: counter, "hub_edge_deflate_saved_bytes_total", "Bytes that compression saved, each frame once";
    syncs: counter, "hub_edge_system_syncs_total", "Notices to sync sent to sessions";
    migrates: counter, "hub_edge_system_migrates_total", "Notices to move sent to connections by a drain";
    mailbox_lost: counter, "hub_edge_mailbox_lost_total", "Times that the mailbox of the shard overflowed";
    @histograms
    turn_time: "hub_edge_turn_seconds", "Time of a turn";
    uplink_lag: "hub_edge_uplink_lag_seconds", "From the receive of a batch's oldest envelope until Redis has confirmed it";
    mailbox_wait: "hub_edge_mailbox_wait_seconds", "From the backbone until the shard took a downlink batch; the oldest of each turn";
    downlink_lag: "hub_edge_downlink_lag_seconds", "From the backbone until a downlink batch was sent; the oldest of each turn";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_are_read_under_their_names() {
        let shared = SharedCounters::default();
        let mut counters = Counters {
            connections: 3,
            turns: 7,
            busy_us: 9,
            ..Counters::default()
        };
        counters.turn_time.record(12);
        shared.publish(&counters);
        let find = |name| {
            let mut readings = shared.read().into_iter();
            readings.find(|reading| reading.name == name).unwrap().value
        };
        assert_eq!(find("hub_edge_connections"), Value::Gauge(3));
        assert_eq!(find("hub_edge_turns_total"), Value::Counter(7));
        assert_eq!(find("hub_edge_busy_seconds_total"), Value::CounterMicros(9));
        assert_eq!(
            find("hub_edge_turn_seconds"),
            Value::Histogram(Box::new(counters.turn_time))
        );
    }
}
