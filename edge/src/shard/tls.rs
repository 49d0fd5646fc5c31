//! Between the ring and the frames of an encrypted connection. What waits is plaintext, shared with other receivers and
//! shed like theirs; it is encrypted a record at a time, when the kernel is about to take it.

use hub_ring::{ConnectionId, Piece, SegmentWriter};

use super::Now;
use super::table::{Connection, Ending};
use super::world::World;
use crate::outbound::Outbound;
use crate::tls::{RECORD_BYTES_MAX, Session, TlsError};

/// The keys of a connection, and what they have encrypted.
#[derive(Debug)]
pub(super) struct Tls {
    session: Box<Session>,
    /// Records that the kernel has not taken whole. Bound: one of data, and what the session says by itself.
    sealed: Outbound,
    /// The peer was told that nothing more will come.
    is_closed: bool,
}

/// Memory that one connection after the other uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    plain: Vec<u8>,
    cipher: Vec<u8>,
}

impl Tls {
    pub(super) fn new(session: Box<Session>) -> Self {
        Self {
            session,
            sealed: Outbound::default(),
            is_closed: false,
        }
    }
}

impl Connection {
    /// Bytes that wait to be sent.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbound.bytes() + self.tls.as_ref().map_or(0, |tls| tls.sealed.bytes())
    }

    /// Encrypts what goes next, if nothing encrypted waits.
    pub(super) fn seal(&mut self, writer: &mut SegmentWriter, scratch: &mut Scratch) -> Result<(), TlsError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.sealed.is_empty() && !self.outbound.is_empty() {
            scratch.plain.clear();
            scratch.cipher.clear();
            self.outbound.copy_front(&mut scratch.plain, RECORD_BYTES_MAX);
            tls.session.encrypt(&scratch.plain, &mut scratch.cipher)?;
            self.outbound.advance(scratch.plain.len());
            tls.sealed.push(&writer.append(&[&scratch.cipher]));
        }
        Ok(())
    }

    /// Copies what the next send takes into `pieces`.
    pub(super) fn front(&self, pieces: &mut Vec<Piece>) {
        self.tls
            .as_ref()
            .map_or(&self.outbound, |tls| &tls.sealed)
            .front(pieces);
    }

    /// The kernel took this many bytes of the [`front`](Self::front).
    pub(super) fn advance(&mut self, taken: usize) {
        self.sending().advance(taken);
    }

    /// The kernel took all of it.
    pub(super) fn advance_front(&mut self) {
        self.sending().advance_front();
    }

    fn sending(&mut self) -> &mut Outbound {
        match &mut self.tls {
            Some(tls) => &mut tls.sealed,
            None => &mut self.outbound,
        }
    }
}

impl World {
    /// Bytes of a connection as they came from the kernel.
    pub(super) fn on_received(&mut self, id: ConnectionId, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let Some(mut tls) = connection.tls.take() else {
            return self.on_bytes(id, bytes, now);
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.plain.clear();
        scratch.cipher.clear();
        let result = tls
            .session
            .receive(bytes, &mut scratch.plain, &mut scratch.cipher);
        let is_peer_closed = tls.session.is_peer_closed();
        if !scratch.cipher.is_empty() {
            tls.sealed.push(&self.writer.append(&[&scratch.cipher]));
            self.touch(id);
        }
        if let Some(connection) = self.table.find(id) {
            connection.tls = Some(tls);
        }
        if !scratch.plain.is_empty() {
            self.on_bytes(id, &mut scratch.plain, now);
        }
        self.scratch = scratch;
        if let Err(error) = result {
            tracing::debug!(%error, "a connection is closed");
            self.counters.closed_tls += 1;
            self.end_when_sent(id, now);
        } else if is_peer_closed {
            self.on_gone(id);
        }
    }

    /// Everything was sent: ends the connection, or our half of it, under TLS after the alert that says so.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        let writer = &mut self.writer;
        if let Some(tls) = self.table.find(id).and_then(|connection| connection.tls.as_mut())
            && !std::mem::replace(&mut tls.is_closed, true)
        {
            self.scratch.cipher.clear();
            if tls.session.close(&mut self.scratch.cipher).is_ok() {
                tls.sealed.push(&writer.append(&[&self.scratch.cipher]));
                return self.touch(id);
            }
        }
        match self.table.find(id) {
            Some(connection) if connection.ending == Ending::HalfWhenSent => {
                connection.ending = Ending::Half;
                self.half_ends.push(id);
            }
            _ => self.end(id),
        }
    }
}
