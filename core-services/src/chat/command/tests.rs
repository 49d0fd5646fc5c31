use hub_protocol::api::room::direct_room;
use hub_protocol::limits::TEXT_BYTES_MAX;

use super::*;
use crate::chat::testing::{call, key, room, user};

fn parsed(method: Method, body: &str) -> Result<Write, ErrorCode> {
    parse(&call(user(1), method, room(1), body), &key()).map_err(|error| error.code)
}

#[test]
fn a_message_is_read_and_hashed_by_its_content() {
    let text = |text: &str, space: &str| {
        let body = format!(
            r#"{{"id":1,{space}"method":"message.send","params":{{{space}"text":"{text}","client_message_id":"{}"}}}}"#,
            uuid::Uuid::from_u128(5)
        );
        parsed(Method::MessageSend, &body).unwrap().op.unwrap()
    };
    assert_eq!(text("a", ""), text("a", "  "));
    assert_ne!(text("a", "").1, text("b", "").1);
}

#[test]
fn texts_out_of_bounds_are_refused() {
    let send = |text: &str| {
        let op = uuid::Uuid::from_u128(5);
        parsed(
            Method::MessageSend,
            &format!(r#"{{"params":{{"text":"{text}","client_message_id":"{op}"}}}}"#),
        )
        .map(|_| ())
    };
    assert_eq!(send(""), Err(ErrorCode::BadRequest));
    assert_eq!(send("\\u0000"), Err(ErrorCode::BadRequest));
    assert_eq!(send("\\ud800"), Err(ErrorCode::BadRequest));
    assert_eq!(send(&"x".repeat(TEXT_BYTES_MAX + 1)), Err(ErrorCode::TooLarge));
    assert_eq!(send(&"x".repeat(TEXT_BYTES_MAX)), Ok(()));
}

#[test]
fn a_group_cannot_take_the_id_of_a_direct_room() {
    let id = direct_room(user(2), user(3));
    let body = format!(
        r#"{{"params":{{"op":"{}","id":"{id}","kind":"group","name":"x"}}}}"#,
        uuid::Uuid::from_u128(9)
    );
    let refused = parse(&call(user(1), Method::RoomCreate, id, &body), &key()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BadRequest);
}

#[test]
fn a_direct_room_has_the_id_of_its_pair() {
    let create = |id: RoomId, members: &str| {
        let body = format!(
            r#"{{"params":{{"op":"{}","id":"{id}","kind":"direct","members":[{members}]}}}}"#,
            uuid::Uuid::from_u128(9)
        );
        parse(&call(user(1), Method::RoomCreate, id, &body), &key()).is_ok()
    };
    let (a, b) = (format!("\"{}\"", user(1)), format!("\"{}\"", user(2)));
    assert!(create(direct_room(user(1), user(2)), &b));
    assert!(!create(room(1), &b));
    assert!(!create(direct_room(user(1), user(1)), &a));
    assert!(!create(direct_room(user(1), user(2)), &format!("{a},{b}")));
}
