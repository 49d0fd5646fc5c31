//! Keys that change while the program runs: the keys folder is looked at every few seconds, so that a rotation needs
//! no restart and ends no login.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hub_protocol::limits::KEYS_LOOK_S;
use hub_protocol::seal::Sealer;
use tokio_util::sync::CancellationToken;

use crate::keys::{self, KeysError, Signer};

/// What is kept up to date.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The keys folder.
    pub dir: PathBuf,
    /// Seals and opens.
    pub sealer: Arc<Sealer>,
    /// Signs, in the auth service.
    pub signer: Option<Arc<Signer>>,
}

impl Watched {
    /// Looks until `cancel`. A folder that cannot be used is reported, once, and changes nothing.
    pub async fn run(self, cancel: CancellationToken) {
        let mut every = tokio::time::interval(Duration::from_secs(KEYS_LOOK_S));
        let mut seen = None;
        let mut trouble = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = every.tick() => {}
            }
            match self.look(&mut seen, SystemTime::now()) {
                Ok(()) => trouble = None,
                Err(error) => {
                    let text = Some(error.to_string());
                    if trouble != text {
                        tracing::warn!(%error, "the keys in use stay");
                        trouble = text;
                    }
                }
            }
        }
    }

    /// Takes the folder's keys into use, if they are others than those that were seen.
    fn look(&self, seen: &mut Option<Seen>, now: SystemTime) -> Result<(), KeysError> {
        let sealing = keys::load_sealing(&self.dir, now)?;
        let signing = match &self.signer {
            Some(_) => Some(keys::load_signing_at(&self.dir, now)?),
            None => None,
        };
        let found = Seen {
            sealing: sealing.iter().map(|(kid, _)| kid.clone()).collect(),
            signing: signing.as_ref().map(|key| key.kid.clone()),
        };
        if seen.as_ref() == Some(&found) {
            return Ok(());
        }
        self.sealer
            .replace(sealing)
            .map_err(|_unfit| KeysError::None(self.dir.clone()))?;
        if let (Some(signer), Some(key)) = (&self.signer, signing) {
            signer.replace(key);
        }
        if seen.is_some() {
            tracing::info!(seals = ?found.sealing.first(), signs = ?found.signing, "keys were read again");
        }
        *seen = Some(found);
        Ok(())
    }
}

/// Names of keys, in the order of their use.
#[derive(PartialEq, Eq)]
struct Seen {
    sealing: Vec<String>,
    signing: Option<String>,
}

/// The key that signs now, for the start of the auth service.
pub fn signer(dir: &Path) -> Result<Arc<Signer>, KeysError> {
    keys::load_signing_at(dir, SystemTime::now()).map(Signer::new)
}

#[cfg(test)]
mod tests {
    use hub_protocol::limits::KEYS_SETTLE_S;

    use super::*;

    #[test]
    fn a_rotation_is_taken_into_use_and_a_broken_folder_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let made = SystemTime::UNIX_EPOCH + Duration::from_hours(20_000 * 24);
        let first = keys::make(dir.path(), made).unwrap();
        let watched = Watched {
            dir: dir.path().to_owned(),
            sealer: Arc::new(keys::load_sealer(dir.path()).unwrap()),
            signer: Some(signer(dir.path()).unwrap()),
        };
        let signs = || watched.signer.as_ref().unwrap().current().kid.clone();
        let mut seen = None;
        let later = SystemTime::now() + Duration::from_secs(KEYS_SETTLE_S);
        watched.look(&mut seen, later).unwrap();
        assert_eq!(signs(), first);
        let second = keys::make(dir.path(), made).unwrap();
        let later = SystemTime::now() + Duration::from_secs(KEYS_SETTLE_S);
        watched.look(&mut seen, later).unwrap();
        assert_eq!(signs(), second);
        assert_eq!(
            format!("{:?}", watched.sealer),
            format!("{:?}", [&second, &first])
        );
        std::fs::write(dir.path().join(format!("seal/{second}.key")), "short").unwrap();
        assert!(watched.look(&mut seen, later).is_err());
        assert_eq!(format!("{:?}", watched.sealer), format!("{:?}", [second, first]));
    }
}
