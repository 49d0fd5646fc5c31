//! A shard with open sessions. The calling thread plays the backbone; the shard runs in a thread of its own.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use hub_edge::admission::Gate;
use hub_edge::auth::{Caller, Verifier};
use hub_edge::config::{Config, Overrides};
use hub_edge::counters::{SharedCounters, Value};
use hub_edge::mailbox::{BackboneEnd, MailboxEnd, Offer, ToBackbone, ToShard, mailbox};
use hub_edge::memory::Memory;
use hub_edge::shard::{Agreed, Mode, Shard, ShardSettings};
use hub_edge::{node, runtime};
use hub_protocol::batch::downlink::{DownlinkWriter, EntryKind, Target};
use hub_protocol::partition::Partitions;
use hub_protocol::seal::Sealer;
use hub_protocol::{LoginId, NodeId, RoomId, UserId};
use hub_ring::Engine;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::cpu;

/// The node that the shard belongs to.
const NODE: NodeId = NodeId(7);

/// A shard and the backbone's end of its mailbox.
pub struct OneShard {
    backbone: BackboneEnd,
    hand: Sender<TcpStream>,
    counters: Arc<SharedCounters>,
    thread: u32,
    targets: Vec<Target>,
    /// Events so far.
    seq: u64,
}

impl OneShard {
    /// Starts a shard that will be given so many connections. `outbound_bytes_max`: of one of them, 0 for the default.
    pub fn start(engine: Engine, receivers: usize, outbound_bytes_max: usize) -> Result<Self> {
        let (mail, backbone) = mailbox(Arc::new(Notify::new()));
        backbone.notice(ToShard::Node(NODE));
        backbone.notice(ToShard::Meta {
            partitions: Partitions {
                auth: 1,
                chat: 8,
                user: 1,
            },
            epoch: "bench".to_owned(),
        });
        backbone.notice(ToShard::Backbone { is_up: true });
        let counters = Arc::new(SharedCounters::default());
        let (hand, handed) = channel();
        let (says, said) = channel();
        let shared = Arc::clone(&counters);
        thread::Builder::new().spawn(move || -> Result<()> {
            says.send(cpu::this_thread())?;
            let settings = settings(engine, outbound_bytes_max)?;
            runtime::block_on(engine, serve(settings, receivers, mail, handed, shared))?
        })?;
        Ok(Self {
            backbone,
            hand,
            counters,
            thread: said.recv()?,
            targets: Vec::new(),
            seq: 0,
        })
    }

    /// The thread that serves.
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Opens a session on a connection; its answer is sent when this returns, or soon after.
    pub fn open(&mut self, socket: TcpStream) -> Result<()> {
        self.hand.send(socket).context("the shard has ended")?;
        let mut items = VecDeque::new();
        let sessions = self.targets.len();
        while self.targets.len() == sessions {
            self.backbone.wake();
            thread::sleep(Duration::from_micros(50));
            self.backbone.take(&mut items);
            for item in items.drain(..) {
                if let ToBackbone::Register { user, address, .. } = item {
                    self.targets.push(Target::new(address, user));
                    self.backbone.notice(ToShard::Registered {
                        slot: address.slot,
                        generation: address.generation,
                        was_missing: false,
                        sweep: false,
                    });
                }
            }
        }
        self.backbone.wake();
        Ok(())
    }

    /// Hands the shard one batch of events for every session.
    pub fn deliver(&mut self, body: &[u8], burst: usize) -> Result<()> {
        let mut writer = DownlinkWriter::new(NODE);
        let room = RoomId(Uuid::from_u128(1));
        for _ in 0..burst {
            self.seq += 1;
            writer.push(EntryKind::Event { room, seq: self.seq }, &self.targets, body);
        }
        let batch = Bytes::from(writer.take());
        ensure!(self.backbone.offer(batch) == Offer::Queued, "the mailbox is full");
        self.backbone.wake();
        Ok(())
    }

    /// A counter or gauge of the shard, as `/metrics` names it; 0 if there is none of this name.
    pub fn counter(&self, name: &str) -> u64 {
        let readings = self.counters.read();
        let reading = readings.into_iter().find(|reading| reading.name == name);
        match reading.map(|reading| reading.value) {
            Some(Value::Counter(value) | Value::Gauge(value)) => value,
            _ => 0,
        }
    }
}

async fn serve(
    settings: ShardSettings,
    receivers: usize,
    mail: MailboxEnd,
    handed: Receiver<TcpStream>,
    counters: Arc<SharedCounters>,
) -> Result<()> {
    let gate = Gate::new(0, 0, Arc::clone(&settings.memory));
    let shard = Shard::new(
        settings,
        Arc::new(Verifier::new(HashMap::new(), 5)),
        Arc::new(Sealer::new([("k".to_owned(), vec![1; 32])])?),
        mail,
        counters,
    )?;
    let running = {
        let shard = shard.clone();
        monoio::spawn(async move { shard.run().await })
    };
    // The first turn takes what the backbone said before.
    monoio::time::sleep(Duration::from_millis(1)).await;
    for number in 1..=u128::try_from(receivers)? {
        let socket = loop {
            match handed.try_recv() {
                Ok(socket) => break Some(socket),
                Err(TryRecvError::Disconnected) => break None,
                Err(TryRecvError::Empty) => monoio::time::sleep(Duration::from_micros(100)).await,
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
fn settings(engine: Engine, outbound_bytes_max: usize) -> Result<ShardSettings> {
    let config = Config::load(None, &Overrides::default())?;
    let mut settings = node::settings(0, &config, &Memory::new(0));
    settings.ring.engine = engine;
    settings.ping = Duration::from_mins(10);
    settings.idle = Duration::from_mins(20);
    if outbound_bytes_max > 0 {
        settings.outbound_bytes_max = outbound_bytes_max;
    }
    Ok(settings)
}
