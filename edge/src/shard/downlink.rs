//! Steps 13 to 15: what the backbone brings, one frame per entry, shared by all its receivers on this shard.

use std::rc::Rc;

use hub_protocol::batch::{Entry, EntryKind, Reply, Target};
use hub_protocol::error::ErrorBody;
use hub_protocol::seal::{Binding, Way};
use hub_protocol::{CloseCode, ErrorCode, LoginId, Method, NodeId};
use hub_ring::ConnectionId;

use super::Now;
use super::attach::is_own;
use super::call::{Answer, Call};
use super::fanout::Text;
use super::meter::micros;
use super::presence::Moment;
use super::table::{Connection, Row, State};
use super::world::World;
use crate::mailbox::ToShard;
use crate::outbound::Class;
use crate::uplink::Uplink;

/// Tokens of a revoked login are refused this long, milliseconds: longer than any of them lives.
const REVOKED_MS: u64 = 20 * 60 * 1000;

/// Sealed methods that a session can call: whose answer it is, its seal tells.
const SEALED_OF_SESSIONS: [Method; 3] = [Method::AuthLogout, Method::AuthLogins, Method::AuthRevokeLogin];

impl World {
    /// One entry of a downlink batch.
    pub(super) fn on_entry(&mut self, entry: &Entry<'_>, now: Now) {
        let class = match entry.kind {
            EntryKind::Reply(reply) => return self.on_reply(reply, entry, now),
            EntryKind::Event { room, seq } => Class::Event { room, seq },
            EntryKind::Ephemeral { .. } => Class::Ephemeral,
            // A batch comes to every shard that has a target in it; this entry is for others.
            _ if self.own_targets(entry).is_empty() => return,
            EntryKind::RoomEvent { room, seq } => return self.on_room_event(room, seq, entry.body, now),
            EntryKind::Attached {
                room,
                head,
                nonce,
                is_large,
            } => return self.on_attached((room, head), (nonce, is_large), entry, now),
            EntryKind::Detach { room } => return self.on_detach(room, entry),
            EntryKind::Large { room } => return self.on_large(room, entry),
            EntryKind::Small { room, seq } => return self.on_small(room, seq, now),
        };
        // Encoded for the first receiver that is there, shared by the others.
        let mut text = Text::new(entry.body);
        for target in self.own_targets(entry) {
            let id = ConnectionId {
                slot: target.slot(),
                generation: target.generation(),
            };
            let window_bits = self
                .table
                .find(id)
                .filter(|connection| connection.user == target.user() && connection.is_session_open())
                .map(|connection| connection.window_bits);
            let Some(window_bits) = window_bits else {
                self.counters.stale += 1;
                continue;
            };
            let piece = self.frame_for(&mut text, window_bits);
            self.queue(id, &piece, class, now);
        }
        if text.is_used() {
            self.counters.downlink_entries += 1;
        }
    }

    /// The targets of this shard; they are ordered by shard.
    pub(super) fn own_targets<'a>(&self, entry: &Entry<'a>) -> &'a [Target] {
        let index = self.settings.index;
        let start = entry.targets.partition_point(|target| target.shard() < index);
        let rest = entry.targets.get(start..).unwrap_or_default();
        let end = rest.partition_point(|target| target.shard() == index);
        rest.get(..end).unwrap_or_default()
    }

    fn on_reply(&mut self, reply: Reply, entry: &Entry<'_>, now: Now) {
        for target in self.own_targets(entry) {
            let id = ConnectionId {
                slot: target.slot(),
                generation: target.generation(),
            };
            if is_own(&reply) {
                let is_his = |connection: &mut Connection| connection.user == target.user();
                if self.table.find(id).is_some_and(is_his) {
                    self.on_own_reply(id, reply, entry.body, now);
                }
                continue;
            }
            let of_call;
            let methods: &[Method] = match self.table.find_row(id) {
                Some(Row::Call(call)) if call.user == target.user() && call.request == reply.request => {
                    of_call = [call.method];
                    &of_call
                }
                Some(Row::Socket(connection)) if connection.user == target.user() => &SEALED_OF_SESSIONS,
                _ => {
                    self.counters.stale += 1;
                    continue;
                }
            };
            self.counters.downlink_entries += 1;
            let opened;
            let text = if reply.sealed {
                let address = self.address(id);
                let open = |method: &Method| {
                    let binding = Binding {
                        way: Way::Down,
                        method: *method,
                        address,
                        request: reply.request,
                    };
                    self.sealer.open(&binding, now.minute(), entry.body).ok()
                };
                if let Some(text) = methods.iter().find_map(open) {
                    opened = text;
                    &opened
                } else {
                    tracing::warn!("an answer of the auth service does not open and is dropped");
                    continue;
                }
            } else {
                entry.body
            };
            if let Some(Row::Call(call)) = self.table.find_row(id) {
                let call = Rc::clone(call);
                let status = reply.error.map_or(200, ErrorCode::http_status);
                self.finish_call(
                    id,
                    &call,
                    Answer {
                        status,
                        body: text.to_vec(),
                        retry_after_ms: None,
                    },
                );
            } else {
                self.queue_text(id, text, Class::Reply, now);
            }
        }
    }

    /// Answers a call and frees its row.
    pub(super) fn finish_call(&mut self, id: ConnectionId, call: &Call, answer: Answer) {
        call.finish(answer);
        self.counters.calls -= 1;
        self.table.remove(id);
    }

    /// Everything from the backbone that is no batch.
    pub(super) fn on_notice(&mut self, notice: ToShard, now: Now) {
        match notice {
            ToShard::Downlink { .. } => {}
            ToShard::UplinkDone {
                service,
                partition,
                is_full,
                is_crowded,
            } => {
                let Some(uplink) = self.uplink.as_mut() else {
                    return;
                };
                if let Some(since) = uplink.on_done(service, partition, is_full) {
                    self.counters.uplink_lag.record(micros(now.at - since));
                }
                uplink.on_length(service, partition, is_crowded);
            }
            ToShard::Registered {
                slot,
                generation,
                was_missing,
                sweep,
            } => {
                self.on_registered(ConnectionId { slot, generation }, was_missing, sweep, now);
            }
            ToShard::RoomEntered { room, life } => {
                for id in self.rooms.on_missing(room, life) {
                    self.on_lost_seat(room, id);
                }
            }
            ToShard::Node(node) => self.on_node(node, now),
            ToShard::SyncAll => self.sync_all(now),
            ToShard::Revoked(login) => self.on_revoked(login, now),
            ToShard::Backbone { is_up } => self.is_backbone_up = is_up,
            ToShard::Meta { partitions, epoch } => {
                self.epoch = epoch;
                if let (None, Some(node)) = (&self.uplink, self.node) {
                    self.uplink = Some(Uplink::new(node, partitions, self.settings.uplink));
                }
                self.partitions = Some(partitions);
            }
            ToShard::Drain => {
                let within_ms = u64::try_from(self.settings.drain.as_millis()).unwrap_or(u64::MAX);
                self.start_drain(within_ms, true, now);
            }
            ToShard::DrainShard { within_ms } => self.start_drain(within_ms, false, now),
            ToShard::Undrain => self.stop_drain(),
        }
    }

    fn on_registered(&mut self, id: ConnectionId, was_missing: bool, sweep: bool, now: Now) {
        let Some(connection) = self
            .table
            .find(id)
            .filter(|connection| connection.closing.is_open())
        else {
            return;
        };
        match connection.state {
            State::Opening { request } => {
                connection.state = State::Open;
                self.counters.sessions += 1;
                self.tell_presence(id, Moment::Open, now);
                self.answer_opened(id, request, now);
                self.ask_large(id);
            }
            // Registered again under another name of the node, or found missing: deliveries may have been lost.
            State::Open if !sweep || was_missing => self.sync_one(id, now),
            State::Open | State::Waiting | State::Echo => {}
        }
    }

    /// The node has a (new) name: every session is registered under it.
    fn on_node(&mut self, node: NodeId, now: Now) {
        self.node = Some(node);
        self.forget_rooms();
        match (&mut self.uplink, self.partitions) {
            (Some(uplink), _) => uplink.rename(node),
            (None, Some(partitions)) => {
                self.uplink = Some(Uplink::new(node, partitions, self.settings.uplink));
            }
            (None, None) => {}
        }
        let ids: Vec<_> = self.table.ids().collect();
        for id in ids {
            let has_session =
                |connection: &mut Connection| matches!(connection.state, State::Open | State::Opening { .. });
            if self.table.find(id).is_some_and(has_session) {
                self.register(id, false, now);
            }
        }
    }

    /// True if a token of this login must not open anything any more.
    pub(super) fn is_revoked(&self, login: LoginId) -> bool {
        self.revoked.contains_key(&login)
    }

    fn on_revoked(&mut self, login: LoginId, now: Now) {
        // Bound: what is older than the longest life of an access token is refused by its end.
        self.revoked.retain(|_, since_ms| now.ms < *since_ms + REVOKED_MS);
        self.revoked.insert(login, now.ms);
        let ids: Vec<_> = self.table.ids().collect();
        for id in ids {
            let is_his = |connection: &mut Connection| connection.login == login && !connection.user.is_nil();
            if self.table.find(id).is_some_and(is_his) {
                self.close(id, CloseCode::Revoked, now);
            }
        }
    }

    /// A call that nobody answered.
    pub(super) fn time_out_call(&mut self, id: ConnectionId, call: &Call) {
        self.finish_call(id, call, Answer::timeout(call.request));
    }

    /// The answer to a call that the drain cuts off.
    pub(super) fn cut_call(&mut self, id: ConnectionId, call: &Call) {
        let error = ErrorBody::new(
            ErrorCode::Unavailable,
            "the node ends; the outcome is unknown, ask again",
        );
        self.finish_call(id, call, Answer::refused(Some(call.request), error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sealed_method_of_sessions_is_opened() {
        for &method in Method::ALL {
            let is_one = method.is_sealed() && !method.is_http_only();
            assert_eq!(SEALED_OF_SESSIONS.contains(&method), is_one, "{}", method.name());
        }
    }
}
