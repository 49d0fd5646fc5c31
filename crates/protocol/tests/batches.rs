//! Properties of batches: what is written is read again, and no bytes whatsoever make a reader panic.

use hub_protocol::batch::{
    DownlinkBatch, DownlinkWriter, EntryKind, EnvelopeHeader, Reply, Target, UplinkBatch, UplinkWriter,
};
use hub_protocol::{Address, ErrorCode, LoginId, Method, NodeId, RoomId, SessionId, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

prop_compose! {
    fn address()(shard: u16, slot: u32, generation: u32) -> Address {
        Address { node: NodeId(5), shard, slot, generation }
    }
}

prop_compose! {
    fn header()(
        address in address(), request: u64, method in select(Method::ALL),
        user: [u8; 16], login: [u8; 16], session: [u8; 16], room: [u8; 16],
    ) -> EnvelopeHeader {
        EnvelopeHeader {
            address, request, method,
            user: UserId::from_bytes(user), login: LoginId::from_bytes(login),
            session: SessionId::from_bytes(session), room: RoomId::from_bytes(room),
        }
    }
}

fn kind() -> impl Strategy<Value = EntryKind> {
    let error = prop_oneof![Just(None), select(&ErrorCode::ALL[..]).prop_map(Some)];
    prop_oneof![
        (any::<u64>(), error, any::<bool>()).prop_map(|(request, error, sealed)| EntryKind::Reply(Reply {
            request,
            error,
            sealed
        })),
        (any::<[u8; 16]>(), any::<u64>()).prop_map(|(room, seq)| EntryKind::Event {
            room: RoomId::from_bytes(room),
            seq
        }),
        any::<[u8; 16]>().prop_map(|room| EntryKind::Ephemeral {
            room: RoomId::from_bytes(room)
        }),
        (any::<[u8; 16]>(), any::<u64>()).prop_map(|(room, seq)| EntryKind::RoomEvent {
            room: RoomId::from_bytes(room),
            seq
        }),
        (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(room, head, nonce, is_large)| EntryKind::Attached {
                room: RoomId::from_bytes(room),
                head,
                nonce,
                is_large
            }
        ),
        any::<[u8; 16]>().prop_map(|room| EntryKind::Detach {
            room: RoomId::from_bytes(room)
        }),
        any::<[u8; 16]>().prop_map(|room| EntryKind::Large {
            room: RoomId::from_bytes(room)
        }),
        (any::<[u8; 16]>(), any::<u64>()).prop_map(|(room, seq)| EntryKind::Small {
            room: RoomId::from_bytes(room),
            seq
        }),
    ]
}

fn targets() -> impl Strategy<Value = Vec<Target>> {
    vec((address(), any::<[u8; 16]>()), 0..20).prop_map(|targets| {
        let mut targets: Vec<_> = targets
            .into_iter()
            .map(|(address, user)| Target::new(address, UserId::from_bytes(user)))
            .collect();
        targets.sort_by_key(Target::shard);
        targets
    })
}

fn uplink(items: &[(EnvelopeHeader, Vec<u8>)]) -> Vec<u8> {
    let mut writer = UplinkWriter::new(NodeId(5));
    for (header, body) in items {
        writer.push(header, body);
    }
    assert_eq!(writer.is_empty(), items.is_empty());
    writer.take()
}

fn downlink(items: &[(EntryKind, Vec<Target>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = DownlinkWriter::new(NodeId(5));
    for (kind, targets, body) in items {
        writer.push(*kind, targets, body);
    }
    writer.take()
}

/// Walks through everything that a reader gives out; panics are failures, refusals are not.
fn walk(bytes: &[u8]) -> bool {
    let up = UplinkBatch::parse(bytes).map(|batch| {
        assert_eq!(
            batch.iter().count(),
            batch.len(),
            "a batch that was checked is read to its end"
        );
    });
    let down = DownlinkBatch::parse(bytes).map(|batch| {
        assert_eq!(
            batch.iter().count(),
            batch.len(),
            "a batch that was checked is read to its end"
        );
    });
    assert!(up.is_err() || down.is_err(), "no batch goes both ways");
    up.is_ok() || down.is_ok()
}

proptest! {
    #[test]
    fn uplink_batches_are_read_as_they_were_written(
        items in vec((header(), vec(any::<u8>(), 0..200)), 0..20),
    ) {
        let bytes = uplink(&items);
        let batch = UplinkBatch::parse(&bytes).expect("own batches are understood");
        let read: Vec<_> = batch.iter().map(|envelope| (envelope.header, envelope.body.to_vec())).collect();
        prop_assert_eq!(read, items);
    }

    #[test]
    fn downlink_batches_are_read_as_they_were_written(
        items in vec((kind(), targets(), vec(any::<u8>(), 0..200)), 0..20),
    ) {
        let bytes = downlink(&items);
        let batch = DownlinkBatch::parse(&bytes).expect("own batches are understood");
        let read: Vec<_> =
            batch.iter().map(|entry| (entry.kind, entry.targets.to_vec(), entry.body.to_vec())).collect();
        prop_assert_eq!(read, items);
    }

    #[test]
    fn a_writer_is_empty_after_its_batch_was_taken(items in vec((header(), vec(any::<u8>(), 0..50)), 1..5)) {
        let mut writer = UplinkWriter::new(NodeId(5));
        let mut batches = Vec::new();
        for _ in 0..2 {
            for (header, body) in &items {
                writer.push(header, body);
            }
            batches.push(writer.take());
        }
        prop_assert!(writer.is_empty());
        prop_assert_eq!(&batches[0], &batches[1]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        walk(&bytes);
        // The same behind a header that passes, so that the items are reached.
        for (direction, version) in [(1, 1), (2, 1), (2, 2)] {
            let mut dressed = vec![b'H', b'U', b'B', b'\n', version, 0];
            dressed.extend_from_slice(&[direction, 0]);
            dressed.extend_from_slice(&1_u32.to_le_bytes());
            dressed.extend_from_slice(&u32::try_from(24 + bytes.len()).expect("small").to_le_bytes());
            dressed.extend_from_slice(&5_u64.to_le_bytes());
            dressed.extend_from_slice(&bytes);
            walk(&dressed);
        }
    }
}

proptest! {
    // Each case walks through every byte, so that few cases are many tries.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_cut_is_refused_and_no_flipped_bit_panics(
        up in vec((header(), vec(any::<u8>(), 0..40)), 1..4),
        down in vec((kind(), targets(), vec(any::<u8>(), 0..40)), 1..4),
    ) {
        for bytes in [uplink(&up), downlink(&down)] {
            prop_assert!(walk(&bytes));
            for end in 0..bytes.len() {
                prop_assert!(!walk(&bytes[..end]), "cut at {}", end);
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    walk(&flipped);
                }
            }
        }
    }
}
