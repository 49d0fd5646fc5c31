//! Step 2: TLS 1.2 and 1.3 by rustls' unbuffered interface: a connection owns keys and, while a record is incomplete,
//! its bytes; buffers belong to whoever calls.
//!
//! | module | holds |
//! |---|---|
//! | `session` | one connection: ciphertext ⇄ plaintext; pure |
//! | `certificates` | which certificate answers which name; reloading |

mod certificates;
mod session;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use thiserror::Error;

pub use certificates::{CertificateError, Certificates};
pub use session::{RECORD_BYTES_MAX, Session, TlsError};

/// How often the folder is looked at.
const RELOAD: Duration = Duration::from_secs(10);

/// TLS cannot be offered.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The certificates are not usable.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The library refuses.
    #[error("tls: {0}")]
    Config(#[from] rustls::Error),
}

/// Makes the configuration for all connections of the node from a folder of certificates, which is watched from now
/// on: changed files are used for new connections, and what cannot be used is reported and changes nothing.
///
/// Tickets (RFC 5077, RFC 8446 §4.6.1) make a reconnect cheap; their keys live in this process and rotate. There is
/// no early data.
pub fn serve(folder: &Path) -> Result<Arc<ServerConfig>, SetupError> {
    let certificates = Certificates::load(folder)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificates) as Arc<_>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    // It ends with the process.
    std::thread::Builder::new()
        .name("tls-reload".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(RELOAD);
                certificates.reload();
            }
        })
        .map_err(|error| CertificateError::Folder(folder.to_owned(), error))?;
    Ok(Arc::new(config))
}
