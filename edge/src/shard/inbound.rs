//! Steps 5 to 7: bytes of clients become messages, messages become envelopes, answers or echoes.

use std::net::IpAddr;
use std::rc::Rc;

use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::error::ErrorBody;
use hub_protocol::seal::{Binding, Way};
use hub_protocol::{CloseCode, ErrorCode, LoginId, Method, Route, SessionId, UserId};
use hub_ring::ConnectionId;
use hub_ws::frame::{self, Opcode};
use hub_ws::{Action, Decoder, Event as CloseEvent, Item, Role};

use super::Now;
use super::call::{Answer, Call};
use super::table::{Ending, Row, State};
use super::world::{CLOSE_MS, World};
use crate::auth::Caller;
use crate::bucket::Verdict;
use crate::outbound::Class;
use crate::request::{Request, read_token};
use crate::uplink::Offer;

/// Tells a client when to try again after `busy` or `unavailable`, milliseconds.
const RETRY_AFTER_MS: u32 = 500;

impl World {
    /// Bytes of a connection, parsed where they lie.
    pub(super) fn on_bytes(&mut self, id: ConnectionId, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        connection.heard_ms = now.ms;
        if connection.ending != Ending::No {
            return;
        }
        let spent = connection
            .bytes
            .spend(self.settings.byte_rate, bytes.len(), now.ms);
        if spent == Verdict::Abuse && connection.state != State::Echo {
            // What comes behind it is not looked at, a close in return included: the deadline ends it.
            if connection.closing.is_open() {
                self.close(id, CloseCode::Abuse, now);
            }
            return;
        }
        if !connection.decoder.is_gathering() {
            connection.message_ms = now.ms;
        }
        // Items borrow decoder and inflater while the table is needed for what they lead to.
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new(Role::Server));
        let mut inflater = (connection.window_bits > 0).then(|| self.inflater.take().unwrap_or_default());
        let mut at = 0;
        loop {
            match decoder.decode(
                bytes,
                &mut at,
                self.settings.message_bytes_max,
                inflater.as_deref_mut(),
            ) {
                Ok(None) => break,
                Ok(Some(item)) => {
                    if !self.on_item(id, item, now) {
                        break;
                    }
                }
                Err(error) => {
                    self.fail(id, error.close_code(), &error.to_string(), now);
                    break;
                }
            }
        }
        if inflater.is_some() {
            self.inflater = inflater;
        }
        if let Some(connection) = self.table.find(id) {
            connection.decoder = decoder;
        }
    }

    /// One item; false if nothing behind it counts.
    fn on_item(&mut self, id: ConnectionId, item: Item<'_>, now: Now) -> bool {
        let Some(connection) = self.table.find(id) else {
            return false;
        };
        let is_open = connection.closing.is_open();
        let state = connection.state;
        if matches!(item, Item::Text(_) | Item::Binary(_)) {
            // Whatever is half received has begun behind it.
            connection.message_ms = now.ms;
        }
        match item {
            Item::Close(close) => {
                let code = close.map(|close| close.code);
                match connection.closing.on(CloseEvent::PeerClose) {
                    Action::EchoAndEnd => {
                        let (payload, len) = frame::close_payload(code.unwrap_or(0), "");
                        // RFC 6455 §5.5.1: an empty close is answered with an empty one.
                        let len = if code.is_some() { len } else { 0 };
                        self.push_control(id, Opcode::Close, &payload[..len]);
                        self.end_when_sent(id, now);
                    }
                    Action::End => self.end_when_sent(id, now),
                    Action::SendClose | Action::Nothing => {}
                }
                return false;
            }
            // RFC 6455 §5.5.1: after our close frame the rest of the peer's data is discarded.
            _ if !is_open => {}
            // RFC 6455 §5.5.3: pings that came meanwhile may go unanswered; nobody reads the pongs.
            Item::Ping(_) if connection.is_blocked => {}
            Item::Ping(_) | Item::Pong(_) if state != State::Echo && !self.may_say(id, now) => {}
            Item::Ping(payload) => self.push_control(id, Opcode::Pong, payload),
            Item::Pong(_) => {}
            Item::Text(text) => {
                self.counters.messages += 1;
                if state == State::Echo {
                    self.echo(id, Opcode::Text, text, now);
                } else {
                    self.on_message(id, text, now);
                }
            }
            Item::Binary(bytes) => {
                self.counters.messages += 1;
                if state == State::Echo {
                    self.echo(id, Opcode::Binary, bytes, now);
                } else {
                    self.close(id, CloseCode::Unsupported, now);
                }
            }
        }
        true
    }

    pub(super) fn end_when_sent(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.table.find(id) {
            connection.ending = Ending::WhenSent;
            // A peer that does not read our last frame has as long as for any close.
            connection.since_ms = now.ms;
            self.wheel.enter(id, now.ms + CLOSE_MS);
            let Some(connection) = self.table.find(id) else {
                return;
            };
            if connection.waiting_bytes() == 0 {
                self.finish(id);
            } else {
                self.touch(id);
            }
        }
    }

    fn echo(&mut self, id: ConnectionId, opcode: Opcode, payload: &[u8], now: Now) {
        let window_bits = self.table.find(id).map_or(0, |connection| connection.window_bits);
        let piece = self
            .compress(opcode, payload, window_bits)
            .unwrap_or_else(|| self.encode_as(opcode, payload));
        self.queue(id, &piece, Class::Reply, now);
    }

    /// Takes a control frame off the connection's rate; above it the frame is ignored.
    fn may_say(&mut self, id: ConnectionId, now: Now) -> bool {
        let rate = self.settings.rate;
        let Some(connection) = self.table.find(id) else {
            return false;
        };
        match connection.bucket.take(rate, now.ms) {
            Verdict::Pass => return true,
            Verdict::Wait(_) => self.counters.rate_limited += 1,
            Verdict::Abuse => self.close(id, CloseCode::Abuse, now),
        }
        false
    }

    /// One message of a client of the protocol.
    fn on_message(&mut self, id: ConnectionId, text: &[u8], now: Now) {
        let (rate, byte_rate) = (self.settings.rate, self.settings.byte_rate);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let verdict = connection.bucket.take(rate, now.ms);
        // The bytes are paid for already.
        let bytes_verdict = connection.bytes.spend(byte_rate, 0, now.ms);
        let wait = match (verdict, bytes_verdict) {
            (Verdict::Pass, Verdict::Pass) => None,
            (Verdict::Abuse, _) | (_, Verdict::Abuse) => return self.close(id, CloseCode::Abuse, now),
            (Verdict::Wait(ms), _) => {
                self.counters.rate_limited += 1;
                Some((ms, "too many messages"))
            }
            (Verdict::Pass, Verdict::Wait(ms)) => {
                self.counters.byte_limited += 1;
                Some((ms, "too many bytes"))
            }
        };
        let request = self.reader.read(text);
        if let Some((ms, message)) = wait {
            let error = ErrorBody::new(ErrorCode::RateLimited, message).retry_after_ms(ms);
            let request = request.map_or_else(|bad| bad.id, |request| Some(request.id));
            return self.refuse(id, request, error, now);
        }
        match request {
            Ok(request) => self.on_request(id, request, text, now),
            Err(bad) => self.refuse(id, bad.id, ErrorBody::new(bad.code, bad.message), now),
        }
    }

    fn on_request(&mut self, id: ConnectionId, request: Request, text: &[u8], now: Now) {
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let (state, user, login, session) = (
            connection.state,
            connection.user,
            connection.login,
            connection.session,
        );
        let refusal = match (request.method, state) {
            (Method::SessionOpen, State::Waiting) => return self.on_session_open(id, request, text, now),
            (Method::SessionOpen, _) => ErrorBody::new(ErrorCode::Conflict, "this connection has a session"),
            (_, State::Waiting | State::Opening { .. } | State::Echo) => {
                ErrorBody::new(ErrorCode::Unauthenticated, "open a session first: session.open")
            }
            (Method::SessionRefresh, State::Open) => return self.on_session_refresh(id, request, text, now),
            (Method::SessionLook, State::Open) => return self.on_session_look(id, request.id, text, now),
            (method, State::Open) if method.is_http_only() => {
                ErrorBody::new(ErrorCode::BadRequest, "this method is called by POST /v1/rpc")
            }
            (_, State::Open) => match self.forward(id, request, (user, login, session), text, now) {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        self.refuse(id, Some(request.id), refusal, now);
    }

    fn on_session_open(&mut self, id: ConnectionId, request: Request, text: &[u8], now: Now) {
        match self.verify(text, now) {
            Ok(caller) => self.try_open_session(id, request.id, caller, now),
            Err(error) => {
                let is_token = error.code == ErrorCode::Unauthenticated;
                self.refuse(id, Some(request.id), error, now);
                if is_token {
                    self.close(id, CloseCode::TokenInvalid, now);
                }
            }
        }
    }

    /// Opens a session for a verified caller, unless his login was revoked or the backbone is away.
    pub(super) fn try_open_session(&mut self, id: ConnectionId, request: u64, caller: Caller, now: Now) {
        if self.is_revoked(caller.login) {
            self.close(id, CloseCode::Revoked, now);
        } else if self.uplink.is_none() || !self.is_backbone_up {
            self.refuse(id, Some(request), unavailable(), now);
        } else {
            self.open_session(id, request, caller, now);
        }
    }

    /// A session never changes its user.
    fn on_session_refresh(&mut self, id: ConnectionId, request: Request, text: &[u8], now: Now) {
        let verified = self.verify(text, now);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let error = match verified {
            Err(error) => error,
            Ok(caller) if caller.user != connection.user || caller.login != connection.login => {
                ErrorBody::new(ErrorCode::Forbidden, "the token is of another login")
            }
            Ok(caller) => {
                connection.expires_at = caller.expires_at;
                return self.answer_opened(id, request.id, now);
            }
        };
        self.refuse(id, Some(request.id), error, now);
    }

    fn verify(&self, text: &[u8], now: Now) -> Result<Caller, ErrorBody> {
        let token = read_token(text);
        let token = token
            .ok_or_else(|| ErrorBody::new(ErrorCode::BadRequest, "`params.token` is an access token"))?;
        match self.verifier.verify(&token, now.wall_s()) {
            Ok(caller) => Ok(caller),
            Err(_) => Err(ErrorBody::new(
                ErrorCode::Unauthenticated,
                "the token is invalid or expired",
            )),
        }
    }

    /// Puts a request into the uplink.
    fn forward(
        &mut self,
        id: ConnectionId,
        request: Request,
        (user, login, session): (UserId, LoginId, SessionId),
        text: &[u8],
        now: Now,
    ) -> Result<(), ErrorBody> {
        let header = EnvelopeHeader {
            address: self.address(id),
            request: request.id,
            method: request.method,
            user,
            login,
            session,
            room: request.room,
        };
        let Some(uplink) = self.uplink.as_mut().filter(|_| self.is_backbone_up) else {
            self.counters.unavailable += 1;
            return Err(unavailable());
        };
        let offer = if request.method.is_sealed() {
            let binding = Binding {
                way: Way::Up,
                method: header.method,
                address: header.address,
                request: header.request,
            };
            match self.sealer.seal(&binding, now.minute(), text) {
                Ok(sealed) => uplink.offer(&header, &sealed, now.at),
                Err(_) => {
                    return Err(ErrorBody::new(
                        ErrorCode::Internal,
                        "the request could not be sealed",
                    ));
                }
            }
        } else {
            uplink.offer(&header, text, now.at)
        };
        match offer {
            Offer::Queued => Ok(()),
            Offer::Refused => {
                self.counters.busy += 1;
                Err(ErrorBody::new(ErrorCode::Busy, "too much is waiting").retry_after_ms(RETRY_AFTER_MS))
            }
        }
    }

    /// A call over HTTP: the row that waits for its answer, or the refusal.
    pub(super) fn start_call(
        &mut self,
        caller: Option<Caller>,
        address: IpAddr,
        text: &[u8],
        now: Now,
    ) -> Result<Rc<Call>, Answer> {
        self.counters.calls_total += 1;
        let request = match self.reader.read(text) {
            Ok(request) => request,
            Err(bad) => return Err(Answer::refused(bad.id, ErrorBody::new(bad.code, bad.message))),
        };
        let refused =
            |code, message: &str| Err(Answer::refused(Some(request.id), ErrorBody::new(code, message)));
        if self.is_draining() {
            return refused(ErrorCode::Unavailable, "draining, ask again");
        }
        if request.method.route() == Route::Edge {
            return refused(ErrorCode::BadRequest, "sessions are opened on a WebSocket");
        }
        if caller.is_some_and(|caller| self.is_revoked(caller.login)) {
            return refused(ErrorCode::Unauthenticated, "the login was revoked");
        }
        if caller.is_none() && request.method.needs_token() {
            return refused(
                ErrorCode::Unauthenticated,
                "an Authorization header with an access token is needed",
            );
        }
        let (user, login) = caller.map_or((UserId::NIL, LoginId::NIL), |caller| (caller.user, caller.login));
        let due_ms = now.ms + u64::try_from(self.settings.call_wait.as_millis()).unwrap_or(u64::MAX);
        let call = Call::new(request.id, request.method, user, due_ms);
        let Some(id) = self.table.insert(Row::Call(Rc::clone(&call))) else {
            return refused(ErrorCode::Busy, "the node is full");
        };
        // The auth service counts tries by address.
        let session = if request.method.is_http_only() {
            EnvelopeHeader::session_of_origin(address)
        } else {
            SessionId::NIL
        };
        if let Err(error) = self.forward(id, request, (user, login, session), text, now) {
            self.table.remove(id);
            return Err(Answer::refused(Some(request.id), error));
        }
        self.counters.calls += 1;
        self.wheel.enter(id, due_ms);
        Ok(call)
    }
}

fn unavailable() -> ErrorBody {
    ErrorBody::new(ErrorCode::Unavailable, "a part of the system is down").retry_after_ms(RETRY_AFTER_MS)
}
