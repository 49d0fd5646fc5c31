//! The engine on epoll, for where io_uring is forbidden: one set, one table of descriptors.
//!
//! A connection stands in the set from attach to close, edge-triggered: a shard hears of it once per arrival, as with
//! a multishot poll. Receives and sends are system calls of their own, made at once.

mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::gather::Gather;
use crate::segment::Piece;
use crate::state::State;
use crate::table::{CLOSE, ConnectionId, POLL_OUT, SHUTDOWN};
use crate::wake::WakeHandle;
use sys::{Event, Set};

/// Bound: events of one reap; the rest stays in the set for the next.
const EVENTS_MAX: usize = 512;
/// What a connection always waits for.
const READS: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned();
/// And what it waits for while its send buffer is full.
const WRITES: u32 = libc::EPOLLOUT.cast_unsigned();
/// The end of a connection, reported whether it was asked for or not.
const BROKEN: u32 = (libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned();
/// After one of these nothing further is reported.
const ENDS: u32 = BROKEN | libc::EPOLLRDHUP.cast_unsigned();
/// The eventfd's name in the set: a slot that no table has.
const WAKE: u64 = u64::MAX;

/// A set, and the sockets in it.
pub(crate) struct Epoll {
    set: Set,
    wake: WakeHandle,
    /// By slot.
    sockets: Box<[Option<OwnedFd>]>,
    /// Slots that were closed since the last reap, which gives them back.
    closed: Vec<u32>,
    events: Box<[Event]>,
    gather: Gather,
}

impl Epoll {
    /// Makes a set for connections of as many slots.
    pub(crate) fn new(connections: u32) -> io::Result<Self> {
        let set = Set::new()?;
        let wake = WakeHandle::new()?;
        // Level-triggered: a wake that was not cleared keeps the set readable.
        set.add(wake.fd().as_fd(), libc::EPOLLIN.cast_unsigned(), WAKE)?;
        Ok(Self {
            set,
            wake,
            sockets: std::iter::repeat_with(|| None)
                .take(connections as usize)
                .collect(),
            closed: Vec::new(),
            events: vec![Event::EMPTY; EVENTS_MAX].into_boxed_slice(),
            gather: Gather::empty(),
        })
    }

    pub(crate) fn wake(&self) -> &WakeHandle {
        &self.wake
    }

    /// The set itself: readable while a member has an event.
    pub(crate) fn event_fd(&self) -> io::Result<OwnedFd> {
        self.set.try_clone()
    }

    /// Keeps the socket and adds it to the set. What it has already is an event of the next reap.
    pub(crate) fn attach(&mut self, state: &mut State, socket: OwnedFd, id: ConnectionId) -> io::Result<()> {
        state.stats.enters += 1;
        self.set.add(socket.as_fd(), READS, name(id))?;
        self.sockets[id.slot as usize] = Some(socket);
        state.rows[id.slot as usize].open(id.generation);
        Ok(())
    }

    /// Gives closed slots back and reads events, at most [`EVENTS_MAX`]. A wake is none: it is cleared elsewhere.
    pub(crate) fn reap(&mut self, state: &mut State) -> io::Result<usize> {
        let mut count = self.closed.len();
        for slot in self.closed.drain(..) {
            state.rows[slot as usize].pending &= !CLOSE;
            state.try_release(slot);
        }
        state.stats.enters += 1;
        let events = self.set.wait(&mut self.events)?;
        for event in events.iter().filter(|event| event.name() != WAKE) {
            count += 1;
            on_event(state, id_of(event.name()), event.bits());
        }
        state.stats.completions += count as u64;
        Ok(count)
    }

    /// Receives from at most `max` readable connections, one system call each.
    pub(crate) fn receive(&mut self, state: &mut State, max: usize) -> usize {
        let mut count = 0;
        while count < max {
            let Some(id) = state.next_readable() else { break };
            let (index, slice) = state.arena.lend(id);
            let result = sys::receive(self.socket(id), slice);
            state.stats.enters += 1;
            state.on_received(index, result);
            count += 1;
        }
        count
    }

    /// Sends one to [`PIECES_MAX`](crate::PIECES_MAX) pieces at once. What was not taken is noted for the flush.
    pub(crate) fn send(&mut self, state: &mut State, id: ConnectionId, pieces: &[Piece]) {
        let bytes: usize = pieces.iter().map(Piece::len).sum();
        let result = if let [piece] = pieces {
            sys::send(self.socket(id), piece.as_slice())
        } else {
            let socket = self.sockets[id.slot as usize].as_ref().expect(OPEN).as_fd();
            sys::send_pieces(socket, &mut self.gather, pieces)
        };
        state.stats.enters += 1;
        let taken = usize::try_from(result).unwrap_or(0);
        state.stats.sent_bytes += taken as u64;
        if taken < bytes {
            state.stats.short_sends += 1;
            state.short.push((id, result));
        }
    }

    /// Asks for room in the connection's send buffer. The kernel looks again: room that is there is reported too.
    pub(crate) fn await_writable(&mut self, state: &mut State, id: ConnectionId) -> io::Result<()> {
        state.stats.enters += 1;
        self.set.modify(self.socket(id), READS | WRITES, name(id))
    }

    /// Ends our direction.
    pub(crate) fn shutdown(&mut self, state: &mut State, id: ConnectionId) {
        state.stats.enters += 1;
        // An error says that the connection is broken already, which its events say too.
        let _ = sys::shutdown(self.socket(id));
        state.rows[id.slot as usize].pending &= !SHUTDOWN;
    }

    /// Takes the socket out of the set and closes it; the next reap gives its slot back.
    pub(crate) fn close(&mut self, state: &mut State, id: ConnectionId) -> io::Result<()> {
        let socket = self.sockets[id.slot as usize].take().expect(OPEN);
        // Another descriptor of the same socket would keep it in the set.
        self.set.remove(socket.as_fd())?;
        drop(socket);
        state.stats.enters += 2;
        state.rows[id.slot as usize].pending = CLOSE;
        if self.closed.is_empty() {
            self.wake.wake();
        }
        self.closed.push(id.slot);
        Ok(())
    }

    fn socket(&self, id: ConnectionId) -> BorrowedFd<'_> {
        self.sockets[id.slot as usize].as_ref().expect(OPEN).as_fd()
    }
}

/// Why a socket is where it is looked for.
const OPEN: &str = "a slot whose row is open has its socket";

/// `generation (32 bits) | slot (32)`.
fn name(id: ConnectionId) -> u64 {
    (u64::from(id.generation) << 32) | u64::from(id.slot)
}

fn id_of(name: u64) -> ConnectionId {
    let [s0, s1, s2, s3, g0, g1, g2, g3] = name.to_le_bytes();
    ConnectionId {
        slot: u32::from_le_bytes([s0, s1, s2, s3]),
        generation: u32::from_le_bytes([g0, g1, g2, g3]),
    }
}

/// An event may carry more than what happened: with an edge comes everything that is so at that moment.
fn on_event(state: &mut State, id: ConnectionId, bits: u32) {
    let Some(row) = state.find_open(id) else { return };
    let is_writable = row.pending & POLL_OUT != 0 && bits & (WRITES | BROKEN) != 0;
    if is_writable {
        row.pending &= !POLL_OUT;
        state.writable.push(id);
    }
    if bits & (READS | ENDS) != 0 {
        state.on_readable(id.slot, bits & ENDS != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn names_round_trip_and_none_is_the_wake() {
        let id = ConnectionId {
            slot: u32::MAX - 1,
            generation: u32::MAX,
        };
        assert_eq!(id_of(name(id)), id);
        assert_ne!(name(id), WAKE);
    }

    #[test]
    fn a_late_event_reaches_no_stranger() {
        let mut state = State::new(1, Arena::new(1, 64, 0));
        let stranger = ConnectionId {
            slot: 0,
            generation: 2,
        };
        state.rows[0].open(stranger.generation);
        state.rows[0].pending |= POLL_OUT;
        let owner = ConnectionId {
            generation: 1,
            ..stranger
        };
        on_event(&mut state, owner, READS | WRITES | ENDS);
        assert!(!state.has_readable());
        assert_eq!(state.writable, []);
        on_event(&mut state, stranger, READS | WRITES);
        assert!(state.has_readable());
        assert_eq!(state.writable, [stranger]);
    }
}
