//! The connection table of a shard: a slab whose slots are reused oldest first and count their lives.

use std::collections::VecDeque;
use std::rc::Rc;

use hub_protocol::{LoginId, SessionId, UserId};
use hub_ring::ConnectionId;
use hub_ws::{Closing, Decoder, Role};

use super::call::Call;
use super::tls::Tls;
use crate::admission::Ticket;
use crate::bucket::{Bucket, ByteBucket, Rate};
use crate::outbound::Outbound;

/// Rows that wait at least for this many others before they are used again, as long as there are unused ones.
const REST: usize = 64;

/// Who carries a row.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all rows are sockets; a box would cost each of them an allocation"
)]
pub(super) enum Row {
    /// Nobody.
    Vacant,
    /// A WebSocket on the data ring.
    Socket(Connection),
    /// A call over HTTP that waits for its answer.
    Call(Rc<Call>),
}

/// What a connection may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Returns every message; no session.
    Echo,
    /// Has to open a session by its deadline.
    Waiting,
    /// Its session is on its way into the directory; this request is answered when it is there.
    Opening {
        /// The id of the request.
        request: u64,
    },
    /// Has a session.
    Open,
}

/// How the TCP connection ends. From `WhenSent` on, what the peer says is discarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Not yet.
    No,
    /// The close frames are exchanged: both directions end when the rest is sent.
    WhenSent,
    /// The peer broke the protocol: our direction ends when our close frame is sent.
    HalfWhenSent,
    /// Our direction has ended; the peer's end or the deadline is the end.
    Half,
}

/// One WebSocket.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; a byte each"
)]
pub(super) struct Connection {
    pub(super) decoder: Decoder,
    pub(super) outbound: Outbound,
    /// An encrypted connection: its keys.
    pub(super) tls: Option<Box<Tls>>,
    /// Waiting bytes that the shard's total includes.
    pub(super) counted_bytes: usize,
    pub(super) state: State,
    pub(super) closing: Closing,
    pub(super) ending: Ending,
    /// Handed to the ring for closing; the row stays until the ring releases the slot.
    pub(super) is_ended: bool,
    /// The kernel took no more; waits for a writable notice.
    pub(super) is_blocked: bool,
    pub(super) is_touched: bool,
    /// Has said which large rooms it looks at.
    pub(super) is_choosy: bool,
    /// The largest window that the peer can inflate, bits; 0 without permessage-deflate.
    pub(super) window_bits: u8,
    /// Nil until a session is opening.
    pub(super) user: UserId,
    pub(super) login: LoginId,
    pub(super) session: SessionId,
    /// The token's end, seconds since the Unix epoch.
    pub(super) expires_at: u64,
    pub(super) bucket: Bucket,
    pub(super) bytes: ByteBucket,
    /// Its place in the counts of admission.
    pub(super) ticket: Option<Box<Ticket>>,
    /// Start of the present phase: connected, or close frame sent. Milliseconds of the shard's clock, as below.
    pub(super) since_ms: u64,
    /// Last sign of life.
    pub(super) heard_ms: u64,
    /// Last time at which no message was half received.
    pub(super) message_ms: u64,
    /// Last ping.
    pub(super) pinged_ms: u64,
    /// Last time that the directory entry was written.
    pub(super) registered_ms: u64,
}

impl Connection {
    pub(super) fn new(state: State, rate: Rate, byte_rate: Rate, now_ms: u64) -> Self {
        Self {
            decoder: Decoder::new(Role::Server),
            outbound: Outbound::default(),
            tls: None,
            counted_bytes: 0,
            state,
            closing: Closing::Open,
            ending: Ending::No,
            is_ended: false,
            is_blocked: false,
            is_touched: false,
            is_choosy: false,
            window_bits: 0,
            user: UserId::NIL,
            login: LoginId::NIL,
            session: SessionId::NIL,
            expires_at: 0,
            bucket: Bucket::new(rate, now_ms),
            bytes: ByteBucket::new(byte_rate, now_ms),
            ticket: None,
            since_ms: now_ms,
            heard_ms: now_ms,
            message_ms: now_ms,
            pinged_ms: now_ms,
            registered_ms: now_ms,
        }
    }

    /// True while the session takes events.
    pub(super) fn is_session_open(&self) -> bool {
        self.state == State::Open && self.closing.is_open()
    }
}

/// All rows of a shard.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<(u32, Row)>,
    free: VecDeque<u32>,
    rows_max: u32,
}

impl Table {
    /// An empty table that grows to `rows_max`.
    pub(super) fn new(rows_max: u32) -> Self {
        Self {
            rows: Vec::new(),
            free: VecDeque::new(),
            rows_max,
        }
    }

    /// Gives out the slot that has rested longest; `None` if all are in use.
    pub(super) fn insert(&mut self, row: Row) -> Option<ConnectionId> {
        let next = u32::try_from(self.rows.len()).expect("bounded by rows_max");
        let slot = if self.free.len() > REST || next >= self.rows_max {
            self.free.pop_front()?
        } else {
            self.rows.push((0, Row::Vacant));
            next
        };
        let (generation, place) = &mut self.rows[slot as usize];
        *generation = generation.wrapping_add(1);
        *place = row;
        Some(ConnectionId {
            slot,
            generation: *generation,
        })
    }

    /// Takes the row of this life of the slot; the slot may be given out again.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Row> {
        let row = self.find_row(id)?;
        let taken = std::mem::replace(row, Row::Vacant);
        self.free.push_back(id.slot);
        Some(taken)
    }

    /// The connection of this life of the slot.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        match self.find_row(id)? {
            Row::Socket(connection) => Some(connection),
            Row::Vacant | Row::Call(_) => None,
        }
    }

    /// The row of this life of the slot, unless it is vacant.
    pub(super) fn find_row(&mut self, id: ConnectionId) -> Option<&mut Row> {
        match self.rows.get_mut(id.slot as usize) {
            Some((generation, row)) if *generation == id.generation && !matches!(row, Row::Vacant) => {
                Some(row)
            }
            _ => None,
        }
    }

    /// Slots that were ever given out.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.rows.len()).expect("bounded by rows_max")
    }

    /// The present life of a slot, unless it is vacant.
    pub(super) fn id_at(&self, slot: u32) -> Option<ConnectionId> {
        let (generation, row) = self.rows.get(slot as usize)?;
        let generation = *generation;
        (!matches!(row, Row::Vacant)).then_some(ConnectionId { slot, generation })
    }

    /// Everybody who is there.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> + use<'_> {
        (0..self.slots()).filter_map(|slot| self.id_at(slot))
    }

    /// True if no row can be given out.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.rows_max
    }

    /// Number of rows in use.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.rows.len() - self.free.len()).expect("bounded by rows_max")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let off = Rate {
            per_second: 0,
            burst: 0,
        };
        Row::Socket(Connection::new(State::Waiting, off, off, 0))
    }

    #[test]
    fn a_row_is_small() {
        assert!(
            size_of::<(u32, Row)>() <= 256,
            "{} bytes",
            size_of::<(u32, Row)>()
        );
    }

    #[test]
    fn an_old_name_reaches_nobody() {
        let mut table = Table::new(1);
        let first = table.insert(row()).unwrap();
        assert!(table.is_full());
        assert!(table.insert(row()).is_none(), "full");
        assert!(table.remove(first).is_some());
        assert!(table.remove(first).is_none());
        let second = table.insert(row()).unwrap();
        assert_eq!(first.slot, second.slot);
        assert!(table.find(first).is_none());
        assert!(table.find(second).is_some());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn slots_are_reused_oldest_first() {
        let mut table = Table::new(1000);
        let ids: Vec<_> = (0..200).map(|_| table.insert(row()).unwrap()).collect();
        for id in &ids[..100] {
            table.remove(*id);
        }
        let again: Vec<_> = (0..30).map(|_| table.insert(row()).unwrap().slot).collect();
        assert_eq!(again, (0..30).collect::<Vec<_>>());
        assert_eq!(table.ids().count(), 130);
    }
}
