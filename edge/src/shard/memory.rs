//! Who goes when the process is above its memory ceiling: those for whom most is waiting.

use super::world::World;

/// Connections that are closed between two looks.
const CLOSED_MAX: usize = 16;

impl World {
    /// Closes the slowest receivers while the process is above its ceiling. What waits for them is given back at once;
    /// they sync when they come again.
    pub(super) fn relieve(&mut self) {
        if self.waiting_bytes == 0 || !self.settings.memory.is_over() {
            return;
        }
        let ids: Vec<_> = self.table.ids().collect();
        let mut slow: Vec<_> = ids
            .into_iter()
            .filter_map(|id| {
                let connection = self.table.find(id)?;
                (connection.is_blocked && !connection.is_ended).then_some((connection.counted_bytes, id))
            })
            .collect();
        slow.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, id) in slow.into_iter().take(CLOSED_MAX) {
            self.counters.closed_memory += 1;
            self.end(id);
        }
    }
}
