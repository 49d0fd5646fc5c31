//! Step 9, second half: entries into calls. Pure: opens what is sealed, refuses what no service should see, drops
//! what nobody waits for any more.

use bytes::Bytes;
use hub_protocol::batch::{BatchError, EnvelopeHeader, UplinkBatch};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{EPHEMERAL_AGE_MS_MAX, JSON_DEPTH_MAX, MESSAGE_BYTES_MAX, READ_AGE_MS_MAX};
use hub_protocol::seal::{Sealer, Way};
use hub_protocol::{Class, ErrorCode, Service};

use super::answer::binding;
use crate::service::Call;

/// What one entry holds.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Calls that change something, in their order.
    pub(super) writes: Vec<Call>,
    /// Calls that only read, only pass something on, or have a transaction of their own.
    pub(super) reads: Vec<Call>,
    /// Calls that are answered here.
    pub(super) refused: Vec<(EnvelopeHeader, ErrorBody)>,
    /// Calls that are too old for an answer.
    pub(super) dropped: usize,
}

impl Intake {
    /// Calls that will be answered.
    pub(super) fn len(&self) -> usize {
        self.writes.len() + self.reads.len() + self.refused.len()
    }
}

/// Reads a batch for one service. `age_ms` is that of the entry.
pub(super) fn read(
    batch: &Bytes,
    service: Service,
    sealer: &Sealer,
    minute: u32,
    age_ms: u64,
) -> Result<Intake, BatchError> {
    let mut intake = Intake::default();
    for envelope in UplinkBatch::parse(batch)?.iter() {
        let header = envelope.header;
        let class = header.method.class();
        let too_old = match class {
            Class::Write => false,
            Class::Apart | Class::Read => age_ms > READ_AGE_MS_MAX,
            Class::Ephemeral => age_ms > EPHEMERAL_AGE_MS_MAX,
        };
        if too_old {
            intake.dropped += 1;
            continue;
        }
        match open(&header, envelope.body, batch, service, sealer, minute) {
            Err(refusal) => intake.refused.push((header, refusal)),
            Ok(body) => {
                let call = Call { header, body };
                match class {
                    Class::Write => intake.writes.push(call),
                    Class::Apart | Class::Read | Class::Ephemeral => intake.reads.push(call),
                }
            }
        }
    }
    Ok(intake)
}

fn open(
    header: &EnvelopeHeader,
    body: &[u8],
    batch: &Bytes,
    service: Service,
    sealer: &Sealer,
    minute: u32,
) -> Result<Bytes, ErrorBody> {
    if header.method.service() != service {
        return Err(ErrorBody::new(
            ErrorCode::BadRequest,
            "the call went to a wrong service",
        ));
    }
    let body = if header.method.is_sealed() {
        match sealer.open(&binding(header, Way::Up), minute, body) {
            Ok(text) => Bytes::from(text),
            // Too old as a rule (a new key as an exception): nothing happened, the client may ask again.
            Err(_sealed) => return Err(ErrorBody::new(ErrorCode::Unavailable, "the call came too late")),
        }
    } else {
        // Shares the memory of the batch.
        batch.slice_ref(body)
    };
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(ErrorBody::new(
            ErrorCode::TooLarge,
            "the call is longer than 65536 bytes",
        ));
    }
    if std::str::from_utf8(&body).is_err() {
        return Err(ErrorBody::new(ErrorCode::BadRequest, "the call is not UTF-8"));
    }
    if depth(&body) > JSON_DEPTH_MAX {
        return Err(ErrorBody::new(
            ErrorCode::BadRequest,
            "the call is nested deeper than 32",
        ));
    }
    Ok(body)
}

/// How deep arrays and objects of a JSON text nest. Of a text that is no JSON any number.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use hub_protocol::batch::UplinkWriter;
    use hub_protocol::{Address, LoginId, Method, NodeId, RoomId, SessionId, UserId};

    use super::*;

    fn header(method: Method) -> EnvelopeHeader {
        EnvelopeHeader {
            address: Address {
                node: NodeId(5),
                shard: 0,
                slot: 1,
                generation: 1,
            },
            request: 7,
            method,
            user: UserId::NIL,
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        }
    }

    fn sealer() -> Sealer {
        Sealer::new([("k".to_owned(), vec![1; 32])]).unwrap()
    }

    fn batch(calls: &[(Method, &[u8])]) -> Bytes {
        let mut writer = UplinkWriter::new(NodeId(5));
        for (method, body) in calls {
            writer.push(&header(*method), body);
        }
        writer.take().into()
    }

    #[test]
    fn calls_are_sorted_by_class_and_old_ones_dropped() {
        let all = batch(&[
            (Method::MessageSend, b"{}"),
            (Method::MessageHistory, b"{}"),
            (Method::TypingSet, b"{}"),
            (Method::MessageSend, b"[]"),
        ]);
        let at = |age| {
            let intake = read(&all, Service::Chat, &sealer(), 1, age).unwrap();
            (intake.writes.len(), intake.reads.len(), intake.dropped)
        };
        assert_eq!(at(0), (2, 2, 0));
        assert_eq!(at(EPHEMERAL_AGE_MS_MAX + 1), (2, 1, 1));
        assert_eq!(at(READ_AGE_MS_MAX + 1), (2, 0, 2));
    }

    #[test]
    fn what_no_service_should_see_is_refused() {
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        let fine = format!("{}\"{}\"{}", "[".repeat(32), "[\\\"[".repeat(50), "]".repeat(32));
        let all = batch(&[
            (Method::UserMe, b"{}"),
            (Method::MessageSend, deep.as_bytes()),
            (Method::MessageSend, b"\xff"),
            (Method::MessageSend, fine.as_bytes()),
        ]);
        let intake = read(&all, Service::Chat, &sealer(), 1, 0).unwrap();
        assert_eq!(
            (intake.refused.len(), intake.writes.len(), intake.len()),
            (3, 1, 4)
        );
    }

    #[test]
    fn sealed_bodies_open_in_their_place_only() {
        let call = header(Method::AuthLogin);
        let sealed = sealer().seal(&binding(&call, Way::Up), 10, b"{\"a\":1}").unwrap();
        let mut writer = UplinkWriter::new(NodeId(5));
        writer.push(&call, &sealed);
        writer.push(&EnvelopeHeader { request: 8, ..call }, &sealed);
        let batch = Bytes::from(writer.take());
        let intake = read(&batch, Service::Auth, &sealer(), 11, 0).unwrap();
        assert_eq!(intake.writes[0].body.as_ref(), b"{\"a\":1}");
        assert_eq!(intake.refused[0].1.code, ErrorCode::Unavailable);
    }
}
