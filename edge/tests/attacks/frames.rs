//! A1 to A8: frames that break RFC 6455, ask for memory, or come in floods.

use hub_protocol::UserId;
use uuid::Uuid;

use crate::siege::Siege;
use crate::support::client::{Client, Frame, raw_frame, text_frame};

/// One message may have this many bytes here.
const LIMIT: &[(&str, &str)] = &[("LIMITS__MESSAGE_BYTES_MAX", "65536")];

/// Sends bytes and expects a close with this code and then the end, without a word of ours in between.
fn closes_with(siege: &Siege, bytes: &[u8], code: u16) {
    let mut client = siege.echo();
    client.write(bytes);
    closed(&mut client, code, &bytes[..bytes.len().min(40)]);
}

fn closed(client: &mut Client, code: u16, what: &[u8]) {
    assert_eq!(client.frame(), Frame::Close(code), "{what:02x?}");
    assert!(client.is_closed(), "{what:02x?}: the connection ends by itself");
}

#[test]
fn a01_broken_framing() {
    let siege = Siege::start(LIMIT);
    // Unmasked.
    closes_with(&siege, b"\x81\x02hi", 1002);
    for reserved in [0x40, 0x20, 0x10, 0x70] {
        closes_with(&siege, &raw_frame(0x81 | reserved, b"x"), 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        closes_with(&siege, &raw_frame(0x80 | opcode, b"x"), 1002);
        closes_with(&siege, &raw_frame(opcode, b""), 1002);
    }
    for control in [8, 9, 0xA] {
        closes_with(&siege, &raw_frame(control, b"\x03\xe8"), 1002);
        closes_with(&siege, &raw_frame(0x80 | control, &[b'x'; 126]), 1002);
    }
    closes_with(&siege, &raw_frame(0x80, b"a continuation of nothing"), 1002);
    let inside = [raw_frame(0x01, b"a"), raw_frame(0x81, b"b")].concat();
    closes_with(&siege, &inside, 1002);
    siege.end();
}

#[test]
fn a02_texts_that_are_not_utf8_fail_at_the_bad_byte() {
    let siege = Siege::start(LIMIT);
    for bad in [
        b"\xff".as_slice(),
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"abc\x80",
    ] {
        closes_with(&siege, &raw_frame(0x81, bad), 1007);
        // A fragment: the rest of the message never comes.
        closes_with(&siege, &raw_frame(0x01, bad), 1007);
        closes_with(
            &siege,
            &[raw_frame(0x01, b"good"), raw_frame(0x00, bad)].concat(),
            1007,
        );
        closes_with(&siege, &raw_frame(0x88, &[b"\x03\xe8", bad].concat()), 1007);
        // A part of a frame: the rest of it never comes.
        let announced = raw_frame(0x81, &[bad, &[b'x'; 90]].concat());
        closes_with(&siege, &announced[..6 + bad.len()], 1007);
    }
    // A character that is cut by the end of the message.
    closes_with(
        &siege,
        &[raw_frame(0x01, b"\xe2\x82"), raw_frame(0x80, b"")].concat(),
        1007,
    );
    siege.end();
}

#[test]
fn a03_close_codes_that_must_not_be_sent() {
    let siege = Siege::start(LIMIT);
    for code in [0_u16, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535] {
        closes_with(&siege, &raw_frame(0x88, &code.to_be_bytes()), 1002);
    }
    closes_with(&siege, &raw_frame(0x88, b"\x03"), 1002);
    siege.end();
}

#[test]
fn a04_lengths_that_lie() {
    let siege = Siege::start(LIMIT);
    let mask = [0; 4];
    let declares = |len: u64| [b"\x81\xff".as_slice(), &len.to_be_bytes(), &mask].concat();
    closes_with(&siege, &declares(1 << 63), 1002);
    closes_with(&siege, &declares(u64::MAX), 1002);
    closes_with(&siege, &declares(125), 1002);
    closes_with(&siege, &declares(65535), 1002);
    closes_with(&siege, b"\x81\xfe\x00\x7d\x00\x00\x00\x00", 1002);
    // The header alone decides; many of them at once ask for no memory.
    let mut many: Vec<Client> = (0..100).map(|_| siege.echo()).collect();
    for client in &mut many {
        client.write(&declares(1 << 40));
    }
    for client in &mut many {
        closed(client, 1009, b"2^40");
    }
    siege.end();
}

#[test]
fn a05_messages_above_the_limit() {
    let siege = Siege::start(LIMIT);
    let frame = raw_frame(0x82, &vec![b'x'; 65_537]);
    // Its header is enough.
    closes_with(&siege, &frame[..14], 1009);
    let part = raw_frame(0x02, &vec![b'x'; 40_000]);
    let rest = raw_frame(0x80, &vec![b'x'; 25_537]);
    closes_with(&siege, &[part.as_slice(), &rest[..8]].concat(), 1009);
    let mut client = siege.echo();
    client.write(&raw_frame(0x81, &vec![b'x'; 65_536]));
    assert!(matches!(client.frame(), Frame::Text(text) if text.len() == 65_536));
    siege.end();
}

#[test]
fn a06_a_message_in_tiny_fragments_that_never_ends() {
    let siege = Siege::start(&[
        ("LIMITS__MESSAGE_BYTES_MAX", "65536"),
        ("LIMITS__MESSAGE_MS", "10000"),
        ("LIMITS__PING_MS", "200"),
    ]);
    let fragments: Vec<u8> = std::iter::once(raw_frame(0x01, b"x"))
        .chain((1..60_000).map(|_| raw_frame(0x00, b"x")))
        .flatten()
        .collect();
    let mut clients: Vec<Client> = (0..20).map(|_| siege.echo()).collect();
    let before = siege.edge.rss_bytes();
    for client in &mut clients {
        assert!(
            client.write(&fragments),
            "many fragments are no fault by themselves"
        );
    }
    let grown = siege.edge.rss_bytes().saturating_sub(before);
    for client in &mut clients {
        // Signs of life, and more of the message, do not move its deadline.
        loop {
            match client.frame() {
                Frame::Other(9, _) => {
                    client.write(&[raw_frame(0x8A, b""), raw_frame(0x00, b"x")].concat());
                }
                other => {
                    assert_eq!(other, Frame::Close(1008));
                    break;
                }
            }
        }
    }
    siege
        .edge
        .metric_is("hub_edge_closed_late_messages_total", |count| count == 20);
    let sent = (20 * fragments.len()) as u64;
    assert!(grown <= 2 * sent, "{grown} bytes for {sent}");
    siege.end();
}

/// A deflate stream (RFC 1951) of one letter, repeated `repeats` times 258 times: 13 bits for 258 bytes.
fn bomb(repeats: usize) -> Vec<u8> {
    struct Bits(Vec<u8>, u8);
    impl Bits {
        fn push(&mut self, bits: &str) {
            for bit in bits.bytes() {
                if self.1 == 0 {
                    self.0.push(0);
                }
                *self.0.last_mut().expect("was pushed") |= (bit - b'0') << self.1;
                self.1 = (self.1 + 1) % 8;
            }
        }
    }
    let mut bits = Bits(Vec::new(), 0);
    // Not the last block, fixed codes; the letter `a`.
    bits.push("01010010001");
    for _ in 0..repeats {
        // Length 258, distance 1.
        bits.push("1100010100000");
    }
    // The end of the block, and an empty stored one whose lengths RFC 7692 §7.2.1 leaves out.
    bits.push("0000000000");
    bits.0
}

#[test]
fn a07_a_compressed_message_that_explodes() {
    let siege = Siege::start(LIMIT);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover\r\n";
    let bombs = [bomb(300), bomb(40_000)];
    for bomb in &bombs {
        for cut in [bomb.len(), 1000.min(bomb.len())] {
            let mut client = siege.edge.connect();
            let reply = client.upgrade("/echo", offer, b"");
            assert_eq!(reply.status, 101);
            let is_negotiated = reply.head.contains("permessage-deflate");
            let (first, rest) = bomb.split_at(cut);
            let mut message = raw_frame(if rest.is_empty() { 0xC1 } else { 0x41 }, first);
            if !rest.is_empty() {
                message.extend(raw_frame(0x80, rest));
            }
            client.write(&message);
            closed(&mut client, if is_negotiated { 1009 } else { 1002 }, b"a bomb");
        }
    }
    // Garbage instead of a stream.
    let mut client = siege.edge.connect();
    client.upgrade("/echo", offer, b"");
    client.write(&raw_frame(0xC1, &[0xFF; 500]));
    let Frame::Close(1002 | 1007) = client.frame() else {
        panic!("garbage is refused");
    };
    siege.end();
}

#[test]
fn a08_floods_of_control_frames_and_empty_ones() {
    let siege = Siege::with_redis(&[]);
    let user: UserId = Uuid::from_u128(0xA).into();
    let floods = [
        ("pings", raw_frame(0x89, b"")),
        ("pongs", raw_frame(0x8A, b"unasked")),
        ("empty texts", text_frame("")),
        (
            "empty fragments",
            [raw_frame(0x01, b""), raw_frame(0x00, b"")].concat(),
        ),
    ];
    for (closed, (what, frame)) in (0..).zip(floods) {
        let mut client = siege.session(user);
        let (first, more) = if what == "empty fragments" {
            frame.split_at(frame.len() / 2)
        } else {
            (frame.as_slice(), frame.as_slice())
        };
        client.write(first);
        let chunk = more.repeat(10_000);
        // The bound is far above what any limit lets through.
        let mut chunks = 0;
        while siege.edge.metric("hub_edge_closed_abuse_total") <= closed {
            client.write(&chunk);
            chunks += 1;
            assert!(chunks < 1000, "{what}: never cut");
        }
    }

    // Who says it and then listens is told why, and pings above the rate stay unanswered.
    let mut client = siege.session(user);
    client.write(&raw_frame(0x89, b"").repeat(1000));
    let mut pongs = 0;
    let last = loop {
        match client.frame() {
            Frame::Other(0xA, _) => pongs += 1,
            other => break other,
        }
    };
    assert_eq!(last, Frame::Close(4502));
    assert!(pongs < 200, "{pongs}");
    siege.end();
}
