//! Certificates of a test, and what a client of TLS begins with.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Writes a certificate that has signed itself, for `hub.example`, and its key.
pub fn make_pair(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["hub.example".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("hub.key"), made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(folder.join("hub.crt"), made.cert.pem()).expect("a file");
    made.cert.der().clone()
}

/// A client that trusts it.
pub fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the versions are there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The first bytes of a handshake.
pub fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("hub.example").expect("a name");
    let mut session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("into memory");
    hello
}
