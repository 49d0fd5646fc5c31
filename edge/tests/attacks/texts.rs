//! A16: messages that are no request.

use hub_protocol::UserId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use crate::siege::Siege;
use crate::support::client::{Client, Frame, raw_frame};

const ROOM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Sends a text, then a request with a fault of its own; what comes back up to the answer of the latter.
fn answers(client: &mut Client, text: &str, id: u64) -> usize {
    client.send(text);
    client.send(&format!(r#"{{"id":{id},"method":"no.such"}}"#));
    for count in 0.. {
        let answer = client.json();
        assert_eq!(answer["error"]["code"], "bad_request", "{text:.80}: {answer}");
        if answer["id"] == id {
            return count;
        }
    }
    unreachable!("the loop returns")
}

#[test]
fn a16_texts_that_are_no_request() {
    let mut siege = Siege::with_redis(&[
        ("LIMITS__MESSAGES_PER_SECOND", "0"),
        ("LIMITS__BYTES_PER_SECOND", "0"),
    ]);
    let user: UserId = Uuid::from_u128(0xA).into();
    let mut client = siege.session(user);
    let texts = [
        String::new(),
        "[".repeat(60_000),
        "{\"a\":".repeat(10_000),
        "NaN".to_owned(),
        "{\"id\":NaN,\"method\":\"user.me\"}".to_owned(),
        "{\"id\":1e999,\"method\":\"user.me\"}".to_owned(),
        "{\"id\":1.0,\"method\":\"user.me\"}".to_owned(),
        "{\"id\":-0,\"method\":\"user.me\",\"room\":7}".to_owned(),
        "{\"id\":9007199254740993,\"method\":\"user.me\"}".to_owned(),
        "{\"id\":1,\"method\":\"\\ud800\"}".to_owned(),
        "{\"id\":1,\"method\":\"user.me\\u0000\"}".to_owned(),
        "{\"id\":1,\"method\":\"USER.ME\"}".to_owned(),
        "{\"id\":1,\"method\":[\"user.me\"]}".to_owned(),
        "{\"id\":1,\"method\":\"user.me\",}".to_owned(),
        "{\"id\":1,\"method\":\"user.me\"}{}".to_owned(),
        "{'id':1}".to_owned(),
        "\u{feff}{\"id\":1,\"method\":\"user.me\"}".to_owned(),
        format!("{{\"id\":1,\"method\":\"message.send\",\"room\":\"{ROOM}x\"}}"),
        format!("{{\"id\":1,\"method\":\"{}\"}}", "x".repeat(60_000)),
        format!("{{\"id\":{},\"method\":\"user.me\"}}", "9".repeat(60_000)),
        format!("{{{}\"id\":1}}", "\"k\":0,".repeat(9_000)),
    ];
    let mut id = 1000;
    // What 64 KiB of brackets cost is a matter of the shard, not of how often or by how many they are sent: the first
    // round makes the parser's memory grow, two hundred more do not.
    for round in 0..=200 {
        for text in &texts {
            id += 1;
            assert_eq!(answers(&mut client, text, id), 1, "{text:.80}: one answer each");
        }
        if round == 0 {
            siege.again(20 * 1024 * 1024);
        }
    }
    // Ten thousand methods that do not exist, and requests spoilt at random.
    for _ in 0..10_000 {
        id += 1;
        client.send(&format!(r#"{{"id":{id},"method":"user.x{id}"}}"#));
        assert_eq!(client.json()["id"], id);
    }
    let mut random = StdRng::seed_from_u64(16);
    let good =
        format!(r#"{{"id":7,"method":"nessage.send","room":"{ROOM}","params":{{"text":"a\"\u00e9"}}}}"#);
    for _ in 0..5_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random_range(0x20..0x7F);
        }
        id += 1;
        let text = String::from_utf8(bytes).expect("ASCII");
        answers(&mut client, &text, id);
    }
    // What is no text at all.
    client.write(&raw_frame(0x82, b"{}"));
    assert_eq!(client.frame(), Frame::Close(1003));
    siege.end();
}
