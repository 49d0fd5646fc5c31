//! The engine on io_uring: one ring, one table of registered descriptors.

mod completions;
mod tag;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, Probe, opcode, squeue};

use crate::config::Config;
use crate::error::SetupError;
use crate::gather::Gather;
use crate::segment::Piece;
use crate::state::State;
use crate::table::{ConnectionId, POLL_IN, POLL_OUT, Phase};
use crate::wake::WakeHandle;
use tag::{Tag, user_data};

/// The send finishes inside the submit, takes all or reports how much, and never raises a signal.
/// Without `MSG_WAITALL` a short send would count as success and bytes would be lost silently.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// An io_uring and what its queued sends need. The [`State`] beside it outlives it.
pub(crate) struct Uring {
    // Dropped first: closing the ring ends every request before the memory below goes.
    ring: IoUring,
    wake: WakeHandle,
    /// Slots whose multishot poll ended by itself.
    rearm: Vec<u32>,
    /// Message headers and their ranges for sends of several pieces.
    gathers: Box<[Gather]>,
    gathers_used: usize,
    /// Keeps what queued sends point to alive until they were submitted.
    queued: Vec<(ConnectionId, usize)>,
    /// Entries of the list of short sends that are counted.
    counted_shorts: usize,
    pieces: Vec<Piece>,
    sends_max: usize,
}

fn setup_error(error: io::Error) -> SetupError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => SetupError::Forbidden(error),
        Some(libc::EINVAL) => SetupError::TooOld("IORING_SETUP_DEFER_TASKRUN"),
        _ => SetupError::Io(error),
    }
}

impl Uring {
    /// Makes a ring that belongs to the calling thread, for connections of as many slots.
    pub(crate) fn new(config: &Config, connections: u32) -> Result<Self, SetupError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(setup_error)?;
        Self::check_operations(&ring)?;
        ring.submitter()
            .register_files_sparse(connections)
            .map_err(setup_error)?;
        let wake = WakeHandle::new()?;
        ring.submitter()
            .register_eventfd(wake.fd().as_raw_fd())
            .map_err(setup_error)?;
        let sends_max = config.submissions as usize;
        let gathers = std::iter::repeat_with(Gather::empty).take(sends_max).collect();
        // Where only io_uring_enter is denied, it shows here and not under the first connection.
        enter(&ring, 0, true).map_err(setup_error)?;
        Ok(Self {
            ring,
            wake,
            rearm: Vec::new(),
            gathers,
            gathers_used: 0,
            queued: Vec::with_capacity(sends_max),
            counted_shorts: 0,
            pieces: Vec::with_capacity(sends_max),
            sends_max,
        })
    }

    fn check_operations(ring: &IoUring) -> Result<(), SetupError> {
        if !ring.params().is_feature_skip_cqe_on_success() {
            return Err(SetupError::TooOld("IOSQE_CQE_SKIP_SUCCESS"));
        }
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(setup_error)?;
        for (code, name) in [
            (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
            (opcode::PollRemove::CODE, "IORING_OP_POLL_REMOVE"),
            (opcode::Recv::CODE, "IORING_OP_RECV"),
            (opcode::Send::CODE, "IORING_OP_SEND"),
            (opcode::SendMsg::CODE, "IORING_OP_SENDMSG"),
            (opcode::Close::CODE, "IORING_OP_CLOSE"),
        ] {
            if !probe.is_supported(code) {
                return Err(SetupError::TooOld(name));
            }
        }
        Ok(())
    }

    pub(crate) fn wake(&self) -> &WakeHandle {
        &self.wake
    }

    /// Registers the socket; the table holds it, and its descriptor is closed.
    pub(crate) fn attach(&mut self, state: &mut State, socket: OwnedFd, id: ConnectionId) -> io::Result<()> {
        self.ring
            .submitter()
            .register_files_update(id.slot, &[socket.as_raw_fd()])?;
        drop(socket);
        let row = &mut state.rows[id.slot as usize];
        row.open(id.generation);
        row.pending |= POLL_IN;
        self.arm(state, id.slot, id.generation)
    }

    /// Enters the kernel without waiting; it bounds the work of one call.
    pub(crate) fn reap(&mut self, state: &mut State) -> io::Result<usize> {
        self.rearm(state)?;
        self.enter(state, true)?;
        Ok(self.drain(state))
    }

    /// Receives from at most `max` readable connections in one submit.
    pub(crate) fn receive(&mut self, state: &mut State, max: usize) -> io::Result<usize> {
        let len = state.arena.slice_bytes();
        let mut count = 0;
        while count < max {
            let Some(id) = state.next_readable() else { break };
            let (index, slice) = state.arena.lend(id);
            let entry = opcode::Recv::new(Fixed(id.slot), slice.as_mut_ptr(), len)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .user_data(user_data(Tag::Receive, index, 0));
            self.push(state, &entry)?;
            count += 1;
        }
        if count > 0 {
            self.enter(state, false)?;
            self.drain(state);
            while !state.arena.is_finished() {
                // Only a full completion queue holds an answer back.
                self.enter(state, true)?;
                self.drain(state);
            }
        }
        Ok(count)
    }

    /// Queues a send of one to [`PIECES_MAX`](crate::PIECES_MAX) pieces.
    pub(crate) fn send(&mut self, state: &mut State, id: ConnectionId, pieces: &[Piece]) -> io::Result<()> {
        if self.queued.len() == self.sends_max {
            self.submit_sends(state)?;
        }
        let bytes = pieces.iter().map(Piece::len).sum();
        let tag = user_data(Tag::Send, id.slot, id.generation);
        let entry = if let [piece] = pieces {
            let slice = piece.as_slice();
            let len = u32::try_from(slice.len()).expect("a piece is far below 4 GiB");
            opcode::Send::new(Fixed(id.slot), slice.as_ptr(), len)
                .flags(SEND_FLAGS)
                .build()
        } else {
            let gather = &mut self.gathers[self.gathers_used];
            self.gathers_used += 1;
            gather.fill(pieces);
            opcode::SendMsg::new(Fixed(id.slot), &raw const gather.header)
                .flags(SEND_FLAGS.cast_unsigned())
                .build()
        };
        self.pieces.extend_from_slice(pieces);
        self.queued.push((id, bytes));
        self.push(state, &entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag))
    }

    /// Submits every queued send; when it returns, all of them are finished.
    pub(crate) fn flush(&mut self, state: &mut State) -> io::Result<()> {
        self.submit_sends(state)?;
        self.counted_shorts = 0;
        Ok(())
    }

    /// Asks once for room in the connection's send buffer.
    pub(crate) fn await_writable(&mut self, state: &mut State, id: ConnectionId) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fixed(id.slot), libc::POLLOUT as u32)
            .build()
            .user_data(user_data(Tag::PollOut, id.slot, id.generation));
        self.push(state, &entry)
    }

    /// Ends our direction. The kernel does it on a thread of its own; the slot stays ours until it has.
    pub(crate) fn shutdown(&mut self, state: &mut State, id: ConnectionId) -> io::Result<()> {
        let entry = opcode::Shutdown::new(Fixed(id.slot), libc::SHUT_WR)
            .build()
            .user_data(user_data(Tag::Shutdown, id.slot, id.generation));
        self.push(state, &entry)
    }

    /// Removes the polls that are `pending` and closes the registered descriptor.
    pub(crate) fn close(&mut self, state: &mut State, id: ConnectionId, pending: u8) -> io::Result<()> {
        // Polls are removed by their user data: removing by descriptor would search all requests.
        for (bit, tag) in [(POLL_IN, Tag::PollIn), (POLL_OUT, Tag::PollOut)] {
            if pending & bit != 0 {
                let entry = opcode::PollRemove::new(user_data(tag, id.slot, id.generation))
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(user_data(Tag::Cancel, id.slot, id.generation));
                self.push(state, &entry)?;
            }
        }
        let entry = opcode::Close::new(Fixed(id.slot)).build().user_data(user_data(
            Tag::Close,
            id.slot,
            id.generation,
        ));
        self.push(state, &entry)
    }

    fn arm(&mut self, state: &mut State, slot: u32, generation: u32) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fixed(slot), (libc::POLLIN | libc::POLLRDHUP) as u32)
            .multi(true)
            .build()
            .user_data(user_data(Tag::PollIn, slot, generation));
        self.push(state, &entry)
    }

    /// Arms polls again that ended by themselves (a full completion queue does that).
    fn rearm(&mut self, state: &mut State) -> io::Result<()> {
        while let Some(slot) = self.rearm.pop() {
            let row = &mut state.rows[slot as usize];
            if row.phase() == Phase::Open && row.pending & POLL_IN == 0 {
                row.pending |= POLL_IN;
                let generation = row.generation();
                state.stats.rearms += 1;
                self.arm(state, slot, generation)?;
            }
        }
        Ok(())
    }

    fn submit_sends(&mut self, state: &mut State) -> io::Result<()> {
        if !self.queued.is_empty() {
            self.enter(state, false)?;
            self.drain(state);
            self.count_sent(state);
            self.queued.clear();
            self.pieces.clear();
            self.gathers_used = 0;
        }
        Ok(())
    }

    fn push(&mut self, state: &mut State, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what the entry points to (arena slice, piece, gather) lives in `state` or `self`, which the ring
            // holds together, and is neither freed nor written before the next `enter`, inside which the kernel
            // finishes with it: receives and sends carry MSG_DONTWAIT. Polls, removals and closes point to nothing.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return Ok(());
            }
            self.enter(state, false)?;
        }
    }

    /// Submits everything; with `events` also lets the kernel run what it deferred.
    fn enter(&mut self, state: &mut State, events: bool) -> io::Result<()> {
        loop {
            let waiting = self.ring.submission().len();
            if waiting == 0 && !events {
                return Ok(());
            }
            let count = u32::try_from(waiting).expect("bounded by the submission queue");
            state.stats.enters += 1;
            match enter(&self.ring, count, events) {
                Ok(()) => {
                    if self.ring.submission().is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The completion queue is full: make room and go on.
                    Some(libc::EBUSY | libc::EAGAIN) => {
                        self.drain(state);
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn drain(&mut self, state: &mut State) -> usize {
        let mut count = 0;
        for completion in self.ring.completion() {
            count += 1;
            completions::apply(state, &mut self.rearm, &completion);
        }
        state.stats.completions += count as u64;
        count
    }

    /// Counts the bytes of the submitted sends, less what was not taken. Failures come in the order of their sends, so
    /// that one walk finds them all.
    fn count_sent(&mut self, state: &mut State) {
        let sent: usize = self.queued.iter().map(|(_, bytes)| bytes).sum();
        let mut queued = self.queued.iter();
        let mut untaken = 0;
        for (id, result) in state.short.iter().skip(self.counted_shorts) {
            if let Some((_, bytes)) = queued.find(|(queued, _)| queued == id) {
                untaken += bytes - usize::try_from(*result).unwrap_or(0).min(*bytes);
            }
        }
        self.counted_shorts = state.short.len();
        state.stats.sent_bytes += (sent - untaken) as u64;
    }
}

/// One `io_uring_enter` that does not wait.
fn enter(ring: &IoUring, submit: u32, events: bool) -> io::Result<()> {
    const GETEVENTS: u32 = 1;
    let flags = if events { GETEVENTS } else { 0 };
    // SAFETY: no argument points to memory, and the ring belongs to this thread.
    let result = unsafe { ring.submitter().enter::<libc::sigset_t>(submit, 0, flags, None) };
    result.map(drop)
}
