//! Turns outcomes into one batch per node. Pure: who is where is an argument.
//!
//! Invariant: in the batches of a node, taken in their order, the events of a room stand in the order of their seq.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use hub_protocol::batch::downlink::{ENTRY_HEADER_BYTES, TARGET_BYTES};
use hub_protocol::batch::{DownlinkWriter, EntryKind, Reply, Target};
use hub_protocol::limits::{DOWNLINK_BYTES_MAX, DOWNLINK_ENTRIES_MAX};
use hub_protocol::{Address, ErrorCode, NodeId, RoomId, UserId};

use super::Flush;
use super::attached::Attached;
use super::directory::Addresses;
use crate::service::{Audience, Delivery, Notice, Turn};

/// Targets in one entry: with the largest body they still fit into a batch.
const TARGETS_MAX: usize = 8_192;

/// The answer to one call, for the connection that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The connection.
    pub address: Address,
    /// Whom it must still belong to; nil for calls without a session.
    pub user: UserId,
    /// The client's id of the call.
    pub request: u64,
    /// The refusal that the text holds.
    pub error: Option<ErrorCode>,
    /// True if the text is sealed.
    pub sealed: bool,
    /// The response's whole JSON text.
    pub body: Bytes,
}

/// An ephemeral event for one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The connection.
    pub address: Address,
    /// Whom it must still belong to.
    pub user: UserId,
    /// The event's JSON text.
    pub body: Bytes,
}

/// Finished batches, by node.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// For the streams, per node in their order.
    pub(super) durable: Vec<(NodeId, Vec<u8>)>,
    /// For pub/sub.
    pub(super) ephemeral: Vec<(NodeId, Vec<u8>)>,
}

/// All users whose addresses are needed, each once.
pub(super) fn receivers(deliveries: &[Delivery]) -> Vec<UserId> {
    let mut lists: HashSet<*const UserId> = HashSet::new();
    let mut users: HashSet<UserId> = HashSet::new();
    for delivery in deliveries {
        if let Audience::Users(list) = &delivery.audience
            // Messages of one room share their list.
            && lists.insert(list.as_ptr())
        {
            users.extend(list.iter().copied());
        }
    }
    users.into_iter().collect()
}

/// Users for whom a room became large, each once.
pub(super) fn now_large(notices: &[Notice]) -> Vec<UserId> {
    let users = notices.iter().filter_map(|notice| match &notice.turn {
        Turn::Large { users } => Some(users.iter().copied()),
        _ => None,
    });
    let users: HashSet<UserId> = users.flatten().collect();
    users.into_iter().collect()
}

/// Rooms whose attached shards are needed, each once.
pub(super) fn large_rooms(flush: &Flush) -> Vec<RoomId> {
    let events = flush
        .deliveries
        .iter()
        .filter_map(|delivery| match delivery.audience {
            Audience::Attached => Some(delivery.room),
            Audience::Users(_) => None,
        });
    let notices = flush.notices.iter().filter_map(|notice| match notice.turn {
        Turn::Detach { .. } | Turn::Small => Some(notice.room),
        Turn::Attached { .. } | Turn::Large { .. } => None,
    });
    let rooms: HashSet<RoomId> = events.chain(notices).collect();
    rooms.into_iter().collect()
}

/// Something that has a place in the log of its room.
enum Placed<'f> {
    Event(&'f Delivery),
    Notice(&'f Notice),
}

/// Everything that has a place in the order in which it goes: rooms by their first item, the items of a room by seq,
/// each event once (a repeat in the same flush tells the same), and behind an event what was decided when it was the
/// last.
fn ordered(flush: &Flush) -> Vec<Placed<'_>> {
    let mut rooms: HashMap<RoomId, usize> = HashMap::new();
    let mut place = |room: RoomId| {
        let next = rooms.len();
        *rooms.entry(room).or_insert(next)
    };
    let mut placed = Vec::with_capacity(flush.deliveries.len() + flush.notices.len());
    for delivery in &flush.deliveries {
        if let Some(seq) = delivery.seq {
            let rank = match delivery.audience {
                Audience::Attached => 0_u8,
                Audience::Users(_) => 1,
            };
            placed.push((place(delivery.room), seq, rank, Placed::Event(delivery)));
        }
    }
    for notice in &flush.notices {
        placed.push((place(notice.room), notice.seq, 2, Placed::Notice(notice)));
    }
    placed.sort_by_key(|(room, seq, rank, _)| (*room, *seq, *rank));
    placed.dedup_by(|next, first| {
        let is_event = matches!(next.3, Placed::Event(_));
        is_event && (next.0, next.1, next.2) == (first.0, first.1, first.2)
    });
    placed.into_iter().map(|(_, _, _, item)| item).collect()
}

/// Writes everything that one flush sends.
pub(super) fn write(flush: &Flush, addresses: &Addresses, attached: &Attached) -> Batches {
    let mut durable = Outbox::default();
    let mut ephemeral = Outbox::default();
    let mut plans: HashMap<*const UserId, Arc<Plan>> = HashMap::new();
    let mut plan = |users: &Arc<[UserId]>| {
        let plan = plans
            .entry(users.as_ptr())
            .or_insert_with(|| Arc::new(targets(users, addresses)));
        Arc::clone(plan)
    };
    for placed in ordered(flush) {
        match placed {
            Placed::Event(Delivery {
                room,
                seq,
                audience,
                body,
            }) => {
                let (room, seq) = (*room, seq.unwrap_or_default());
                match audience {
                    Audience::Users(users) => {
                        durable.push(EntryKind::Event { room, seq }, &plan(users), body);
                    }
                    Audience::Attached => {
                        let kind = EntryKind::RoomEvent { room, seq };
                        durable.push(kind, &shards(attached, room, UserId::NIL), body);
                    }
                }
            }
            Placed::Notice(Notice { room, seq, turn }) => {
                let (room, seq) = (*room, *seq);
                match turn {
                    Turn::Attached {
                        address,
                        user,
                        nonce,
                        is_large,
                    } => {
                        let kind = EntryKind::Attached {
                            room,
                            head: seq,
                            nonce: *nonce,
                            is_large: *is_large,
                        };
                        durable.push_to(address.node, kind, &[Target::new(*address, *user)], b"");
                    }
                    Turn::Detach { user } => {
                        durable.push(EntryKind::Detach { room }, &shards(attached, room, *user), b"");
                    }
                    Turn::Large { users } => durable.push(EntryKind::Large { room }, &plan(users), b""),
                    Turn::Small => {
                        let kind = EntryKind::Small { room, seq };
                        durable.push(kind, &shards(attached, room, UserId::NIL), b"");
                    }
                }
            }
        }
    }
    for delivery in flush.deliveries.iter().filter(|delivery| delivery.seq.is_none()) {
        let kind = EntryKind::Ephemeral { room: delivery.room };
        // What has no place in a log is never for everybody in a large room.
        if let Audience::Users(users) = &delivery.audience {
            ephemeral.push(kind, &plan(users), &delivery.body);
        }
    }
    for answer in &flush.answers {
        let reply = Reply {
            request: answer.request,
            error: answer.error,
            sealed: answer.sealed,
        };
        let target = [Target::new(answer.address, answer.user)];
        durable.push_to(
            answer.address.node,
            EntryKind::Reply(reply),
            &target,
            &answer.body,
        );
    }
    Batches {
        durable: durable.finish(),
        ephemeral: ephemeral.finish(),
    }
}

/// Writes events for single connections.
pub(super) fn write_told(told: &[Told]) -> Vec<(NodeId, Vec<u8>)> {
    let mut outbox = Outbox::default();
    let kind = EntryKind::Ephemeral { room: RoomId::NIL };
    for told in told {
        let target = [Target::new(told.address, told.user)];
        outbox.push_to(told.address.node, kind, &target, &told.body);
    }
    outbox.finish()
}

/// The shards that take a room's events, as targets; `user` is whom the entry is about.
fn shards(attached: &Attached, room: RoomId, user: UserId) -> Plan {
    let nodes = attached.of(room).into_iter().flatten();
    nodes
        .map(|(node, shards)| {
            let targets = shards.iter().map(|shard| Target::of_shard(*shard, user));
            (*node, targets.collect())
        })
        .collect()
}

/// The receivers of one list of users: per node, ordered by shard.
type Plan = Vec<(NodeId, Vec<Target>)>;

fn targets(users: &[UserId], addresses: &Addresses) -> Plan {
    let mut nodes: BTreeMap<NodeId, Vec<Target>> = BTreeMap::new();
    for user in users {
        for address in addresses
            .get(user)
            .into_iter()
            .flat_map(|addresses| addresses.iter())
        {
            nodes
                .entry(address.node)
                .or_default()
                .push(Target::new(*address, *user));
        }
    }
    for targets in nodes.values_mut() {
        targets.sort_by_key(Target::shard);
    }
    nodes.into_iter().collect()
}

#[derive(Default)]
struct Outbox {
    writers: BTreeMap<NodeId, DownlinkWriter>,
    done: Vec<(NodeId, Vec<u8>)>,
}

impl Outbox {
    fn push(&mut self, kind: EntryKind, plan: &Plan, body: &[u8]) {
        for (node, targets) in plan {
            for targets in targets.chunks(TARGETS_MAX) {
                self.push_to(*node, kind, targets, body);
            }
        }
    }

    fn push_to(&mut self, node: NodeId, kind: EntryKind, targets: &[Target], body: &[u8]) {
        let writer = self
            .writers
            .entry(node)
            .or_insert_with(|| DownlinkWriter::new(node));
        let bytes = ENTRY_HEADER_BYTES + targets.len() * TARGET_BYTES + body.len();
        let is_full = writer.bytes() + bytes > DOWNLINK_BYTES_MAX || writer.entries() >= DOWNLINK_ENTRIES_MAX;
        if is_full && !writer.is_empty() {
            self.done.push((node, writer.take()));
        }
        writer.push(kind, targets, body);
    }

    fn finish(mut self) -> Vec<(NodeId, Vec<u8>)> {
        for (node, mut writer) in self.writers {
            if !writer.is_empty() {
                self.done.push((node, writer.take()));
            }
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use hub_protocol::batch::DownlinkBatch;
    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId(Uuid::from_u128(number))
    }

    fn address(node: u64, shard: u16, slot: u32) -> Address {
        Address {
            node: NodeId(node),
            shard,
            slot,
            generation: 1,
        }
    }

    fn event(room: u128, seq: Option<u64>, users: &Arc<[UserId]>, bytes: usize) -> Delivery {
        let room = RoomId(Uuid::from_u128(room));
        Delivery {
            room,
            seq,
            audience: Audience::Users(Arc::clone(users)),
            body: vec![b'x'; bytes].into(),
        }
    }

    fn write(answers: &[Answer], deliveries: &[Delivery], addresses: &Addresses) -> Batches {
        let flush = Flush {
            answers: answers.to_vec(),
            deliveries: deliveries.to_vec(),
            ..Flush::default()
        };
        super::write(&flush, addresses, &Attached::default())
    }

    fn seqs(batches: &[(NodeId, Vec<u8>)], node: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        for (_, bytes) in batches.iter().filter(|(id, _)| *id == NodeId(node)) {
            for entry in DownlinkBatch::parse(bytes).unwrap().iter() {
                if let EntryKind::Event { seq, .. } | EntryKind::RoomEvent { seq, .. } = entry.kind {
                    seqs.push(seq);
                }
            }
        }
        seqs
    }

    #[test]
    fn one_entry_per_node_and_event_with_targets_by_shard() {
        let users: Arc<[UserId]> = Arc::from([user(1), user(2), user(3)]);
        let mut addresses = Addresses::new();
        addresses.insert(user(1), Arc::from([address(1, 3, 1), address(2, 0, 1)]));
        addresses.insert(user(2), Arc::from([address(1, 0, 2), address(1, 1, 7)]));
        let batches = write(&[], &[event(1, Some(5), &users, 9)], &addresses);
        assert_eq!(batches.durable.len(), 2);
        let batch = DownlinkBatch::parse(&batches.durable[0].1).unwrap();
        let entry = batch.iter().next().unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(
            entry.targets.iter().map(Target::shard).collect::<Vec<_>>(),
            [0, 1, 3]
        );
        assert_eq!(entry.targets[0].user(), user(2));
    }

    #[test]
    fn repeats_go_once_and_a_room_goes_in_order() {
        let users: Arc<[UserId]> = Arc::from([user(1)]);
        let mut addresses = Addresses::new();
        addresses.insert(user(1), Arc::from([address(1, 0, 1)]));
        let deliveries = [
            event(1, Some(7), &users, 1),
            event(2, Some(9), &users, 1),
            event(1, Some(6), &users, 1),
            event(1, Some(7), &users, 1),
            event(1, None, &users, 1),
        ];
        let batches = write(&[], &deliveries, &addresses);
        assert_eq!(seqs(&batches.durable, 1), [6, 7, 9]);
        assert_eq!(batches.ephemeral.len(), 1);
    }

    #[test]
    fn batches_stay_below_their_bounds_and_in_order() {
        let users: Arc<[UserId]> = Arc::from([user(1)]);
        let mut addresses = Addresses::new();
        addresses.insert(user(1), Arc::from([address(1, 0, 1)]));
        let deliveries: Vec<_> = (1..=40).map(|seq| event(1, Some(seq), &users, 100_000)).collect();
        let batches = write(&[], &deliveries, &addresses);
        assert!(batches.durable.len() >= 4);
        assert!(
            batches
                .durable
                .iter()
                .all(|(_, bytes)| bytes.len() <= DOWNLINK_BYTES_MAX)
        );
        assert_eq!(seqs(&batches.durable, 1), (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_goes_to_its_connection_only() {
        let answer = Answer {
            address: address(4, 2, 8),
            user: UserId::NIL,
            request: 11,
            error: Some(ErrorCode::NotFound),
            sealed: true,
            body: Bytes::from_static(b"{}"),
        };
        let batches = write(&[answer], &[], &Addresses::new());
        let batch = DownlinkBatch::parse(&batches.durable[0].1).unwrap();
        let entry = batch.iter().next().unwrap();
        assert_eq!((batch.node(), entry.targets[0].slot()), (NodeId(4), 8));
        let reply = Reply {
            request: 11,
            error: Some(ErrorCode::NotFound),
            sealed: true,
        };
        assert_eq!(entry.kind, EntryKind::Reply(reply));
    }

    #[test]
    fn a_room_that_grows_and_shrinks_goes_in_order_through_both_ways_of_telling() {
        let room = RoomId(Uuid::from_u128(1));
        let all: Arc<[UserId]> = Arc::from([user(1), user(2)]);
        let of_all = |seq| event(1, Some(seq), &all, 1);
        let of_room = |seq| Delivery {
            audience: Audience::Attached,
            ..of_all(seq)
        };
        let notice = |seq, turn| Notice { room, seq, turn };
        let attached = |slot, nonce| Turn::Attached {
            address: address(1, 0, slot),
            user: user(1),
            nonce,
            is_large: true,
        };
        let flush = Flush {
            deliveries: vec![
                of_all(4),
                of_all(5),
                of_room(7),
                of_room(6),
                of_all(8),
                of_room(7),
            ],
            notices: vec![
                notice(
                    5,
                    Turn::Large {
                        users: Arc::clone(&all),
                    },
                ),
                notice(5, attached(1, 1)),
                notice(6, attached(2, 2)),
                notice(7, Turn::Detach { user: user(2) }),
                notice(7, Turn::Small),
            ],
            ..Flush::default()
        };
        let mut addresses = Addresses::new();
        addresses.insert(user(1), Arc::from([address(1, 0, 1)]));
        addresses.insert(user(2), Arc::from([address(1, 1, 1)]));
        let life = |shard, life| Address {
            generation: life,
            ..address(1, shard, 0)
        };
        let entries = vec![life(1, 3), life(0, 1), life(0, 2)];
        let batches = super::write(&flush, &addresses, &Attached::new([(room, entries)]));
        assert_eq!(batches.durable.len(), 1);
        let batch = DownlinkBatch::parse(&batches.durable[0].1).unwrap();
        let texts: Vec<String> = batch
            .iter()
            .map(|entry| {
                let shards: Vec<u16> = entry.targets.iter().map(Target::shard).collect();
                let what = match entry.kind {
                    EntryKind::Event { seq, .. } => format!("event {seq}"),
                    EntryKind::RoomEvent { seq, .. } => format!("room event {seq}"),
                    EntryKind::Attached { head, nonce, .. } => format!("attached {nonce} at {head}"),
                    EntryKind::Detach { .. } => format!("detach {}", entry.targets[0].user()),
                    EntryKind::Large { .. } => "large".to_owned(),
                    EntryKind::Small { seq, .. } => format!("small {seq}"),
                    kind => panic!("{kind:?}"),
                };
                format!("{what} {shards:?}")
            })
            .collect();
        let detach = format!("detach {} [0, 1]", user(2));
        let expected = [
            "event 4 [0, 1]",
            "event 5 [0, 1]",
            "large [0, 1]",
            "attached 1 at 5 [0]",
            "room event 6 [0, 1]",
            "attached 2 at 6 [0]",
            "room event 7 [0, 1]",
            &detach,
            "small 7 [0, 1]",
            "event 8 [0, 1]",
        ];
        assert_eq!(texts, expected);
    }
}
