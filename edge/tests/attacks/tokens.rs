//! A17 and A18: tokens that were not given out, and who has none.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_protocol::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::siege::{Siege, login};
use crate::support::client::Frame;
use crate::support::keys::{KID, Keys, unsigned};

fn user() -> UserId {
    Uuid::from_u128(0xA).into()
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KID})
}

fn claims() -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    json!({
        "iss": "socket-hub", "aud": "socket-hub-edge", "sub": user(), "sid": login(),
        "jti": "1", "iat": now, "nbf": now, "exp": now + 900,
    })
}

/// An object with one member set, or removed by null.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    let map = object.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), value);
    }
    object
}

/// The table of forgeries: what is wrong, and the token.
fn forgeries(keys: &Keys) -> Vec<(String, String)> {
    let good = keys.sign(&header(), &claims());
    let now = claims()["iat"].as_u64().expect("a number");
    let mut table = Vec::new();
    for alg in ["none", "None", "nOnE", ""] {
        let text = unsigned(&with(header(), "alg", json!(alg)), &claims());
        table.push((format!("alg {alg:?}"), format!("{text}.")));
    }
    let text = unsigned(&with(header(), "alg", json!("HS256")), &claims());
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &keys.public_pem());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, text.as_bytes()));
    table.push((
        "the public key as a secret".to_owned(),
        format!("{text}.{signature}"),
    ));
    for (key, value) in [
        ("typ", json!("refresh+jwt")),
        ("typ", json!("JWT")),
        ("typ", Value::Null),
        ("kid", Value::Null),
        ("kid", json!("../../dev/null")),
        ("kid", json!("20260101-00000002")),
        ("crit", json!(["exp"])),
        ("alg", json!("ES256")),
    ] {
        let token = keys.sign(&with(header(), key, value.clone()), &claims());
        table.push((format!("header {key} = {value}"), token));
    }
    for (key, value) in [
        ("exp", json!(now - 30)),
        ("exp", json!((now + 900).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(now + 365 * 86_400)),
        ("exp", Value::Null),
        ("nbf", json!(now + 3600)),
        ("iat", json!(now + 3600)),
        ("iat", Value::Null),
        ("aud", json!("another")),
        ("aud", Value::Null),
        ("iss", json!("another")),
        ("iss", json!(7)),
        ("iss", Value::Null),
        ("sub", json!("root")),
        ("sub", Value::Null),
        ("sid", Value::Null),
    ] {
        let token = keys.sign(&header(), &with(claims(), key, value.clone()));
        table.push((format!("claim {key} = {value}"), token));
    }
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other = unsigned(&header(), &with(claims(), "sub", json!(Uuid::from_u128(0xE))));
    for (what, token) in [
        ("another's claims", format!("{other}.{signature}")),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.x")),
        ("a trailing dot", format!("{good}.")),
        ("padding", format!("{good}=")),
        ("long", format!("{message}.{}", "A".repeat(5000))),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
    ] {
        table.push((what.to_owned(), token));
    }
    table
}

#[test]
fn a17_forged_tokens_open_nothing_and_are_never_logged() {
    let siege = Siege::with_redis(&[("LIMITS__CALL_WAIT_MS", "200")]);
    let good = siege.edge.keys.sign(&header(), &claims());
    let body = r#"{"id":1,"method":"user.me","params":{}}"#;
    assert_eq!(
        siege.edge.call(Some(&good), body).status,
        504,
        "taken; nobody answers"
    );
    let table = forgeries(&siege.edge.keys);
    for (what, token) in &table {
        assert_eq!(siege.edge.call(Some(token), body).status, 401, "{what}: call");
        let mut client = siege.edge.connect();
        let reply = client.upgrade("/v1/ws", &format!("Authorization: Bearer {token}\r\n"), b"");
        assert_eq!(reply.status, 401, "{what}: upgrade");
        let mut client = siege.stranger();
        client.send(&json!({"id": 1, "method": "session.open", "params": {"token": token}}).to_string());
        assert_eq!(
            client.json()["error"]["code"],
            "unauthenticated",
            "{what}: message"
        );
        assert_eq!(client.frame(), Frame::Close(4500), "{what}: message");
    }
    // Places where no token belongs.
    for (path, extra) in [
        (format!("/v1/ws?token={good}"), String::new()),
        (format!("/v1/ws?access_token={good}"), String::new()),
        ("/v1/ws".to_owned(), format!("Cookie: token={good}\r\n")),
        (
            "/v1/ws".to_owned(),
            format!("Sec-WebSocket-Protocol: socket-hub.v1, {good}\r\n"),
        ),
    ] {
        let mut client = siege.edge.connect();
        let reply = client.upgrade(&path, &extra, b"");
        assert_eq!(reply.status, 101);
        assert!(!reply.head.contains(&good), "{}", reply.head);
        client.send(body);
        assert_eq!(client.json()["error"]["code"], "unauthenticated");
    }
    let log = siege.edge.log();
    let good = [("good".to_owned(), good)];
    for (what, token) in table.iter().chain(&good).filter(|(_, token)| token.len() > 20) {
        let signature = token.rsplit('.').next().unwrap_or_default();
        assert!(!log.contains(token.as_str()), "{what}");
        assert!(signature.is_empty() || !log.contains(signature), "{what}");
    }
    siege.end();
}

#[test]
fn a18_who_opens_no_session_may_do_nothing() {
    let siege = Siege::with_redis(&[("LIMITS__SESSION_OPEN_MS", "3000")]);
    let mut silent = siege.stranger();
    let mut pushy = siege.stranger();
    let room = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (id, method, room) in [
        (1, "user.me", None),
        (2, "message.send", Some(room)),
        (3, "message.history", Some(room)),
        (4, "session.refresh", None),
        (5, "sync", None),
        (6, "auth.login", None),
    ] {
        let mut request = json!({"id": id, "method": method, "params": {"token": "x.y.z"}});
        if let Some(room) = room {
            request["room"] = json!(room);
        }
        pushy.send(&request.to_string());
        let answer = pushy.json();
        assert_eq!(
            (answer["id"].as_i64(), answer["error"]["code"].as_str()),
            (Some(id), Some("unauthenticated")),
            "{method}"
        );
    }
    assert_eq!(pushy.frame(), Frame::Close(4504), "being busy does not help");
    assert_eq!(silent.frame(), Frame::Close(4504));
    assert_eq!(siege.edge.metric("hub_edge_uplink_envelopes_total"), 0);
    siege.end();
}
