//! The system calls, as functions that cannot be misused. None of them waits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::gather::Gather;
use crate::segment::Piece;

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What happened to a member of a [`Set`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Event(libc::epoll_event);

impl Event {
    pub(super) const EMPTY: Self = Self::new(0, 0);

    const fn new(bits: u32, name: u64) -> Self {
        Self(libc::epoll_event {
            events: bits,
            u64: name,
        })
    }

    /// What the member was added as.
    pub(super) fn name(self) -> u64 {
        self.0.u64
    }

    /// Bits of `EPOLLIN` and its siblings.
    pub(super) fn bits(self) -> u32 {
        self.0.events
    }
}

/// An epoll set.
pub(super) struct Set(OwnedFd);

impl Set {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    pub(super) fn add(&self, member: BorrowedFd<'_>, bits: u32, name: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, member, Event::new(bits, name))
    }

    /// Changes what the member waits for; what is so already is an event.
    pub(super) fn modify(&self, member: BorrowedFd<'_>, bits: u32, name: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, member, Event::new(bits, name))
    }

    pub(super) fn remove(&self, member: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, member, Event::EMPTY)
    }

    fn control(&self, operation: i32, member: BorrowedFd<'_>, mut event: Event) -> io::Result<()> {
        let (set, member) = (self.0.as_raw_fd(), member.as_raw_fd());
        // SAFETY: `event` is a valid epoll_event that lives through the call; the kernel keeps no pointer to it.
        let result = unsafe { libc::epoll_ctl(set, operation, member, &raw mut event.0) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// The events that are there now, as many as fit.
    pub(super) fn wait<'a>(&self, events: &'a mut [Event]) -> io::Result<&'a [Event]> {
        let max = i32::try_from(events.len()).unwrap_or(i32::MAX);
        let pointer = events.as_mut_ptr().cast();
        let len = loop {
            // SAFETY: `pointer` is `max` writable events, each laid out as an epoll_event, borrowed through the call.
            let result = unsafe { libc::epoll_wait(self.0.as_raw_fd(), pointer, max, 0) };
            if let Ok(len) = usize::try_from(result) {
                break len;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        Ok(&events[..len])
    }
}

/// Receives into `bytes`: how many came, 0 for the end, or the negative number of an error.
pub(super) fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> i32 {
    result_of(|| {
        // SAFETY: `bytes` is writable and borrowed through the call.
        unsafe {
            libc::recv(
                socket.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
            )
        }
    })
}

/// Sends `bytes`: how many were taken, or the negative number of an error.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> i32 {
    result_of(|| {
        // SAFETY: `bytes` is readable and borrowed through the call.
        unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), SEND_FLAGS) }
    })
}

/// Sends pieces in order by way of `gather`; says what [`send`] says.
pub(super) fn send_pieces(socket: BorrowedFd<'_>, gather: &mut Gather, pieces: &[Piece]) -> i32 {
    gather.fill(pieces);
    result_of(|| {
        // SAFETY: the header points at ranges in `gather`, and these at `pieces`; both are borrowed through the call.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const gather.header, SEND_FLAGS) }
    })
}

/// Ends our direction: the peer reads what was sent, and then the end.
pub(super) fn shutdown(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no argument points to memory.
    let result = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a call returned, errors as negative numbers as io_uring writes them.
fn result_of(mut call: impl FnMut() -> isize) -> i32 {
    loop {
        let result = call();
        if result >= 0 {
            // Bound: the kernel moves less than 2 GiB in one call.
            return i32::try_from(result).unwrap_or(i32::MAX);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return -error.raw_os_error().unwrap_or(libc::EIO);
        }
    }
}
