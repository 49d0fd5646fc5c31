//! What we read as messages, tungstenite reads as the same messages; where we refuse, it may be more lenient.
#![no_main]

use std::io::{self, Read, Write};

use hub_ws::{Decoder, Item, Role};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Role as PeerRole, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// Bytes that come, and nothing after them.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let (ours, is_refused) = ours(data);
    let mut peer = WebSocket::from_raw_socket(Wire(data), PeerRole::Server, Some(WebSocketConfig::default()));
    for expected in &ours {
        let message = match peer.read() {
            Ok(message) => message,
            Err(error) => panic!("we read {expected:?}, the peer {error}"),
        };
        let read = match message {
            Message::Text(text) => (1, text.as_bytes().to_vec()),
            Message::Binary(bytes) => (2, bytes.to_vec()),
            Message::Ping(bytes) => (9, bytes.to_vec()),
            Message::Pong(bytes) => (10, bytes.to_vec()),
            // How closes are reported differs.
            Message::Close(_) | Message::Frame(_) => return,
        };
        assert_eq!(&read, expected);
    }
    if !is_refused {
        assert!(peer.read().is_err(), "the peer reads more than we do");
    }
});

fn ours(data: &[u8]) -> (Vec<(u8, Vec<u8>)>, bool) {
    let mut decoder = Decoder::new(Role::Server);
    let mut buffer = data.to_vec();
    let (mut at, mut items) = (0, Vec::new());
    loop {
        match decoder.decode(&mut buffer, &mut at, MESSAGE_BYTES_MAX, None) {
            Ok(None) => return (items, false),
            Ok(Some(Item::Text(text))) => items.push((1, text.to_vec())),
            Ok(Some(Item::Binary(bytes))) => items.push((2, bytes.to_vec())),
            Ok(Some(Item::Ping(bytes))) => items.push((9, bytes.to_vec())),
            Ok(Some(Item::Pong(bytes))) => items.push((10, bytes.to_vec())),
            Ok(Some(Item::Close(_))) | Err(_) => return (items, true),
        }
    }
}
