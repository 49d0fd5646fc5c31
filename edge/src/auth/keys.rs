//! The keys folder, read once at the start: `public/KID.pem` verifies access tokens, `seal/KID.key` seals `auth.*`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hub_protocol::seal::{KEY_BYTES, Sealer};
use jsonwebtoken::DecodingKey;
use thiserror::Error;

/// Keys of one kind; more is not a keys folder.
const KEYS_MAX: usize = 64;
/// A key file; more is not a key.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// What a node needs of the keys folder.
#[derive(Debug)]
pub struct Keyring {
    /// Public keys by `kid`.
    pub public: HashMap<String, DecodingKey>,
    /// Seals with the newest key, opens with all.
    pub sealer: Sealer,
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
    /// Reads the folder.
    pub fn load(folder: &Path) -> Result<Self, KeysError> {
        let mut public = HashMap::new();
        for (kid, path) in key_files(&folder.join("public"), "pem")? {
            let pem = read(&path)?;
            let not_a_key = |_| KeysError::NotAKey {
                path: path.clone(),
                wanted: "an Ed25519 public key in PEM",
            };
            public.insert(kid, DecodingKey::from_ed_pem(pem.as_bytes()).map_err(not_a_key)?);
        }
        let mut seal = Vec::new();
        // The lexicographically greatest name is the newest key, and the one that seals.
        for (kid, path) in key_files(&folder.join("seal"), "key")?.into_iter().rev() {
            refuse_exposed(&path)?;
            let not_a_key = || KeysError::NotAKey {
                path: path.clone(),
                wanted: "64 hexadecimal digits",
            };
            seal.push((kid, from_hex(read(&path)?.trim()).ok_or_else(not_a_key)?));
        }
        let not_a_key = |_| KeysError::NotAKey {
            path: folder.join("seal"),
            wanted: "a folder of sealing keys",
        };
        Ok(Self {
            public,
            sealer: Sealer::new(seal).map_err(not_a_key)?,
        })
    }
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
        let keys = Keyring::load(folder.path()).unwrap();
        assert!(keys.public.contains_key("20260101-a"));
        assert_eq!(format!("{:?}", keys.sealer), r#"["20260201-b", "20260101-a"]"#);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = || Keyring::load(folder.path()).expect_err("not usable").to_string();
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
