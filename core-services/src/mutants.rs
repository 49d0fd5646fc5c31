//! Deliberate faults for the oracle. A campaign that does not catch them proves nothing.
//!
//! Without the feature `mutants` every function here is a constant `false` and leaves no trace in the program. With
//! it, `HUB_MUTANT` names the one fault that is on; unset, there is none.

/// A fault that can be switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A replayed call whose op is known is not delivered again.
    NoRedelivery,
    /// The directory is read before the transaction: connections made meanwhile are missed.
    EarlyDirectory,
    /// The sequence number is taken before repeats are recognised: they leave holes.
    NumberFirst,
    /// The cursor of `sync` comes from what was seen instead of from the snapshot.
    SyncSequence,
    /// Entries are deleted before their delivery.
    DeleteFirst,
}

impl Mutant {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::NoRedelivery,
        Self::EarlyDirectory,
        Self::NumberFirst,
        Self::SyncSequence,
        Self::DeleteFirst,
    ];

    /// Its name in `HUB_MUTANT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRedelivery => "no_redelivery",
            Self::EarlyDirectory => "early_directory",
            Self::NumberFirst => "number_first",
            Self::SyncSequence => "sync_sequence",
            Self::DeleteFirst => "delete_first",
        }
    }

    /// True if this fault is on.
    #[cfg(feature = "mutants")]
    pub fn is_on(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| {
            let name = std::env::var("HUB_MUTANT").ok()?;
            let found = Self::ALL.into_iter().find(|mutant| mutant.name() == name);
            if found.is_none() {
                tracing::error!(name, "HUB_MUTANT names no known fault");
            }
            found
        });
        *chosen == Some(self)
    }

    /// True if this fault is on: never, in a build without the feature.
    #[cfg(not(feature = "mutants"))]
    pub const fn is_on(self) -> bool {
        false
    }
}
