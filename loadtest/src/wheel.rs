//! Deadlines of all clients of a thread on one timer wheel. Pure: time is an argument.
//!
//! Nothing is cancelled: whoever set a timer compares it with its own state when it rings, and ignores it when
//! that has changed meanwhile.

use crate::units::{MS, at};

/// One turn of the hand. Deadlines ring up to this late, never early.
const TICK: u64 = 5 * MS;
/// Ticks in one revolution; what is further away waits for later ones.
const TICKS: u64 = 8192;

/// A wheel of timers.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    /// Every tick up to this one has rung.
    done: u64,
    len: usize,
}

impl<T> Wheel<T> {
    /// A wheel that stands at `now`.
    pub fn new(now: u64) -> Self {
        let slots = std::iter::repeat_with(Vec::new)
            .take(slot_of(TICKS - 1) + 1)
            .collect();
        Self {
            slots,
            done: now / TICK,
            len: 0,
        }
    }

    /// Timers that have not rung.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing will ring.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rings at `due` or up to one tick later.
    pub fn set(&mut self, due: u64, timer: T) {
        let tick = due.div_ceil(TICK).max(self.done + 1);
        self.slots[slot_of(tick)].push((tick, timer));
        self.len += 1;
    }

    /// Moves what is due into `rung`, by tick.
    pub fn ring(&mut self, now: u64, rung: &mut Vec<T>) {
        let target = now / TICK;
        // After a pause of more than a revolution one visit of every slot is enough.
        let first = (self.done + 1).max(target.saturating_sub(TICKS - 1));
        for tick in first..=target {
            let slot = &mut self.slots[slot_of(tick)];
            let before = slot.len();
            rung.extend(
                slot.extract_if(.., |(due, _)| *due <= target)
                    .map(|(_, timer)| timer),
            );
            self.len -= before - slot.len();
        }
        self.done = self.done.max(target);
    }
}

fn slot_of(tick: u64) -> usize {
    at(u32::try_from(tick % TICKS).expect("a remainder of a small number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timer_beyond_one_revolution_waits() {
        let mut wheel = Wheel::new(0);
        let far = TICK * TICKS * 3 + TICK;
        wheel.set(far, 'f');
        wheel.set(TICK, 'n');
        let mut rung = Vec::new();
        wheel.ring(TICK * 2, &mut rung);
        assert_eq!(rung, ['n']);
        wheel.ring(far - TICK, &mut rung);
        assert_eq!(rung, ['n']);
        wheel.ring(far, &mut rung);
        assert_eq!(rung, ['n', 'f']);
        assert!(wheel.is_empty());
    }

    proptest! {
        #[test]
        fn every_timer_rings_once_never_early_and_at_most_a_tick_late(
            steps in prop::collection::vec((0..30 * TICK, prop::option::of(0..TICK * TICKS * 2)), 1..200)
        ) {
            let mut wheel = Wheel::new(0);
            let (mut now, mut waiting, mut id) = (0, std::collections::BTreeMap::new(), 0);
            let mut rung = Vec::new();
            for (step, delay) in steps {
                if let Some(delay) = delay {
                    wheel.set(now + delay, id);
                    waiting.insert(id, now + delay);
                    id += 1;
                }
                now += step;
                wheel.ring(now, &mut rung);
                for id in rung.drain(..) {
                    let due = waiting.remove(&id).expect("rang once");
                    prop_assert!(due <= now);
                }
                prop_assert!(waiting.values().all(|&due| due + TICK * 2 > now));
                prop_assert_eq!(wheel.len(), waiting.len());
            }
        }
    }
}
