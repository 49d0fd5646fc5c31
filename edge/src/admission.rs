//! Step 1: who may come in at all, counted over all shards. Touched when connections come and go, never by messages.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Memory;

/// Descriptors kept for connections to Redis, the operators' port and files: far more than these need.
const DESCRIPTORS_KEPT_MAX: i32 = 64;

/// Counts connections of the node and of each address.
#[derive(Debug)]
pub struct Gate {
    connections_max: u32,
    per_address_max: u32,
    memory: Arc<Memory>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// A connection that was let in; leaving is dropping it.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    address: IpAddr,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The node has as many as it may.
    Node,
    /// Its address has as many as it may.
    Address,
    /// Its shard gets more per second than it may.
    Handshakes,
    /// The process is above its memory ceiling.
    Memory,
    /// The last descriptors are kept for Redis and operators.
    Descriptors,
}

impl Refusal {
    /// The label in `hub_edge_refused_connections_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Address => "address",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
        }
    }

    /// The status to answer with: 429 if it is the client's doing, else 503.
    pub const fn status(self) -> u16 {
        match self {
            Self::Address | Self::Handshakes => 429,
            Self::Node | Self::Memory | Self::Descriptors => 503,
        }
    }
}

impl Gate {
    /// Bounds of the node; 0 turns one off.
    pub fn new(connections_max: u32, per_address_max: u32, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            per_address_max,
            memory,
            counts: Mutex::default(),
        })
    }

    /// Lets a connection in, if no bound is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Ticket, Refusal> {
        if self.memory.is_over() {
            return Err(Refusal::Memory);
        }
        let address = subject(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.connections_max > 0 && counts.all >= self.connections_max {
            return Err(Refusal::Node);
        }
        if self.per_address_max > 0 {
            let count = counts.by_address.entry(address).or_default();
            if *count >= self.per_address_max {
                return Err(Refusal::Address);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Ticket {
            gate: Arc::clone(self),
            address,
        })
    }
}

impl Ticket {
    /// Where the connection comes from; of IPv6 only the first 64 bits.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// Descriptors that clients may have: the limit of the process without what is kept for others.
pub fn descriptors_max() -> io::Result<i32> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    // `unlimited` is more than there ever are.
    let soft = soft.and_then(|soft| soft.parse().ok()).unwrap_or(i32::MAX);
    Ok(soft - (soft / 8).min(DESCRIPTORS_KEPT_MAX))
}

/// What counts as one address: of IPv6 the first 64 bits, because one subscriber has all that begin with them.
fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

    #[test]
    fn both_bounds_hold_and_leaving_makes_room() {
        let gate = Gate::new(3, 2, Memory::new(0));
        let first = gate.admit(A).unwrap();
        let _second = gate.admit(A).unwrap();
        assert_eq!(gate.admit(A).unwrap_err(), Refusal::Address);
        let _third = gate.admit(B).unwrap();
        assert_eq!(gate.admit(B).unwrap_err(), Refusal::Node);
        drop(first);
        assert!(gate.admit(A).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let parse = |text: &str| subject(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:127.0.0.2"), A);
        assert_ne!(parse("127.0.0.2"), parse("127.0.0.3"));
    }

    #[test]
    fn zero_is_off() {
        let gate = Gate::new(0, 0, Memory::new(0));
        let tickets: Vec<_> = (0..1000).map(|_| gate.admit(A).unwrap()).collect();
        assert_eq!(tickets.len(), 1000);
    }
}
