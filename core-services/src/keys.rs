//! The keys folder: what signs access tokens, and what seals `auth.*` on the backbone.
//!
//! ```text
//! DIR/signing/KID.pem   Ed25519 private key, PKCS#8   0600   auth service
//! DIR/public/KID.pem    its public key, SPKI                 edges
//! DIR/seal/KID.key      64 hexadecimal digits         0600   edges and services
//! DIR/push/KID.pem      P-256 private key, PKCS#8     0600   chat and user services
//! ```
//!
//! The greatest KID (`YYYYMMDD-xxxxxxxx`) signs and seals, all of them verify and open, so making a new one is a
//! rotation. A running process takes a new key into use [`KEYS_SETTLE_S`] after it appeared: by then every other one
//! has seen it.
//! rotation. The key for pushes is made once: browsers subscribe to it, and with another one all of them must again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hub_protocol::limits::KEYS_SETTLE_S;
use hub_protocol::seal::{self, Sealer};
use jsonwebtoken::EncodingKey;
use thiserror::Error;

use crate::push::VapidKey;
use crate::store::meta::{from_hex, to_hex};

const SIGNING: &str = "signing";
const PUBLIC: &str = "public";
const SEAL: &str = "seal";
const PUSH: &str = "push";
const DAY_S: u64 = 86_400;

/// Why keys could not be made or loaded.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else may read a private key.
    #[error("{} may be read by others (mode {mode:o}): chmod 600 it, and make new keys if others had access", path.display())]
    Readable {
        /// Which one.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No key where one is needed.
    #[error("{} holds no key: run `hub-services config keys`", .0.display())]
    None(PathBuf),
    /// A file is not what its place says.
    #[error("{} holds no usable key", .0.display())]
    Unfit(PathBuf),
    /// The system gives no random bytes, or the crypto library refused.
    #[error("keys could not be made")]
    Make,
}

/// The key that signs access tokens.
#[derive(Clone)]
pub struct SigningKey {
    /// Its name, in the header of every token.
    pub kid: String,
    /// The private key.
    pub key: EncodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The key that signs now; a rotation replaces it.
#[derive(Debug)]
pub struct Signer(RwLock<Arc<SigningKey>>);

impl Signer {
    /// Signs with this key.
    pub fn new(key: SigningKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(key))))
    }

    /// The key for the next token.
    pub fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Signs with another key from now on.
    pub fn replace(&self, key: SigningKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

/// Makes a folder with one key of each kind, or adds one to each; returns the new KID.
pub fn make(dir: &Path, now: SystemTime) -> Result<String, KeysError> {
    for (folder, mode) in [(SIGNING, 0o700), (PUBLIC, 0o755), (SEAL, 0o700), (PUSH, 0o700)] {
        let path = dir.join(folder);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(at_path(&path))?;
    }
    let kid = next_kid(dir, now)?;
    let random = SystemRandom::new();
    let mut sealing = [0; seal::KEY_BYTES];
    random
        .fill(&mut sealing)
        .map_err(|_unspecified| KeysError::Make)?;
    let pair = Ed25519KeyPair::generate().map_err(|_unspecified| KeysError::Make)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_unspecified| KeysError::Make)?;
    let public: PublicKeyX509Der<'_> = pair
        .public_key()
        .as_der()
        .map_err(|_unspecified| KeysError::Make)?;

    if kids(&dir.join(PUSH), "pem")?.is_empty() {
        let key = VapidKey::make().ok_or(KeysError::Make)?;
        write_new(
            &dir.join(PUSH).join(format!("{kid}.pem")),
            0o600,
            &pem("PRIVATE KEY", &key),
        )?;
    }
    // Public and sealing keys first: whoever sees the new signing key finds the others in place.
    write_new(
        &dir.join(PUBLIC).join(format!("{kid}.pem")),
        0o644,
        &pem("PUBLIC KEY", public.as_ref()),
    )?;
    write_new(
        &dir.join(SEAL).join(format!("{kid}.key")),
        0o600,
        &format!("{}\n", to_hex(&sealing)),
    )?;
    write_new(
        &dir.join(SIGNING).join(format!("{kid}.pem")),
        0o600,
        &pem("PRIVATE KEY", private.as_ref()),
    )?;
    Ok(kid)
}

/// The newest key.
pub fn load_signing(dir: &Path) -> Result<SigningKey, KeysError> {
    let folder = dir.join(SIGNING);
    let newest = kids(&folder, "pem")?.pop();
    signing(&folder, newest)
}

/// The key that signs at a moment: the newest that everybody has seen.
pub fn load_signing_at(dir: &Path, now: SystemTime) -> Result<SigningKey, KeysError> {
    let folder = dir.join(SIGNING);
    let settled = settled(&folder, "pem", now)?.pop();
    signing(&folder, settled)
}

fn signing(folder: &Path, kid: Option<String>) -> Result<SigningKey, KeysError> {
    let kid = kid.ok_or_else(|| KeysError::None(folder.to_owned()))?;
    let path = folder.join(format!("{kid}.pem"));
    let text = read_private(&path)?;
    match EncodingKey::from_ed_pem(text.as_bytes()) {
        Ok(key) => Ok(SigningKey { kid, key }),
        Err(_) => Err(KeysError::Unfit(path)),
    }
}

/// All sealing keys.
pub fn load_sealer(dir: &Path) -> Result<Sealer, KeysError> {
    let keys = load_sealing(dir, SystemTime::now())?;
    Sealer::new(keys).map_err(|_none| KeysError::None(dir.join(SEAL)))
}

/// All sealing keys by name; the first one seals at a moment: the newest that everybody has seen.
pub fn load_sealing(dir: &Path, now: SystemTime) -> Result<Vec<(String, Vec<u8>)>, KeysError> {
    let folder = dir.join(SEAL);
    let mut keys = Vec::new();
    for kid in settled(&folder, "key", now)?.into_iter().rev() {
        let path = folder.join(format!("{kid}.key"));
        let key = from_hex(read_private(&path)?.trim()).filter(|key| key.len() == seal::KEY_BYTES);
        keys.push((kid, key.ok_or(KeysError::Unfit(path))?));
    }
    Ok(keys)
}

/// Like [`kids`], but the last one is the key in use: the greatest that is old enough, or the least if none is.
fn settled(folder: &Path, extension: &str, now: SystemTime) -> Result<Vec<String>, KeysError> {
    let mut kids = kids(folder, extension)?;
    let mut in_use = 0;
    for (at, kid) in kids.iter().enumerate() {
        let path = folder.join(format!("{kid}.{extension}"));
        let since = fs::metadata(&path)
            .and_then(|about| about.modified())
            .map_err(at_path(&path))?;
        let age = now.duration_since(since).unwrap_or_default();
        if age >= Duration::from_secs(KEYS_SETTLE_S) {
            in_use = at;
        }
    }
    if in_use < kids.len() {
        let kid = kids.remove(in_use);
        kids.push(kid);
    }
    Ok(kids)
}

/// The key for pushes; `None` if nobody has made one: then there are no pushes.
pub fn load_push(dir: &Path) -> Result<Option<VapidKey>, KeysError> {
    let folder = dir.join(PUSH);
    if !folder.exists() {
        return Ok(None);
    }
    let Some(kid) = kids(&folder, "pem")?.pop() else {
        return Ok(None);
    };
    let path = folder.join(format!("{kid}.pem"));
    let text = read_private(&path)?;
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = BASE64_STANDARD.decode(base64).ok();
    let key = key.and_then(|key| VapidKey::read(&key));
    key.map(Some).ok_or(KeysError::Unfit(path))
}

/// Names of the keys in a folder, in ascending order.
fn kids(folder: &Path, extension: &str) -> Result<Vec<String>, KeysError> {
    let mut kids = Vec::new();
    for entry in fs::read_dir(folder).map_err(at_path(folder))? {
        let path = entry.map_err(at_path(folder))?.path();
        if path.extension().is_some_and(|known| known == extension)
            && let Some(kid) = path.file_stem().and_then(|stem| stem.to_str())
        {
            kids.push(kid.to_owned());
        }
    }
    kids.sort_unstable();
    Ok(kids)
}

/// A name greater than all that are there, also for a second rotation on one day: the digits after the date are
/// the second of the day and twelve random bits.
fn next_kid(dir: &Path, now: SystemTime) -> Result<String, KeysError> {
    let mut random = [0; 2];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_unspecified| KeysError::Make)?;
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_err(|_early| KeysError::Make)?
        .as_secs();
    let (year, month, day) = date(seconds / DAY_S);
    let digits = (seconds % DAY_S) << 12 | u64::from(u16::from_le_bytes(random) & 0xFFF);
    let kid = format!("{year:04}{month:02}{day:02}-{digits:08x}");
    let newest = kids(&dir.join(SIGNING), "pem")?
        .pop()
        .max(kids(&dir.join(SEAL), "key")?.pop());
    match newest {
        Some(newest) if newest >= kid => {
            // The clock went back, or the same second: count on.
            let (date, digits) = newest.split_once('-').ok_or(KeysError::Make)?;
            let digits = u32::from_str_radix(digits, 16)
                .ok()
                .and_then(|digits| digits.checked_add(1));
            Ok(format!("{date}-{:08x}", digits.ok_or(KeysError::Make)?))
        }
        _ => Ok(kid),
    }
}

/// Year, month and day of a day since 1970 (Gregorian; years begin in March, so that the leap day comes last).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + "-----END " + label + "-----\n"
}

/// Writes a file that must not exist yet, completely or not at all.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeysError> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(at_path(path))
}

fn read_private(path: &Path) -> Result<String, KeysError> {
    let mode = fs::metadata(path).map_err(at_path(path))?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeysError::Readable {
            path: path.to_owned(),
            mode,
        });
    }
    fs::read_to_string(path).map_err(at_path(path))
}

fn at_path(path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn day(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(days * DAY_S)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_453, (2025, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "day {days}");
        }
    }

    #[test]
    fn what_was_made_loads_and_the_newest_signs_and_seals() {
        let dir = tempfile::tempdir().unwrap();
        let first = make(dir.path(), day(20_000)).unwrap();
        let second = make(dir.path(), day(20_000)).unwrap();
        let earlier = make(dir.path(), day(19_000)).unwrap();
        assert!(first < second && second < earlier, "{first} {second} {earlier}");
        assert_eq!(load_signing(dir.path()).unwrap().kid, earlier);
        let later = SystemTime::now() + Duration::from_secs(KEYS_SETTLE_S);
        let sealing = |now| {
            load_sealing(dir.path(), now)
                .unwrap()
                .into_iter()
                .map(|(kid, _)| kid)
        };
        assert!(sealing(later).eq([earlier, second, first]));
        assert!(load_push(dir.path()).unwrap().is_some());
        let made_once = fs::read_dir(dir.path().join(PUSH)).unwrap().count();
        assert_eq!(made_once, 1, "a rotation keeps the key that browsers know");
    }

    #[test]
    fn a_new_key_waits_until_everybody_has_seen_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = make(dir.path(), day(20_000)).unwrap();
        // Alone it is used at once.
        assert_eq!(load_signing_at(dir.path(), SystemTime::now()).unwrap().kid, first);
        let age = |folder: &str, kid: &str, extension: &str| {
            let path = dir.path().join(folder).join(format!("{kid}.{extension}"));
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_mins(1))
                .unwrap();
        };
        age(SIGNING, &first, "pem");
        age(SEAL, &first, "key");
        let second = make(dir.path(), day(20_001)).unwrap();
        let in_use = |now| {
            let signs = load_signing_at(dir.path(), now).unwrap().kid;
            (signs, load_sealing(dir.path(), now).unwrap()[0].0.clone())
        };
        assert_eq!(in_use(SystemTime::now()), (first.clone(), first));
        let later = SystemTime::now() + Duration::from_secs(KEYS_SETTLE_S);
        assert_eq!(in_use(later), (second.clone(), second));
    }

    #[test]
    fn private_keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let kid = make(dir.path(), day(20_000)).unwrap();
        for path in [format!("signing/{kid}.pem"), format!("seal/{kid}.key")] {
            let path = dir.path().join(path);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert!(matches!(
            load_signing(dir.path()),
            Err(KeysError::Readable { .. })
        ));
        assert!(matches!(load_sealer(dir.path()), Err(KeysError::Readable { .. })));
    }

    #[test]
    fn a_folder_without_keys_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(SIGNING)).unwrap();
        assert!(load_push(dir.path()).unwrap().is_none());
        let error = load_signing(dir.path()).unwrap_err().to_string();
        assert!(error.contains("config keys"), "{error}");
    }
}
