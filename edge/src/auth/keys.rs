//! The keys folder: `public/KID.pem` verifies access tokens, `seal/KID.key` seals `auth.*`. It is looked at every few
//! seconds, so that a rotation needs no restart.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hub_protocol::limits::{KEYS_LOOK_S, KEYS_SETTLE_S};
use hub_protocol::seal::{KEY_BYTES, Sealer};
use jsonwebtoken::DecodingKey;
use thiserror::Error;

use super::Verifier;

const LOOK: Duration = Duration::from_secs(KEYS_LOOK_S);
const SETTLE: Duration = Duration::from_secs(KEYS_SETTLE_S);

/// Keys of one kind; more is not a keys folder.
const KEYS_MAX: usize = 64;
/// A key file; more is not a key.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// What a node needs of the keys folder.
#[derive(Debug)]
pub struct Keyring {
    /// Public keys by `kid`.
    pub public: HashMap<String, DecodingKey>,
    /// Sealing keys by name. The first one seals: the newest that everybody has seen.
    pub sealing: Vec<(String, Vec<u8>)>,
}

/// Why the keys folder cannot be used.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A file or folder cannot be read.
    #[error("keys: {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no key where one is needed.
    #[error("keys: {} holds no key; `hub-services config keys DIR` makes them", .0.display())]
    None(PathBuf),
    /// A file is no key of its kind.
    #[error("keys: {} is not {wanted}", path.display())]
    NotAKey {
        /// Which.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// Others may read a secret.
    #[error("keys: {} is readable by others (mode {mode:o}); it must be 600", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Keyring {
    /// Reads the folder as it is to be used at a moment.
    pub fn load(folder: &Path, now: SystemTime) -> Result<Self, KeysError> {
        let mut public = HashMap::new();
        for (kid, path) in key_files(&folder.join("public"), "pem")? {
            let pem = read(&path)?;
            let not_a_key = |_| KeysError::NotAKey {
                path: path.clone(),
                wanted: "an Ed25519 public key in PEM",
            };
            public.insert(kid, DecodingKey::from_ed_pem(pem.as_bytes()).map_err(not_a_key)?);
        }
        let mut sealing = Vec::new();
        // The lexicographically greatest name is the newest key; it seals once it has been here for some time.
        let mut files = key_files(&folder.join("seal"), "key")?;
        let is_settled = |(_, path): &(String, PathBuf)| {
            let since = fs::metadata(path).and_then(|about| about.modified());
            since.is_ok_and(|since| now.duration_since(since).unwrap_or_default() >= SETTLE)
        };
        let in_use = files.iter().rposition(is_settled).unwrap_or(0);
        let in_use = files.remove(in_use);
        files.push(in_use);
        for (kid, path) in files.into_iter().rev() {
            refuse_exposed(&path)?;
            let not_a_key = || KeysError::NotAKey {
                path: path.clone(),
                wanted: "64 hexadecimal digits",
            };
            sealing.push((kid, from_hex(read(&path)?.trim()).ok_or_else(not_a_key)?));
        }
        Ok(Self { public, sealing })
    }

    /// What seals and opens with these keys.
    pub fn sealer(&self, folder: &Path) -> Result<Sealer, KeysError> {
        Sealer::new(self.sealing.clone()).map_err(|_unfit| KeysError::NotAKey {
            path: folder.join("seal"),
            wanted: "a folder of sealing keys",
        })
    }

    /// Names of the keys in the order of their use.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let mut public: Vec<_> = self.public.keys().cloned().collect();
        public.sort();
        (public, self.sealing.iter().map(|(kid, _)| kid.clone()).collect())
    }
}

/// Looks at the folder until the process ends, on a thread of its own: new keys are used, removed ones are not any
/// more. A folder that cannot be used is reported, once, and changes nothing.
pub fn watch(folder: PathBuf, verifier: Arc<Verifier>, sealer: Arc<Sealer>) -> io::Result<()> {
    let look = move || {
        let mut seen = None;
        let mut trouble = None;
        loop {
            std::thread::sleep(LOOK);
            let keyring = match Keyring::load(&folder, SystemTime::now()) {
                Ok(keyring) => keyring,
                Err(error) => {
                    let text = Some(error.to_string());
                    if trouble != text {
                        tracing::warn!(%error, "the keys in use stay");
                        trouble = text;
                    }
                    continue;
                }
            };
            trouble = None;
            let names = keyring.names();
            if seen.as_ref() == Some(&names) {
                continue;
            }
            if sealer.replace(keyring.sealing).is_err() {
                continue;
            }
            verifier.replace(keyring.public);
            tracing::info!(public = ?names.0, seals = ?names.1.first(), "keys were read again");
            seen = Some(names);
        }
    };
    std::thread::Builder::new()
        .name("keys-reload".to_owned())
        .spawn(look)
        .map(drop)
}

/// Files of a folder with this extension, by name without it, in the order of their names.
fn key_files(folder: &Path, extension: &str) -> Result<Vec<(String, PathBuf)>, KeysError> {
    let failed = |error| KeysError::Read {
        path: folder.to_owned(),
        error,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(KEYS_MAX) {
        let path = entry.map_err(failed)?.path();
        if path.extension() != Some(OsStr::new(extension)) {
            continue;
        }
        if let Some(kid) = path.file_stem().and_then(OsStr::to_str) {
            files.push((kid.to_owned(), path.clone()));
        }
    }
    if files.is_empty() {
        return Err(KeysError::None(folder.to_owned()));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, KeysError> {
    let failed = |error| KeysError::Read {
        path: path.to_owned(),
        error,
    };
    if fs::metadata(path).map_err(failed)?.len() > KEY_FILE_BYTES_MAX {
        return Err(KeysError::NotAKey {
            path: path.to_owned(),
            wanted: "a key (far too long)",
        });
    }
    fs::read_to_string(path).map_err(failed)
}

fn refuse_exposed(path: &Path) -> Result<(), KeysError> {
    let failed = |error| KeysError::Read {
        path: path.to_owned(),
        error,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// RFC 8410 §10.1.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
                          MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                          -----END PUBLIC KEY-----\n";

    #[test]
    fn all_keys_are_read_and_the_newest_seals() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "public/20260101-a.pem", PUBLIC, 0o644);
        write(folder.path(), "public/README", "no key", 0o644);
        write(folder.path(), "seal/20260101-a.key", &"11".repeat(32), 0o600);
        write(
            folder.path(),
            "seal/20260201-b.key",
            &format!("{}\n", "22".repeat(32)),
            0o600,
        );
        let now = SystemTime::now();
        let keys = Keyring::load(folder.path(), now + SETTLE).unwrap();
        assert!(keys.public.contains_key("20260101-a"));
        assert_eq!(keys.names().1, ["20260201-b", "20260101-a"]);
        // A key that has just come only opens.
        let old = fs::File::options()
            .append(true)
            .open(folder.path().join("seal/20260101-a.key"))
            .unwrap();
        old.set_modified(now - SETTLE).unwrap();
        let keys = Keyring::load(folder.path(), now).unwrap();
        assert_eq!(keys.names().1, ["20260101-a", "20260201-b"]);
        let sealer = format!("{:?}", keys.sealer(folder.path()).unwrap());
        assert_eq!(sealer, r#"["20260101-a", "20260201-b"]"#);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = || {
            Keyring::load(folder.path(), SystemTime::now())
                .expect_err("not usable")
                .to_string()
        };
        assert!(error().contains("public"));
        fs::create_dir(folder.path().join("public")).unwrap();
        assert!(error().contains("config keys"));
        write(
            folder.path(),
            "public/k.pem",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            0o644,
        );
        assert!(error().contains("k.pem is not"));
        write(folder.path(), "public/k.pem", PUBLIC, 0o644);
        write(folder.path(), "seal/k.key", "abc", 0o600);
        assert!(error().contains("k.key is not 64"));
        write(folder.path(), "seal/k.key", &"zz".repeat(32), 0o600);
        assert!(error().contains("k.key is not 64"));
        write(folder.path(), "seal/k.key", &"11".repeat(32), 0o640);
        assert!(error().contains("640"));
    }
}
