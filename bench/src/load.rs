//! The load: every connection sends a burst of messages, waits for all of their echoes, and sends again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hub_ws::frame::{Header, Opcode, push_masked};
use hub_ws::handshake::{read_response, write_request};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// What the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speech {
    /// The same bytes come back.
    Raw,
    /// WebSocket frames, at this path.
    WebSocket(&'static str),
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Messages that a connection sends before it waits.
    pub in_flight: usize,
    /// Bytes of a message.
    pub bytes: usize,
}

struct Line {
    stream: TcpStream,
    missing: usize,
}

/// Connections that are open and ready.
pub struct Load {
    lines: Vec<Line>,
    /// What a connection sends at once, and how many bytes come back for it.
    burst: Vec<u8>,
    answer_bytes: usize,
    shape: Shape,
}

impl Load {
    /// Opens all connections.
    pub fn open(server: SocketAddr, speech: Speech, shape: Shape) -> Result<Self> {
        let mut lines = Vec::with_capacity(shape.connections);
        for _ in 0..shape.connections {
            let mut stream = TcpStream::connect(server).context("cannot connect")?;
            stream.set_nodelay(true)?;
            if let Speech::WebSocket(path) = speech {
                upgrade(&mut stream, path)?;
            }
            stream.set_nonblocking(true)?;
            lines.push(Line { stream, missing: 0 });
        }
        let mut frame = Vec::new();
        let payload = vec![b'x'; shape.bytes];
        push_masked(&mut frame, Opcode::Text, &payload, [0x12, 0x34, 0x56, 0x78]);
        let answer_bytes = match speech {
            Speech::Raw => frame.len(),
            Speech::WebSocket(_) => Header::server(Opcode::Text, shape.bytes).as_slice().len() + shape.bytes,
        };
        Ok(Self {
            lines,
            burst: frame.repeat(shape.in_flight),
            answer_bytes: answer_bytes * shape.in_flight,
            shape,
        })
    }

    /// Sends for a while; returns the number of messages that came back.
    pub fn run(&mut self, length: Duration) -> Result<u64> {
        let end = Instant::now() + length;
        self.run_until(|_| Instant::now() >= end)
    }

    /// Sends about so many messages, and waits for all of them; returns how many it were.
    pub fn run_messages(&mut self, messages: u64) -> Result<u64> {
        let bursts = messages / u64::try_from(self.shape.in_flight)?;
        // Every connection waits for the burst that it has sent last.
        let last = u64::try_from(self.lines.len())?;
        self.run_until(|done| done + last > bursts)
    }

    /// Sends until `is_over` says so to the number of bursts that came back.
    fn run_until(&mut self, is_over: impl Fn(u64) -> bool) -> Result<u64> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, line) in (0_u64..).zip(&self.lines) {
            epoll::add(&poll, &line.stream, EventData::new_u64(index), EventFlags::IN)?;
        }
        let mut buffer = vec![0; 256 * 1024];
        let mut events = Vec::with_capacity(1024);
        let (mut bursts, mut open) = (0_u64, self.lines.len());
        for line in &mut self.lines {
            line.missing = self.answer_bytes;
            write_all(&mut line.stream, &self.burst)?;
        }
        while open > 0 {
            events.clear();
            epoll::wait(&poll, spare_capacity(&mut events), None)?;
            let is_over = is_over(bursts);
            for event in &events {
                let index = usize::try_from(event.data.u64())?;
                let line = self.lines.get_mut(index).context("an unknown connection")?;
                match line.stream.read(&mut buffer) {
                    Ok(0) => bail!("the server closed a connection"),
                    Ok(len) if len > line.missing => bail!("more came back than was sent"),
                    Ok(len) => line.missing -= len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                }
                if line.missing == 0 {
                    bursts += 1;
                    if is_over {
                        open -= 1;
                    } else {
                        line.missing = self.answer_bytes;
                        write_all(&mut line.stream, &self.burst)?;
                    }
                }
            }
        }
        Ok(bursts * u64::try_from(self.shape.in_flight)?)
    }
}

/// Connections that say nothing, plain or under TLS.
pub struct Idle {
    server: SocketAddr,
    path: &'static str,
    tls: Option<Arc<ClientConfig>>,
    open: Vec<TcpStream>,
}

impl Idle {
    /// None yet. `tls`: a folder whose dev.crt is trusted.
    pub fn new(server: SocketAddr, path: &'static str, tls: Option<&Path>) -> Result<Self> {
        let tls = tls.map(trusting).transpose()?;
        Ok(Self {
            server,
            path,
            tls,
            open: Vec::new(),
        })
    }

    /// Closes all of them.
    pub fn drop_all(&mut self) {
        self.open.clear();
    }

    /// Opens more, until there are so many.
    pub fn grow(&mut self, connections: usize) -> Result<()> {
        while self.open.len() < connections {
            let mut stream = TcpStream::connect(self.server).context("cannot connect")?;
            match &self.tls {
                None => upgrade(&mut stream, self.path)?,
                Some(config) => {
                    let name = ServerName::try_from("localhost")?;
                    let mut session = ClientConnection::new(Arc::clone(config), name)?;
                    upgrade(&mut rustls::Stream::new(&mut session, &mut stream), self.path)?;
                }
            }
            self.open.push(stream);
        }
        Ok(())
    }
}

fn trusting(folder: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("dev.crt"))?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A burst fits into an empty socket buffer, nearly always.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn upgrade(stream: &mut (impl Read + Write), path: &str) -> Result<()> {
    let nonce = [7; 16];
    stream.write_all(write_request("bench", path, nonce, None, "").as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while read_response(&head, nonce, None)?.is_none() {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(())
}
