//! The texts that go back: responses, sealed where the method demands it. Pure.

use std::io::Write as _;

use bytes::Bytes;
use hub_protocol::api::Failure;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::error::ErrorBody;
use hub_protocol::seal::{Binding, Sealer, Way};

use crate::delivery::Answer;

/// The response to a call, ready for its connection. `minute` is minutes since the Unix epoch.
pub(super) fn answer(
    header: &EnvelopeHeader,
    reply: Result<Bytes, ErrorBody>,
    sealer: &Sealer,
    minute: u32,
) -> Option<Answer> {
    let error = reply.as_ref().err().map(|error| error.code);
    let text = response(header.request, reply);
    let sealed = header.method.is_sealed();
    let body = if sealed {
        match sealer.seal(&binding(header, Way::Down), minute, &text) {
            Ok(sealed) => sealed,
            Err(error) => {
                // Better no answer than an open one.
                tracing::error!(%error, method = header.method.name(), "an answer could not be sealed");
                return None;
            }
        }
    } else {
        text
    };
    let (address, user, request) = (header.address, header.user, header.request);
    Some(Answer {
        address,
        user,
        request,
        error,
        sealed,
        body: body.into(),
    })
}

/// What a sealed text of this call is bound to.
pub(super) fn binding(header: &EnvelopeHeader, way: Way) -> Binding {
    Binding {
        way,
        method: header.method,
        address: header.address,
        request: header.request,
    }
}

fn response(request: u64, reply: Result<Bytes, ErrorBody>) -> Vec<u8> {
    match reply {
        Ok(result) => {
            let mut text = Vec::with_capacity(result.len() + 40);
            let _ = write!(text, "{{\"id\":{request},\"result\":");
            text.extend_from_slice(&result);
            text.push(b'}');
            text
        }
        Err(error) => serde_json::to_vec(&Failure {
            id: Some(request),
            error,
        })
        .expect("plain strings and numbers"),
    }
}

#[cfg(test)]
mod tests {
    use hub_protocol::{Address, ErrorCode, LoginId, Method, RoomId, SessionId, UserId};

    use super::*;

    fn header(method: Method) -> EnvelopeHeader {
        EnvelopeHeader {
            address: Address::default(),
            request: 7,
            method,
            user: UserId::NIL,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        }
    }

    #[test]
    fn responses_are_those_of_the_protocol() {
        let sealer = Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap();
        let good = answer(
            &header(Method::UserMe),
            Ok(Bytes::from_static(b"{\"a\":1}")),
            &sealer,
            1,
        )
        .unwrap();
        assert_eq!(good.body.as_ref(), br#"{"id":7,"result":{"a":1}}"#);
        let refusal = ErrorBody::new(ErrorCode::NotFound, "no");
        let bad = answer(&header(Method::UserMe), Err(refusal), &sealer, 1).unwrap();
        assert_eq!(bad.error, Some(ErrorCode::NotFound));
        assert_eq!(
            bad.body.as_ref(),
            br#"{"id":7,"error":{"code":"not_found","message":"no","retryable":false}}"#
        );
    }

    #[test]
    fn answers_with_secrets_are_sealed_for_the_way_down() {
        let sealer = Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap();
        let header = header(Method::AuthLogin);
        let answer = answer(&header, Ok(Bytes::from_static(b"{}")), &sealer, 9).unwrap();
        assert!(answer.sealed);
        let open = sealer
            .open(&binding(&header, Way::Down), 9, &answer.body)
            .unwrap();
        assert_eq!(open, br#"{"id":7,"result":{}}"#);
    }
}
