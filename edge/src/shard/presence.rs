//! Beside steps 6 and 7: the user service is told of sessions that opened and ended, so that it knows who is there.
//! Nobody waits for an answer, and when there is too much to do this goes first.

use std::time::Instant;

use hub_protocol::Method;
use hub_protocol::batch::EnvelopeHeader;
use hub_protocol::{RoomId, UserId};
use hub_ring::ConnectionId;

use super::Now;
use super::table::State;
use super::world::World;
use crate::uplink::Offer;

const OPEN: &[u8] = br#"{"id":0,"method":"presence.session","params":{"state":"open"}}"#;
const CLOSED: &[u8] = br#"{"id":0,"method":"presence.session","params":{"state":"closed"}}"#;

/// What happened to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// It stands in the directory.
    Open,
    /// It ended.
    Closed,
}

impl World {
    /// Tells of a session that has been open until now.
    pub(super) fn tell_end(&mut self, id: ConnectionId) {
        let is_open = |connection: &mut super::table::Connection| connection.state == State::Open;
        if self.table.find(id).is_some_and(is_open) {
            self.tell_presence_at(id, Moment::Closed, Instant::now());
        }
    }

    /// Tells the user service what happened to a session.
    pub(super) fn tell_presence(&mut self, id: ConnectionId, moment: Moment, now: Now) {
        self.tell_presence_at(id, moment, now.at);
    }

    fn tell_presence_at(&mut self, id: ConnectionId, moment: Moment, at: Instant) {
        let address = self.address(id);
        let Some(connection) = self.table.find(id) else {
            return;
        };
        let header = EnvelopeHeader {
            address,
            request: 0,
            method: Method::PresenceSession,
            user: connection.user,
            login: connection.login,
            session: connection.session,
            room: RoomId::NIL,
        };
        let body = match moment {
            Moment::Open => OPEN,
            Moment::Closed => CLOSED,
        };
        let uplink = self.uplink.as_mut().filter(|_| self.is_backbone_up);
        let offer = uplink.map_or(Offer::Refused, |uplink| uplink.offer(&header, body, at));
        if offer == Offer::Refused && header.user != UserId::NIL {
            self.counters.shed_presence += 1;
        }
    }
}
