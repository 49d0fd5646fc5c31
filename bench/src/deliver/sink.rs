//! The receivers' end: it connects all of them, and then does what its input says, line by line.
//!
//! | line | does |
//! |---|---|
//! | `await BYTES` | reads until so many bytes have come in all, and says `done` |
//! | `listen MS` | reads stamped events for so long, and says `latency P50 P99 P999 COUNT`, microseconds |
//!
//! While it listens, the first `narrow` receivers are read slowly, if `slow_bytes_per_second` is set; none of these
//! counts for the latencies, slow or not.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use socket2::{Domain, Socket, Type};

use super::server::{STAMP_BYTES, clock};
use crate::cpu;

/// Between two helpings of a slow receiver.
const SIP: Duration = Duration::from_millis(100);

/// What the receivers are to be.
#[derive(Args, Clone, Debug)]
pub struct SinkOptions {
    /// How many.
    #[arg(long)]
    pub receivers: usize,
    /// A server of sessions says something on each connection first.
    #[arg(long)]
    pub sessions: bool,
    /// Bytes of an event on the wire.
    #[arg(long)]
    pub frame_bytes: usize,
    /// So many receivers, the first, get the smallest receive buffer of the kernel.
    #[arg(long, default_value_t = 0)]
    pub narrow: usize,
    /// What each of these reads; 0 is as fast as the others.
    #[arg(long, default_value_t = 0)]
    pub slow_bytes_per_second: usize,
}

impl SinkOptions {
    /// The same as arguments.
    pub fn to_args(&self, server: SocketAddr) -> Vec<String> {
        let mut args = vec![
            server.to_string(),
            format!("--receivers={}", self.receivers),
            format!("--frame-bytes={}", self.frame_bytes),
            format!("--narrow={}", self.narrow),
            format!("--slow-bytes-per-second={}", self.slow_bytes_per_second),
        ];
        if self.sessions {
            args.push("--sessions".to_owned());
        }
        args
    }
}

/// Receives until its input ends.
pub fn run(server: SocketAddr, options: &SinkOptions) -> Result<()> {
    cpu::pin(1);
    let mut sink = Sink::connect(server, options)?;
    say("open")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("await", bytes)) => {
                sink.await_bytes(bytes.parse()?)?;
                say("done")?;
            }
            Some(("listen", ms)) => {
                let [p50, p99, p999, count] = sink.listen(Duration::from_millis(ms.parse()?))?;
                say(&format!("latency {p50} {p99} {p999} {count}"))?;
            }
            _ => bail!("cannot {line:?}"),
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

struct Receiver {
    stream: TcpStream,
    /// The part of an event that has come so far.
    part: Vec<u8>,
}

struct Sink {
    poll: OwnedFd,
    receivers: Vec<Receiver>,
    buffer: Vec<u8>,
    frame_bytes: usize,
    /// The first receivers, which do not count.
    narrow: usize,
    /// What each of them reads at a time; 0 is everything.
    sip_bytes: usize,
}

impl Sink {
    fn connect(server: SocketAddr, options: &SinkOptions) -> Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let sip_bytes = options.slow_bytes_per_second * usize::try_from(SIP.as_millis())? / 1000;
        let mut receivers = Vec::with_capacity(options.receivers);
        for number in 0..options.receivers {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            if number < options.narrow {
                socket.set_recv_buffer_size(1)?;
            }
            socket.connect(&server.into()).context("cannot connect")?;
            let mut stream = TcpStream::from(socket);
            if options.sessions {
                read_frame(&mut stream)?;
            }
            stream.set_nonblocking(true)?;
            if number >= options.narrow || sip_bytes == 0 {
                let data = EventData::new_u64(u64::try_from(number)?);
                epoll::add(&poll, &stream, data, EventFlags::IN)?;
            }
            receivers.push(Receiver {
                stream,
                part: Vec::new(),
            });
        }
        Ok(Self {
            poll,
            receivers,
            buffer: vec![0; 64 * 1024],
            frame_bytes: options.frame_bytes,
            narrow: options.narrow,
            sip_bytes,
        })
    }

    /// Reads until so many bytes have come.
    fn await_bytes(&mut self, bytes: usize) -> Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut missing = bytes;
        while missing > 0 {
            events.clear();
            epoll::wait(&self.poll, spare_capacity(&mut events), None)?;
            for event in &events {
                let receiver = find(&mut self.receivers, event)?;
                let len = read(&mut receiver.stream, &mut self.buffer)?;
                missing = missing.checked_sub(len).context("more came than was sent")?;
            }
        }
        Ok(())
    }

    /// Reads stamped events; latencies in microseconds: median, 99 %, 99.9 %, and how many there were.
    fn listen(&mut self, length: Duration) -> Result<[u64; 4]> {
        let mut events = Vec::with_capacity(1024);
        let mut latencies = Vec::new();
        let end = Instant::now() + length;
        let mut sip_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                break;
            }
            if self.sip_bytes > 0 && now >= sip_at {
                sip_at += SIP;
                self.sip()?;
            }
            events.clear();
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 10_000_000,
            };
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&timeout))?;
            for event in &events {
                let receiver = find(&mut self.receivers, event)?;
                let len = read(&mut receiver.stream, &mut self.buffer)?;
                let now = clock();
                receiver
                    .part
                    .extend_from_slice(self.buffer.get(..len).unwrap_or_default());
                while let Some(sent) = receiver.take(self.frame_bytes)? {
                    if event.data.u64() >= u64::try_from(self.narrow)? {
                        latencies.push(now.saturating_sub(sent) / 1000);
                    }
                }
            }
        }
        latencies.sort_unstable();
        let count = latencies.len();
        ensure!(count > 0, "nothing came");
        let at = |per_mille: usize| latencies[(count - 1) * per_mille / 1000];
        Ok([at(500), at(990), at(999), u64::try_from(count)?])
    }

    /// A helping for every slow receiver.
    fn sip(&mut self) -> Result<()> {
        for receiver in self.receivers.iter_mut().take(self.narrow) {
            let sip = self.buffer.get_mut(..self.sip_bytes).context("a sip is small")?;
            match receiver.stream.read(sip) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Receiver {
    /// Takes a whole event from what has come; the time at which it was sent.
    fn take(&mut self, frame_bytes: usize) -> Result<Option<u64>> {
        if self.part.len() < frame_bytes {
            return Ok(None);
        }
        let frame: Vec<u8> = self.part.drain(..frame_bytes).collect();
        // FIN and text, and a length in two bytes more.
        let stamp = frame
            .strip_prefix(&[0x81, 126])
            .and_then(|rest| rest.get(2..2 + STAMP_BYTES));
        let stamp = stamp.context("what came is no stamped event")?;
        Ok(Some(std::str::from_utf8(stamp)?.parse()?))
    }
}

fn find<'r>(receivers: &'r mut [Receiver], event: &epoll::Event) -> Result<&'r mut Receiver> {
    let number = usize::try_from(event.data.u64())?;
    receivers.get_mut(number).context("an unknown receiver")
}

/// What is there; an end is a failure.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer) {
        Ok(0) => bail!("the server closed a connection"),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Reads one whole frame of a server on a blocking socket.
fn read_frame(stream: &mut TcpStream) -> Result<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut len = usize::from(head[1] & 0x7F);
    ensure!(len < 127, "an opening is shorter than 64 KiB");
    if len == 126 {
        stream.read_exact(&mut head)?;
        len = usize::from(u16::from_be_bytes(head));
    }
    stream.read_exact(&mut vec![0; len])?;
    Ok(())
}
