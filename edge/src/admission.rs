//! Step 1: who may come in at all, counted over all shards. Touched when connections come and go, never by messages.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections of the node and of each address.
#[derive(Debug)]
pub struct Gate {
    connections_max: u32,
    per_address_max: u32,
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

impl Gate {
    /// Bounds of the node; 0 turns one off.
    pub fn new(connections_max: u32, per_address_max: u32) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            per_address_max,
            counts: Mutex::default(),
        })
    }

    /// Lets a connection in, if neither bound is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Ticket> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.connections_max > 0 && counts.all >= self.connections_max {
            return None;
        }
        if self.per_address_max > 0 {
            let count = counts.by_address.entry(address).or_default();
            if *count >= self.per_address_max {
                return None;
            }
            *count += 1;
        }
        counts.all += 1;
        Some(Ticket {
            gate: Arc::clone(self),
            address,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

    #[test]
    fn both_bounds_hold_and_leaving_makes_room() {
        let gate = Gate::new(3, 2);
        let first = gate.admit(A).unwrap();
        let _second = gate.admit(A).unwrap();
        assert!(gate.admit(A).is_none(), "the address is full");
        let _third = gate.admit(B).unwrap();
        assert!(gate.admit(B).is_none(), "the node is full");
        drop(first);
        assert!(gate.admit(A).is_some());
    }

    #[test]
    fn zero_is_off() {
        let gate = Gate::new(0, 0);
        let tickets: Vec<_> = (0..1000).map(|_| gate.admit(A).unwrap()).collect();
        assert_eq!(tickets.len(), 1000);
    }
}
