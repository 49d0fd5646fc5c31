//! Deliveries: one event for many receivers, by a shard in this process and by the floor, a loop that sends the encoded
//! frame to one socket after the other. The calling thread plays the backbone; a sink on the second core reads.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use hub_edge::admission::Gate;
use hub_edge::auth::{Caller, Verifier};
use hub_edge::config::{Config, Overrides};
use hub_edge::counters::SharedCounters;
use hub_edge::mailbox::{BackboneEnd, MailboxEnd, Offer, ToBackbone, ToShard, mailbox};
use hub_edge::memory::Memory;
use hub_edge::node;
use hub_edge::shard::{Agreed, Mode, Shard, ShardSettings};
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::partition::Partitions;
use hub_protocol::seal::Sealer;
use hub_protocol::{LoginId, NodeId, RoomId, UserId};
use hub_ws::frame::{Header, Opcode};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::cpu;

/// Reads everything that comes to its sockets, and counts.
pub struct Sink {
    add: Sender<TcpStream>,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    /// Starts the thread, on the second core if there is one.
    pub fn start() -> Result<Self> {
        let (add, added) = channel();
        let bytes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&bytes);
        thread::Builder::new().spawn(move || drain(&added, &count))?;
        Ok(Self { add, bytes })
    }

    /// A connected pair: the sink has one end.
    fn pair(&self, listener: &TcpListener) -> Result<TcpStream> {
        let client = TcpStream::connect(listener.local_addr()?)?;
        client.set_nonblocking(true)?;
        let ours = listener.accept()?.0;
        ours.set_nodelay(true)?;
        ours.set_nonblocking(true)?;
        self.add.send(client).context("the sink has ended")?;
        Ok(ours)
    }

    /// Bytes so far.
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for so many bytes since `start`.
    fn wait(&self, start: u64, bytes: u64) -> Result<()> {
        while self.bytes() < start + bytes {
            thread::sleep(Duration::from_micros(200));
        }
        ensure!(self.bytes() == start + bytes, "more came than was sent");
        Ok(())
    }
}

fn drain(added: &Receiver<TcpStream>, bytes: &AtomicU64) -> Result<()> {
    pin(1);
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut streams: HashMap<u64, TcpStream> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(1024);
    loop {
        while let Ok(stream) = added.try_recv() {
            next += 1;
            epoll::add(&poll, &stream, EventData::new_u64(next), EventFlags::IN)?;
            streams.insert(next, stream);
        }
        events.clear();
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        epoll::wait(&poll, spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            let id = event.data.u64();
            let stream = streams.get_mut(&id).context("an unknown socket")?;
            if let Ok(len @ 1..) = stream.read(&mut buffer) {
                bytes.fetch_add(u64::try_from(len)?, Ordering::Relaxed);
            } else {
                streams.remove(&id);
            }
        }
    }
}

/// A server of deliveries.
pub trait Deliverer {
    /// Sends a burst to every receiver and waits until the sink has it; nanoseconds of CPU time of the serving thread.
    fn deliver(&mut self, sink: &Sink) -> Result<u64>;
}

/// The floor.
pub struct Floor {
    go: Sender<()>,
    done: Receiver<u64>,
    bytes: u64,
}

impl Floor {
    /// Opens its receivers.
    pub fn open(sink: &Sink, receivers: usize, burst: usize, bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut sockets = (0..receivers)
            .map(|_| sink.pair(&listener))
            .collect::<Result<Vec<_>>>()?;
        let mut frame = Header::server(Opcode::Text, bytes).as_slice().to_vec();
        frame.resize(frame.len() + bytes, b'y');
        let frames = frame.repeat(burst);
        let total = u64::try_from(frames.len() * receivers)?;
        let (go, started) = channel();
        let (finished, done) = channel();
        thread::Builder::new().spawn(move || -> Result<()> {
            pin(0);
            while started.recv().is_ok() {
                let before = cpu::of_this_thread()?;
                for socket in &mut sockets {
                    socket.write_all(&frames)?;
                }
                finished.send(cpu::of_this_thread()? - before)?;
            }
            Ok(())
        })?;
        Ok(Self {
            go,
            done,
            bytes: total,
        })
    }
}

impl Deliverer for Floor {
    fn deliver(&mut self, sink: &Sink) -> Result<u64> {
        let start = sink.bytes();
        self.go.send(())?;
        let spent = self.done.recv()?;
        sink.wait(start, self.bytes)?;
        Ok(spent)
    }
}

/// A shard with open sessions.
pub struct OneShard {
    backbone: BackboneEnd,
    batch: Bytes,
    bytes: u64,
    thread: u32,
}

impl OneShard {
    /// Starts a shard and opens a session for every receiver.
    pub fn open(sink: &Sink, receivers: usize, burst: usize, bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (mail, backbone) = mailbox(Arc::new(Notify::new()));
        let node = NodeId(7);
        backbone.notice(ToShard::Node(node));
        backbone.notice(ToShard::Meta {
            partitions: Partitions {
                auth: 1,
                chat: 8,
                user: 1,
            },
            epoch: "bench".to_owned(),
        });
        backbone.notice(ToShard::Backbone { is_up: true });
        let (hand, handed) = channel();
        let (says, said) = channel();
        thread::Builder::new().spawn(move || -> Result<()> {
            pin(0);
            says.send(cpu::this_thread())?;
            monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .enable_timer()
                .build()?
                .block_on(serve(mail, handed))
        })?;
        let thread = said.recv()?;
        let mut targets = Vec::with_capacity(receivers);
        let mut items = VecDeque::new();
        for _ in 0..receivers {
            hand.send(sink.pair(&listener)?)?;
            // The descriptors of pairs are few: the next one when this one is in the ring.
            let before = targets.len();
            while targets.len() == before {
                backbone.wake();
                thread::yield_now();
                backbone.take(&mut items);
                for item in items.drain(..) {
                    if let ToBackbone::Register { user, address, .. } = item {
                        targets.push(Target::new(address, user));
                        backbone.notice(ToShard::Registered {
                            slot: address.slot,
                            generation: address.generation,
                            was_missing: false,
                            sweep: false,
                        });
                    }
                }
            }
        }
        backbone.wake();
        let mut writer = DownlinkWriter::new(node);
        let body = vec![b'y'; bytes];
        for seq in 0..u64::try_from(burst)? {
            let room = RoomId(Uuid::from_u128(1));
            writer.push(EntryKind::Event { room, seq }, &targets, &body);
        }
        let frame = Header::server(Opcode::Text, bytes).as_slice().len() + bytes;
        // The answers to the openings have come by then.
        thread::sleep(Duration::from_millis(500));
        Ok(Self {
            backbone,
            batch: Bytes::from(writer.take()),
            bytes: u64::try_from(frame * burst * receivers)?,
            thread,
        })
    }
}

impl Deliverer for OneShard {
    fn deliver(&mut self, sink: &Sink) -> Result<u64> {
        let start = sink.bytes();
        let before = cpu::of_thread(self.thread)?;
        ensure!(
            self.backbone.offer(self.batch.clone()) == Offer::Queued,
            "the mailbox is full"
        );
        self.backbone.wake();
        sink.wait(start, self.bytes)?;
        Ok(cpu::of_thread(self.thread)? - before)
    }
}

async fn serve(mail: MailboxEnd, handed: Receiver<TcpStream>) -> Result<()> {
    let memory = Memory::new(0);
    let gate = Gate::new(0, 0, Arc::clone(&memory));
    let shard = Shard::new(
        settings(&memory)?,
        Arc::new(Verifier::new(HashMap::new(), 5)),
        Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])])?),
        mail,
        Arc::new(SharedCounters::default()),
    )?;
    let running = {
        let shard = shard.clone();
        monoio::spawn(async move { shard.run().await })
    };
    // The first turn takes what the backbone said before.
    monoio::time::sleep(Duration::from_millis(1)).await;
    for number in 1.. {
        let socket = loop {
            match handed.try_recv() {
                Ok(socket) => break Some(socket),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => break None,
                Err(std::sync::mpsc::TryRecvError::Empty) => {
                    monoio::time::sleep(Duration::from_micros(100)).await;
                }
            }
        };
        let Some(socket) = socket else { break };
        let caller = Caller {
            user: UserId(Uuid::from_u128(number)),
            login: LoginId::NIL,
            expires_at: u64::MAX / 2,
        };
        let agreed = Agreed {
            mode: Mode::Chat,
            deflate: None,
            tls: None,
        };
        let ticket = gate.admit(socket.peer_addr()?.ip());
        let ticket = ticket.map_err(|refusal| anyhow!("not admitted: {refusal:?}"))?;
        shard.adopt(socket.into(), &[], Some(caller), agreed, ticket)?;
    }
    running.await?;
    Ok(())
}

/// The defaults, but for deadlines of clients that say nothing.
fn settings(memory: &Arc<Memory>) -> Result<ShardSettings> {
    let config = Config::load(None, &Overrides::default())?;
    Ok(ShardSettings {
        ping: Duration::from_mins(10),
        idle: Duration::from_mins(20),
        ..node::settings(0, &config, memory)
    })
}

/// Binds this thread to a core, if there is that many.
fn pin(core: usize) {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.get(core).copied()) {
        core_affinity::set_for_current(core);
    }
}
