//! The ring itself: one io_uring, one table of registered descriptors, one arena.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, Probe, opcode, squeue};

use crate::arena::{Arena, Received};
use crate::completions::State;
use crate::config::Config;
use crate::error::{AttachError, SetupError};
use crate::gather::{Gather, PIECES_MAX};
use crate::segment::Piece;
use crate::stats::Stats;
use crate::table::{ConnectionId, POLL_IN, POLL_OUT, Phase, Row, Tag, user_data};
use crate::wake::WakeHandle;

/// The send finishes inside the submit, takes all or reports how much, and never raises a signal.
/// Without `MSG_WAITALL` a short send would count as success and bytes would be lost silently.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// What [`Ring::reap`] found. Reuse one value: the lists keep their memory.
#[derive(Debug, Default)]
pub struct Ready {
    /// Connections that asked for [`Ring::await_writable`] and can take bytes again.
    pub writable: Vec<ConnectionId>,
    /// Slots that may be given out again.
    pub released: Vec<ConnectionId>,
}

/// A send that was not taken whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Short {
    /// The kernel took this many bytes (possibly none); the connection is full.
    Taken(usize),
    /// The connection is broken; the number of the error.
    Error(i32),
}

/// The data ring of one thread. See the crate's page for a turn.
pub struct Ring {
    // Dropped first: closing the ring ends every request before the memory below goes.
    uring: IoUring,
    state: State,
    wake: WakeHandle,
    /// Message headers and their ranges for sends of several pieces.
    gathers: Box<[Gather]>,
    gathers_used: usize,
    /// Keeps what queued sends point to alive until they were submitted.
    queued: Vec<(ConnectionId, usize)>,
    /// Entries of the list of short sends that are counted.
    counted_shorts: usize,
    pieces: Vec<Piece>,
    sends_max: usize,
    /// The kernel ties the ring to the thread that made it.
    not_send: PhantomData<*const ()>,
}

/// Finds out whether this machine can run a ring. Cheap; makes one and drops it.
pub fn probe() -> Result<(), SetupError> {
    Ring::new(&Config {
        connections_max: 8,
        submissions: 8,
        completions: 64,
        slices: 1,
        ..Config::default()
    })?;
    Ok(())
}

fn setup_error(error: io::Error) -> SetupError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => SetupError::Forbidden(error),
        Some(libc::EINVAL) => SetupError::TooOld("IORING_SETUP_DEFER_TASKRUN"),
        _ => SetupError::Io(error),
    }
}

/// The process's soft limit of descriptors, which also bounds a table of registered ones.
fn descriptors_max() -> u32 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid, writable rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return 1024;
    }
    u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX)
}

impl Ring {
    /// Makes a ring that belongs to the calling thread.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        if config.connections_max == 0 || config.slices == 0 || config.slice_bytes == 0 {
            return Err(SetupError::Config(
                "connections, slices and their size are at least 1",
            ));
        }
        if config.completions < config.submissions.saturating_mul(2) {
            return Err(SetupError::Config(
                "completions are at least twice the submissions",
            ));
        }
        if u32::from(config.slices) > config.submissions {
            return Err(SetupError::Config("slices fit into one submit"));
        }
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(setup_error)?;
        Self::check_operations(&uring)?;
        let connections = config.connections_max.min(descriptors_max());
        uring
            .submitter()
            .register_files_sparse(connections)
            .map_err(setup_error)?;
        let wake = WakeHandle::new()?;
        uring.submitter().register_eventfd(wake.fd().as_raw_fd())?;
        let sends_max = config.submissions as usize;
        let gathers = std::iter::repeat_with(Gather::empty).take(sends_max).collect();
        Ok(Self {
            uring,
            state: State::new(
                connections,
                Arena::new(config.slices, config.slice_bytes, config.slice_padding),
            ),
            wake,
            gathers,
            gathers_used: 0,
            queued: Vec::with_capacity(sends_max),
            counted_shorts: 0,
            pieces: Vec::with_capacity(sends_max),
            sends_max,
            not_send: PhantomData,
        })
    }

    fn check_operations(uring: &IoUring) -> Result<(), SetupError> {
        if !uring.params().is_feature_skip_cqe_on_success() {
            return Err(SetupError::TooOld("IOSQE_CQE_SKIP_SUCCESS"));
        }
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
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

    /// Connections that the table can hold.
    pub fn connections_max(&self) -> u32 {
        u32::try_from(self.state.rows.len()).expect("made from a u32")
    }

    /// Most connections in one [`receive`](Self::receive).
    pub fn slices(&self) -> usize {
        self.state.arena.slices()
    }

    /// What the ring has counted.
    pub fn stats(&self) -> &Stats {
        &self.state.stats
    }

    /// Wakes the thread that waits on [`event_fd`](Self::event_fd); for mailboxes of other threads.
    pub fn wake_handle(&self) -> WakeHandle {
        self.wake.clone()
    }

    /// A non-blocking descriptor that is readable while there may be something to reap.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        self.wake.fd().try_clone()
    }

    /// Makes [`event_fd`](Self::event_fd) unreadable until the next signal. Clear first, reap then: a signal in
    /// between is seen again.
    pub fn clear_wake(&self) {
        self.wake.clear();
    }

    /// Takes a connected socket over. Its descriptor is closed; from here on it is known by `id` alone.
    pub fn attach(&mut self, socket: OwnedFd, id: ConnectionId) -> Result<(), AttachError> {
        let row = self
            .state
            .rows
            .get_mut(id.slot as usize)
            .ok_or(AttachError::NoSuchSlot)?;
        if row.phase() != Phase::Vacant {
            return Err(AttachError::Occupied);
        }
        self.uring
            .submitter()
            .register_files_update(id.slot, &[socket.as_raw_fd()])?;
        drop(socket);
        row.open(id.generation);
        self.state.stats.attached += 1;
        self.arm(id.slot, id.generation)?;
        Ok(())
    }

    /// True while the connection is attached and not closed by us.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.state
            .rows
            .get(id.slot as usize)
            .is_some_and(|row| row.is_open(id.generation))
    }

    /// Enters the kernel without waiting and collects what happened; returns the number of completions.
    /// The kernel bounds the work of one call; zero means that there is nothing more for now.
    pub fn reap(&mut self, ready: &mut Ready) -> io::Result<usize> {
        self.rearm()?;
        self.enter(true)?;
        let count = self.drain();
        ready.writable.append(&mut self.state.writable);
        ready.released.append(&mut self.state.released);
        Ok(count)
    }

    /// True if [`receive`](Self::receive) has connections to receive from.
    pub fn has_readable(&self) -> bool {
        !self.state.readable.is_empty()
    }

    /// Receives from at most `max` readable connections, first come first served, one slice each. Walk the result
    /// with [`next_received`](Self::next_received) before the next call. Returns how many were asked.
    pub fn receive(&mut self, max: usize) -> io::Result<usize> {
        self.state.arena.clear();
        let max = max.min(self.slices());
        let len = self.state.arena.slice_bytes();
        let mut count = 0;
        while count < max {
            let Some(slot) = self.state.readable.pop_front() else {
                break;
            };
            let row = &mut self.state.rows[slot as usize];
            if !row.on_unlisted() {
                continue;
            }
            let id = ConnectionId {
                slot,
                generation: row.generation(),
            };
            let (index, pointer) = self.state.arena.lend(id);
            let entry = opcode::Recv::new(Fixed(slot), pointer, len)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .user_data(user_data(Tag::Receive, index, 0));
            self.push(&entry)?;
            count += 1;
        }
        if count > 0 {
            self.state.stats.receives += count as u64;
            self.enter(false)?;
            self.drain();
            while !self.state.arena.is_finished() {
                // Only a full completion queue holds an answer back.
                self.enter(true)?;
                self.drain();
            }
        }
        Ok(count)
    }

    /// The next connection of the last [`receive`](Self::receive).
    pub fn next_received(&mut self) -> Option<Received<'_>> {
        self.state.arena.next()
    }

    /// No bytes of this connection until [`resume_reading`](Self::resume_reading).
    pub fn pause_reading(&mut self, id: ConnectionId) {
        if let Some(row) = self.state.find_open(id) {
            row.pause();
        }
    }

    /// Ends [`pause_reading`](Self::pause_reading); what waits is received in the next turn.
    pub fn resume_reading(&mut self, id: ConnectionId) {
        if self.state.find_open(id).is_some_and(Row::resume) {
            self.state.readable.push_back(id.slot);
        }
    }

    /// Queues one send of at most [`PIECES_MAX`] pieces; returns how many were queued (0 if the connection is gone).
    /// At most one send per connection and [`flush`](Self::flush).
    pub fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> io::Result<usize> {
        if pieces.is_empty() || !self.is_open(id) {
            return Ok(0);
        }
        if self.queued.len() == self.sends_max {
            self.submit_sends()?;
        }
        let pieces = &pieces[..pieces.len().min(PIECES_MAX)];
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
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag))?;
        self.state.stats.sends += 1;
        Ok(pieces.len())
    }

    /// Submits every queued send. When it returns, all of them are finished: silence means taken whole, and
    /// `on_short` hears of the others.
    pub fn flush(&mut self, mut on_short: impl FnMut(ConnectionId, Short)) -> io::Result<()> {
        self.submit_sends()?;
        self.counted_shorts = 0;
        for (id, result) in self.state.short.drain(..) {
            let short = match usize::try_from(result) {
                Ok(taken) => Short::Taken(taken),
                Err(_) if result == -libc::EAGAIN => Short::Taken(0),
                Err(_) => Short::Error(-result),
            };
            on_short(id, short);
        }
        Ok(())
    }

    /// Reports the connection in [`Ready::writable`] once it can take bytes.
    pub fn await_writable(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(row) = self.state.find_open(id) else {
            return Ok(());
        };
        if row.pending & POLL_OUT != 0 {
            return Ok(());
        }
        row.pending |= POLL_OUT;
        let entry = opcode::PollAdd::new(Fixed(id.slot), libc::POLLOUT as u32)
            .build()
            .user_data(user_data(Tag::PollOut, id.slot, id.generation));
        self.push(&entry)
    }

    /// Closes the connection; bytes that were not received are lost and make the kernel reset it. The slot comes
    /// back in [`Ready::released`], once.
    pub fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(row) = self.state.find_open(id) else {
            return Ok(());
        };
        let pending = row.pending;
        row.start_closing();
        // Polls are removed by their user data: removing by descriptor would search all requests.
        for (bit, tag) in [(POLL_IN, Tag::PollIn), (POLL_OUT, Tag::PollOut)] {
            if pending & bit != 0 {
                let entry = opcode::PollRemove::new(user_data(tag, id.slot, id.generation))
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(user_data(Tag::Cancel, id.slot, id.generation));
                self.push(&entry)?;
            }
        }
        let entry = opcode::Close::new(Fixed(id.slot)).build().user_data(user_data(
            Tag::Close,
            id.slot,
            id.generation,
        ));
        self.push(&entry)
    }

    fn arm(&mut self, slot: u32, generation: u32) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fixed(slot), (libc::POLLIN | libc::POLLRDHUP) as u32)
            .multi(true)
            .build()
            .user_data(user_data(Tag::PollIn, slot, generation));
        self.push(&entry)
    }

    /// Arms polls again that ended by themselves (a full completion queue does that).
    fn rearm(&mut self) -> io::Result<()> {
        while let Some(slot) = self.state.rearm.pop() {
            let row = &mut self.state.rows[slot as usize];
            if row.phase() == Phase::Open && row.pending & POLL_IN == 0 {
                row.pending |= POLL_IN;
                let generation = row.generation();
                self.state.stats.rearms += 1;
                self.arm(slot, generation)?;
            }
        }
        Ok(())
    }

    fn submit_sends(&mut self) -> io::Result<()> {
        if !self.queued.is_empty() {
            self.enter(false)?;
            self.drain();
            self.count_sent();
            self.queued.clear();
            self.pieces.clear();
            self.gathers_used = 0;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what the entry points to (arena slice, piece, gather) lives in `self` and is neither freed nor
            // written before the next `enter`, inside which the kernel finishes with it: receives and sends carry
            // MSG_DONTWAIT. Polls, removals and closes point to nothing.
            let pushed = unsafe { self.uring.submission().push(entry) };
            if pushed.is_ok() {
                return Ok(());
            }
            self.enter(false)?;
        }
    }

    /// Submits everything; with `events` also lets the kernel run what it deferred.
    fn enter(&mut self, events: bool) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        loop {
            let waiting = self.uring.submission().len();
            let flags = if events { GETEVENTS } else { 0 };
            if waiting == 0 && !events {
                return Ok(());
            }
            let count = u32::try_from(waiting).expect("bounded by the submission queue");
            self.state.stats.enters += 1;
            let submitter = self.uring.submitter();
            // SAFETY: no argument points to memory, and the ring belongs to this thread.
            let result = unsafe { submitter.enter::<libc::sigset_t>(count, 0, flags, None) };
            match result {
                Ok(_) => {
                    if self.uring.submission().is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The completion queue is full: make room and go on.
                    Some(libc::EBUSY | libc::EAGAIN) => {
                        self.drain();
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn drain(&mut self) -> usize {
        let mut count = 0;
        for completion in self.uring.completion() {
            count += 1;
            self.state.on_completion(&completion);
        }
        self.state.stats.completions += count as u64;
        count
    }

    /// Counts the bytes of the submitted sends, less what was not taken. Failures come in the order of their sends, so
    /// that one walk finds them all.
    fn count_sent(&mut self) {
        let sent: usize = self.queued.iter().map(|(_, bytes)| bytes).sum();
        let mut queued = self.queued.iter();
        let mut untaken = 0;
        for (id, result) in self.state.short.iter().skip(self.counted_shorts) {
            if let Some((_, bytes)) = queued.find(|(queued, _)| queued == id) {
                untaken += bytes - usize::try_from(*result).unwrap_or(0).min(*bytes);
            }
        }
        self.counted_shorts = self.state.short.len();
        self.state.stats.sent_bytes += (sent - untaken) as u64;
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("stats", &self.state.stats)
            .finish_non_exhaustive()
    }
}
