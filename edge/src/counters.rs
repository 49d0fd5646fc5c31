//! What a shard counts: plain integers on the shard, copied out for the admin side ten times a second.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $kind:ident, $name:literal, $help:literal;)*) => {
        /// Counters of one shard; see the table in this module for the meaning of each.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters { $(#[doc = $help] pub $field: u64,)* }

        /// The same, readable from other threads.
        #[derive(Debug, Default)]
        pub struct SharedCounters { $($field: AtomicU64,)* }

        impl SharedCounters {
            /// Publishes the counters of a shard.
            pub fn publish(&self, counters: &Counters) {
                $(self.$field.store(counters.$field, Ordering::Relaxed);)*
            }

            /// Name, help, whether it is a gauge, and value of each.
            pub fn read(&self) -> Vec<Reading> {
                vec![$(Reading {
                    name: $name,
                    help: $help,
                    is_gauge: stringify!($kind).len() == "gauge".len(),
                    value: self.$field.load(Ordering::Relaxed),
                },)*]
            }
        }
    };
}

/// One value for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Its name there.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// True if it goes up and down.
    pub is_gauge: bool,
    /// The value.
    pub value: u64,
}

counters! {
    connections: gauge, "hub_edge_connections", "Open WebSocket connections";
    sessions: gauge, "hub_edge_sessions", "Open sessions";
    calls: gauge, "hub_edge_calls", "HTTP calls that wait for their answer";
    outbound_bytes: gauge, "hub_edge_outbound_bytes", "Bytes that wait for slow connections";
    turns: counter, "hub_edge_turns_total", "Turns of the shard";
    enters: counter, "hub_edge_ring_enters_total", "System calls into the data ring";
    completions: counter, "hub_edge_ring_completions_total", "Completions of the data ring";
    received_bytes: counter, "hub_edge_ring_recv_bytes_total", "Bytes received on the data ring";
    sent_bytes: counter, "hub_edge_ring_send_bytes_total", "Bytes sent on the data ring";
    sends: counter, "hub_edge_ring_sends_total", "Sends on the data ring";
    short_sends: counter, "hub_edge_ring_short_sends_total", "Sends that were not taken whole";
    rearms: counter, "hub_edge_ring_rearms_total", "Polls that ended by themselves and were armed again";
    messages: counter, "hub_edge_messages_total", "Messages of clients";
    calls_total: counter, "hub_edge_calls_total", "Calls over HTTP";
    refused: counter, "hub_edge_refused_total", "Requests that the edge itself refused";
    rate_limited: counter, "hub_edge_rate_limited_total", "Messages above the rate of their connection";
    byte_limited: counter, "hub_edge_byte_limited_total", "Messages above the bytes per second of their connection";
    busy: counter, "hub_edge_busy_total", "Requests answered busy";
    unavailable: counter, "hub_edge_unavailable_total", "Requests answered unavailable";
    uplink_batches: counter, "hub_edge_uplink_batches_total", "Batches handed to the backbone";
    uplink_envelopes: counter, "hub_edge_uplink_envelopes_total", "Envelopes in these batches";
    downlink_entries: counter, "hub_edge_downlink_entries_total", "Entries with a target on this shard";
    deliveries: counter, "hub_edge_deliveries_total", "Frames queued for connections";
    stale: counter, "hub_edge_stale_targets_total", "Targets whose connection is gone or belongs to another user";
    shed_ephemeral: counter, "hub_edge_shed_ephemeral_total", "Ephemeral events left out for slow connections";
    shed_bump: counter, "hub_edge_shed_bump_total", "Room events replaced by a bump for slow connections";
    closed_slow: counter, "hub_edge_closed_slow_total", "Connections closed because they read too slowly";
    closed_heartbeat: counter, "hub_edge_closed_heartbeat_total", "Connections closed after silence";
    closed_protocol: counter, "hub_edge_closed_protocol_total", "Connections closed for breaking the protocol";
    closed_abuse: counter, "hub_edge_closed_abuse_total", "Connections closed because they went on after they were told to wait";
    closed_late_messages: counter, "hub_edge_closed_late_messages_total", "Connections closed because a message was not complete in time";
    closed_memory: counter, "hub_edge_closed_memory_total", "Slow receivers closed above the memory ceiling";
    closed: counter, "hub_edge_closed_total", "Connections closed for whatever reason";
    syncs: counter, "hub_edge_system_syncs_total", "Notices to sync sent to sessions";
    mailbox_lost: counter, "hub_edge_mailbox_lost_total", "Times that the mailbox of the shard overflowed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_are_read_under_their_names() {
        let shared = SharedCounters::default();
        shared.publish(&Counters {
            connections: 3,
            turns: 7,
            ..Counters::default()
        });
        let find = |name| {
            shared
                .read()
                .into_iter()
                .find(|reading| reading.name == name)
                .unwrap()
        };
        assert_eq!(
            (
                find("hub_edge_connections").value,
                find("hub_edge_connections").is_gauge
            ),
            (3, true)
        );
        assert_eq!(
            (
                find("hub_edge_turns_total").value,
                find("hub_edge_turns_total").is_gauge
            ),
            (7, false)
        );
    }
}
