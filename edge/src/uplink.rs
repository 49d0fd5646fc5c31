//! Step 7: collects the envelopes of one shard into batches, one open batch per destination stream.
//!
//! While a batch of a stream is on its way, envelopes gather; the next batch goes when it has arrived. So nothing
//! waits on an idle system, and batches grow with the load. Pure: no clock, no I/O.
//!
//! Invariant: an envelope leaves in the order in which it was offered, in exactly one batch.

use std::collections::VecDeque;
use std::time::Instant;

use hub_protocol::batch::HEADER_BYTES;
use hub_protocol::batch::uplink::ENVELOPE_HEADER_BYTES;
use hub_protocol::batch::{EnvelopeHeader, UplinkWriter};
use hub_protocol::partition::{Partitions, of_room, of_user};
use hub_protocol::{Class, NodeId, Route, Service};

use crate::mailbox::ToBackbone;

/// Bounds of the uplink of one shard.
#[derive(Clone, Copy, Debug)]
pub struct UplinkLimits {
    /// Envelopes in one batch.
    pub batch_envelopes_max: u32,
    /// Bytes of one batch.
    pub batch_bytes_max: usize,
    /// Bytes that may wait or be on their way.
    pub pending_bytes_max: usize,
}

/// What became of an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offer {
    /// It will leave.
    Queued,
    /// The stream or the shard is over its bound: answer `busy`.
    Refused,
}

/// The open batches of one shard.
#[derive(Debug)]
pub struct Uplink {
    node: NodeId,
    partitions: Partitions,
    streams: Vec<Stream>,
    /// Streams that may have something to send.
    touched: Vec<usize>,
    limits: UplinkLimits,
    pending_bytes: usize,
}

#[derive(Debug)]
struct Stream {
    service: Service,
    partition: u16,
    writer: UplinkWriter,
    /// When the first envelope in `writer` was offered.
    since: Option<Instant>,
    /// Full batches that wait for the one on its way.
    full: VecDeque<Full>,
    /// The batch that is on its way.
    in_flight: Option<InFlight>,
    /// The stream itself is above its bound.
    is_full: bool,
    /// It is above half of its bound.
    is_crowded: bool,
    is_touched: bool,
}

#[derive(Debug)]
struct Full {
    batch: Vec<u8>,
    envelopes: u32,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// Bytes of its envelopes.
    bytes: usize,
    /// When the first of them was offered.
    since: Instant,
}

impl Stream {
    /// Takes the open batch, if there is anything in it.
    fn take(&mut self) -> Option<Full> {
        let since = self.since.take()?;
        let envelopes = self.writer.envelopes();
        Some(Full {
            batch: self.writer.take(),
            envelopes,
            since,
        })
    }

    /// When the oldest envelope that has not arrived was offered.
    fn oldest(&self) -> Option<Instant> {
        let in_flight = self.in_flight.map(|batch| batch.since);
        in_flight
            .or_else(|| self.full.front().map(|full| full.since))
            .or(self.since)
    }
}

impl Uplink {
    /// Streams of all partitions of all services.
    pub fn new(node: NodeId, partitions: Partitions, limits: UplinkLimits) -> Self {
        let streams = Service::ALL.into_iter().flat_map(|service| {
            (0..partitions.of(service)).map(move |partition| Stream {
                service,
                partition,
                writer: UplinkWriter::new(node),
                since: None,
                full: VecDeque::new(),
                in_flight: None,
                is_full: false,
                is_crowded: false,
                is_touched: false,
            })
        });
        Self {
            node,
            partitions,
            streams: streams.collect(),
            touched: Vec::new(),
            limits,
            pending_bytes: 0,
        }
    }

    /// Adds an envelope that came `at` this time to the open batch of its stream. What is ephemeral is refused at half
    /// of each bound: it goes first.
    pub fn offer(&mut self, header: &EnvelopeHeader, body: &[u8], at: Instant) -> Offer {
        let Some(index) = self.index_of(header) else {
            return Offer::Refused;
        };
        let len = ENVELOPE_HEADER_BYTES + body.len();
        let stream = &mut self.streams[index];
        // A full stream takes one envelope at a time: its batch comes back with the length of the stream.
        let is_probing = stream.in_flight.is_some() || !stream.writer.is_empty();
        if (stream.is_full && is_probing) || self.pending_bytes + len > self.limits.pending_bytes_max {
            return Offer::Refused;
        }
        if header.method.class() == Class::Ephemeral
            && ((stream.is_crowded && is_probing)
                || self.pending_bytes + len > self.limits.pending_bytes_max / 2)
        {
            return Offer::Refused;
        }
        let is_over = stream.writer.envelopes() >= self.limits.batch_envelopes_max
            || stream.writer.bytes() + len > self.limits.batch_bytes_max;
        if is_over {
            let full = stream.take();
            stream.full.extend(full);
        }
        stream.writer.push(header, body);
        stream.since.get_or_insert(at);
        self.pending_bytes += len;
        self.touch(index);
        Offer::Queued
    }

    /// Hands out the batches that may leave now, at most one per stream.
    pub fn take_ready(&mut self, mut send: impl FnMut(ToBackbone)) {
        for index in self.touched.drain(..) {
            let stream = &mut self.streams[index];
            stream.is_touched = false;
            if stream.in_flight.is_some() {
                continue;
            }
            let next = stream.full.pop_front().or_else(|| stream.take());
            if let Some(Full {
                batch,
                envelopes,
                since,
            }) = next
            {
                let bytes = batch.len() - HEADER_BYTES;
                stream.in_flight = Some(InFlight { bytes, since });
                let (service, partition) = (stream.service, stream.partition);
                send(ToBackbone::Uplink {
                    service,
                    partition,
                    batch,
                    envelopes,
                });
            }
        }
    }

    /// The batch of a stream has arrived, or never will. Returns when its oldest envelope was offered.
    pub fn on_done(&mut self, service: Service, partition: u16, is_full: bool) -> Option<Instant> {
        let found = |stream: &Stream| stream.service == service && stream.partition == partition;
        let index = self.streams.iter().position(found)?;
        let stream = &mut self.streams[index];
        stream.is_full = is_full;
        let done = stream.in_flight.take();
        if let Some(batch) = done {
            self.pending_bytes -= batch.bytes;
        }
        if !stream.writer.is_empty() || !stream.full.is_empty() {
            self.touch(index);
        }
        done.map(|batch| batch.since)
    }

    /// How long a stream is, as its last batch has found it.
    pub fn on_length(&mut self, service: Service, partition: u16, is_crowded: bool) {
        let found = |stream: &&mut Stream| stream.service == service && stream.partition == partition;
        if let Some(stream) = self.streams.iter_mut().find(found) {
            stream.is_crowded = is_crowded;
        }
    }

    /// When the oldest envelope that has not arrived was offered.
    pub fn oldest(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::oldest).min()
    }

    /// Bytes of envelopes that have not arrived.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The node has another name: envelopes from here on are answered there. What waits keeps the old one; its
    /// answers are lost and its clients ask again.
    pub fn rename(&mut self, node: NodeId) {
        self.node = node;
        for stream in &mut self.streams {
            let full = stream.take();
            stream.full.extend(full);
            stream.writer = UplinkWriter::new(node);
        }
    }

    /// True if nothing waits and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        let idle = |stream: &Stream| {
            stream.in_flight.is_none() && stream.full.is_empty() && stream.writer.is_empty()
        };
        self.streams.iter().all(idle)
    }

    fn touch(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if !std::mem::replace(&mut stream.is_touched, true) {
            self.touched.push(index);
        }
    }

    fn index_of(&self, header: &EnvelopeHeader) -> Option<usize> {
        let service = header.method.service();
        let count = self.partitions.of(service);
        if count == 0 {
            return None;
        }
        let partition = match header.method.route() {
            Route::Edge => return None,
            Route::Room => of_room(header.room, count),
            Route::User => of_user(header.user, count),
            Route::Any => u16::try_from(header.address.slot % u32::from(count)).ok()?,
        };
        let before = match service {
            Service::Auth => 0,
            Service::Chat => self.partitions.auth,
            Service::User => self.partitions.auth + self.partitions.chat,
        };
        Some(usize::from(before + partition))
    }
}

#[cfg(test)]
mod tests {
    use hub_protocol::batch::UplinkBatch;
    use hub_protocol::{Address, LoginId, Method, RoomId, SessionId, UserId};
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: Partitions = Partitions {
        auth: 2,
        chat: 3,
        user: 2,
    };
    const LIMITS: UplinkLimits = UplinkLimits {
        batch_envelopes_max: 4,
        batch_bytes_max: 1000,
        pending_bytes_max: 8000,
    };

    fn header(method: Method, tail: u8, request: u64) -> EnvelopeHeader {
        let mut id = [0; 16];
        id[8] = tail;
        EnvelopeHeader {
            address: Address::default(),
            request,
            method,
            user: UserId::from_bytes(id),
            login: LoginId::NIL,
            session: SessionId::NIL,
            room: RoomId::from_bytes(id),
        }
    }

    fn take(uplink: &mut Uplink) -> Vec<(Service, u16, Vec<u64>)> {
        let mut out = Vec::new();
        uplink.take_ready(|item| {
            let ToBackbone::Uplink {
                service,
                partition,
                batch,
                envelopes,
            } = item
            else {
                panic!("a batch")
            };
            let batch = UplinkBatch::parse(&batch).unwrap();
            assert_eq!(batch.len(), envelopes as usize);
            out.push((
                service,
                partition,
                batch.iter().map(|envelope| envelope.header.request).collect(),
            ));
        });
        out
    }

    #[test]
    fn one_batch_of_a_stream_is_on_its_way() {
        let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
        for request in 0..2 {
            assert_eq!(
                uplink.offer(&header(Method::MessageSend, 1, request), b"x", Instant::now()),
                Offer::Queued
            );
        }
        assert_eq!(
            uplink.offer(&header(Method::UserMe, 1, 9), b"x", Instant::now()),
            Offer::Queued
        );
        assert_eq!(
            take(&mut uplink),
            [(Service::Chat, 1, vec![0, 1]), (Service::User, 1, vec![9])]
        );
        assert_eq!(
            uplink.offer(&header(Method::MessageSend, 1, 2), b"x", Instant::now()),
            Offer::Queued
        );
        assert_eq!(take(&mut uplink), []);
        uplink.on_done(Service::Chat, 1, false);
        assert_eq!(take(&mut uplink), [(Service::Chat, 1, vec![2])]);
    }

    #[test]
    fn a_full_stream_takes_one_envelope_at_a_time_until_it_is_read() {
        let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
        uplink.on_done(Service::Chat, 0, true);
        for is_still_full in [true, true, false] {
            // One envelope goes and asks; nothing else until it is back.
            assert_eq!(
                uplink.offer(&header(Method::MessageSend, 0, 0), b"x", Instant::now()),
                Offer::Queued
            );
            assert_eq!(
                uplink.offer(&header(Method::MessageSend, 0, 1), b"x", Instant::now()),
                Offer::Refused
            );
            assert_eq!(take(&mut uplink), [(Service::Chat, 0, vec![0])]);
            assert_eq!(
                uplink.offer(&header(Method::MessageSend, 0, 2), b"x", Instant::now()),
                Offer::Refused
            );
            uplink.on_done(Service::Chat, 0, is_still_full);
        }
        assert_eq!(
            uplink.offer(&header(Method::MessageSend, 1, 0), b"x", Instant::now()),
            Offer::Queued,
            "another stream"
        );
        for request in 0..3 {
            assert_eq!(
                uplink.offer(&header(Method::MessageSend, 0, request), b"x", Instant::now()),
                Offer::Queued
            );
        }
    }

    #[test]
    fn what_is_ephemeral_goes_first() {
        let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
        let offer = |uplink: &mut Uplink, method, tail, request, len: usize| {
            uplink.offer(&header(method, tail, request), &vec![b'x'; len], Instant::now())
        };
        assert_eq!(
            offer(&mut uplink, Method::PresenceSession, 0, 1, 9),
            Offer::Queued
        );
        assert_eq!(take(&mut uplink), [(Service::User, 0, vec![1])]);
        uplink.on_done(Service::User, 0, false);
        uplink.on_length(Service::User, 0, true);
        // One at a time goes on: its batch comes back with the length of the stream.
        assert_eq!(
            offer(&mut uplink, Method::PresenceSession, 0, 2, 9),
            Offer::Queued
        );
        assert_eq!(
            offer(&mut uplink, Method::PresenceSession, 0, 3, 9),
            Offer::Refused
        );
        assert_eq!(offer(&mut uplink, Method::UserMe, 0, 4, 9), Offer::Queued);
        assert_eq!(
            offer(&mut uplink, Method::TypingSet, 0, 5, 9),
            Offer::Queued,
            "another stream"
        );
        assert_eq!(
            take(&mut uplink),
            [(Service::User, 0, vec![2, 4]), (Service::Chat, 0, vec![5])]
        );
        uplink.on_done(Service::User, 0, false);
        uplink.on_length(Service::User, 0, false);
        assert_eq!(offer(&mut uplink, Method::PresenceSet, 0, 6, 9), Offer::Queued);
        assert_eq!(offer(&mut uplink, Method::PresenceSet, 0, 7, 9), Offer::Queued);

        assert_eq!(
            offer(
                &mut uplink,
                Method::MessageSend,
                1,
                8,
                LIMITS.pending_bytes_max / 2
            ),
            Offer::Queued
        );
        assert_eq!(offer(&mut uplink, Method::TypingSet, 1, 9, 9), Offer::Refused);
        assert_eq!(offer(&mut uplink, Method::MessageSend, 1, 10, 9), Offer::Queued);
    }

    #[test]
    fn a_renamed_node_sends_what_waits_first() {
        let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
        assert_eq!(
            uplink.offer(&header(Method::MessageSend, 0, 0), b"x", Instant::now()),
            Offer::Queued
        );
        uplink.rename(NodeId(2));
        assert_eq!(
            uplink.offer(&header(Method::MessageSend, 0, 1), b"x", Instant::now()),
            Offer::Queued
        );
        assert_eq!(take(&mut uplink), [(Service::Chat, 0, vec![0])]);
        uplink.on_done(Service::Chat, 0, false);
        assert_eq!(take(&mut uplink), [(Service::Chat, 0, vec![1])]);
    }

    #[test]
    fn the_oldest_envelope_is_known_until_it_has_arrived() {
        let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
        let start = Instant::now();
        let after = |seconds| start + std::time::Duration::from_secs(seconds);
        assert_eq!(uplink.oldest(), None);
        for (seconds, request) in [(1, 1), (2, 2)] {
            let offer = uplink.offer(&header(Method::MessageSend, 1, request), b"x", after(seconds));
            assert_eq!(offer, Offer::Queued);
        }
        let mut services = Vec::new();
        let mut take = |uplink: &mut Uplink| {
            uplink.take_ready(|item| match item {
                ToBackbone::Uplink {
                    service, partition, ..
                } => services.push((service, partition)),
                other => panic!("{other:?}"),
            });
            *services.last().expect("a batch")
        };
        let (service, partition) = take(&mut uplink);
        assert_eq!(
            uplink.offer(&header(Method::MessageSend, 1, 3), b"x", after(3)),
            Offer::Queued
        );
        assert_eq!(uplink.oldest(), Some(after(1)), "it is on its way");
        assert_eq!(uplink.on_done(service, partition, false), Some(after(1)));
        assert_eq!(uplink.oldest(), Some(after(3)));
        take(&mut uplink);
        assert_eq!(uplink.on_done(service, partition, false), Some(after(3)));
        assert_eq!((uplink.oldest(), uplink.pending_bytes()), (None, 0));
        assert_eq!(uplink.on_done(service, partition, false), None);
    }

    proptest! {
        #[test]
        fn order_is_kept_bounds_hold_and_nothing_is_lost(steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..600_usize), 1..200)) {
            let mut uplink = Uplink::new(NodeId(1), PARTITIONS, LIMITS);
            let mut offered: Vec<Vec<u64>> = vec![Vec::new(); 3];
            let mut left: Vec<Vec<u64>> = vec![Vec::new(); 3];
            let mut on_the_way = [false; 3];
            let mut drain = |uplink: &mut Uplink, on_the_way: &mut [bool; 3]| {
                uplink.take_ready(|item| {
                    let ToBackbone::Uplink { partition, batch, envelopes, .. } = item else { panic!("a batch") };
                    assert!(!std::mem::replace(&mut on_the_way[usize::from(partition)], true));
                    assert!(envelopes <= LIMITS.batch_envelopes_max);
                    assert!(batch.len() <= LIMITS.batch_bytes_max);
                    let requests = UplinkBatch::parse(&batch).unwrap().iter().map(|e| e.header.request).collect::<Vec<_>>();
                    left[usize::from(partition)].extend(requests);
                });
            };
            for (number, (step, partition, len)) in (0_u64..).zip(steps) {
                let at = usize::from(partition);
                match step {
                    0 | 1 => {
                        if uplink.offer(&header(Method::MessageSend, partition, number), &vec![b'x'; len], Instant::now()) == Offer::Queued {
                            offered[at].push(number);
                        }
                    }
                    2 => drain(&mut uplink, &mut on_the_way),
                    _ => {
                        if std::mem::take(&mut on_the_way[at]) {
                            uplink.on_done(Service::Chat, u16::from(partition), false);
                        }
                    }
                }
            }
            for _ in 0..300 {
                drain(&mut uplink, &mut on_the_way);
                for partition in 0..3_u16 {
                    if std::mem::take(&mut on_the_way[usize::from(partition)]) {
                        uplink.on_done(Service::Chat, partition, false);
                    }
                }
            }
            prop_assert!(uplink.is_empty());
            prop_assert_eq!(uplink.pending_bytes, 0);
            prop_assert_eq!(left, offered);
        }
    }
}
