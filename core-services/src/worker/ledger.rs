//! Which entries are in work, and how many of their envelopes wait for an answer. Pure.
//!
//! Invariant: an entry becomes deletable when its last envelope was answered and delivered, or needs no answer.

use std::collections::BTreeMap;

use crate::backbone::EntryId;

/// An entry of a partition's stream, as it was taken in once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct EntryKey {
    pub(super) partition: u16,
    pub(super) id: EntryId,
    /// Tells one taking in from another of the same entry: what comes back late from before counts for nothing.
    serial: u64,
}

/// See the module. Bound: entries of one read and those in work, which the reader limits.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: BTreeMap<EntryKey, usize>,
    deletable: Vec<EntryKey>,
    serial: u64,
}

impl Ledger {
    /// Adds an entry with its number of envelopes that wait for an answer.
    pub(super) fn add(&mut self, partition: u16, id: EntryId, envelopes: usize) -> EntryKey {
        self.serial += 1;
        let entry = EntryKey {
            partition,
            id,
            serial: self.serial,
        };
        if envelopes == 0 {
            self.deletable.push(entry);
        } else {
            self.open.insert(entry, envelopes);
        }
        entry
    }

    /// One envelope is done. Entries that were forgotten count for nothing.
    pub(super) fn done(&mut self, entry: EntryKey) {
        if let Some(left) = self.open.get_mut(&entry) {
            *left -= 1;
            if *left == 0 {
                self.open.remove(&entry);
                self.deletable.push(entry);
            }
        }
    }

    /// The oldest entry in work of a partition.
    pub(super) fn oldest(&self, partition: u16) -> Option<EntryId> {
        let from = EntryKey {
            partition,
            id: EntryId::default(),
            serial: 0,
        };
        let (key, _) = self.open.range(from..).next()?;
        (key.partition == partition).then_some(key.id)
    }

    /// True if nothing of the partition is in work.
    pub(super) fn is_idle(&self, partition: u16) -> bool {
        self.oldest(partition).is_none() && !self.deletable.iter().any(|entry| entry.partition == partition)
    }

    /// Takes what may be deleted now.
    pub(super) fn take_deletable(&mut self) -> Vec<EntryKey> {
        std::mem::take(&mut self.deletable)
    }

    /// True if something may be deleted.
    pub(super) fn has_deletable(&self) -> bool {
        !self.deletable.is_empty()
    }

    /// Forgets what is in work of a partition that somebody else owns now.
    pub(super) fn forget(&mut self, partition: u16) {
        self.open.retain(|entry, _| entry.partition != partition);
    }

    /// Forgets what is in work; what may be deleted stays so.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_deletable_after_its_last_envelope() {
        let id = |ms| EntryId { ms, n: 0 };
        let mut ledger = Ledger::default();
        let first = ledger.add(3, id(1), 2);
        let empty = ledger.add(3, id(2), 0);
        assert_eq!(ledger.take_deletable(), [empty]);
        ledger.done(first);
        assert!(!ledger.has_deletable());
        assert_eq!(ledger.oldest(3), Some(id(1)));
        assert_eq!(ledger.oldest(2), None);
        assert!(!ledger.is_idle(3));
        ledger.done(first);
        ledger.done(first);
        assert_eq!(ledger.take_deletable(), [first]);
        assert!(ledger.is_idle(3));
    }

    #[test]
    fn what_comes_back_late_does_not_count_for_the_entry_that_was_taken_in_again() {
        let id = EntryId { ms: 1, n: 0 };
        let mut ledger = Ledger::default();
        let before = ledger.add(3, id, 2);
        ledger.forget_open();
        let again = ledger.add(3, id, 2);
        ledger.done(before);
        ledger.done(again);
        assert!(!ledger.has_deletable());
        ledger.forget(3);
        ledger.done(again);
        assert!(!ledger.has_deletable());
    }
}
