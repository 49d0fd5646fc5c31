//! Clients against a model of the hub, in virtual time, with everything going wrong that the protocol allows.
//!
//! Goal: whatever is lost, doubled, late, refused or cut, correct clients of a correct hub satisfy the oracle, and
//! clients of a hub that breaks a promise do not. Method: the model stores messages, answers calls and delivers
//! events over links that misbehave by a seeded dice; the same clients and the same oracle as in a real run look on.

use std::collections::{BTreeMap, HashMap};

use hub_protocol::{Op, RoomId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::oracle::{Expect, Findings, Kind, Stored, StoredRoom, judge};
use crate::units::{S, at, index};

const USERS: u32 = 6;
const ROOMS: u32 = 3;
const MEMBERS: u32 = 4;

/// A promise that the model breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Stores a repeat again.
    NoDeduplication,
    /// Acknowledges and forgets.
    LosesAcked,
    /// Loses deliveries without a notice.
    LosesSilently,
    /// Refuses for good what it has stored.
    RefusesStored,
    /// Leaves a number out.
    SkipsNumber,
}

struct Message {
    op: Op,
    sender: u32,
    text: String,
}

/// What is under way: to a client on one life of its connection, or to the hub.
enum Parcel {
    Down { client: u32, life: u32, text: String },
    Up { client: u32, life: u32, text: String },
    Connect { client: u32 },
}

struct Model {
    mutant: Mutant,
    dice: SmallRng,
    world: World,
    wheel: Wheel<Alarm>,
    recorder: Recorder,
    stats: Stats,
    rng: SmallRng,
    clients: Vec<Client>,
    /// Lives of each client's connection; odd while connected.
    lives: Vec<u32>,
    /// The logs; `None` is a number that was left out.
    logs: Vec<Vec<Option<Message>>>,
    /// Which change of the system each room's last one was; what cursors count.
    changed: Vec<u64>,
    changes: u64,
    parcels: BTreeMap<(u64, u64), Parcel>,
    parcel: u64,
    now: u64,
    is_calm: bool,
}

impl Model {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut world = World::parse(&crate::world::tests::file(USERS, ROOMS, MEMBERS), 1, 64).unwrap();
        world.set_start_heads(&[0; 3]);
        let mut model = Self {
            mutant,
            dice: SmallRng::seed_from_u64(seed),
            wheel: Wheel::new(0),
            recorder: Recorder::new(world.rooms()),
            world,
            stats: Stats::default(),
            rng: SmallRng::seed_from_u64(seed + 1),
            clients: Vec::new(),
            lives: vec![0; at(USERS)],
            logs: (0..ROOMS).map(|_| Vec::new()).collect(),
            changed: vec![0; at(ROOMS)],
            changes: 0,
            parcels: BTreeMap::new(),
            parcel: 0,
            now: 0,
            is_calm: false,
        };
        for user in 0..USERS {
            let token = "token".into();
            let client = model.on_desk(user, |_, context| Client::new(user, token, context));
            model.clients.push(client);
            model.post(u64::from(user) * MS, Parcel::Connect { client: user });
        }
        model
    }

    /// Calls into a client's world, then carries away what it wrote.
    fn on_desk<R>(&mut self, client: u32, act: impl FnOnce(Option<&mut Client>, &mut Context<'_>) -> R) -> R {
        let (mut texts, mut wishes) = (Vec::new(), Vec::new());
        let mut context = Context {
            now: self.now,
            client,
            world: &self.world,
            rng: &mut self.rng,
            wheel: &mut self.wheel,
            recorder: &mut self.recorder,
            stats: &mut self.stats,
            texts: &mut texts,
            wishes: &mut wishes,
        };
        let result = act(self.clients.get_mut(at(client)), &mut context);
        assert_eq!(wishes, [], "the model gives no reason to wish for anything");
        let life = self.lives[at(client)];
        for text in texts {
            self.post(2 * MS, Parcel::Up { client, life, text });
        }
        result
    }

    fn post(&mut self, delay: u64, parcel: Parcel) {
        self.parcel += 1;
        self.parcels.insert((self.now + delay, self.parcel), parcel);
    }

    fn chance(&mut self, percent: u32) -> bool {
        !self.is_calm && self.dice.random_range(0..100) < percent
    }

    fn run_until(&mut self, end: u64) {
        let mut rung = Vec::new();
        while self.now < end {
            self.now += 5 * MS;
            while let Some(entry) = self
                .parcels
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                let parcel = entry.remove();
                self.on_parcel(parcel);
            }
            self.wheel.ring(self.now, &mut rung);
            for Alarm { client, timer } in std::mem::take(&mut rung) {
                self.on_desk(client, |known, context| known.unwrap().on_timer(timer, context));
            }
        }
    }

    fn on_parcel(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Connect { client } => {
                self.lives[at(client)] += 1;
                self.on_desk(client, |known, context| known.unwrap().on_connected(context));
            }
            Parcel::Down { client, life, text } if life == self.lives[at(client)] => {
                self.on_desk(client, |known, context| {
                    known.unwrap().on_text(text.as_bytes(), context);
                });
            }
            Parcel::Up { client, life, text } if life == self.lives[at(client)] => {
                if self.chance(1) {
                    self.cut(client);
                    if self.dice.random() {
                        return;
                    }
                }
                self.on_request(client, life, &text);
            }
            Parcel::Down { .. } | Parcel::Up { .. } => {}
        }
    }

    fn cut(&mut self, client: u32) {
        if !self.lives[at(client)].is_multiple_of(2) {
            self.lives[at(client)] += 1;
            self.clients[at(client)].on_disconnected();
            let delay = self.dice.random_range(1..2_000) * MS;
            self.post(delay, Parcel::Connect { client });
        }
    }

    fn answer(&mut self, client: u32, life: u32, answer: &Value) {
        self.post(
            3 * MS,
            Parcel::Down {
                client,
                life,
                text: answer.to_string(),
            },
        );
    }

    fn on_request(&mut self, client: u32, life: u32, text: &str) {
        let request: Value = serde_json::from_str(text).unwrap();
        let (id, params) = (&request["id"], &request["params"]);
        let room = request["room"].as_str().map(|room| {
            self.world
                .find_room(room.parse::<RoomId>().unwrap())
                .expect("clients know their rooms")
        });
        let method = request["method"].as_str().unwrap();
        // Anything may stay unanswered, or be refused for now. (A session that does not open is the engine's.)
        if method != "session.open" && self.chance(2) {
            return;
        }
        if self.chance(4) {
            let error = json!({"code": "busy", "message": "full", "retryable": true, "retry_after_ms": 40});
            self.answer(client, life, &json!({"id": id, "error": error}));
            return;
        }
        let result = match (method, room) {
            ("session.open", None) => json!({
                "user": self.world.accounts[at(client)].user, "session": RoomId::NIL, "expires_at": 0,
                "heartbeat_ms": 25_000, "server_time": 0, "epoch": "e", "features": [],
                "limits": {"message_bytes": 1, "messages_per_second": 0, "messages_burst": 0},
            }),
            ("sync", None) => self.sync(client, params),
            ("message.history", Some(room)) => self.history(room, params),
            ("message.send", Some(room)) => match self.send(client, room, params) {
                Ok(result) => result,
                Err(error) => {
                    self.answer(client, life, &json!({"id": id, "error": error}));
                    return;
                }
            },
            _ => panic!("unexpected {text}"),
        };
        self.answer(client, life, &json!({"id": id, "result": result}));
    }

    fn sync(&mut self, client: u32, params: &Value) -> Value {
        let after: u64 = params["cursor"]
            .as_str()
            .map_or(0, |cursor| cursor.parse().unwrap());
        // One room per page.
        let page: u32 = params["page"].as_str().map_or(0, |page| page.parse().unwrap());
        let mine =
            |room: &u32| self.world.members(*room).contains(&client) && self.changed[at(*room)] >= after;
        let mut rooms = (page..ROOMS).filter(mine);
        let (room, next) = (rooms.next(), rooms.next());
        let states: Vec<Value> = room
            .map(|room| {
                let id = self.world.room_id(room);
                let seq = self.logs[at(room)].len();
                json!({
                    "room": {"id": id, "kind": "group", "name": "", "created_by": id, "created_at": 0},
                    "seq": seq, "n": seq, "from_seq": 1, "role": "member", "read_seq": 0, "unread": 0, "mentions": 0,
                })
            })
            .into_iter()
            .collect();
        let mut result =
            json!({"rooms": states, "left": [], "cursor": self.changes.to_string(), "reset": after == 0});
        if page > 0 {
            // The cursor is that of the first page: what changes meanwhile comes again.
            result["cursor"] = json!(after.to_string());
        }
        if let Some(next) = next {
            result["next"] = json!(next.to_string());
        }
        result
    }

    fn history(&self, room: u32, params: &Value) -> Value {
        let after = params["after"].as_u64().unwrap();
        let limit = 7;
        let log = &self.logs[at(room)];
        let (mut events, mut hidden) = (Vec::new(), Vec::new());
        let end = (after + limit).min(log.len() as u64);
        for seq in after + 1..=end {
            match self.event(room, seq) {
                Some(event) => events.push(event),
                None => hidden.push([seq, seq]),
            }
        }
        json!({"events": events, "hidden": hidden, "more": end < log.len() as u64})
    }

    fn event(&self, room: u32, seq: u64) -> Option<Value> {
        let message = self.logs[at(room)][usize::try_from(seq).unwrap() - 1].as_ref()?;
        let id = self.world.room_id(room);
        let sender = self.world.accounts[at(message.sender)].user;
        let data = json!({
            "room": id, "seq": seq, "n": seq, "sender": sender, "client_message_id": message.op,
            "text": message.text, "created_at": 0,
        });
        Some(json!({"event": "message.created", "room": id, "seq": seq, "data": data}))
    }

    fn send(&mut self, client: u32, room: u32, params: &Value) -> Result<Value, Value> {
        let op: Op = serde_json::from_value(params["client_message_id"].clone()).unwrap();
        let known = self.logs[at(room)]
            .iter()
            .position(|message| message.as_ref().is_some_and(|m| m.op == op));
        let mut duplicate = false;
        let seq = if let Some(place) = known.filter(|_| self.mutant != Mutant::NoDeduplication) {
            duplicate = true;
            place as u64 + 1
        } else {
            if self.mutant == Mutant::SkipsNumber && self.chance(2) {
                self.logs[at(room)].push(None);
            }
            let text = params["text"].as_str().unwrap().to_owned();
            let log = &mut self.logs[at(room)];
            log.push(Some(Message {
                op,
                sender: client,
                text,
            }));
            self.changes += 1;
            self.changed[at(room)] = self.changes;
            log.len() as u64
        };
        let data = self.event(room, seq).unwrap()["data"].clone();
        if self.mutant == Mutant::LosesAcked && self.chance(3) {
            self.logs[at(room)].pop();
        } else {
            self.deliver(room, seq);
        }
        if self.mutant == Mutant::RefusesStored && self.chance(3) {
            return Err(json!({"code": "forbidden", "message": "no", "retryable": false}));
        }
        Ok(json!({"message": data, "seq": seq, "n": seq, "duplicate": duplicate}))
    }

    /// To every member who is connected: once, late, twice, or not at all, and then with a notice.
    fn deliver(&mut self, room: u32, seq: u64) {
        let text = self.event(room, seq).unwrap().to_string();
        for client in self.world.members(room).to_vec() {
            let life = self.lives[at(client)];
            if life.is_multiple_of(2) {
                continue;
            }
            let text = text.clone();
            let is_silent = self.mutant == Mutant::LosesSilently && self.dice.random_range(0..100) < 5;
            if is_silent || self.chance(5) {
                if self.mutant != Mutant::LosesSilently {
                    let text = json!({"event": "system.sync", "data": {"spread_ms": 300}}).to_string();
                    self.post(50 * MS, Parcel::Down { client, life, text });
                }
                continue;
            }
            if self.chance(10) {
                let late = self.dice.random_range(1..900) * MS;
                self.post(
                    late,
                    Parcel::Down {
                        client,
                        life,
                        text: text.clone(),
                    },
                );
            }
            let delay = if self.chance(15) {
                self.dice.random_range(1..200) * MS
            } else {
                3 * MS
            };
            self.post(delay, Parcel::Down { client, life, text });
        }
    }

    fn offer(&mut self) {
        let room = self.dice.random_range(0..ROOMS);
        let member = self.dice.random_range(0..MEMBERS);
        let user = self.world.members(room)[at(member)];
        let now = self.now;
        self.on_desk(user, |client, context| client.unwrap().offer(room, now, context));
    }

    fn stored(&self) -> Stored {
        let rooms = self.logs.iter().map(|log| {
            let kept = (1_u64..)
                .zip(log)
                .filter_map(|(seq, message)| Some((seq, message.as_ref()?.op)));
            let log: Vec<(u64, Op)> = kept.collect();
            let last = log.last().map_or(0, |(seq, _)| *seq);
            StoredRoom {
                head: last,
                events: log.len() as u64,
                last,
                log,
            }
        });
        Stored {
            rooms: rooms.collect(),
        }
    }
}

/// A whole run: load in trouble, then calm, then quiet.
fn run(seed: u64, mutant: Mutant) -> (Findings, Stats) {
    let mut model = Model::new(seed, mutant);
    for step in 0..600 {
        model.run_until(model.now + 20 * MS);
        model.offer();
        if step % 97 == 0 {
            let client = model.dice.random_range(0..USERS);
            model.cut(client);
        }
    }
    model.is_calm = true;
    model.run_until(model.now + 60 * S);
    assert!(
        model.clients.iter().all(Client::is_quiet),
        "everything was answered"
    );
    if mutant == Mutant::None {
        assert!(model.clients.iter().all(Client::is_ready));
    }
    let stored = model.stored();
    let expect = Expect {
        acked_share_min: 0.99,
        quiet_reconnects: 0,
    };
    (judge(vec![model.recorder], Some(&stored), expect), model.stats)
}

#[test]
fn a_correct_hub_satisfies_the_oracle_whatever_goes_wrong_on_the_way() {
    for seed in 0..30 {
        let (findings, stats) = run(seed, Mutant::None);
        assert!(findings.is_clean(), "seed {seed}: {findings}");
        let counts = stats.counts;
        assert_eq!(
            (counts.offered, counts.acked, counts.malformed),
            (600, 600, 0),
            "seed {seed}"
        );
        // Every member of a room is shown every message of it.
        assert_eq!(counts.delivered_ours, 600 * u64::from(MEMBERS), "seed {seed}");
        let troubles = [
            counts.resends,
            counts.redelivered,
            counts.held,
            counts.ranges,
            counts.sync_notices,
        ];
        assert!(troubles.iter().all(|&count| count > 0), "seed {seed}: {counts:?}");
    }
}

#[test]
fn a_hub_that_breaks_a_promise_does_not() {
    let expected = HashMap::from([
        ("NoDeduplication", Kind::StoredTwice),
        ("LosesAcked", Kind::Lost),
        ("LosesSilently", Kind::HeadMissing),
        ("RefusesStored", Kind::RefusedStored),
        ("SkipsNumber", Kind::StoredGap),
    ]);
    for mutant in [
        Mutant::NoDeduplication,
        Mutant::LosesAcked,
        Mutant::LosesSilently,
        Mutant::RefusesStored,
        Mutant::SkipsNumber,
    ] {
        let kind = expected[format!("{mutant:?}").as_str()];
        // A silent loss only shows when it hits the end of a room.
        let is_found = (0..30).any(|seed| run(seed, mutant).0.count(kind) > 0);
        assert!(is_found, "{mutant:?}");
    }
}

#[test]
fn an_idle_client_is_small() {
    let mut model = Model::new(1, Mutant::None);
    model.run_until(10 * S);
    let client = &model.clients[0];
    let rooms = client.room_bytes();
    assert!(
        size_of::<Client>() + rooms <= 1024,
        "{} + {rooms}",
        size_of::<Client>()
    );
    assert_eq!(index(model.clients.len()), USERS);
}
