//! One TLS connection, without I/O.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, WriteTraffic,
};
use rustls::{HandshakeKind, ProtocolVersion};
use thiserror::Error;

/// Plaintext of one record, bytes (RFC 8446 §5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record needs beside its plaintext, bytes; generous, for every cipher suite.
const RECORD_OVERHEAD: usize = 64;
/// An incomplete record or handshake message; rustls refuses larger ones itself.
const PARTIAL_BYTES_MAX: usize = 80 * 1024;

/// The connection is to be ended, after what is in `out` was sent.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The peer broke the protocol, or none of its offers can be accepted.
    #[error("tls: {0}")]
    Protocol(#[from] rustls::Error),
    /// More bytes than any record has.
    #[error("tls: a record that does not end")]
    TooLarge,
    /// No more records can be sent with these keys.
    #[error("tls: the keys are used up")]
    Exhausted,
}

/// The state of one connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record whose end has not come.
    partial: Vec<u8>,
    is_peer_closed: bool,
}

impl Session {
    /// A connection of which nothing has been read.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            is_peer_closed: false,
        })
    }

    /// True until both sides have proved what they had to.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// True once the peer has said that nothing more will come.
    pub fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// How the handshake went, once it is complete: `tls1_3` or `tls1_2`, and whether it resumed an earlier session.
    pub fn kind(&self) -> (&'static str, bool) {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "tls1_3",
            _ => "tls1_2",
        };
        (
            version,
            self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        )
    }

    /// Takes received bytes, which are decrypted where they lie. Appends plaintext to `plain`, and to `out` what is to
    /// be sent to the peer: handshake messages, alerts, answers to key updates.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let mut joined = std::mem::take(&mut self.partial);
        let input = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &mut joined
        };
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            let status = self.connection.process_tls_records(rest);
            let mut taken = status.discard;
            let mut is_done = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        taken += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_peer_closed = true,
                // More bytes are needed, or none are expected.
                Ok(_) => is_done = true,
                Err(error) => {
                    self.take_alert(out);
                    return Err(error.into());
                }
            }
            at += taken;
            if is_done {
                break;
            }
        }
        let rest = input.get(at..).unwrap_or_default();
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err(TlsError::TooLarge);
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// The alert that tells the peer what it did wrong.
    fn take_alert(&mut self, out: &mut Vec<u8>) {
        while let Ok(state) = self.connection.process_tls_records(&mut []).state {
            match state {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return,
            }
        }
    }

    /// Encrypts plaintext and appends the records to `out`. Only after the handshake.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let room = plain.len() + RECORD_OVERHEAD * (1 + plain.len() / RECORD_BYTES_MAX);
        self.write(out, room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Appends the alert that says that nothing more will come (RFC 8446 §6.1).
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.write(out, RECORD_OVERHEAD, |traffic, room| {
            traffic.queue_close_notify(room)
        })
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        write: impl Fn(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        loop {
            // What has not been taken of the peer's bytes must be shown again.
            let status = self.connection.process_tls_records(&mut self.partial);
            let taken = status.discard;
            let (mut is_done, mut is_exhausted) = (true, false);
            match status.state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    append(out, room, |room| match write(&mut traffic, room) {
                        Ok(len) => Ok(len),
                        Err(EncryptError::InsufficientSize(error)) => Err(error),
                        Err(EncryptError::EncryptExhausted) => {
                            is_exhausted = true;
                            Ok(0)
                        }
                    });
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, out);
                    is_done = false;
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    is_done = false;
                }
                ConnectionState::PeerClosed => {
                    self.is_peer_closed = true;
                    is_done = false;
                }
                _ => is_exhausted = true,
            }
            self.partial.drain(..taken);
            if is_exhausted {
                return Err(TlsError::Exhausted);
            }
            if is_done {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("partial", &self.partial.len())
            .field("is_peer_closed", &self.is_peer_closed)
            .finish_non_exhaustive()
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    append(out, 1024, |room| match data.encode(room) {
        Ok(len) => Ok(len),
        Err(EncodeError::InsufficientSize(error)) => Err(error),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    });
}

/// Appends what `write` puts into the room that it is given, which grows to what it asks for.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>,
) {
    let start = out.len();
    out.resize(start + room, 0);
    let len = loop {
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(len) => break len,
            Err(InsufficientSizeError { required_size }) => out.resize(start + required_size, 0),
        }
    };
    out.truncate(start + len);
}
