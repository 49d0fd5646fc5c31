//! The turn of a shard: the data ring, and what it moves.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use hub_protocol::batch::DownlinkBatch;
use hub_protocol::seal::Sealer;
use hub_ring::{ConnectionId, Inbound, Piece, Ready, Ring, Short, WakeHandle};

use super::call::{Answer, Call};
use super::meter::{Meter, micros};
use super::table::{Connection, Row, State};
use super::tls::Tls;
use super::world::World;
use super::{Agreed, Mode, Now, Refused, ShardError, ShardSettings};
use crate::admission::Ticket;
use crate::auth::{Caller, Verifier};
use crate::counters::SharedCounters;
use crate::mailbox::{MailboxEnd, ToBackbone, ToShard};
use crate::uplink::Uplink;

/// Counters are copied out this often, milliseconds.
const PUBLISH_MS: u64 = 100;

/// Everything of one shard.
pub(super) struct Core {
    ring: Ring,
    world: World,
    mailbox: MailboxEnd,
    shared: Arc<SharedCounters>,
    published_ms: u64,
    meter: Meter,
    is_drained: bool,
    // Lists that keep their memory from turn to turn.
    ready: Ready,
    mail: VecDeque<ToShard>,
    due: Vec<ConnectionId>,
    touched: Vec<ConnectionId>,
    pieces: Vec<Piece>,
    shorts: Vec<(ConnectionId, Short)>,
}

impl Core {
    pub(super) fn new(
        settings: ShardSettings,
        verifier: Arc<Verifier>,
        sealer: Arc<Sealer>,
        mailbox: MailboxEnd,
        shared: Arc<SharedCounters>,
    ) -> Result<Self, ShardError> {
        let ring = Ring::new(&settings.ring)?;
        mailbox.attach(ring.wake_handle());
        Ok(Self {
            world: World::new(settings, verifier, sealer, ring.connections_max()),
            ring,
            mailbox,
            shared,
            published_ms: 0,
            meter: Meter::default(),
            is_drained: false,
            ready: Ready::default(),
            mail: VecDeque::new(),
            due: Vec::new(),
            touched: Vec::new(),
            pieces: Vec::new(),
            shorts: Vec::new(),
        })
    }

    pub(super) fn wake_handle(&self) -> WakeHandle {
        self.ring.wake_handle()
    }

    pub(super) fn event_fd(&self) -> io::Result<OwnedFd> {
        self.ring.event_fd()
    }

    pub(super) fn clear_wake(&self) {
        self.ring.clear_wake();
    }

    pub(super) fn connections(&self) -> u32 {
        self.world.table.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.world.table.is_full()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.world.is_draining()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.world.is_ending()
    }

    /// True once a drain is complete.
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    pub(super) fn adopt(
        &mut self,
        socket: OwnedFd,
        early: &[u8],
        caller: Option<Caller>,
        (agreed, ticket): (Agreed, Ticket),
        now: Now,
    ) -> Result<(), Refused> {
        if self.world.is_draining() {
            return Err(Refused::Draining);
        }
        let state = match agreed.mode {
            Mode::Chat => State::Waiting,
            Mode::Echo => State::Echo,
        };
        let settings = &self.world.settings;
        let mut connection = Connection::new(state, settings.rate, settings.byte_rate, now.ms);
        connection.tls = agreed.tls.map(|session| Box::new(Tls::new(session)));
        connection.window_bits = agreed.deflate.map_or(0, |deflate| deflate.window_bits);
        connection.ticket = Some(Box::new(ticket));
        let id = self
            .world
            .table
            .insert(Row::Socket(connection))
            .ok_or(Refused::Full)?;
        if let Err(error) = self.ring.attach(socket, id) {
            self.world.table.remove(id);
            return Err(error.into());
        }
        self.world.counters.connections += 1;
        self.world.counters.handshakes += 1;
        self.world.watch(id, now);
        if let Some(caller) = caller.filter(|_| agreed.mode == Mode::Chat) {
            // The answer to an opening by header has the id 0.
            self.world.try_open_session(id, 0, caller, now);
        }
        if !early.is_empty() {
            self.world.on_bytes(id, &mut early.to_vec(), now);
        }
        Ok(())
    }

    pub(super) fn start_call(
        &mut self,
        caller: Option<Caller>,
        address: IpAddr,
        body: &[u8],
        now: Now,
    ) -> Result<Rc<Call>, Answer> {
        self.world.start_call(caller, address, body, now)
    }

    /// One pass; true if there is more to do at once.
    pub(super) fn turn(&mut self, now: Now) -> Result<bool, ShardError> {
        self.world.counters.turns += 1;
        let mut has_more = self.take_mail(now)?;
        has_more |= self.ring.reap(&mut self.ready)? > 0;
        for id in self.ready.released.drain(..) {
            self.world.table.remove(id);
        }
        for id in self.ready.writable.drain(..) {
            self.world.on_writable(id);
        }
        self.receive(now)?;
        self.world.wheel.advance(now.ms, &mut self.due);
        for id in self.due.drain(..) {
            self.world.on_due(id, now);
        }
        self.world.advance_drain(now);
        self.world.advance_rooms(now);
        self.send_all(now)?;
        self.world.collect_uplink();
        self.mailbox.send(&mut self.world.to_backbone);
        self.end_connections()?;
        self.publish(now);
        self.finish_drain();
        Ok(has_more || self.ring.has_readable())
    }

    /// Counts what the turn from `start` to `end` has cost.
    pub(super) fn measure(&mut self, start: Now, end: Now) {
        let completed = self.ring.stats().completions;
        self.meter
            .on_turn(&mut self.world.counters, start, end, completed);
    }

    fn take_mail(&mut self, now: Now) -> Result<bool, ShardError> {
        let mut mail = std::mem::take(&mut self.mail);
        if self.mailbox.take(&mut mail) {
            self.world.counters.mailbox_lost += 1;
            self.world.sync_all(now);
        }
        let had_mail = !mail.is_empty();
        self.meter.on_mail(mail.len());
        for item in mail.drain(..) {
            if let ToShard::Downlink { batch, since } = item {
                self.meter.on_downlink(since);
                // The backbone has checked it; a batch that does not parse is a bug and is dropped there.
                let Ok(batch) = DownlinkBatch::parse(&batch) else {
                    continue;
                };
                for entry in batch.iter() {
                    self.world.on_entry(&entry, now);
                    if self.world.has_pressure {
                        // What a fast reader gets in one turn must not count as slowness.
                        self.send_all(now)?;
                    }
                }
            } else {
                self.world.on_notice(item, now);
            }
        }
        self.mail = mail;
        Ok(had_mail)
    }

    fn receive(&mut self, now: Now) -> Result<(), ShardError> {
        let slices = self.ring.slices();
        if self.ring.receive(slices)? == slices && self.ring.has_readable() {
            self.world.counters.receive_exhausted += 1;
        }
        while let Some(received) = self.ring.next_received() {
            let (id, len) = (received.id, received.len);
            match received.inbound {
                Inbound::Bytes(bytes) => {
                    let bytes = bytes.get_mut(..len).unwrap_or_default();
                    self.world.on_received(id, bytes, now);
                }
                Inbound::Eof | Inbound::Error(_) => self.world.on_gone(id),
            }
        }
        Ok(())
    }

    /// One send per touched connection, then what was short.
    fn send_all(&mut self, now: Now) -> Result<(), ShardError> {
        self.world.has_pressure = false;
        // A bump that a drained queue lets through is a frame of its own, so there may be a second round.
        while !self.world.touched.is_empty() {
            std::mem::swap(&mut self.touched, &mut self.world.touched);
            for &id in &self.touched {
                let World {
                    table,
                    writer,
                    scratch,
                    ..
                } = &mut self.world;
                let Some(connection) = table.find(id) else {
                    continue;
                };
                connection.is_touched = false;
                if connection.is_blocked || connection.waiting_bytes() == 0 {
                    continue;
                }
                if let Err(error) = connection.seal(writer, scratch) {
                    tracing::debug!(%error, "a connection is closed");
                    self.world.on_gone(id);
                    continue;
                }
                connection.front(&mut self.pieces);
                let queued = self.ring.send(id, &self.pieces)?;
                debug_assert!(
                    queued == self.pieces.len() || queued == 0,
                    "one send takes what the queue offers"
                );
            }
            self.pieces.clear();
            self.ring.flush(|id, short| self.shorts.push((id, short)))?;
            self.account()?;
            for id in self.touched.drain(..) {
                self.world.after_send(id, now);
            }
        }
        Ok(())
    }

    /// Takes what was sent off the queues: silence means that the whole front was taken.
    fn account(&mut self) -> Result<(), ShardError> {
        for &(id, short) in &self.shorts {
            match short {
                Short::Taken(bytes) => {
                    if let Some(connection) = self.world.table.find(id) {
                        connection.advance(bytes);
                        connection.is_blocked = true;
                        self.ring.await_writable(id)?;
                    }
                }
                Short::Error(_) => self.world.on_gone(id),
            }
        }
        self.shorts.clear();
        for &id in &self.touched {
            if let Some(connection) = self.world.table.find(id)
                && !connection.is_blocked
            {
                connection.advance_front();
            }
        }
        Ok(())
    }

    fn end_connections(&mut self) -> Result<(), ShardError> {
        while let Some(id) = self.world.half_ends.pop() {
            self.ring.shutdown(id)?;
        }
        while let Some(id) = self.world.ends.pop() {
            self.ring.close(id)?;
        }
        Ok(())
    }

    fn publish(&mut self, now: Now) {
        if now.ms < self.published_ms + PUBLISH_MS {
            return;
        }
        self.published_ms = now.ms;
        self.world.relieve();
        let stats = *self.ring.stats();
        let counters = &mut self.world.counters;
        counters.enters = stats.enters;
        counters.completions = stats.completions;
        counters.received_bytes = stats.received_bytes;
        counters.sent_bytes = stats.sent_bytes;
        counters.sends = stats.sends;
        counters.short_sends = stats.short_sends;
        counters.rearms = stats.rearms;
        counters.outbound_bytes = self.world.waiting_bytes as u64;
        let uplink = self.world.uplink.as_ref();
        counters.uplink_pending_bytes = uplink.map_or(0, Uplink::pending_bytes) as u64;
        let oldest = uplink.and_then(Uplink::oldest);
        counters.uplink_oldest_us = oldest.map_or(0, |oldest| micros(now.at - oldest));
        let (rooms, attachments) = self.world.rooms.count();
        counters.large_rooms = rooms as u64;
        counters.room_attachments = attachments as u64;
        counters.draining = u64::from(self.world.drain.is_some());
        self.meter.fill(counters, now);
        self.shared.publish(counters);
    }

    fn finish_drain(&mut self) {
        if self.world.is_ending() && !self.is_drained && self.world.is_empty() {
            self.is_drained = true;
            let mut last = VecDeque::from([ToBackbone::Drained]);
            self.mailbox.send(&mut last);
        }
    }
}
