//! The receive arena: one prefaulted piece of memory per ring, cut into slices. Bytes are parsed where they landed.

use crate::table::ConnectionId;

/// What a connection gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// Bytes, and behind them [`Received::padding`] readable bytes of any content: the slice holds both.
    Bytes(&'a mut [u8]),
    /// The peer sends no more. Told once: nothing of this connection follows.
    Eof,
    /// The connection is broken; the number of the error. Told once, as [`Eof`](Self::Eof) is.
    Error(i32),
}

/// One connection's part of a receive.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who.
    pub id: ConnectionId,
    /// How many of the bytes in `inbound` were received; the rest is padding.
    pub len: usize,
    /// What.
    pub inbound: Inbound<'a>,
}

impl Received<'_> {
    /// Bytes behind the received ones.
    pub fn padding(&self) -> usize {
        match &self.inbound {
            Inbound::Bytes(bytes) => bytes.len() - self.len,
            Inbound::Eof | Inbound::Error(_) => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    /// Who receives into each slice, and the result once it is in.
    owners: Vec<(ConnectionId, Option<i32>)>,
    stride: usize,
    slice_bytes: u32,
    /// Slices in use.
    used: usize,
    /// Slices handed out.
    walked: usize,
}

impl Arena {
    pub(crate) fn new(slices: u16, slice_bytes: u32, padding: u32) -> Self {
        let stride = slice_bytes as usize + padding as usize;
        let nobody = ConnectionId {
            slot: u32::MAX,
            generation: 0,
        };
        Self {
            // Written once, so that no page fault hits a message.
            bytes: vec![0xFF; stride * usize::from(slices)],
            owners: vec![(nobody, None); usize::from(slices)],
            stride,
            slice_bytes,
            used: 0,
            walked: 0,
        }
    }

    pub(crate) fn slices(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn slice_bytes(&self) -> u32 {
        self.slice_bytes
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.walked = 0;
    }

    /// The next free slice for a connection, and its index.
    pub(crate) fn lend(&mut self, id: ConnectionId) -> (u32, &mut [u8]) {
        let index = self.used;
        self.owners[index] = (id, None);
        self.used += 1;
        let start = index * self.stride;
        (
            u32::try_from(index).expect("slices are counted in u16"),
            &mut self.bytes[start..start + self.slice_bytes as usize],
        )
    }

    /// The result of a slice; returns its owner.
    pub(crate) fn finish(&mut self, index: u32, result: i32) -> Option<ConnectionId> {
        let owner = self.owners.get_mut(index as usize)?;
        owner.1 = Some(result);
        Some(owner.0)
    }

    /// True for a receive that found nothing, which is no end.
    pub(crate) fn is_empty_handed(result: i32) -> bool {
        result == -libc::EAGAIN || result == -libc::EINTR
    }

    /// True if the kernel has answered for every slice that was lent.
    pub(crate) fn is_finished(&self) -> bool {
        self.owners[..self.used]
            .iter()
            .all(|(_, result)| result.is_some())
    }

    /// The next slice in order; empty receives are passed over.
    pub(crate) fn next(&mut self) -> Option<Received<'_>> {
        while self.walked < self.used {
            let index = self.walked;
            self.walked += 1;
            let (id, result) = self.owners[index];
            let result = result?;
            if Self::is_empty_handed(result) {
                continue;
            }
            let Ok(len) = usize::try_from(result) else {
                return Some(Received {
                    id,
                    len: 0,
                    inbound: Inbound::Error(-result),
                });
            };
            if len == 0 {
                return Some(Received {
                    id,
                    len: 0,
                    inbound: Inbound::Eof,
                });
            }
            let padding = self.stride - self.slice_bytes as usize;
            let start = index * self.stride;
            let bytes = &mut self.bytes[start..start + len + padding];
            return Some(Received {
                id,
                len,
                inbound: Inbound::Bytes(bytes),
            });
        }
        None
    }
}
