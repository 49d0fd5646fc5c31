//! Compressed messages: what inflates is within its bound; what we compress inflates to the same, at every window.
#![no_main]

use hub_ws::frame::{Header, Opcode};
use hub_ws::{Decoder, Deflater, Inflater, Item, Role};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((&[bits, level], payload)) = data.split_first_chunk::<2>() else {
        return;
    };
    if let Some(message) = inflate(payload) {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
    }
    let mut deflater = Deflater::new(u32::from(level) % 9 + 1);
    if let Some(compressed) = deflater.deflate(payload, bits % 8 + 8) {
        assert!(compressed.len() < payload.len());
        let compressed = compressed.to_vec();
        assert_eq!(inflate(&compressed).as_deref(), Some(payload));
    }
});

/// As a client would read it from the wire.
fn inflate(payload: &[u8]) -> Option<Vec<u8>> {
    let mut frame = Header::server_deflated(Opcode::Binary, payload.len())
        .as_slice()
        .to_vec();
    frame.extend_from_slice(payload);
    let mut inflater = Inflater::default();
    let mut decoder = Decoder::new(Role::Client);
    match decoder.decode(&mut frame, &mut 0, MESSAGE_BYTES_MAX, Some(&mut inflater)) {
        Ok(Some(Item::Binary(message))) => Some(message.to_vec()),
        _ => None,
    }
}
