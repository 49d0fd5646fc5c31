//! Beside steps 5 to 15: when a connection has to be looked at again. One wheel per shard, no timer per connection.
//!
//! A connection stands in the wheel once or a few times; when its entry comes up, whoever owns the connection
//! computes what is due and enters it again. An entry of an earlier life of a slot is recognised by its generation.

use hub_ring::ConnectionId;

/// Length of one tick, milliseconds: how late a deadline may be noticed.
pub const TICK_MS: u64 = 50;
/// Ticks of one turn of the wheel; what is further away comes up earlier and is entered again.
const TICKS: usize = 1024;

/// The wheel. Times are milliseconds of the shard's clock.
#[derive(Debug)]
pub struct Wheel {
    buckets: Vec<Vec<ConnectionId>>,
    /// The tick up to which everything came up.
    tick: u64,
}

impl Wheel {
    /// An empty wheel that starts at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            buckets: vec![Vec::new(); TICKS],
            tick: now_ms / TICK_MS,
        }
    }

    /// Has `id` come up at `due_ms`, or at the far end of the wheel if that is sooner.
    pub fn enter(&mut self, id: ConnectionId, due_ms: u64) {
        let furthest = self.tick + TICKS as u64 - 1;
        let tick = due_ms.div_ceil(TICK_MS).clamp(self.tick + 1, furthest);
        self.buckets[bucket(tick)].push(id);
    }

    /// Moves what has come up by `now_ms` into `due`.
    pub fn advance(&mut self, now_ms: u64, due: &mut Vec<ConnectionId>) {
        let now = now_ms / TICK_MS;
        // After a long pause every bucket is looked at once.
        self.tick = self.tick.max(now.saturating_sub(TICKS as u64));
        while self.tick < now {
            self.tick += 1;
            due.append(&mut self.buckets[bucket(self.tick)]);
        }
    }
}

fn bucket(tick: u64) -> usize {
    usize::try_from(tick % TICKS as u64).expect("below TICKS")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    #[test]
    fn comes_up_at_its_time_and_once() {
        let mut wheel = Wheel::new(1000);
        wheel.enter(id(1), 1200);
        let mut due = Vec::new();
        wheel.advance(1199, &mut due);
        assert_eq!(due, []);
        wheel.advance(1200, &mut due);
        wheel.advance(9000, &mut due);
        assert_eq!(due, [id(1)]);
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_and_nothing_is_later_than_a_tick(start in 0..10_000_u64, delays in prop::collection::vec(0..200_000_u64, 0..50), steps in prop::collection::vec(1..30_000_u64, 1..100)) {
            let mut wheel = Wheel::new(start);
            let mut waiting: Vec<u64> = delays.iter().map(|delay| start + delay).collect();
            for (slot, due) in (0..).zip(&waiting) {
                wheel.enter(id(slot), *due);
            }
            let mut now = start;
            let mut due = Vec::new();
            for step in steps {
                now += step;
                wheel.advance(now, &mut due);
                for id in due.drain(..) {
                    let at = waiting[id.slot as usize];
                    if at > now {
                        wheel.enter(id, at);
                    } else {
                        waiting[id.slot as usize] = u64::MAX;
                    }
                }
                for at in &waiting {
                    prop_assert!(*at == u64::MAX || *at + TICK_MS > now, "{at} is late at {now}");
                }
            }
        }
    }
}
