//! Names and meanings of the metrics, in one place.

/// A count as a sample. Counts of ours are far below the point where a float skips integers.
pub(crate) fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Describes all metrics of the worker, the chat service and the delivery.
pub fn describe() {
    use metrics::Unit::{Bytes, Seconds};
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!(
        "hub_services_envelopes_total",
        "Calls that were taken in, by service."
    );
    counter!(
        "hub_services_dropped_total",
        "Reads and ephemeral calls that were too old for an answer."
    );
    counter!(
        "hub_services_dead_letters_total",
        "Calls and entries that could not be worked on."
    );
    counter!(
        "hub_services_splits_total",
        "Transactions that were cut in two because of some call's data."
    );
    counter!(
        "hub_services_unknown_versions_total",
        "Batches of an unknown version: a partition stands still."
    );
    counter!(
        "hub_services_restarts_total",
        "Starts at the beginning of the streams, by cause: store, redis."
    );
    counter!(
        "hub_services_lease_changes_total",
        "Leases acquired, released and lost."
    );
    counter!(
        "hub_services_directory_reads_total",
        "Users looked up for a delivery, by outcome: read, reused."
    );
    counter!(
        "hub_services_node_batches_total",
        "Batches for nodes, by outcome: appended, void, full."
    );
    counter!(
        "hub_services_addresses_forgotten_total",
        "Directory entries of nodes that are gone."
    );
    counter!(
        "hub_services_revocations_total",
        "Logins whose end was announced."
    );
    counter!(
        "hub_services_messages_total",
        "Messages to people (one-time codes) by outcome: sent, failed, full (too many waited)."
    );
    counter!(
        "hub_services_chat_rooms_loaded_total",
        "Rooms that a transaction had to load."
    );
    counter!(
        "hub_services_presence_told_total",
        "Events of presence that were sent to connections."
    );
    counter!(
        "hub_services_presence_dropped_total",
        "What of presence was left out: moment, user, watcher (too many), tick, last_seen (a server failed)."
    );
    counter!(
        "hub_services_pushes_total",
        "Pushes by outcome: taken, gone, failed; dropped (the queue was full), unavailable (a server failed)."
    );
    counter!(
        "hub_services_push_subscriptions_gone_total",
        "Subscriptions removed because their push service does not know them."
    );
    gauge!(
        "hub_services_partitions_owned",
        "Partitions that this worker owns."
    );
    gauge!(
        "hub_services_partitions_halted",
        "Owned partitions that stand still: must be 0."
    );
    gauge!("hub_services_workers_live", "Live workers of the service.");
    histogram!("hub_services_read_envelopes", "Calls in one read from Redis.");
    histogram!("hub_services_transaction_calls", "Calls in one transaction.");
    histogram!(
        "hub_services_transaction_rows",
        "Rows that one transaction inserts."
    );
    histogram!(
        "hub_services_delivery_seconds",
        Seconds,
        "From the entry's XADD to its confirmed delivery."
    );
    histogram!("hub_services_batch_bytes", Bytes, "Size of batches for nodes.");
}
