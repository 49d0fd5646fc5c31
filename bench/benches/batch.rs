//! Batches: cost per envelope on the way up, cost per target on the way down.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hub_protocol::batch::{
    DownlinkBatch, DownlinkWriter, EntryKind, EnvelopeHeader, Target, UplinkBatch, UplinkWriter,
};
use hub_protocol::{Address, LoginId, Method, NodeId, RoomId, SessionId, UserId};

const ENVELOPES: u32 = 64;
const MEMBERS: u32 = 256;

fn header() -> EnvelopeHeader {
    EnvelopeHeader {
        address: Address {
            node: NodeId(1),
            shard: 0,
            slot: 7,
            generation: 1,
        },
        request: 42,
        method: Method::MessageSend,
        user: UserId::from_bytes([1; 16]),
        login: LoginId::from_bytes([2; 16]),
        session: SessionId::from_bytes([3; 16]),
        room: RoomId::from_bytes([4; 16]),
    }
}

fn uplink(c: &mut Criterion) {
    let body = [b'x'; 280];
    let mut group = c.benchmark_group("uplink");
    group.throughput(Throughput::Elements(u64::from(ENVELOPES)));
    group.bench_function("write 64", |b| {
        let mut writer = UplinkWriter::new(NodeId(1));
        b.iter(|| {
            for _ in 0..ENVELOPES {
                writer.push(&header(), black_box(&body));
            }
            writer.take()
        });
    });
    let mut writer = UplinkWriter::new(NodeId(1));
    for _ in 0..ENVELOPES {
        writer.push(&header(), &body);
    }
    let batch = writer.take();
    group.bench_function("read 64", |b| {
        b.iter(|| {
            let batch = UplinkBatch::parse(black_box(&batch)).expect("we wrote it");
            batch.iter().map(|envelope| envelope.body.len()).sum::<usize>()
        });
    });
    group.finish();
}

fn downlink(c: &mut Criterion) {
    let body = [b'x'; 400];
    let kind = EntryKind::Event {
        room: RoomId::from_bytes([4; 16]),
        seq: 9,
    };
    let target = |slot| {
        let address = Address {
            node: NodeId(1),
            shard: 0,
            slot,
            generation: 1,
        };
        Target::new(address, UserId::from_bytes([1; 16]))
    };
    let targets: Vec<_> = (0..MEMBERS).map(target).collect();
    let mut group = c.benchmark_group("downlink");
    group.throughput(Throughput::Elements(u64::from(MEMBERS)));
    group.bench_function("write 256 targets", |b| {
        let mut writer = DownlinkWriter::new(NodeId(1));
        b.iter(|| {
            writer.push(kind, black_box(&targets), &body);
            writer.take()
        });
    });
    let mut writer = DownlinkWriter::new(NodeId(1));
    writer.push(kind, &targets, &body);
    let batch = writer.take();
    group.bench_function("read 256 targets", |b| {
        b.iter(|| {
            let batch = DownlinkBatch::parse(black_box(&batch)).expect("we wrote it");
            batch
                .iter()
                .flat_map(|entry| entry.targets)
                .map(|t| u64::from(t.slot()))
                .sum::<u64>()
        });
    });
    group.finish();
}

criterion_group!(benches, uplink, downlink);
criterion_main!(benches);
