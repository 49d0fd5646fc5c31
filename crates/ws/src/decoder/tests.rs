use proptest::prelude::*;

use super::*;
use crate::frame::{Header, push_masked};

const MASK: [u8; 4] = [0x12, 0x00, 0xFF, 0x9A];
const MAX: usize = 1000;

#[derive(Debug, PartialEq, Eq, Clone)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(ProtocolError),
}

impl From<Item<'_>> for Got {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(bytes) => Self::Text(std::str::from_utf8(bytes).unwrap().to_owned()),
            Item::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Item::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Item::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Item::Close(close) => Self::Close(close.map(|close| (close.code, close.reason.to_owned()))),
        }
    }
}

/// Decodes the pieces one after the other, each in a buffer of its own.
fn decode<'a>(role: Role, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Got> {
    decode_with(role, pieces, None)
}

fn decode_with<'a>(
    role: Role,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut inflater: Option<Inflater>,
) -> Vec<Got> {
    let mut decoder = Decoder::new(role);
    let mut got = Vec::new();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.decode(&mut buffer, &mut at, MAX, inflater.as_mut()) {
                Ok(Some(item)) => got.push(item.into()),
                Ok(None) => break,
                Err(error) => {
                    got.push(Got::Failed(error));
                    return got;
                }
            }
        }
        assert_eq!(at, piece.len());
    }
    got
}

fn server(bytes: &[u8]) -> Vec<Got> {
    decode(Role::Server, [bytes])
}

fn frame(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Header::new(opcode, is_final, payload.len(), Some(MASK))
        .as_slice()
        .to_vec();
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], MASK, 0);
    out
}

fn failed(bytes: &[u8]) -> ProtocolError {
    match server(bytes).pop() {
        Some(Got::Failed(error)) => error,
        other => panic!("{bytes:02x?} gave {other:?}"),
    }
}

#[test]
fn an_idle_decoder_is_two_words() {
    assert_eq!(size_of::<Decoder>(), 16);
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 §5.7.
    let hello = || Got::Text("Hello".into());
    assert_eq!(decode(Role::Client, [&b"\x81\x05Hello"[..]]), [hello()]);
    assert_eq!(server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [hello()]);
    assert_eq!(decode(Role::Client, [&b"\x01\x03Hel\x80\x02lo"[..]]), [hello()]);
    assert_eq!(
        decode(Role::Client, [&b"\x89\x05Hello"[..]]),
        [Got::Ping(b"Hello".to_vec())]
    );
    assert_eq!(
        server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        [Got::Pong(b"Hello".to_vec())]
    );
}

#[test]
fn a_whole_message_is_handed_out_where_it_landed() {
    let mut buffer = frame(Opcode::Text, true, b"in place");
    let range = buffer.as_ptr_range();
    let mut decoder = Decoder::new(Role::Server);
    let mut at = 0;
    let Ok(Some(Item::Text(text))) = decoder.decode(&mut buffer, &mut at, MAX, None) else {
        panic!("a text")
    };
    assert!(range.contains(&text.as_ptr()));
    assert!(!decoder.is_gathering());
}

#[test]
fn nothing_is_kept_after_a_gathered_message() {
    let bytes = frame(Opcode::Text, true, b"split");
    let mut decoder = Decoder::new(Role::Server);
    for (piece, whole) in [(&bytes[..4], false), (&bytes[4..], true)] {
        let mut buffer = piece.to_vec();
        let mut at = 0;
        assert_eq!(
            decoder.decode(&mut buffer, &mut at, MAX, None).unwrap().is_some(),
            whole
        );
    }
    assert_eq!(decoder.decode(&mut [], &mut 0, MAX, None), Ok(None));
    assert!(!decoder.is_gathering());
}

#[test]
fn control_frames_come_between_fragments() {
    let mut bytes = frame(Opcode::Text, false, b"a");
    bytes.extend(frame(Opcode::Ping, true, b"p"));
    bytes.extend(frame(Opcode::Continuation, false, b""));
    bytes.extend(frame(Opcode::Pong, true, b""));
    bytes.extend(frame(Opcode::Continuation, true, b"b"));
    bytes.extend(frame(Opcode::Binary, true, b"c"));
    let expected = [
        Got::Ping(b"p".to_vec()),
        Got::Pong(vec![]),
        Got::Text("ab".into()),
        Got::Binary(b"c".to_vec()),
    ];
    assert_eq!(server(&bytes), expected);
}

#[test]
fn every_reserved_bit_and_opcode_is_refused() {
    for first in 0..=255_u8 {
        let mut bytes = vec![first, 0x80];
        bytes.extend(MASK);
        let opcode = first & 0x0F;
        let result = server(&bytes).pop();
        if first & 0x70 != 0 {
            assert_eq!(result, Some(Got::Failed(ProtocolError::ReservedBit)));
        } else if matches!(opcode, 3..=7 | 0xB..=0xF) {
            assert_eq!(result, Some(Got::Failed(ProtocolError::ReservedOpcode)));
        } else if opcode >= 8 && first & 0x80 == 0 {
            assert_eq!(result, Some(Got::Failed(ProtocolError::Control)));
        } else if opcode == 0 {
            assert_eq!(result, Some(Got::Failed(ProtocolError::Fragmentation)));
        } else {
            assert!(!matches!(result, Some(Got::Failed(_))));
        }
    }
}

#[test]
fn masks_are_required_from_clients_and_refused_from_servers() {
    assert_eq!(failed(b"\x81\x05Hello"), ProtocolError::Unmasked);
    let masked = frame(Opcode::Text, true, b"Hello");
    assert_eq!(
        decode(Role::Client, [&masked[..]]),
        [Got::Failed(ProtocolError::Masked)]
    );
}

#[test]
fn lengths_must_be_minimal_and_positive() {
    for bytes in [
        &b"\x82\xFE\x00\x7D\0\0\0\0"[..],
        b"\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0",
        b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(failed(bytes), ProtocolError::Length, "{bytes:02x?}");
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    assert_eq!(failed(b"\x89\xFE\x00\x7E"), ProtocolError::Control);
    assert_eq!(failed(b"\x09\x80"), ProtocolError::Control);
    assert_eq!(
        server(&frame(Opcode::Ping, true, &[7; 125])),
        [Got::Ping(vec![7; 125])]
    );
}

#[test]
fn messages_are_not_interleaved() {
    let mut bytes = frame(Opcode::Text, false, b"a");
    bytes.extend(frame(Opcode::Text, true, b"b"));
    assert_eq!(failed(&bytes), ProtocolError::Fragmentation);
    let mut bytes = frame(Opcode::Text, true, b"a");
    bytes.extend(frame(Opcode::Continuation, true, b"b"));
    assert_eq!(failed(&bytes), ProtocolError::Fragmentation);
}

#[test]
fn too_large_is_said_at_the_header() {
    let mut header = Header::new(Opcode::Binary, true, MAX + 1, Some(MASK))
        .as_slice()
        .to_vec();
    assert_eq!(failed(&header), ProtocolError::TooLarge);
    header = Header::new(Opcode::Binary, true, 1 << 40, Some(MASK))
        .as_slice()
        .to_vec();
    assert_eq!(failed(&header), ProtocolError::TooLarge);
    let mut fragments = frame(Opcode::Binary, false, &[0; MAX]);
    fragments.extend(Header::new(Opcode::Continuation, true, 1, Some(MASK)).as_slice());
    assert_eq!(failed(&fragments), ProtocolError::TooLarge);
}

#[test]
fn bad_utf8_fails_inside_of_an_unfinished_frame() {
    let mut bytes = Header::new(Opcode::Text, true, 500, Some([0; 4]))
        .as_slice()
        .to_vec();
    bytes.extend(b"fine so far \xC3\xA9");
    assert_eq!(server(&bytes), []);
    bytes.extend(b"\xED\xA0");
    assert_eq!(failed(&bytes), ProtocolError::Utf8);
}

#[test]
fn a_text_that_ends_inside_of_a_character_fails() {
    assert_eq!(failed(&frame(Opcode::Text, true, b"\xC3")), ProtocolError::Utf8);
    let mut bytes = frame(Opcode::Text, false, b"\xC3");
    bytes.extend(frame(Opcode::Continuation, true, b""));
    assert_eq!(failed(&bytes), ProtocolError::Utf8);
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let mut bytes = frame(Opcode::Text, false, b"\xF0\x9F");
    bytes.extend(frame(Opcode::Continuation, true, b"\x98\x80"));
    assert_eq!(server(&bytes), [Got::Text("\u{1F600}".into())]);
}

#[test]
fn close_frames_say_a_valid_code_and_reason() {
    let close = |payload: &[u8]| server(&frame(Opcode::Close, true, payload)).pop().unwrap();
    assert_eq!(close(b""), Got::Close(None));
    assert_eq!(close(b"\x03\xE8bye"), Got::Close(Some((1000, "bye".into()))));
    assert_eq!(close(b"\x03"), Got::Failed(ProtocolError::Close));
    assert_eq!(close(b"\x03\xE8\xFF"), Got::Failed(ProtocolError::Utf8));
    for code in 0..=5000_u16 {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let result = close(&code.to_be_bytes());
        assert_eq!(matches!(result, Got::Close(Some(_))), valid, "{code}");
    }
}

#[test]
fn errors_have_the_close_codes_of_the_rfc() {
    assert_eq!(ProtocolError::Unmasked.close_code(), 1002);
    assert_eq!(ProtocolError::Utf8.close_code(), 1007);
    assert_eq!(ProtocolError::TooLarge.close_code(), 1009);
}

#[test]
fn many_tiny_fragments_leave_only_their_bytes() {
    let mut decoder = Decoder::new(Role::Server);
    let first = frame(Opcode::Binary, false, b"x");
    let more = frame(Opcode::Continuation, false, b"x");
    for n in 0..MAX {
        let mut buffer = if n == 0 { first.clone() } else { more.clone() };
        assert_eq!(decoder.decode(&mut buffer, &mut 0, MAX, None), Ok(None));
    }
    assert!(
        decoder.gathered_bytes() < 2 * MAX + 512,
        "{}",
        decoder.gathered_bytes()
    );
}

fn messages() -> impl Strategy<Value = Vec<(Opcode, Vec<u8>, usize)>> {
    let text = ".{0,60}".prop_map(|text| (Opcode::Text, text.into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (Opcode::Binary, bytes));
    let ping = prop::collection::vec(any::<u8>(), 0..125).prop_map(|bytes| (Opcode::Ping, bytes));
    let message = (prop_oneof![text, binary, ping], 1..5_usize);
    prop::collection::vec(
        message.prop_map(|((opcode, bytes), parts)| (opcode, bytes, parts)),
        0..8,
    )
}

/// Fragments the data messages and masks everything.
fn encode(messages: &[(Opcode, Vec<u8>, usize)], masked: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |opcode, is_final, payload: &[u8]| {
        if masked && is_final && opcode == Opcode::Ping {
            push_masked(&mut out, opcode, payload, MASK);
        } else if masked {
            out.extend(frame(opcode, is_final, payload));
        } else {
            out.extend(Header::new(opcode, is_final, payload.len(), None).as_slice());
            out.extend(payload);
        }
    };
    for (opcode, payload, parts) in messages {
        let parts = if opcode.is_control() { 1 } else { *parts };
        let size = payload.len().div_ceil(parts).max(1);
        let mut chunks: Vec<&[u8]> = payload.chunks(size).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (n, chunk) in chunks.iter().enumerate() {
            let opcode = if n == 0 { *opcode } else { Opcode::Continuation };
            put(opcode, n + 1 == chunks.len(), chunk);
        }
    }
    out
}

proptest! {
    #[test]
    fn arbitrary_splits_equal_one_piece(messages in messages(), cuts in prop::collection::vec(1..40_usize, 0..60), masked: bool) {
        let role = if masked { Role::Server } else { Role::Client };
        let bytes = encode(&messages, masked);
        let whole = decode(role, [&bytes[..]]);
        prop_assert_eq!(whole.len(), messages.len());
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(decode(role, pieces), whole.clone());
        prop_assert_eq!(decode(role, bytes.chunks(1)), whole);
    }

    #[test]
    fn garbage_never_panics_and_fails_alike_however_it_is_split(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let whole = server(&bytes);
        let split = decode(Role::Server, bytes.chunks(1));
        // In pieces a bad text fails earlier, before control frames behind it are seen; both fail or neither.
        let fails = |got: &[Got]| matches!(got.last(), Some(Got::Failed(_)));
        prop_assert_eq!(fails(&whole), fails(&split));
    }
}

/// A client's frame with RSV1.
fn deflated(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, is_final, payload);
    bytes[0] |= 0x40;
    bytes
}

fn inflating(bytes: &[u8]) -> Vec<Got> {
    decode_with(Role::Server, [bytes], Some(Inflater::default()))
}

#[test]
fn compressed_messages_are_inflated_whole_and_in_fragments() {
    // RFC 7692 §7.2.3.1.
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let mut bytes = deflated(Opcode::Text, true, hello);
    bytes.extend(deflated(Opcode::Binary, false, &hello[..3]));
    bytes.extend(frame(Opcode::Ping, true, b"p"));
    bytes.extend(frame(Opcode::Continuation, true, &hello[3..]));
    bytes.extend(frame(Opcode::Text, true, b"plain"));
    let expected = [
        Got::Text("Hello".into()),
        Got::Ping(b"p".to_vec()),
        Got::Binary(b"Hello".to_vec()),
        Got::Text("plain".into()),
    ];
    assert_eq!(inflating(&bytes), expected);
    for cut in 1..bytes.len() {
        let got = decode_with(
            Role::Server,
            [&bytes[..cut], &bytes[cut..]],
            Some(Inflater::default()),
        );
        assert_eq!(got, expected, "cut at {cut}");
    }
}

#[test]
fn compression_has_its_own_violations() {
    let failed = |bytes: &[u8]| match inflating(bytes).pop() {
        Some(Got::Failed(error)) => error,
        other => panic!("{bytes:02x?} gave {other:?}"),
    };
    let mut continued = frame(Opcode::Text, false, b"a");
    continued.extend(deflated(Opcode::Continuation, true, b"b"));
    assert_eq!(failed(&continued), ProtocolError::ReservedBit);
    assert_eq!(
        failed(&deflated(Opcode::Ping, true, b"")),
        ProtocolError::ReservedBit
    );
    let mut second_bit = frame(Opcode::Text, true, b"a");
    second_bit[0] |= 0x20;
    assert_eq!(failed(&second_bit), ProtocolError::ReservedBit);
    assert_eq!(
        failed(&deflated(Opcode::Text, true, b"\xff\xff")),
        ProtocolError::Deflate
    );
    // Inflates to the byte FF, which is no text.
    assert_eq!(
        failed(&deflated(Opcode::Text, true, b"\xfa\x0f\x00")),
        ProtocolError::Utf8
    );
    let bomb = crate::Deflater::new(9)
        .deflate(&[0; MAX + 1], 15)
        .unwrap()
        .to_vec();
    assert_eq!(
        failed(&deflated(Opcode::Binary, true, &bomb)),
        ProtocolError::TooLarge
    );
}
