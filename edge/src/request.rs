//! Step 6: reads the envelope of a request (`id`, `method`, `room`) and nothing behind it.
//!
//! The text itself is never changed: it goes into the uplink batch as the client wrote it. simd-json unescapes in
//! place, so it works on a copy in a buffer that is used again and again.

use hub_protocol::{ErrorCode, Method, RoomId, Route};
use simd_json::Buffers;
use simd_json::prelude::*;
use simd_json::tape::{Node, Tape};

/// After a longer text the buffers are given back, bytes: they grow to many times the text if it is all brackets.
const KEPT_BYTES: usize = 8 * 1024;

/// The envelope of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Chosen by the client.
    pub id: u64,
    /// What is called.
    pub method: Method,
    /// The room; nil for methods without.
    pub room: RoomId,
}

/// Why a text is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRequest {
    /// The `id`, if it could be read.
    pub id: Option<u64>,
    /// For the client.
    pub code: ErrorCode,
    /// For the developer of the client.
    pub message: &'static str,
}

/// Reads envelopes; keeps its buffers from one usual text to the next.
pub struct RequestReader {
    text: Vec<u8>,
    buffers: Buffers,
    tape: Option<Tape<'static>>,
}

impl Default for RequestReader {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            buffers: Buffers::new(1024),
            tape: Some(Tape(Vec::new())),
        }
    }
}

impl RequestReader {
    /// Reads the envelope of a text.
    pub fn read(&mut self, text: &[u8]) -> Result<Request, BadRequest> {
        self.text.clear();
        self.text.extend_from_slice(text);
        let mut tape = self.tape.take().unwrap_or_else(|| Tape(Vec::new()));
        let parsed = simd_json::fill_tape(&mut self.text, &mut self.buffers, &mut tape);
        let result = match parsed {
            Ok(()) => envelope(&tape),
            Err(_) => Err(bad(None, "the message is not JSON")),
        };
        self.tape = Some(tape.reset());
        if text.len() > KEPT_BYTES {
            *self = Self::default();
        }
        result
    }
}

/// The `token` in the params of `session.open` and `session.refresh`.
pub fn read_token(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Open {
        params: hub_protocol::api::session::Open,
    }
    serde_json::from_slice::<Open>(text)
        .ok()
        .map(|open| open.params.token)
}

fn bad(id: Option<u64>, message: &'static str) -> BadRequest {
    BadRequest {
        id,
        code: ErrorCode::BadRequest,
        message,
    }
}

fn envelope(tape: &Tape<'_>) -> Result<Request, BadRequest> {
    if !matches!(tape.0.first(), Some(Node::Object { .. })) {
        return Err(bad(None, "a request is a JSON object"));
    }
    let value = tape.as_value();
    let object = value.as_object().ok_or(bad(None, "a request is a JSON object"))?;
    let (mut id, mut method, mut room) = (None, None, None);
    for (key, value) in &object {
        match key {
            "id" => id = Some(value),
            "method" => method = Some(value),
            "room" => room = Some(value),
            _ => {}
        }
    }
    let id = id
        .and_then(|id| id.as_u64())
        .ok_or(bad(None, "`id` is a number from 0 to 2^53"))?;
    if id > 1 << 53 {
        return Err(bad(None, "`id` is a number from 0 to 2^53"));
    }
    let name = method.as_ref().and_then(|name| name.as_str());
    let name = name.ok_or(bad(Some(id), "`method` is the name of a method"))?;
    let method = Method::find(name).ok_or(bad(Some(id), "there is no such method"))?;
    let room = match (method.route(), &room) {
        (Route::Room, room) => {
            let text = room.as_ref().and_then(|room| room.as_str());
            let room: Option<RoomId> = text.and_then(|text| text.parse().ok());
            room.ok_or(bad(Some(id), "`room` is the id of a room; this method needs it"))?
        }
        (_, None) => RoomId::NIL,
        (_, Some(_)) => return Err(bad(Some(id), "this method has no `room`")),
    };
    Ok(Request { id, method, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn read(text: &str) -> Result<Request, BadRequest> {
        RequestReader::default().read(text.as_bytes())
    }

    #[test]
    fn the_envelope_is_read_and_the_rest_is_not() {
        let text = format!(
            r#"{{"params":{{"text":"a\"\u00e9","id":9}},"room":"{ROOM}","method":"message.send","id":7}}"#
        );
        let expected = Request {
            id: 7,
            method: Method::MessageSend,
            room: ROOM.parse().unwrap(),
        };
        assert_eq!(read(&text), Ok(expected));
    }

    #[test]
    fn buffers_are_used_again() {
        let mut reader = RequestReader::default();
        for id in 0..100_u64 {
            let text = format!(r#"{{"id":{id},"method":"user.me","params":{{}}}}"#);
            assert_eq!(reader.read(text.as_bytes()).unwrap().id, id);
            assert!(reader.read(b"{").is_err());
        }
    }

    #[test]
    fn every_fault_has_its_sentence() {
        for (text, id) in [
            ("", None),
            ("{", None),
            ("[]", None),
            ("7", None),
            (r#"{"method":"user.me"}"#, None),
            (r#"{"id":-1,"method":"user.me"}"#, None),
            (r#"{"id":1.5,"method":"user.me"}"#, None),
            (r#"{"id":"1","method":"user.me"}"#, None),
            (r#"{"id":18446744073709551615,"method":"user.me"}"#, None),
            (r#"{"id":1}"#, Some(1)),
            (r#"{"id":1,"method":7}"#, Some(1)),
            (r#"{"id":1,"method":"user.nobody"}"#, Some(1)),
            (r#"{"id":1,"method":"message.send"}"#, Some(1)),
            (r#"{"id":1,"method":"message.send","room":"x"}"#, Some(1)),
            (
                r#"{"id":1,"method":"user.me","room":"01890a5d-ac96-774b-bcce-b302099a8057"}"#,
                Some(1),
            ),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!((error.id, error.code), (id, ErrorCode::BadRequest), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let text = format!(
            r#"{{"id":1,"method":"user.me","params":{}1{}}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        );
        let _ = read(&text);
    }
}
