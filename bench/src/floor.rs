//! The floor: what any server pays that carries these bytes. One thread, level-triggered epoll, one receive and one
//! send per readable connection and turn; no frames, no limits, no slow receivers. Two orders of them: an answer behind
//! each receive, or, like the turns of the edge, all receives first and then all sends, so that the load finds more
//! answers when it wakes and the server more messages when it does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::Result;
use clap::ValueEnum;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::cpu;

/// Bytes of one receive.
const BUFFER_BYTES: usize = 512 * 1024;

/// When an answer is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Order {
    /// Behind its receive.
    AtOnce,
    /// Behind all receives of the turn.
    InTurns,
}

/// Echoes until the process is killed.
pub fn echo(listen: SocketAddr, order: Order) -> Result<()> {
    cpu::pin(0);
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let listening = usize::try_from(listener.as_raw_fd())?;
    epoll::add(&poll, &listener, data(listening)?, EventFlags::IN)?;
    // By number of the descriptor.
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(1024);
    // Connection, start and end of what it is to get back.
    let mut answers: Vec<(usize, usize, usize)> = Vec::new();
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let id = usize::try_from(event.data.u64())?;
            if id == listening {
                while let Ok((connection, _)) = listener.accept() {
                    connection.set_nodelay(true)?;
                    connection.set_nonblocking(true)?;
                    let id = usize::try_from(connection.as_raw_fd())?;
                    epoll::add(&poll, &connection, data(id)?, EventFlags::IN)?;
                    if connections.len() <= id {
                        connections.resize_with(id + 1, || None);
                    }
                    connections[id] = Some(connection);
                }
            } else if let Some(Some(connection)) = connections.get_mut(id) {
                // A full buffer ends the turn of the others early; level-triggered epoll shows them again.
                let used = answers.last().map_or(0, |(_, _, end)| *end);
                let is_alive = match connection.read(buffer.get_mut(used..).unwrap_or_default()) {
                    Err(_) => false,
                    Ok(0) => used == BUFFER_BYTES,
                    Ok(len) => {
                        answers.push((id, used, used + len));
                        true
                    }
                };
                if !is_alive {
                    connections[id] = None;
                }
                if order == Order::AtOnce {
                    send_all(&mut connections, &mut answers, &buffer);
                }
            }
        }
        send_all(&mut connections, &mut answers, &buffer);
    }
}

fn send_all(connections: &mut [Option<TcpStream>], answers: &mut Vec<(usize, usize, usize)>, buffer: &[u8]) {
    for (id, start, end) in answers.drain(..) {
        let Some(place) = connections.get_mut(id) else {
            continue;
        };
        let answer = buffer.get(start..end).unwrap_or_default();
        if place
            .as_mut()
            .is_some_and(|connection| connection.write_all(answer).is_err())
        {
            *place = None;
        }
    }
}

fn data(id: usize) -> Result<EventData> {
    Ok(EventData::new_u64(u64::try_from(id)?))
}
