//! A9: who does not read.

use hub_protocol::batch::Reply;
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::{Address, RoomId, UserId, keys};
use uuid::Uuid;

use crate::siege::Siege;
use crate::support::client::{Client, Frame};
use crate::support::eventually;
use crate::support::redis::Redis;

const SLOW: usize = 1_000;
/// What may wait for one of them.
const OUTBOUND_BYTES_MAX: usize = 256 * 1024;
const EVENT_BYTES: usize = 40_000;

/// Where the directory says that the user is.
fn addresses(redis: &Redis, user: UserId) -> Vec<Address> {
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg(keys::directory(user))
        .query(&mut redis.connect())
        .expect("reads");
    fields
        .iter()
        .map(|field| field.parse().expect("an address"))
        .collect()
}

#[test]
fn a09_slow_readers_are_let_go_and_nobody_else_notices() {
    let mut siege = Siege::with_redis(&[
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
        ("LIMITS__HANDSHAKES_PER_SECOND", "0"),
        ("LIMITS__OUTBOUND_BYTES_MAX", &OUTBOUND_BYTES_MAX.to_string()),
        // So much that the bound of each connection is what lets them go.
        ("LIMITS__OUTBOUND_SHARD_BYTES_MAX", "536870912"),
        // Their silence is not what ends them.
        ("LIMITS__PING_MS", "600000"),
        ("LIMITS__IDLE_MS", "1200000"),
    ]);
    for wave in 1..=2 {
        let closed = siege.edge.metric("hub_edge_closed_slow_total");
        assert_eq!(closed, (wave - 1) * SLOW as u64);
        slow_readers(&siege, wave * SLOW as u64);
        if wave == 1 {
            siege.again(40 * 1024 * 1024);
        }
    }
    siege.end();
}

/// Slow readers and a fast one, until the former are gone and this many are in all.
fn slow_readers(siege: &Siege, closed_in_all: u64) {
    let redis = siege.redis.as_ref().expect("was started");
    let (slow_user, fast_user): (UserId, UserId) = (Uuid::from_u128(0xC).into(), Uuid::from_u128(0xD).into());
    let slow: Vec<Client> = (0..SLOW)
        .map(|_| {
            let mut client = Client::connect_narrow(siege.edge.address());
            assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
            siege.open(client, slow_user)
        })
        .collect();
    let mut fast = siege.session(fast_user);
    let (mut slow_at, fast_at) = (addresses(redis, slow_user), addresses(redis, fast_user));
    slow_at.sort_by_key(|at| at.shard);
    assert_eq!((slow_at.len(), fast_at.len()), (SLOW, 1));
    let node = fast_at[0].node;
    let mut connection = redis.connect();
    let slow_at: Vec<Target> = slow_at.iter().map(|at| Target::new(*at, slow_user)).collect();
    let fast_at = [Target::new(fast_at[0], fast_user)];
    let room = RoomId(Uuid::from_u128(3));
    let (mut seq, mut shed) = (0, 0);
    let mut event = |slow_too: bool, reply: bool, fast: &mut Client| {
        seq += 1;
        let mut writer = DownlinkWriter::new(node);
        let text = format!("\"{seq:0EVENT_BYTES$}\"");
        let kind = EntryKind::Event { room, seq };
        if reply {
            let reply = Reply {
                request: seq,
                error: None,
                sealed: false,
            };
            writer.push(EntryKind::Reply(reply), &slow_at, text.as_bytes());
        }
        if slow_too {
            writer.push(kind, &slow_at, text.as_bytes());
        }
        writer.push(kind, &fast_at, text.as_bytes());
        redis::cmd("XADD")
            .arg(keys::node(node))
            .arg("*")
            .arg(keys::BATCH_FIELD)
            .arg(writer.take())
            .exec(&mut connection)
            .expect("writes");
        // Every event in order, whatever the others do.
        assert_eq!(fast.frame(), Frame::Text(text));
        let waiting = siege.edge.metric("hub_edge_outbound_bytes");
        assert!(
            waiting <= (SLOW * (OUTBOUND_BYTES_MAX + EVENT_BYTES)) as u64,
            "{waiting} bytes wait"
        );
    };
    eventually(
        "every slow reader is told to look instead of being told what",
        || {
            event(true, false, &mut fast);
            let before = std::mem::replace(&mut shed, siege.edge.metric("hub_edge_shed_bump_total"));
            (shed - before >= SLOW as u64).then_some(())
        },
    );
    assert_eq!(
        siege.edge.metric("hub_edge_closed_slow_total"),
        closed_in_all - SLOW as u64,
        "events alone end nobody"
    );
    eventually("every slow reader is let go", || {
        event(false, true, &mut fast);
        let closed = siege.edge.metric("hub_edge_closed_slow_total");
        (closed == closed_in_all).then_some(())
    });
    drop(slow);
    eventually("their sessions are out of the directory", || {
        addresses(redis, slow_user).is_empty().then_some(())
    });
}
