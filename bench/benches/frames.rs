//! WebSocket messages: decoding and unmasking in place, encoding a header.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hub_ws::frame::{Header, Opcode, push_masked};
use hub_ws::{Decoder, Item, Role};

const MESSAGES: u64 = 64;

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode 64 texts");
    group.throughput(Throughput::Elements(MESSAGES));
    for bytes in [128, 1024, 16_384] {
        let mut input = Vec::new();
        for _ in 0..MESSAGES {
            push_masked(&mut input, Opcode::Text, &vec![b'x'; bytes], [1, 2, 3, 4]);
        }
        group.bench_function(format!("{bytes} B"), |b| {
            let mut decoder = Decoder::new(Role::Server);
            // Decoding unmasks in place, so every run needs its own copy, which is not timed.
            b.iter_batched_ref(
                || input.clone(),
                |input| {
                    let (mut at, mut sum) = (0, 0);
                    while let Ok(Some(Item::Text(text))) = decoder.decode(input, &mut at, 1 << 16, None) {
                        sum += text.len();
                    }
                    assert_eq!(at, input.len());
                    sum
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    c.bench_function("encode a header", |b| {
        b.iter(|| Header::server(Opcode::Text, black_box(400)));
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
