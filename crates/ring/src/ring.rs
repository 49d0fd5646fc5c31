//! The ring as its users see it; [`uring`](crate::uring) or [`epoll`](crate::epoll) does the work.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;

use crate::arena::{Arena, Received};
use crate::config::{Config, Engine};
use crate::epoll::Epoll;
use crate::error::{AttachError, SetupError};
use crate::gather::PIECES_MAX;
use crate::segment::Piece;
use crate::state::State;
use crate::stats::Stats;
use crate::table::{ConnectionId, POLL_OUT, Phase, SHUTDOWN};
use crate::uring::Uring;
use crate::wake::WakeHandle;

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

/// What [`choose`] found.
#[derive(Debug)]
pub struct Choice {
    /// What runs here: [`Engine::IoUring`] or [`Engine::Epoll`].
    pub engine: Engine,
    /// Why [`Engine::Auto`] did not become io_uring.
    pub fallback: Option<SetupError>,
}

/// The data ring of one thread. See the crate's page for a turn.
pub struct Ring {
    // Dropped first: closing an io_uring ends every request before the memory below goes.
    kernel: Kernel,
    state: State,
    /// An io_uring is tied to the thread that made it.
    not_send: PhantomData<*const ()>,
}

/// One of the engines. Both are as large as a few lists.
enum Kernel {
    IoUring(Uring),
    Epoll(Epoll),
}

/// Finds out which engine this machine can run. Cheap: makes a small ring and drops it.
///
/// # Errors
/// Whatever [`Ring::new`] says to `wanted`.
pub fn choose(wanted: Engine) -> Result<Choice, SetupError> {
    let config = Config {
        engine: wanted,
        connections_max: 8,
        submissions: 8,
        completions: 64,
        slices: 1,
        ..Config::default()
    };
    let (kernel, fallback) = Kernel::new(&config, config.connections_max)?;
    Ok(Choice {
        engine: kernel.engine(),
        fallback,
    })
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

impl Kernel {
    /// Makes the wanted engine, and says why [`Engine::Auto`] is not io_uring.
    fn new(config: &Config, connections: u32) -> Result<(Self, Option<SetupError>), SetupError> {
        let fallback = match config.engine {
            Engine::Epoll => None,
            Engine::IoUring => return Ok((Self::IoUring(Uring::new(config, connections)?), None)),
            Engine::Auto => match Uring::new(config, connections) {
                Ok(uring) => return Ok((Self::IoUring(uring), None)),
                Err(error) if error.is_about_uring() => Some(error),
                Err(error) => return Err(error),
            },
        };
        Ok((Self::Epoll(Epoll::new(connections)?), fallback))
    }

    fn engine(&self) -> Engine {
        match self {
            Self::IoUring(_) => Engine::IoUring,
            Self::Epoll(_) => Engine::Epoll,
        }
    }

    fn wake(&self) -> &WakeHandle {
        match self {
            Self::IoUring(uring) => uring.wake(),
            Self::Epoll(epoll) => epoll.wake(),
        }
    }
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
        let connections = config.connections_max.min(descriptors_max());
        let (kernel, _) = Kernel::new(config, connections)?;
        let arena = Arena::new(config.slices, config.slice_bytes, config.slice_padding);
        Ok(Self {
            kernel,
            state: State::new(connections, arena),
            not_send: PhantomData,
        })
    }

    /// What it runs on: [`Engine::IoUring`] or [`Engine::Epoll`].
    pub fn engine(&self) -> Engine {
        self.kernel.engine()
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
        self.kernel.wake().clone()
    }

    /// A descriptor that is readable while there may be something to reap. It is for waiting alone: what it is
    /// differs between engines.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        match &self.kernel {
            Kernel::IoUring(uring) => uring.wake().fd().try_clone(),
            Kernel::Epoll(epoll) => epoll.event_fd(),
        }
    }

    /// Takes the wakes back that were signalled so far. Clear first, reap then: a signal in between is seen again.
    pub fn clear_wake(&self) {
        self.kernel.wake().clear();
    }

    /// Takes a connected socket over; from here on it is known by `id` alone.
    pub fn attach(&mut self, socket: OwnedFd, id: ConnectionId) -> Result<(), AttachError> {
        let row = self
            .state
            .rows
            .get_mut(id.slot as usize)
            .ok_or(AttachError::NoSuchSlot)?;
        if row.phase() != Phase::Vacant {
            return Err(AttachError::Occupied);
        }
        match &mut self.kernel {
            Kernel::IoUring(uring) => uring.attach(&mut self.state, socket, id)?,
            Kernel::Epoll(epoll) => epoll.attach(&mut self.state, socket, id)?,
        }
        self.state.stats.attached += 1;
        Ok(())
    }

    /// True while the connection is attached and not closed by us.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.state
            .rows
            .get(id.slot as usize)
            .is_some_and(|row| row.is_open(id.generation))
    }

    /// Asks the kernel without waiting and collects what happened; returns the number of its answers.
    /// The work of one call is bounded; zero means that there is nothing more for now.
    pub fn reap(&mut self, ready: &mut Ready) -> io::Result<usize> {
        let count = match &mut self.kernel {
            Kernel::IoUring(uring) => uring.reap(&mut self.state)?,
            Kernel::Epoll(epoll) => epoll.reap(&mut self.state)?,
        };
        ready.writable.append(&mut self.state.writable);
        ready.released.append(&mut self.state.released);
        Ok(count)
    }

    /// True if [`receive`](Self::receive) has connections to receive from.
    pub fn has_readable(&self) -> bool {
        self.state.has_readable()
    }

    /// Receives from at most `max` readable connections, first come first served, one slice each. Walk the result
    /// with [`next_received`](Self::next_received) before the next call. Returns how many were asked.
    pub fn receive(&mut self, max: usize) -> io::Result<usize> {
        self.state.arena.clear();
        let max = max.min(self.slices());
        let count = match &mut self.kernel {
            Kernel::IoUring(uring) => uring.receive(&mut self.state, max)?,
            Kernel::Epoll(epoll) => epoll.receive(&mut self.state, max),
        };
        self.state.stats.receives += count as u64;
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
        self.state.resume(id);
    }

    /// Queues one send of at most [`PIECES_MAX`] pieces; returns how many were queued (0 if the connection is gone).
    /// At most one send per connection and [`flush`](Self::flush).
    pub fn send(&mut self, id: ConnectionId, pieces: &[Piece]) -> io::Result<usize> {
        if pieces.is_empty() || !self.is_open(id) {
            return Ok(0);
        }
        let pieces = &pieces[..pieces.len().min(PIECES_MAX)];
        match &mut self.kernel {
            Kernel::IoUring(uring) => uring.send(&mut self.state, id, pieces)?,
            Kernel::Epoll(epoll) => epoll.send(&mut self.state, id, pieces),
        }
        self.state.stats.sends += 1;
        Ok(pieces.len())
    }

    /// Ends the sends. When it returns, all of them are finished: silence means taken whole, and `on_short` hears of
    /// the others.
    pub fn flush(&mut self, mut on_short: impl FnMut(ConnectionId, Short)) -> io::Result<()> {
        if let Kernel::IoUring(uring) = &mut self.kernel {
            uring.flush(&mut self.state)?;
        }
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
        match &mut self.kernel {
            Kernel::IoUring(uring) => uring.await_writable(&mut self.state, id),
            Kernel::Epoll(epoll) => epoll.await_writable(&mut self.state, id),
        }
    }

    /// Ends our direction once everything before it was sent: the peer reads it and then the end, and goes on being
    /// read until [`close`](Self::close). Once per connection.
    pub fn shutdown(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(row) = self.state.find_open(id) else {
            return Ok(());
        };
        row.pending |= SHUTDOWN;
        match &mut self.kernel {
            Kernel::IoUring(uring) => uring.shutdown(&mut self.state, id)?,
            Kernel::Epoll(epoll) => epoll.shutdown(&mut self.state, id),
        }
        Ok(())
    }

    /// Closes the connection; bytes that were not received are lost and make the kernel reset it. The slot comes
    /// back in [`Ready::released`], once.
    pub fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(row) = self.state.find_open(id) else {
            return Ok(());
        };
        let pending = row.pending;
        row.start_closing();
        match &mut self.kernel {
            Kernel::IoUring(uring) => uring.close(&mut self.state, id, pending),
            Kernel::Epoll(epoll) => epoll.close(&mut self.state, id),
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("engine", &self.engine())
            .field("stats", &self.state.stats)
            .finish_non_exhaustive()
    }
}
