//! The floor: what any server pays that carries these bytes. One thread, level-triggered epoll, one receive and one
//! send per readable connection and turn; no frames, no limits, no slow receivers.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Bytes of one receive.
const BUFFER_BYTES: usize = 512 * 1024;

/// Echoes until the process is killed.
pub fn echo(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let listening = number(listener.as_raw_fd());
    epoll::add(&poll, &listener, EventData::new_u64(listening), EventFlags::IN)?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let id = event.data.u64();
            if id == listening {
                while let Ok((connection, _)) = listener.accept() {
                    connection.set_nodelay(true)?;
                    connection.set_nonblocking(true)?;
                    let id = number(connection.as_raw_fd());
                    epoll::add(&poll, &connection, EventData::new_u64(id), EventFlags::IN)?;
                    connections.insert(id, connection);
                }
            } else if let Some(connection) = connections.get_mut(&id) {
                let is_alive = match connection.read(&mut buffer) {
                    Ok(0) | Err(_) => false,
                    Ok(len) => connection
                        .write_all(buffer.get(..len).unwrap_or_default())
                        .is_ok(),
                };
                if !is_alive {
                    connections.remove(&id);
                }
            }
        }
    }
}

fn number(fd: RawFd) -> u64 {
    u64::try_from(fd).expect("descriptors are not negative")
}
