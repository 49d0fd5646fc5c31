//! Goal: whatever two owners of a room do at once, die of, repeat or lose, nobody gets an event from outside of his
//! stays, everybody gets events in order, and in the end every member was told of everything. Method: owners, their
//! stream and the database as a few lists, beside the real [`Rooms`] of one shard.
//!
//! An owner works on the entries of its partition one after the other. The first one that reaches a change commits it,
//! the other one finds it done and tells of it again. What it tells stands in the node's stream later, or never.

use std::collections::VecDeque;

use hub_protocol::RoomId;
use hub_ring::ConnectionId;
use proptest::prelude::*;

use super::{Entered, Rooms, Step};

const ROOM: RoomId = RoomId::NIL;
const USERS: usize = 3;

/// An entry of the partition.
#[derive(Clone, Copy, Debug)]
enum Call {
    Message,
    Add(usize),
    Remove(usize),
    Attach { user: usize, nonce: u32 },
}

/// An entry of the node's stream.
#[derive(Clone, Copy, Debug)]
enum Told {
    Event(u64),
    Detach(usize),
    Large(usize),
    Attached { user: usize, nonce: u32, head: u64 },
    Refused { user: usize, nonce: u32 },
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Asked(Call),
    Works(usize),
    Tells(usize),
    Dies(usize),
    /// The owner tells, and the stream is full.
    Loses(usize),
    /// The edge reads the counter of what was lost.
    Notices,
    Reads,
    Grants,
    Sweeps,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    call: Call,
    /// The event it led to; 0 if it changed nothing.
    done: Option<u64>,
    is_deleted: bool,
}

#[derive(Debug, Default)]
struct Owner {
    /// The next entry to work on.
    at: usize,
    /// What is to be told, and the entry it is about.
    out: VecDeque<(usize, Vec<Told>)>,
}

#[derive(Debug)]
struct Model {
    entries: Vec<Entry>,
    owners: [Owner; 2],
    head: u64,
    /// First and last event of each stay.
    stays: [Vec<(u64, Option<u64>)>; USERS],
    stream: VecDeque<Told>,
    is_lossy: bool,
    rooms: Rooms,
    is_entered: bool,
    wishes: VecDeque<usize>,
    /// How far each connection was told by a bump.
    bumped: [u64; USERS],
    got: [Vec<u64>; USERS],
}

fn id(user: usize) -> ConnectionId {
    ConnectionId {
        slot: u32::try_from(user).unwrap(),
        generation: 1,
    }
}

fn user_of(id: ConnectionId) -> usize {
    usize::try_from(id.slot).unwrap()
}

impl Model {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            owners: Default::default(),
            head: 1,
            // The first user was there when the room was made; all sessions ask when they begin.
            stays: [vec![(1, None)], vec![], vec![]],
            stream: VecDeque::new(),
            is_lossy: false,
            rooms: Rooms::default(),
            is_entered: false,
            wishes: (0..USERS).collect(),
            bumped: [0; USERS],
            got: Default::default(),
        }
    }

    fn is_member(&self, user: usize) -> bool {
        self.stays[user].last().is_some_and(|stay| stay.1.is_none())
    }

    fn ask(&mut self, call: Call) {
        self.entries.push(Entry {
            call,
            done: None,
            is_deleted: false,
        });
    }

    fn works(&mut self, owner: usize) {
        let at = self.owners[owner].at;
        let Some(entry) = self.entries.get(at).copied() else {
            return;
        };
        self.owners[owner].at += 1;
        if entry.is_deleted {
            return;
        }
        let seq = match entry.done {
            Some(seq) => seq,
            None => self.commit(entry.call),
        };
        self.entries[at].done = Some(seq);
        let told = match entry.call {
            Call::Attach { user, nonce } if self.is_member(user) => {
                let head = self.head;
                vec![Told::Attached { user, nonce, head }]
            }
            Call::Attach { user, nonce } => vec![Told::Refused { user, nonce }],
            _ if seq == 0 => vec![],
            Call::Message => vec![Told::Event(seq)],
            Call::Add(user) => vec![Told::Event(seq), Told::Large(user)],
            Call::Remove(user) => vec![Told::Event(seq), Told::Detach(user)],
        };
        self.owners[owner].out.push_back((at, told));
    }

    /// The event that a call leads to.
    fn commit(&mut self, call: Call) -> u64 {
        let next = self.head + 1;
        match call {
            Call::Message => {}
            Call::Add(user) if !self.is_member(user) => self.stays[user].push((next, None)),
            Call::Remove(user) if self.is_member(user) => {
                self.stays[user].last_mut().unwrap().1 = Some(next);
            }
            Call::Attach { .. } | Call::Add(_) | Call::Remove(_) => return 0,
        }
        self.head = next;
        next
    }

    fn tells(&mut self, owner: usize, is_full: bool) {
        let Some((at, told)) = self.owners[owner].out.pop_front() else {
            return;
        };
        if is_full {
            self.is_lossy = true;
        } else {
            for told in told {
                let is_by_room = matches!(told, Told::Event(_) | Told::Detach(_));
                if !is_by_room || self.is_entered {
                    self.stream.push_back(told);
                }
            }
        }
        self.entries[at].is_deleted = true;
    }

    fn dies(&mut self, owner: usize) {
        self.owners[owner].out.clear();
        let first = self.entries.iter().position(|entry| !entry.is_deleted);
        self.owners[owner].at = first.unwrap_or(self.entries.len());
    }

    fn notices(&mut self) {
        if std::mem::take(&mut self.is_lossy) {
            let anew: Vec<usize> = self
                .rooms
                .reopen_all()
                .into_iter()
                .map(|(_, id)| user_of(id))
                .collect();
            self.wishes.extend(anew);
            // `room.large`: who is a member and has no seat asks for one.
            for user in 0..USERS {
                if self.is_member(user) && !self.rooms.has(ROOM, id(user)) {
                    self.wishes.push_back(user);
                }
            }
        }
    }

    fn grants(&mut self) {
        if let Some(user) = self.wishes.pop_front()
            && let Some(nonce) = self.rooms.ask(ROOM, id(user))
        {
            self.ask(Call::Attach { user, nonce });
        }
    }

    fn reads(&mut self) {
        match self.stream.pop_front() {
            None => {}
            Some(Told::Event(seq)) => match self.rooms.on_event(ROOM, seq) {
                Step::Deliver => {
                    let seats = self.rooms.take(ROOM);
                    for seat in seats.iter().filter(|seat| seat.is_taken()) {
                        self.gets(user_of(seat.id()), seq);
                    }
                    self.rooms.put(ROOM, seats, false);
                }
                Step::Known | Step::Nobody => {}
                Step::Gap(anew) => self.wishes.extend(anew.into_iter().map(user_of)),
            },
            Some(Told::Detach(user)) => {
                let gone = self.rooms.detach(ROOM, |his| his == id(user));
                self.wishes.extend(gone.into_iter().map(user_of));
            }
            Some(Told::Large(user)) => self.wishes.push_back(user),
            Some(Told::Refused { user, nonce }) => {
                let is_open = self.rooms.find_open(id(user), nonce).is_some();
                self.rooms.detach(ROOM, |his| is_open && his == id(user));
            }
            Some(Told::Attached { user, nonce, head }) => {
                if let Some(given) = self.rooms.on_attached(ROOM, id(user), nonce.into(), head) {
                    self.bumped[user] = self.bumped[user].max(given.last);
                    self.wishes.extend(given.anew.into_iter().map(user_of));
                }
            }
        }
    }

    fn gets(&mut self, user: usize, seq: u64) {
        let covers = |(from, to): &(u64, Option<u64>)| *from <= seq && to.is_none_or(|to| seq <= to);
        assert!(
            self.stays[user].iter().any(covers),
            "user {user} got {seq}, stays {:?}",
            self.stays[user]
        );
        let last = self.got[user].last();
        assert!(last.is_none_or(|last| *last < seq), "out of order");
        self.got[user].push(seq);
    }

    fn happens(&mut self, what: Happens) {
        match what {
            Happens::Asked(call) => self.ask(call),
            Happens::Works(owner) => self.works(owner),
            Happens::Tells(owner) => self.tells(owner, false),
            Happens::Loses(owner) => self.tells(owner, true),
            Happens::Dies(owner) => self.dies(owner),
            Happens::Notices => self.notices(),
            Happens::Reads => self.reads(),
            Happens::Grants => self.grants(),
            Happens::Sweeps => self.rooms.sweep(|_id| true),
        }
        for entered in self.rooms.take_entered() {
            self.is_entered = matches!(entered, Entered::In { .. });
        }
    }

    /// Until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut steps = vec![Happens::Notices, Happens::Reads, Happens::Grants];
            steps.extend([Happens::Works(0), Happens::Tells(0), Happens::Dies(1)]);
            for step in steps {
                self.happens(step);
            }
            let is_done = self.entries.iter().all(|entry| entry.is_deleted);
            if is_done && self.stream.is_empty() && self.wishes.is_empty() && !self.is_lossy {
                return;
            }
        }
        panic!("asks for ever");
    }
}

fn any_step() -> impl Strategy<Value = Happens> {
    let user = 0..USERS;
    prop_oneof![
        3 => Just(Happens::Asked(Call::Message)),
        2 => user.clone().prop_map(|user| Happens::Asked(Call::Add(user))),
        2 => user.prop_map(|user| Happens::Asked(Call::Remove(user))),
        8 => (0..2_usize).prop_map(Happens::Works),
        8 => (0..2_usize).prop_map(Happens::Tells),
        1 => (0..2_usize).prop_map(Happens::Dies),
        1 => (0..2_usize).prop_map(Happens::Loses),
        1 => Just(Happens::Notices),
        12 => Just(Happens::Reads),
        6 => Just(Happens::Grants),
        1 => Just(Happens::Sweeps),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nobody_sees_beyond_his_stays_and_every_member_is_told_of_everything(
        steps in prop::collection::vec(any_step(), 1..160),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.happens(step);
        }
        // Owners that died are followed by others: everything that is left in the partition is worked on.
        model.happens(Happens::Dies(0));
        model.settle();
        for user in 0..USERS {
            if !model.is_member(user) {
                continue;
            }
            let from = model.stays[user].last().unwrap().0;
            for seq in from..=model.head {
                let is_told = model.bumped[user] >= seq || model.got[user].contains(&seq);
                prop_assert!(is_told, "user {} was not told of {}: {:?}", user, seq, model);
            }
        }
    }
}
