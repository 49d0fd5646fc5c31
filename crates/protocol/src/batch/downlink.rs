//! Services to edge: one entry carries one JSON text and all its receivers on that node.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BatchError, Direction, VERSION_MIN, begin, finish, open, size, take};
use crate::address::Address;
use crate::error::ErrorCode;
use crate::ids::{NodeId, RoomId, UserId};

/// What an entry is, and what may happen to it on a slow connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// The answer to a call; never dropped for a live connection.
    Reply(Reply),
    /// A durable event of a room; a slow receiver gets one `room.bump` instead of many.
    Event {
        /// The room.
        room: RoomId,
        /// The event's place.
        seq: u64,
    },
    /// Typing, presence, receipts; dropped first.
    Ephemeral {
        /// The room.
        room: RoomId,
    },
    /// A durable event of a large room, for everybody who is attached to it. Its targets are the shards that have
    /// such connections, each once, see [`Target::of_shard`].
    RoomEvent {
        /// The room.
        room: RoomId,
        /// The event's place.
        seq: u64,
    },
    /// The answer to `room.attach`, in its place among the events of the room: the one target's call with this
    /// nonce was decided when the room stood at `head`.
    Attached {
        /// The room.
        room: RoomId,
        /// Its last event at the decision.
        head: u64,
        /// The nonce of the call.
        nonce: u64,
        /// False: the room is not large (any more), its events are addressed to each member.
        is_large: bool,
    },
    /// The user of the targets belongs to a large room no longer: his attachments there end here, and what is still
    /// open of `room.attach` is void. Targets that are only shards (slot and generation 0) count for him too.
    Detach {
        /// The room.
        room: RoomId,
    },
    /// The room is large from here on: its targets attach.
    Large {
        /// The room.
        room: RoomId,
    },
    /// The room is large no longer: all attachments end here, later events are addressed to each member. Targets as
    /// those of [`RoomEvent`](Self::RoomEvent).
    Small {
        /// The room.
        room: RoomId,
        /// Its last event so far.
        seq: u64,
    },
}

impl EntryKind {
    /// The first layout that has this kind.
    const fn version(self) -> u16 {
        match self {
            Self::Reply(_) | Self::Event { .. } | Self::Ephemeral { .. } => 1,
            Self::RoomEvent { .. }
            | Self::Attached { .. }
            | Self::Detach { .. }
            | Self::Large { .. }
            | Self::Small { .. } => 2,
        }
    }
}

/// The answer to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The client's `id` of the call.
    pub request: u64,
    /// The refusal that the text holds, for the HTTP status; `None` is success.
    pub error: Option<ErrorCode>,
    /// True if the text is sealed (answers of `auth.*`).
    pub sealed: bool,
}

/// A receiver on the batch's node.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Target {
    user: [u8; 16],
    shard: U16,
    reserved: U16,
    slot: U32,
    generation: U32,
}

impl Target {
    /// A connection and the user it must still belong to (nil for calls without a session).
    pub fn new(address: Address, user: UserId) -> Self {
        Self {
            user: *user.as_bytes(),
            shard: U16::new(address.shard),
            reserved: U16::new(0),
            slot: U32::new(address.slot),
            generation: U32::new(address.generation),
        }
    }

    /// A whole shard, for entries that are addressed by room; `user` is nil except for
    /// [`Detach`](EntryKind::Detach).
    pub fn of_shard(shard: u16, user: UserId) -> Self {
        let address = Address {
            shard,
            ..Address::default()
        };
        Self::new(address, user)
    }

    /// The user whom the entry is for.
    pub fn user(&self) -> UserId {
        UserId::from_bytes(self.user)
    }

    /// The shard.
    pub fn shard(&self) -> u16 {
        self.shard.get()
    }

    /// The row of its connection table.
    pub fn slot(&self) -> u32 {
        self.slot.get()
    }

    /// The life of that row.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }
}

/// An entry as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: EntryKind,
    /// Its receivers, ordered by shard.
    pub targets: &'a [Target],
    /// The JSON text, the payload of one text message.
    pub body: &'a [u8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawEntry {
    body_bytes: U32,
    targets: U32,
    kind: u8,
    error: u8,
    flags: U16,
    /// The call's id, the event's seq, or the room's head.
    number: U64,
    room: [u8; 16],
    nonce: U64,
}

const KIND_REPLY: u8 = 1;
const KIND_EVENT: u8 = 2;
const KIND_EPHEMERAL: u8 = 3;
const KIND_ROOM_EVENT: u8 = 4;
const KIND_ATTACHED: u8 = 5;
const KIND_DETACH: u8 = 6;
const KIND_LARGE: u8 = 7;
const KIND_SMALL: u8 = 8;
const FLAG_SEALED: u16 = 1;
const FLAG_LARGE: u16 = 2;

/// Length of an entry's header, bytes.
pub const ENTRY_HEADER_BYTES: usize = size_of::<RawEntry>();
/// Length of one target, bytes.
pub const TARGET_BYTES: usize = size_of::<Target>();

/// Builds one batch for one node. Reusable: [`take`](Self::take) leaves an empty writer.
#[derive(Debug)]
pub struct DownlinkWriter {
    node: NodeId,
    out: Vec<u8>,
    entries: u32,
    /// The lowest layout that has all kinds in it: what older readers understand stays readable for them.
    version: u16,
}

impl DownlinkWriter {
    /// An empty batch for a node.
    pub fn new(node: NodeId) -> Self {
        let mut out = Vec::new();
        begin(&mut out, Direction::Down, node);
        Self {
            node,
            out,
            entries: 0,
            version: VERSION_MIN,
        }
    }

    /// Appends an entry. `targets` must be ordered by shard, so that a shard finds its own as one range.
    pub fn push(&mut self, kind: EntryKind, targets: &[Target], body: &[u8]) {
        debug_assert!(
            targets.is_sorted_by_key(Target::shard),
            "targets are ordered by shard"
        );
        let mut raw = RawEntry {
            body_bytes: U32::new(u32::try_from(body.len()).expect("a body is bounded by RESULT_BYTES_MAX")),
            targets: U32::new(u32::try_from(targets.len()).expect("targets are bounded by connections")),
            kind: KIND_REPLY,
            error: 0,
            flags: U16::new(0),
            number: U64::new(0),
            room: [0; 16],
            nonce: U64::new(0),
        };
        self.version = self.version.max(kind.version());
        match kind {
            EntryKind::Reply(reply) => {
                raw.number = U64::new(reply.request);
                raw.error = reply.error.map_or(0, ErrorCode::number);
                raw.flags = U16::new(if reply.sealed { FLAG_SEALED } else { 0 });
            }
            EntryKind::Event { room, seq } => {
                raw.kind = KIND_EVENT;
                raw.number = U64::new(seq);
                raw.room = *room.as_bytes();
            }
            EntryKind::Ephemeral { room } => {
                raw.kind = KIND_EPHEMERAL;
                raw.room = *room.as_bytes();
            }
            EntryKind::RoomEvent { room, seq } => {
                raw.kind = KIND_ROOM_EVENT;
                raw.number = U64::new(seq);
                raw.room = *room.as_bytes();
            }
            EntryKind::Attached {
                room,
                head,
                nonce,
                is_large,
            } => {
                raw.kind = KIND_ATTACHED;
                raw.number = U64::new(head);
                raw.nonce = U64::new(nonce);
                raw.flags = U16::new(if is_large { FLAG_LARGE } else { 0 });
                raw.room = *room.as_bytes();
            }
            EntryKind::Detach { room } => {
                raw.kind = KIND_DETACH;
                raw.room = *room.as_bytes();
            }
            EntryKind::Large { room } => {
                raw.kind = KIND_LARGE;
                raw.room = *room.as_bytes();
            }
            EntryKind::Small { room, seq } => {
                raw.kind = KIND_SMALL;
                raw.number = U64::new(seq);
                raw.room = *room.as_bytes();
            }
        }
        self.out.extend_from_slice(raw.as_bytes());
        self.out.extend_from_slice(targets.as_bytes());
        self.out.extend_from_slice(body);
        self.entries = self.entries.saturating_add(1);
    }

    /// The node it is for.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Entries so far.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Length of the batch so far, bytes.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// True before the first entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The finished batch; the writer is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        finish(&mut self.out, self.entries, self.version);
        let mut next = Vec::new();
        begin(&mut next, Direction::Down, self.node);
        self.entries = 0;
        self.version = VERSION_MIN;
        std::mem::replace(&mut self.out, next)
    }
}

/// A checked batch, borrowed from the bytes that came from Redis.
#[derive(Clone, Copy, Debug)]
pub struct DownlinkBatch<'a> {
    node: NodeId,
    entries: u32,
    items: &'a [u8],
}

impl<'a> DownlinkBatch<'a> {
    /// Checks the whole batch: after this, reading cannot fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let (version, node, entries, items) = open(bytes, Direction::Down)?;
        let mut rest = items;
        let mut count = 0_u32;
        while !rest.is_empty() {
            let entry;
            (entry, rest) = read(rest)?;
            if entry.kind.version() > version {
                return Err(BatchError::UnknownItem);
            }
            count = count.saturating_add(1);
        }
        if count != entries {
            return Err(BatchError::Damaged);
        }
        Ok(Self { node, entries, items })
    }

    /// The node it is for.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        usize::try_from(self.entries).unwrap_or(usize::MAX)
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (entry, next) = read(rest).ok()?;
            rest = next;
            Some(entry)
        })
    }
}

fn read(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), BatchError> {
    let Ok((raw, rest)) = RawEntry::ref_from_prefix(bytes) else {
        return Err(BatchError::Damaged);
    };
    let Ok((targets, rest)) = <[Target]>::ref_from_prefix_with_elems(rest, size(raw.targets)) else {
        return Err(BatchError::Damaged);
    };
    let (body, rest) = take(rest, size(raw.body_bytes))?;
    let room = RoomId::from_bytes(raw.room);
    let kind = match raw.kind {
        KIND_REPLY => EntryKind::Reply(Reply {
            request: raw.number.get(),
            error: match raw.error {
                0 => None,
                number => Some(ErrorCode::from_number(number).ok_or(BatchError::UnknownItem)?),
            },
            sealed: raw.flags.get() & FLAG_SEALED != 0,
        }),
        KIND_EVENT => EntryKind::Event {
            room,
            seq: raw.number.get(),
        },
        KIND_EPHEMERAL => EntryKind::Ephemeral { room },
        KIND_ROOM_EVENT => EntryKind::RoomEvent {
            room,
            seq: raw.number.get(),
        },
        KIND_ATTACHED => EntryKind::Attached {
            room,
            head: raw.number.get(),
            nonce: raw.nonce.get(),
            is_large: raw.flags.get() & FLAG_LARGE != 0,
        },
        KIND_DETACH => EntryKind::Detach { room },
        KIND_LARGE => EntryKind::Large { room },
        KIND_SMALL => EntryKind::Small {
            room,
            seq: raw.number.get(),
        },
        _ => return Err(BatchError::UnknownItem),
    };
    Ok((Entry { kind, targets, body }, rest))
}
