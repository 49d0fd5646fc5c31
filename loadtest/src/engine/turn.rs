//! One pass of an engine thread: completions, bytes, offers, timers, connects, sends, ends.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hub_ring::{Config, ConnectionId, Inbound, Ready, Ring, Short};
use socket2::{Domain, Protocol, Socket, Type};

use super::body::Body;
use super::control::{Command, Desk};
use super::{Finished, Settings};
use crate::target;
use crate::units::{Clock, MS, S, index};

/// How often the state of the thread is shown to the others.
const PUBLISH: u64 = 100 * MS;
/// How long the end waits for the close frames of the edges.
const CLOSE_MAX: u64 = 2 * S;

/// One thread's ring and everything on it.
pub(super) struct Engine {
    ring: Ring,
    body: Body,
    desk: Arc<Desk>,
    clock: Clock,
    clients_per_address: u32,
    ready: Ready,
    commands: Vec<Command>,
    sent: Vec<(ConnectionId, usize)>,
    shorts: Vec<(ConnectionId, Short)>,
    publish_due: u64,
    /// When the end no longer waits.
    stop_due: Option<u64>,
}

impl Engine {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let clients = index(settings.world.accounts.len()) / settings.desks.threads() + 1;
        let config = Config {
            connections_max: clients * 2 + 64,
            ..Config::default()
        };
        let ring = Ring::new(&config).context("cannot make the data ring")?;
        let clock = settings.world.clock();
        let desk = Arc::clone(settings.desks.desk(settings.thread));
        desk.set_wake(ring.wake_handle());
        let body = Body::new(settings, ring.connections_max(), clock.now());
        Ok(Self {
            ring,
            body,
            desk,
            clock,
            clients_per_address: settings.clients_per_address,
            ready: Ready::default(),
            commands: Vec::new(),
            sent: Vec::new(),
            shorts: Vec::new(),
            publish_due: 0,
            stop_due: None,
        })
    }

    pub(super) fn event_fd(&self) -> Result<OwnedFd> {
        Ok(self.ring.event_fd()?)
    }

    pub(super) fn wake(&self) {
        self.ring.wake_handle().wake();
    }

    /// True if all connections are closed, or have had the time to be.
    pub(super) fn is_finished(&self) -> bool {
        self.stop_due
            .is_some_and(|due| self.body.lines.iter().next().is_none() || self.body.now() >= due)
    }

    pub(super) fn finish(self) -> Finished {
        let (recorder, stats) = self.body.into_parts();
        Finished { recorder, stats }
    }

    /// True if there may be more to do at once.
    pub(super) fn turn(&mut self) -> Result<bool> {
        self.ring.clear_wake();
        let reaped = self.ring.reap(&mut self.ready)?;
        self.body.set_now(self.clock.now());
        for id in self.ready.released.drain(..) {
            self.body.lines.release(id);
        }
        for id in self.ready.writable.drain(..) {
            self.body.on_writable(id);
        }
        let received = self.receive()?;
        self.desk.take_commands(&mut self.commands);
        let commanded = self.commands.len();
        for command in self.commands.drain(..) {
            self.body.on_command(command);
        }
        self.body.on_timers();
        if self.desk.is_stopping() && self.stop_due.is_none() {
            self.stop_due = Some(self.body.now() + CLOSE_MAX);
            self.body.start_stopping();
        }
        let connected = self.connect()?;
        self.flush()?;
        let ended = self.end()?;
        self.publish();
        Ok(reaped + received + commanded + connected + ended > 0 || self.ring.has_readable())
    }

    fn receive(&mut self) -> Result<usize> {
        let asked = self.ring.receive(self.ring.slices())?;
        if asked > 0 {
            // What is read from here on was received before this moment: an ack is never noted too early.
            self.body.set_now(self.clock.now());
        }
        while let Some(received) = self.ring.next_received() {
            match received.inbound {
                Inbound::Bytes(bytes) => self.body.on_bytes(received.id, &mut bytes[..received.len]),
                Inbound::Eof | Inbound::Error(_) => self.body.on_broken(received.id),
            }
        }
        Ok(asked)
    }

    /// Starts the connections that clients want.
    fn connect(&mut self) -> Result<usize> {
        let mut started = 0;
        while let Some(client) = self.body.wanting.pop() {
            if self.body.link(client).line.is_some() {
                continue;
            }
            let nonce = self.body.random();
            let Some(id) = self.body.lines.add(client, nonce) else {
                self.body.on_no_slot(client);
                continue;
            };
            started += 1;
            let address = self.body.targets[self.body.next_edge(client)].address;
            let source = target::source(self.body.user(client), self.clients_per_address, address);
            let Ok(socket) = open_socket(address, source) else {
                self.body.lines.remove(id);
                self.body.lines.release(id);
                self.body.on_started(client, None);
                continue;
            };
            self.ring.attach(socket, id)?;
            self.ring.await_writable(id)?;
            self.body.on_started(client, Some(id));
        }
        Ok(started)
    }

    /// One send per touched connection, until nothing is left that the kernel would take.
    fn flush(&mut self) -> Result<()> {
        let mut touched = std::mem::take(&mut self.body.touched);
        while !touched.is_empty() {
            for id in touched.drain(..) {
                let Some(line) = self.body.lines.find(id) else {
                    continue;
                };
                line.is_touched = false;
                if line.is_full || line.out.is_empty() {
                    continue;
                }
                let pieces = self.ring.send(id, &line.out)?;
                self.sent.push((id, pieces));
            }
            let shorts = &mut self.shorts;
            self.ring.flush(|id, short| shorts.push((id, short)))?;
            for (id, pieces) in self.sent.drain(..) {
                let Some(line) = self.body.lines.find(id) else {
                    continue;
                };
                match self.shorts.iter().find(|(short, _)| *short == id) {
                    None => {
                        line.out.drain(..pieces);
                        if pieces > 0 && !line.out.is_empty() {
                            line.is_touched = true;
                            touched.push(id);
                        }
                    }
                    Some((_, Short::Taken(bytes))) => {
                        line.taken(*bytes);
                        line.is_full = true;
                        self.ring.await_writable(id)?;
                    }
                    Some((_, Short::Error(_))) => self.body.on_broken(id),
                }
            }
            self.shorts.clear();
        }
        self.body.touched = touched;
        Ok(())
    }

    /// Closes what has ended, after its last bytes were sent.
    fn end(&mut self) -> Result<usize> {
        let mut ended = std::mem::take(&mut self.body.ended);
        let count = ended.len();
        for (id, code) in ended.drain(..) {
            self.ring.close(id)?;
            self.body.on_ended(id, code);
        }
        self.body.ended = ended;
        Ok(count)
    }

    fn publish(&mut self) {
        self.desk.set_unacked(self.body.unacked());
        if self.body.now() >= self.publish_due {
            self.publish_due = self.body.now() + PUBLISH;
            let snapshot = self.body.snapshot();
            self.desk.publish(snapshot);
        }
    }
}

/// A socket whose connection is under way.
fn open_socket(address: SocketAddr, source: Option<SocketAddr>) -> std::io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
