//! Where a connection can be reached. Any service can send to an address; the edge delivers only while the slot
//! still has this generation and this user.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::ids::NodeId;

/// A connection of one node: which shard, which slot of its table, which life of that slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Address {
    /// The edge process.
    pub node: NodeId,
    /// The shard of that node.
    pub shard: u16,
    /// The row of that shard's connection table.
    pub slot: u32,
    /// Counts the owners of the row; a stale address never reaches a stranger.
    pub generation: u32,
}

impl fmt::Display for Address {
    /// `node-shard-slot-generation` in hexadecimal: the field name of the directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{:x}-{:x}-{:x}",
            self.node, self.shard, self.slot, self.generation
        )
    }
}

/// The text is not an address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not an address")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(AddressError);
        let bad = |_| AddressError;
        let node = next()?.parse().map_err(bad)?;
        let shard = u16::from_str_radix(next()?, 16).map_err(bad)?;
        let slot = u32::from_str_radix(next()?, 16).map_err(bad)?;
        let generation = u32::from_str_radix(next()?, 16).map_err(bad)?;
        if parts.next().is_some() {
            return Err(AddressError);
        }
        Ok(Self {
            node,
            shard,
            slot,
            generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let address = Address {
            node: NodeId(u64::MAX - 1),
            shard: 3,
            slot: 19_999,
            generation: u32::MAX,
        };
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1",
            "1-2-3",
            "1-2-3-4-5",
            "x-1-1-1",
            "1-10000-1-1",
            "1-1-1-100000000",
            "1--1-1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
