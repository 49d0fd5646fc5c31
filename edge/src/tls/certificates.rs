//! Certificates by name: a folder holds pairs `NAME.crt` (the chain, PEM) and `NAME.key` (PEM).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use std::{fs, io};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

/// A folder that cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The folder, or a file in it, cannot be read.
    #[error("certificates: {}: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] io::Error),
    /// There is no pair in it.
    #[error("certificates: {} holds no pair NAME.crt and NAME.key", .0.display())]
    Empty(PathBuf),
    /// A file is not what its name says, or key and certificate do not belong together.
    #[error("certificates: {}: {}", .0.display(), .1)]
    Unfit(PathBuf, String),
}

/// What a folder holds.
#[derive(Debug)]
struct Loaded {
    /// By lower-case name; `*.example.com` stands under `*.example.com`.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name nobody, or somebody unknown: the first file.
    fallback: Arc<CertifiedKey>,
    /// Files and their times, to notice changes.
    state: Vec<(PathBuf, SystemTime)>,
}

/// The certificates of the node. Read once per handshake.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    loaded: RwLock<Arc<Loaded>>,
}

impl Certificates {
    /// Reads a folder.
    pub fn load(folder: &Path) -> Result<Arc<Self>, CertificateError> {
        let loaded = load(folder)?;
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            loaded: RwLock::new(Arc::new(loaded)),
        }))
    }

    /// Reads the folder again if a file has changed; what cannot be used is reported and changes nothing.
    pub fn reload(&self) {
        let before = self.loaded();
        match pairs(&self.folder) {
            Ok((_, state)) if state == before.state => return,
            Ok(_) | Err(_) => {}
        }
        match load(&self.folder) {
            Ok(loaded) => {
                tracing::info!(names = ?loaded.by_name.keys(), "certificates were read again");
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
            }
            Err(error) => tracing::warn!(%error, "the certificates in use stay"),
        }
    }

    /// The certificate for a name that a client asks for.
    pub(super) fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let loaded = self.loaded();
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let found = loaded.by_name.get(&name).or_else(|| {
            // RFC 6125 §6.4.3: a wildcard stands for one label.
            let (_, parent) = name.split_once('.')?;
            loaded.by_name.get(&format!("*.{parent}"))
        });
        Arc::clone(found.unwrap_or(&loaded.fallback))
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()))
    }
}

type Pairs = Vec<(PathBuf, PathBuf)>;

/// The pairs of a folder in the order of their names, and the times of their files.
fn pairs(folder: &Path) -> Result<(Pairs, Vec<(PathBuf, SystemTime)>), CertificateError> {
    let failed = |error| CertificateError::Folder(folder.to_owned(), error);
    let mut pairs = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let chain = entry.map_err(failed)?.path();
        let key = chain.with_extension("key");
        if chain.extension() == Some(OsStr::new("crt")) && key.is_file() {
            pairs.push((chain, key));
        }
    }
    pairs.sort();
    let mut state = Vec::new();
    for path in pairs.iter().flat_map(|(chain, key)| [chain, key]) {
        let time = fs::metadata(path).and_then(|about| about.modified());
        state.push((
            path.clone(),
            time.map_err(|error| CertificateError::Folder(path.clone(), error))?,
        ));
    }
    Ok((pairs, state))
}

fn load(folder: &Path) -> Result<Loaded, CertificateError> {
    let (pairs, state) = pairs(folder)?;
    let mut by_name = HashMap::new();
    let mut fallback = None;
    for (chain, key) in &pairs {
        let certified = Arc::new(read_pair(chain, key)?);
        for name in names(chain, &certified)? {
            by_name.entry(name).or_insert_with(|| Arc::clone(&certified));
        }
        fallback.get_or_insert(certified);
    }
    Ok(Loaded {
        by_name,
        fallback: fallback.ok_or_else(|| CertificateError::Empty(folder.to_owned()))?,
        state,
    })
}

fn read_pair(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let unfit = |path: &Path, error: &dyn std::fmt::Display| {
        CertificateError::Unfit(path.to_owned(), error.to_string())
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unfit(chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unfit(key, &error))?;
    let signing = any_supported_type(&private).map_err(|error| unfit(key, &error))?;
    let certified = CertifiedKey::new(certificates, signing);
    if certified.cert.is_empty() {
        return Err(unfit(chain, &"no certificate in it"));
    }
    certified
        .keys_match()
        .map_err(|error| unfit(key, &format!("is not the key of the certificate: {error}")))?;
    Ok(certified)
}

/// The DNS names of the subject (RFC 5280 §4.2.1.6), in lower case.
fn names(chain: &Path, certified: &CertifiedKey) -> Result<Vec<String>, CertificateError> {
    let unfit = |error: &dyn std::fmt::Display| CertificateError::Unfit(chain.to_owned(), error.to_string());
    let first = certified
        .cert
        .first()
        .ok_or_else(|| unfit(&"no certificate in it"))?;
    let parsed = webpki::EndEntityCert::try_from(first).map_err(|error| unfit(&error))?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}
