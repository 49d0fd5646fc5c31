//! Who goes when the process is above its memory ceiling: those for whom most is waiting.

use super::world::World;

impl World {
    /// After each look that was above the ceiling, closes the slowest receivers: as many as hold half of what waits.
    /// It is given back at once; they sync when they come again.
    pub(super) fn relieve(&mut self) {
        let memory = &self.settings.memory;
        let look = memory.looks();
        if !memory.is_over() || look == self.relieved_look || self.waiting_bytes == 0 {
            return;
        }
        self.relieved_look = look;
        let wanted = self.waiting_bytes / 2;
        let ids: Vec<_> = self.table.ids().collect();
        let mut slow: Vec<_> = ids
            .into_iter()
            .filter_map(|id| {
                let connection = self.table.find(id)?;
                (connection.is_blocked && !connection.is_ended).then_some((connection.counted_bytes, id))
            })
            .collect();
        slow.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, id) in slow {
            if self.waiting_bytes <= wanted {
                return;
            }
            self.counters.closed_memory += 1;
            self.end(id);
        }
    }
}
