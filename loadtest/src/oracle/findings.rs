//! What the oracle objects to.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $group:ident;)*) => {
        /// A broken promise.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group,)* }
            }
        }
    };
}

/// What a kind is summed up as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    Lost,
    Duplicated,
    Reordered,
    Other,
}

kinds! {
    /// Acknowledged, and not in the database.
    Lost = "lost", Lost;
    /// Acknowledged, and withheld from a member as hidden.
    Unseen = "unseen", Lost;
    /// A receiver lacks the end of a room after the quiet time.
    HeadMissing = "head_missing", Lost;
    /// Acknowledged at another place than it was seen, stored, or acknowledged before.
    AckMoved = "ack_moved", Reordered;
    /// One place of a room was shown twice to a receiver.
    ShownTwice = "shown_twice", Duplicated;
    /// One op was shown at two places.
    OpTwice = "op_twice", Duplicated;
    /// A place was left out.
    Gap = "gap", Reordered;
    /// Two receivers saw different events at one place.
    Diverged = "diverged", Reordered;
    /// The database holds another event at a place that was shown, or none.
    StoredDiffers = "stored_differs", Reordered;
    /// The database holds one op twice.
    StoredTwice = "stored_twice", Duplicated;
    /// The places in the database are not 1 to head.
    StoredGap = "stored_gap", Other;
    /// Refused for good, and stored.
    RefusedStored = "refused_stored", Other;
    /// A sender's messages are not in his order.
    SenderOrder = "sender_order", Reordered;
    /// A message that was acknowledged before another was sent stands behind it.
    RealTimeOrder = "real_time_order", Reordered;
    /// A text came back changed.
    Corrupt = "corrupt", Other;
    /// A message of this run was shown that nobody sent.
    Phantom = "phantom", Other;
    /// Too few of the offered sends were acknowledged.
    TooFewAcked = "too_few_acked", Other;
    /// A receiver reconnected in the quiet time, which hides what it had missed.
    QuietReconnect = "quiet_reconnect", Other;
    /// Nothing was acknowledged, or nobody received.
    NothingProven = "nothing_proven", Other;
}

/// Examples kept per kind.
const EXAMPLES_MAX: usize = 3;

/// Counts of every kind, with a few examples.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    counts: Vec<(Kind, u64, Vec<String>)>,
}

impl Findings {
    /// Notes one; the example is only written out while there are few of its kind.
    pub fn add(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        let known = self.counts.iter().position(|(known, ..)| *known == kind);
        let at = known.unwrap_or_else(|| {
            self.counts.push((kind, 0, Vec::new()));
            self.counts.len() - 1
        });
        let (_, count, examples) = &mut self.counts[at];
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(example());
        }
    }

    /// Takes over what another thread found.
    pub fn merge(&mut self, other: Self) {
        for (kind, count, examples) in other.counts {
            for example in examples {
                self.add(kind, || example);
            }
            let added = self.count_mut(kind);
            let kept = u64::try_from(EXAMPLES_MAX).unwrap_or(0).min(count);
            *added += count - kept;
        }
    }

    fn count_mut(&mut self, kind: Kind) -> &mut u64 {
        let at = self.counts.iter().position(|(known, ..)| *known == kind);
        let at = at.expect("a finding that is merged has an example");
        &mut self.counts[at].1
    }

    /// How many of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts
            .iter()
            .find(|(known, ..)| *known == kind)
            .map_or(0, |(_, count, _)| *count)
    }

    /// True if nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Every kind that was found, with its count and examples.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64, &[String])> {
        self.counts
            .iter()
            .map(|(kind, count, examples)| (*kind, *count, examples.as_slice()))
    }

    /// Findings that mean: a message is missing somewhere.
    pub fn lost(&self) -> u64 {
        self.sum(Group::Lost)
    }

    /// Findings that mean: something is there twice.
    pub fn duplicated(&self) -> u64 {
        self.sum(Group::Duplicated)
    }

    /// Findings that mean: the order differs.
    pub fn reordered(&self) -> u64 {
        self.sum(Group::Reordered)
    }

    fn sum(&self, group: Group) -> u64 {
        self.counts
            .iter()
            .filter(|(kind, ..)| kind.group() == group)
            .map(|(_, count, _)| count)
            .sum()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing found");
        }
        for (kind, count, examples) in self.iter() {
            writeln!(f, "  {:<16} {count}", kind.name())?;
            for example in examples {
                writeln!(f, "    {example}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_every_count() {
        let mut sum = Findings::default();
        for n in [1, 2, 7] {
            let mut part = Findings::default();
            for i in 0..n {
                part.add(Kind::Lost, || i.to_string());
            }
            part.add(Kind::Gap, String::new);
            sum.merge(part);
        }
        assert_eq!((sum.count(Kind::Lost), sum.count(Kind::Gap)), (10, 3));
        assert_eq!((sum.lost(), sum.reordered(), sum.duplicated()), (10, 3, 0));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
