use std::io::{Read, Write};
use std::path::Path;

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// Writes a pair for these names and returns the certificate.
fn make_pair(folder: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join(format!("{file}.crt")), made.cert.pem()).unwrap();
    std::fs::write(
        folder.join(format!("{file}.key")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    made.cert.der().clone()
}

struct Pair {
    client: ClientConnection,
    server: Session,
    plain: Vec<u8>,
    out: Vec<u8>,
}

impl Pair {
    fn new(client: Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from("hub.example").unwrap();
        Self {
            client: ClientConnection::new(client, name).unwrap(),
            server: Session::new(Arc::clone(server)).unwrap(),
            plain: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Moves bytes both ways until nobody has more, the client's in pieces of `step` bytes.
    fn settle(&mut self, step: usize) -> Result<(), TlsError> {
        loop {
            let mut up = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut up).unwrap();
            }
            if up.is_empty() && self.out.is_empty() {
                return Ok(());
            }
            for piece in up.chunks_mut(step) {
                self.server.receive(piece, &mut self.plain, &mut self.out)?;
            }
            let mut down = &std::mem::take(&mut self.out)[..];
            while !down.is_empty() {
                self.client.read_tls(&mut down).unwrap();
                self.client.process_new_packets().unwrap();
            }
        }
    }

    fn read_client(&mut self) -> Vec<u8> {
        let mut got = vec![0; 1 << 20];
        let len = self.client.reader().read(&mut got).unwrap_or(0);
        got.truncate(len);
        got
    }
}

fn configs(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (tempfile::TempDir, Arc<ServerConfig>, Arc<ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = make_pair(folder.path(), "hub", &["hub.example"]);
    let server = serve(folder.path()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (folder, server, Arc::new(client))
}

const V12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const V13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the sizes of reads and messages: all bytes arrive in order, and nothing is kept when nothing is open.
    #[test]
    fn bytes_pass_both_ways_in_any_pieces(
        step in 1..3000_usize,
        messages in prop::collection::vec(0..40_000_usize, 1..4),
        is_13: bool,
    ) {
        let (_folder, server, client) = configs(if is_13 { V13 } else { V12 });
        let mut pair = Pair::new(client, &server);
        pair.settle(step).unwrap();
        prop_assert!(!pair.server.is_handshaking());
        for (number, len) in (0_u8..).zip(messages) {
            let message = vec![number; len];
            // The client's own buffer is bounded.
            for part in message.chunks(16_000) {
                pair.client.writer().write_all(part).unwrap();
                pair.settle(step).unwrap();
            }
            prop_assert_eq!(&std::mem::take(&mut pair.plain), &message);
            for part in message.chunks(10_000) {
                pair.server.encrypt(part, &mut pair.out).unwrap();
                pair.settle(step).unwrap();
                prop_assert_eq!(pair.read_client(), part);
            }
        }
        pair.client.send_close_notify();
        pair.settle(step).unwrap();
        prop_assert!(pair.server.is_peer_closed());
        pair.server.close(&mut pair.out).unwrap();
        pair.settle(step).unwrap();
    }

    /// Garbage is refused with an alert, never with a panic.
    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 1..2000), step in 1..700_usize) {
        let (_folder, server, _) = configs(V13);
        let mut session = Session::new(server).unwrap();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        for piece in bytes.clone().chunks_mut(step) {
            if session.receive(piece, &mut plain, &mut out).is_err() {
                break;
            }
        }
        prop_assert!(plain.is_empty());
    }
}

#[test]
fn keys_are_renewed_while_a_connection_lives() {
    let (_folder, server, client) = configs(V13);
    let mut pair = Pair::new(client, &server);
    pair.settle(100).unwrap();
    pair.client.refresh_traffic_keys().unwrap();
    pair.client.writer().write_all(b"after").unwrap();
    pair.settle(7).unwrap();
    assert_eq!(pair.plain, b"after");
    pair.server.encrypt(b"answer", &mut pair.out).unwrap();
    pair.settle(7).unwrap();
    assert_eq!(pair.read_client(), b"answer");
}

#[test]
fn a_second_connection_resumes_the_first() {
    for versions in [V12, V13] {
        let (_folder, server, client) = configs(versions);
        for is_resumed in [false, true] {
            let mut pair = Pair::new(Arc::clone(&client), &server);
            pair.settle(1000).unwrap();
            assert_eq!(pair.server.kind().1, is_resumed);
        }
    }
}

#[test]
fn an_old_version_gets_an_alert() {
    let (_folder, server, _) = configs(V13);
    let mut session = Session::new(server).unwrap();
    // A ClientHello of TLS 1.0 with one suite (RFC 2246 §7.4.1.2).
    let mut hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x02\x00\x2f\x01\x00");
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    assert!(session.receive(&mut hello, &mut plain, &mut out).is_err());
    // An alert record: protocol_version or handshake_failure, fatal.
    assert_eq!((out[0], out[5]), (21, 2));
}

#[test]
fn certificates_answer_their_names_and_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Certificates::load(folder.path()),
        Err(CertificateError::Empty(_))
    ));
    let first = make_pair(folder.path(), "a", &["a.example"]);
    let wild = make_pair(folder.path(), "b", &["*.b.example", "b.example"]);
    let certificates = Certificates::load(folder.path()).unwrap();
    let found = |name| certificates.find(name).cert[0].clone();
    assert_eq!(found(Some("a.example")), first);
    assert_eq!(found(Some("B.example")), wild);
    assert_eq!(found(Some("chat.b.example")), wild);
    for unknown in [None, Some("x.chat.b.example"), Some("other"), Some("")] {
        assert_eq!(found(unknown), first, "{unknown:?}");
    }
    // A key that does not fit changes nothing; a whole pair does.
    std::fs::remove_file(folder.path().join("a.crt")).unwrap();
    std::fs::copy(folder.path().join("b.crt"), folder.path().join("a.crt")).unwrap();
    certificates.reload();
    assert_eq!(found(Some("a.example")), first);
    let second = make_pair(folder.path(), "a", &["a.example"]);
    certificates.reload();
    assert_eq!(found(Some("a.example")), second);
}
