//! Batches from Redis: whatever the bytes are, reading them ends, and what is read lies within them.
#![no_main]

use hub_protocol::batch::{DownlinkBatch, UplinkBatch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let within = |part: &[u8]| part.is_empty() || data.as_ptr_range().contains(&part.as_ptr());
    if let Ok(batch) = UplinkBatch::parse(data) {
        for envelope in batch.iter() {
            assert!(within(envelope.body));
        }
    }
    if let Ok(batch) = DownlinkBatch::parse(data) {
        for entry in batch.iter() {
            assert!(within(entry.body));
            for target in entry.targets {
                let _ = (target.shard(), target.slot(), target.user());
            }
        }
    }
});
