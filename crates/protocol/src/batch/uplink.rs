//! Edge to services: envelopes, each a call of one connection with its body untouched.

use std::net::{IpAddr, Ipv6Addr};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BatchError, Direction, VERSION_MIN, begin, finish, open, size, take};
use crate::address::Address;
use crate::ids::{LoginId, NodeId, RoomId, SessionId, UserId};
use crate::method::Method;

/// Who calls what. The edge vouches for `user`, `login` and `session`, and for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeHeader {
    /// Where the answer goes.
    pub address: Address,
    /// The client's `id` of the call.
    pub request: u64,
    /// What is called.
    pub method: Method,
    /// The caller; nil for `auth.*` without a session.
    pub user: UserId,
    /// The caller's login; nil like `user`.
    pub login: LoginId,
    /// The caller's session; nil for calls over HTTP, except for methods that are
    /// [HTTP only](Method::is_http_only): see [`origin`](Self::origin).
    pub session: SessionId,
    /// The room; nil for methods without.
    pub room: RoomId,
}

impl EnvelopeHeader {
    /// The network address that calls a method which is HTTP only, IPv4 mapped into IPv6, of IPv6 only the first 64
    /// bits; `None` if the edge did not say. Such a call has no session, so the address stands in its place.
    pub fn origin(&self) -> Option<Ipv6Addr> {
        (self.method.is_http_only() && !self.session.is_nil())
            .then(|| Ipv6Addr::from(*self.session.as_bytes()))
    }

    /// What stands in `session` for a call from this address.
    pub fn session_of_origin(address: IpAddr) -> SessionId {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        SessionId::from_bytes(address.octets())
    }
}

/// An envelope with its body: the client's whole JSON text, or its sealed form for methods that are
/// [sealed](Method::is_sealed).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    /// Who calls what.
    pub header: EnvelopeHeader,
    /// The request as the client wrote it.
    pub body: &'a [u8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawEnvelope {
    body_bytes: U32,
    method: U16,
    shard: U16,
    slot: U32,
    generation: U32,
    request: U64,
    user: [u8; 16],
    login: [u8; 16],
    session: [u8; 16],
    room: [u8; 16],
    reserved: [u8; 8],
}

/// Length of an envelope's header, bytes.
pub const ENVELOPE_HEADER_BYTES: usize = size_of::<RawEnvelope>();

/// Builds one batch. Reusable: [`take`](Self::take) leaves an empty writer.
///
/// Invariant: envelopes stand in the order in which they were pushed.
#[derive(Debug)]
pub struct UplinkWriter {
    node: NodeId,
    out: Vec<u8>,
    envelopes: u32,
}

impl UplinkWriter {
    /// An empty batch of a node.
    pub fn new(node: NodeId) -> Self {
        let mut out = Vec::new();
        begin(&mut out, Direction::Up, node);
        Self {
            node,
            out,
            envelopes: 0,
        }
    }

    /// Appends an envelope. `header.address.node` is not written: it is the batch's node.
    pub fn push(&mut self, header: &EnvelopeHeader, body: &[u8]) {
        let raw = RawEnvelope {
            body_bytes: U32::new(u32::try_from(body.len()).expect("a body is bounded by MESSAGE_BYTES_MAX")),
            method: U16::new(header.method.code()),
            shard: U16::new(header.address.shard),
            slot: U32::new(header.address.slot),
            generation: U32::new(header.address.generation),
            request: U64::new(header.request),
            user: *header.user.as_bytes(),
            login: *header.login.as_bytes(),
            session: *header.session.as_bytes(),
            room: *header.room.as_bytes(),
            reserved: [0; 8],
        };
        self.out.extend_from_slice(raw.as_bytes());
        self.out.extend_from_slice(body);
        self.envelopes = self.envelopes.saturating_add(1);
    }

    /// Envelopes so far.
    pub fn envelopes(&self) -> u32 {
        self.envelopes
    }

    /// Length of the batch so far, bytes.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// True before the first envelope.
    pub fn is_empty(&self) -> bool {
        self.envelopes == 0
    }

    /// The finished batch; the writer is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        finish(&mut self.out, self.envelopes, VERSION_MIN);
        let mut next = Vec::with_capacity(self.out.len());
        begin(&mut next, Direction::Up, self.node);
        self.envelopes = 0;
        std::mem::replace(&mut self.out, next)
    }
}

/// A checked batch, borrowed from the bytes that came from Redis.
#[derive(Clone, Copy, Debug)]
pub struct UplinkBatch<'a> {
    node: NodeId,
    envelopes: u32,
    items: &'a [u8],
}

impl<'a> UplinkBatch<'a> {
    /// Checks the whole batch: after this, reading cannot fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let (_version, node, envelopes, items) = open(bytes, Direction::Up)?;
        let mut rest = items;
        let mut count = 0_u32;
        while !rest.is_empty() {
            (_, rest) = read(node, rest)?;
            count = count.saturating_add(1);
        }
        if count != envelopes {
            return Err(BatchError::Damaged);
        }
        Ok(Self {
            node,
            envelopes,
            items,
        })
    }

    /// The node that wrote it.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Number of envelopes.
    pub fn len(&self) -> usize {
        usize::try_from(self.envelopes).unwrap_or(usize::MAX)
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.envelopes == 0
    }

    /// The envelopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = Envelope<'a>> + use<'a> {
        let node = self.node;
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (envelope, next) = read(node, rest).ok()?;
            rest = next;
            Some(envelope)
        })
    }
}

fn read(node: NodeId, bytes: &[u8]) -> Result<(Envelope<'_>, &[u8]), BatchError> {
    let Ok((raw, rest)) = RawEnvelope::ref_from_prefix(bytes) else {
        return Err(BatchError::Damaged);
    };
    let (body, rest) = take(rest, size(raw.body_bytes))?;
    let header = EnvelopeHeader {
        address: Address {
            node,
            shard: raw.shard.get(),
            slot: raw.slot.get(),
            generation: raw.generation.get(),
        },
        request: raw.request.get(),
        method: Method::from_code(raw.method.get()).ok_or(BatchError::UnknownItem)?,
        user: UserId::from_bytes(raw.user),
        login: LoginId::from_bytes(raw.login),
        session: SessionId::from_bytes(raw.session),
        room: RoomId::from_bytes(raw.room),
    };
    Ok((Envelope { header, body }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_for_http_only_methods_and_by_nobody_else() {
        let header = |method, session| EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user: UserId::NIL,
            login: LoginId::NIL,
            session,
            room: RoomId::NIL,
        };
        for text in ["192.0.2.7", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            let session = EnvelopeHeader::session_of_origin(address);
            let origin = header(Method::AuthLogin, session).origin().unwrap();
            assert_eq!(origin.to_canonical(), address);
            assert_eq!(header(Method::MessageSend, session).origin(), None);
            assert_eq!(header(Method::AuthLogout, session).origin(), None);
        }
        assert_eq!(header(Method::AuthLogin, SessionId::NIL).origin(), None);
    }
}
