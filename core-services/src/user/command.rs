//! What a changing call of the user service asks for. Pure: JSON in, a checked command or a refusal out.

use aws_lc_rs::hmac;
use hub_protocol::api::push::{Subscribe, Unsubscribe};
use hub_protocol::api::user::{Relate, SetContact, Update};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{ABOUT_BYTES_MAX, DISPLAY_NAME_BYTES_MAX};
use hub_protocol::{ErrorCode, LoginId, Method, Op, UserId};

use crate::applied::{Change, hash};
use crate::call::{params, refuse};
use crate::push::{Device, Endpoints};
use crate::service::Call;

/// A change that a caller asks for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Command {
    /// Change the own profile.
    Update(Update),
    /// Keep a contact.
    SetContact(SetContact),
    /// Keep a contact no more.
    RemoveContact(UserId),
    /// Block a user.
    Block(UserId),
    /// End a block.
    Unblock(UserId),
    /// Send pushes to a device.
    Subscribe(Device, LoginId),
    /// Send no more pushes to a device.
    Unsubscribe(uuid::Uuid),
}

/// A command with its name.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Write {
    pub(super) change: Change,
    pub(super) command: Command,
}

/// Reads and checks a call of class [`Write`](hub_protocol::Class::Write).
pub(super) fn parse(call: &Call, key: &hmac::Key, endpoints: Endpoints) -> Result<Write, ErrorBody> {
    let (method, actor) = (call.header.method, call.header.user);
    if actor.is_nil() {
        return Err(refuse(ErrorCode::Unauthenticated, "no session"));
    }
    let named = |op: Op, hash, command| {
        if op.is_nil() {
            return Err(refuse(ErrorCode::BadRequest, "the op is nil"));
        }
        let change = Change { actor, op, hash };
        Ok(Write { change, command })
    };
    let other = |command: fn(UserId) -> Command| {
        let asked: Relate = params(call)?;
        if asked.user == actor {
            return Err(refuse(ErrorCode::BadRequest, "user: that is you"));
        }
        named(asked.op, hash(key, method, &asked), command(asked.user))
    };
    match method {
        Method::UserUpdate => {
            let asked: Update = params(call)?;
            check(&asked)?;
            named(asked.op, hash(key, method, &asked), Command::Update(asked))
        }
        Method::ContactSet => {
            let asked: SetContact = params(call)?;
            if asked.user == actor {
                return Err(refuse(ErrorCode::BadRequest, "user: that is you"));
            }
            check_line("alias", &asked.alias, 0, DISPLAY_NAME_BYTES_MAX)?;
            named(asked.op, hash(key, method, &asked), Command::SetContact(asked))
        }
        Method::ContactRemove => other(Command::RemoveContact),
        Method::BlockAdd => other(Command::Block),
        Method::BlockRemove => other(Command::Unblock),
        Method::PushSubscribe => {
            let asked: Subscribe = params(call)?;
            let device = endpoints.check(&asked)?;
            let command = Command::Subscribe(device, call.header.login);
            named(asked.op, hash(key, method, &asked), command)
        }
        Method::PushUnsubscribe => {
            let asked: Unsubscribe = params(call)?;
            named(
                asked.op,
                hash(key, method, &asked),
                Command::Unsubscribe(asked.id),
            )
        }
        _ => Err(refuse(
            ErrorCode::BadRequest,
            "this service does not change anything by this method",
        )),
    }
}

fn check(asked: &Update) -> Result<(), ErrorBody> {
    if let Some(name) = &asked.display_name {
        check_line("display_name", name, 1, DISPLAY_NAME_BYTES_MAX)?;
    }
    if let Some(about) = &asked.about {
        if about.len() > ABOUT_BYTES_MAX {
            return Err(refuse(ErrorCode::TooLarge, "about: at most 256 bytes"));
        }
        if about.chars().any(|char| char.is_control() && char != '\n') {
            return Err(refuse(ErrorCode::BadRequest, "about: holds a control character"));
        }
    }
    Ok(())
}

fn check_line(name: &str, text: &str, bytes_min: usize, bytes_max: usize) -> Result<(), ErrorBody> {
    let bad = |code, problem: &str| Err(refuse(code, &format!("{name}: {problem}")));
    if text.len() > bytes_max {
        return bad(ErrorCode::TooLarge, &format!("at most {bytes_max} bytes"));
    }
    if text.trim().len() < bytes_min {
        return bad(ErrorCode::BadRequest, "is empty");
    }
    if text.chars().any(char::is_control) {
        return bad(ErrorCode::BadRequest, "holds a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hub_protocol::batch::EnvelopeHeader;
    use hub_protocol::{Address, RoomId, SessionId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn parsed(method: Method, mut params: Value) -> Result<Command, ErrorCode> {
        params["op"] = json!(Uuid::from_u128(7));
        let header = EnvelopeHeader {
            address: Address::default(),
            request: 1,
            method,
            user: UserId(Uuid::from_u128(1)),
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::NIL,
        };
        let body = Bytes::from(json!({"id": 1, "params": params}).to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        parse(&Call { header, body }, &key, Endpoints::default())
            .map(|write| write.command)
            .map_err(|error| error.code)
    }

    #[test]
    fn names_have_their_rules() {
        let update = |name: &str| parsed(Method::UserUpdate, json!({"display_name": name})).map(|_| ());
        assert_eq!(update("Ada Ć"), Ok(()));
        for name in ["", "  ", "a\nb", "a\0"] {
            assert_eq!(update(name), Err(ErrorCode::BadRequest), "{name:?}");
        }
        assert_eq!(update(&"a".repeat(129)), Err(ErrorCode::TooLarge));
        let about = |text: &str| parsed(Method::UserUpdate, json!({"about": text})).map(|_| ());
        assert_eq!((about(""), about("a\nb")), (Ok(()), Ok(())));
        assert_eq!(about("a\tb"), Err(ErrorCode::BadRequest));
        assert_eq!(about(&"a".repeat(257)), Err(ErrorCode::TooLarge));
    }

    #[test]
    fn nobody_is_his_own_contact_or_enemy() {
        for method in [
            Method::ContactSet,
            Method::ContactRemove,
            Method::BlockAdd,
            Method::BlockRemove,
        ] {
            let own = json!({"user": Uuid::from_u128(1)});
            assert_eq!(parsed(method, own), Err(ErrorCode::BadRequest));
            assert!(parsed(method, json!({"user": Uuid::from_u128(2)})).is_ok());
        }
    }
}
