//! The client rule: which events of a room are shown, and when a range must be fetched.
//!
//! `seq == last + 1` is shown, `<= last` is dropped, `> last + 1` is held until the hole closes by itself or by a
//! range. A range answers every seq, with an event or as hidden, and hidden counts as seen.

use std::collections::BTreeMap;

/// Events held per room; further ones come back with the range.
const HELD_MAX: usize = 512;

/// What happens to the room's `last`, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<E> {
    /// An event is shown.
    Event(u64, E),
    /// These places count as seen, without an event.
    Hidden(u64, u64),
}

/// What the room needs now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Need {
    /// Nothing: all that is known to exist was shown.
    Nothing,
    /// The range behind `last`: places are known to exist that have not been shown.
    Range,
}

/// The state of one room of one client.
#[derive(Clone, Debug)]
pub struct Rule<E> {
    last: u64,
    /// The highest place that is known to exist.
    head: u64,
    held: BTreeMap<u64, E>,
}

impl<E: Copy> Rule<E> {
    /// A room of which everything up to `last` is known.
    pub fn new(last: u64) -> Self {
        Self {
            last,
            head: last,
            held: BTreeMap::new(),
        }
    }

    /// The last place that was shown.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The highest place that is known to exist.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Whether something is missing.
    pub fn need(&self) -> Need {
        if self.last < self.head {
            Need::Range
        } else {
            Need::Nothing
        }
    }

    /// An event was delivered. False if it was dropped.
    pub fn on_event(&mut self, seq: u64, event: E, seen: &mut impl FnMut(Seen<E>)) -> bool {
        if seq <= self.last {
            return false;
        }
        self.head = self.head.max(seq);
        if seq == self.last + 1 {
            self.show(seq, event, seen);
            self.release(seen);
        } else if self.held.len() < HELD_MAX {
            self.held.insert(seq, event);
        }
        true
    }

    /// A sync or a bump says how far the room is.
    pub fn on_head(&mut self, seq: u64) {
        self.head = self.head.max(seq);
    }

    /// A range came: events and hidden places, both ascending. False if it left a place out that lies in front of
    /// something it answered.
    pub fn on_range(
        &mut self,
        events: impl IntoIterator<Item = (u64, E)>,
        hidden: &[[u64; 2]],
        seen: &mut impl FnMut(Seen<E>),
    ) -> bool {
        let mut hidden = hidden.iter().copied().peekable();
        let mut is_whole = true;
        for (seq, event) in events {
            self.skip_hidden(&mut hidden, seq, seen);
            self.head = self.head.max(seq);
            if seq == self.last + 1 {
                self.show(seq, event, seen);
            } else if seq > self.last {
                is_whole = false;
                break;
            }
        }
        if is_whole {
            self.skip_hidden(&mut hidden, u64::MAX, seen);
            is_whole = hidden.next().is_none();
        }
        self.release(seen);
        is_whole
    }

    /// Passes over hidden places in front of `before` while they follow `last`.
    fn skip_hidden(
        &mut self,
        hidden: &mut std::iter::Peekable<impl Iterator<Item = [u64; 2]>>,
        before: u64,
        seen: &mut impl FnMut(Seen<E>),
    ) {
        while let Some([from, to]) = hidden.next_if(|[from, _]| *from < before && *from <= self.last + 1) {
            if to > self.last {
                seen(Seen::Hidden(self.last.max(from - 1) + 1, to));
                self.last = to;
                self.head = self.head.max(to);
            }
        }
    }

    /// Shows what was held and follows now; forgets what is shown already.
    fn release(&mut self, seen: &mut impl FnMut(Seen<E>)) {
        while let Some(entry) = self.held.first_entry() {
            let seq = *entry.key();
            if seq > self.last + 1 {
                break;
            }
            let event = entry.remove();
            if seq == self.last + 1 {
                self.show(seq, event, seen);
            }
        }
    }

    fn show(&mut self, seq: u64, event: E, seen: &mut impl FnMut(Seen<E>)) {
        seen(Seen::Event(seq, event));
        self.last = seq;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a delivery may do to an event.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Once,
        Lost,
        Twice,
        Late(u8),
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            4 => Just(Fate::Once),
            1 => Just(Fate::Lost),
            1 => Just(Fate::Twice),
            2 => (1..12_u8).prop_map(Fate::Late),
        ]
    }

    /// The order in which events 1 to n reach a client.
    fn deliveries(fates: &[Fate]) -> Vec<u64> {
        let mut due: Vec<(u64, u64)> = Vec::new();
        for (at, fate) in (1_u64..).zip(fates) {
            match fate {
                Fate::Once => due.push((at * 10, at)),
                Fate::Lost => {}
                Fate::Twice => due.extend([(at * 10, at), (at * 10 + 25, at)]),
                Fate::Late(by) => due.push((at * 10 + u64::from(*by) * 10 + 5, at)),
            }
        }
        due.sort_unstable();
        due.into_iter().map(|(_, seq)| seq).collect()
    }

    /// Answers `after`, as the hub does: every place, hidden or as an event.
    fn range(n: u64, hidden: &[u64], after: u64, limit: u64) -> (Vec<(u64, u64)>, Vec<[u64; 2]>) {
        let end = n.min(after.saturating_add(limit));
        let is_hidden = |seq: &u64| hidden.contains(seq);
        let events = (after + 1..=end)
            .filter(|seq| !is_hidden(seq))
            .map(|seq| (seq, seq))
            .collect();
        let hidden = (after + 1..=end)
            .filter(is_hidden)
            .map(|seq| [seq, seq])
            .collect();
        (events, hidden)
    }

    proptest! {
        /// Whatever is lost, doubled or late, and whenever ranges are fetched: each place is passed exactly once,
        /// in order, and what was not hidden is shown.
        #[test]
        fn every_place_is_passed_once_and_in_order(
            fates in prop::collection::vec(fate(), 1..80),
            hidden in prop::collection::vec(1..80_u64, 0..6),
            fetch_every in 1..20_usize, limit in 1..9_u64, start in 0..5_u64,
        ) {
            let n = fates.len() as u64;
            let start = start.min(n);
            let mut rule = Rule::new(start);
            let (mut passed, mut shown) = (start, Vec::new());
            let mut seen = |item: Seen<u64>| match item {
                Seen::Event(seq, event) => {
                    assert_eq!((seq, event), (passed + 1, seq));
                    passed = seq;
                    shown.push(seq);
                }
                Seen::Hidden(from, to) => {
                    assert_eq!(from, passed + 1);
                    passed = to;
                }
            };
            for (step, seq) in deliveries(&fates).into_iter().enumerate() {
                // Delivered live means visible.
                if !hidden.contains(&seq) {
                    rule.on_event(seq, seq, &mut seen);
                }
                if step.is_multiple_of(fetch_every) && rule.need() == Need::Range {
                    let (events, hidden) = range(n, &hidden, rule.last(), limit);
                    prop_assert!(rule.on_range(events, &hidden, &mut seen));
                }
            }
            rule.on_head(n);
            for _ in 0..=n {
                if rule.need() == Need::Nothing { break; }
                let (events, hidden) = range(n, &hidden, rule.last(), limit);
                prop_assert!(rule.on_range(events, &hidden, &mut seen));
            }
            prop_assert_eq!(rule.need(), Need::Nothing);
            prop_assert_eq!(rule.last(), n);
            let visible: Vec<u64> = (start + 1..=n).filter(|seq| !hidden.contains(seq)).collect();
            prop_assert_eq!(shown, visible);
        }
    }

    #[test]
    fn a_range_that_leaves_a_place_out_is_told_from_a_whole_one() {
        let mut rule = Rule::new(0);
        let mut shown = Vec::new();
        assert!(!rule.on_range([(1, ()), (3, ())], &[], &mut |item| shown.push(item)));
        assert_eq!(shown, [Seen::Event(1, ())]);
        assert_eq!(rule.need(), Need::Range);
        assert!(rule.on_range([(3, ())], &[[2, 2], [4, 9]], &mut |item| shown.push(item)));
        assert_eq!(rule.last(), 9);
        assert!(!rule.on_range([], &[[11, 12]], &mut |item| shown.push(item)));
    }

    #[test]
    fn a_range_that_is_older_than_what_was_shown_changes_nothing() {
        let mut rule = Rule::new(5);
        assert!(rule.on_range([(4, ()), (5, ())], &[[2, 3]], &mut |_| panic!("nothing is new")));
        assert_eq!((rule.last(), rule.head()), (5, 5));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut rule = Rule::new(0);
        for seq in 2..5_000 {
            assert!(rule.on_event(seq, (), &mut |_| panic!("1 is missing")));
        }
        assert_eq!(rule.held.len(), HELD_MAX);
        rule.on_event(1, (), &mut |_| {});
        assert_eq!(rule.last(), 1 + HELD_MAX as u64);
        assert_eq!(rule.need(), Need::Range);
    }
}
