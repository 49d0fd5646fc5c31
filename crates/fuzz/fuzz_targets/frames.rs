//! However the bytes are cut into receives, the messages and the error are the same. The first bytes choose the cuts.
#![no_main]

use hub_ws::{Decoder, Inflater, Item, ProtocolError, Role};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((&[has_deflate, step, jump], bytes)) = data.split_first_chunk::<3>() else {
        return;
    };
    let has_deflate = has_deflate & 1 == 1;
    let whole = decode(&[bytes], has_deflate);
    let mut pieces = Vec::new();
    let (mut rest, mut len) = (bytes, usize::from(step) % 64 + 1);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = tail;
        len = (len + usize::from(jump)) % 64 + 1;
    }
    assert_eq!(decode(&pieces, has_deflate), whole);
});

fn decode(pieces: &[&[u8]], has_deflate: bool) -> (Vec<(u8, Vec<u8>)>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(Role::Server);
    let mut inflater = has_deflate.then(Inflater::default);
    let mut items = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut buffer = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.decode(&mut buffer, &mut at, MESSAGE_BYTES_MAX, inflater.as_mut()) {
                Ok(None) => break,
                Ok(Some(item)) => items.push(match item {
                    Item::Text(text) => {
                        assert!(std::str::from_utf8(text).is_ok());
                        (1, text.to_vec())
                    }
                    Item::Binary(bytes) => (2, bytes.to_vec()),
                    Item::Ping(bytes) => (9, bytes.to_vec()),
                    Item::Pong(bytes) => (10, bytes.to_vec()),
                    Item::Close(close) => {
                        let close = close.map(|close| (close.code, close.reason.to_owned()));
                        items.push((8, format!("{close:?}").into_bytes()));
                        return (items, None);
                    }
                }),
                Err(error) => {
                    // The edge goes on looking for a close frame: whatever it finds, it must not panic.
                    for piece in pieces.iter().skip(number + 1) {
                        let _ =
                            decoder.decode(&mut piece.to_vec(), &mut 0, MESSAGE_BYTES_MAX, inflater.as_mut());
                    }
                    return (items, Some(error));
                }
            }
        }
        assert_eq!(at, piece.len());
    }
    (items, None)
}
