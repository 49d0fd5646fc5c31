//! Goal: whatever is asked, in whatever grouping into transactions and with whatever repeats, a room's log has no
//! hole, a repeat has the first result, and only members see. Method: a database of three maps beside `plan`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use hub_protocol::api::invite::{CreateInvite, RevokeInvite};
use hub_protocol::api::member::{Ban, SetRole};
use hub_protocol::api::message::{Read, Send};
use hub_protocol::api::room::{Add, Create, Remove, Role, RoomKind, Update};
use hub_protocol::api::setting::{Prefer, Seen, SettingsChange};
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Op, RoomId, UserId};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::command::{Command, Write, code_hash};
use super::facts::Facts;
use super::log::LogEvent;
use super::plan::{Known, Loaded, Plan, Planned, Rows, applied_key, plan};
use super::room::{Head, Room};
use super::testing::{room, user};
use crate::service::Outcome;

const USERS: u128 = 5;

/// What PostgreSQL would hold.
#[derive(Default)]
struct Model {
    heads: HashMap<RoomId, Head>,
    rooms: HashMap<RoomId, Arc<Room>>,
    log: BTreeMap<(RoomId, i64), LogEvent>,
    applied: HashMap<(UserId, Op), ([u8; 16], String)>,
    facts: Facts,
    now: i64,
}

impl Model {
    fn run(&mut self, writes: Vec<Write>) -> Vec<Outcome> {
        // The clock stands still, and even goes back: times must grow all the same.
        self.now = (self.now + 1) % 3;
        let mut loaded = Loaded::default();
        for write in &writes {
            if let Some(head) = self.heads.get(&write.room) {
                loaded.heads.insert(write.room, *head);
                loaded
                    .rooms
                    .insert(write.room, Arc::clone(&self.rooms[&write.room]));
            } else if let Command::Create(_) = write.command {
                loaded.heads.insert(write.room, Head::default());
            }
            let Some((op, _)) = write.op else { continue };
            let key = (write.room, write.actor, op);
            let of_op = |event: &&LogEvent| (event.room, event.actor, event.op) == key;
            if let Some(event) = self.log.values().find(of_op) {
                let all: Arc<[UserId]> = Arc::clone(self.rooms[&event.room].receivers());
                loaded.known.insert(key, Known::Event(event.clone(), all));
            } else if let Some((hash, result)) = self.applied.get(&(write.actor, op)) {
                loaded.known.insert(
                    applied_key(write.actor, op),
                    Known::Applied(*hash, result.clone()),
                );
            }
        }
        loaded.facts = self.facts.clone();
        loaded.facts.users = (0..USERS).map(user).collect();
        loaded.members_max = 256;
        let writes: Vec<Result<Write, ErrorBody>> = writes.into_iter().map(Ok).collect();
        let Plan {
            planned,
            events,
            heads,
            rooms,
            applied,
            updated,
            rows,
            ..
        } = plan(&writes, loaded, self.now);
        for event in events {
            assert!(
                self.log.insert((event.room, event.seq), event).is_none(),
                "a number given twice"
            );
        }
        for row in applied {
            assert!(
                self.applied
                    .insert((row.actor, row.op), (row.hash, row.result))
                    .is_none(),
                "an op twice"
            );
        }
        for row in updated {
            let after = rooms.iter().find(|(id, _, _)| *id == row.info.id).unwrap();
            assert_eq!((&after.2.info, after.2.ended), (&row.info, row.ended));
        }
        self.keep(rows);
        self.heads.extend(heads);
        self.rooms.extend(
            rooms
                .into_iter()
                .filter(|(_, head, _)| head.seq > 0)
                .map(|(id, _, room)| (id, room)),
        );
        let done = |planned| match planned {
            Planned::Done(outcome) => outcome,
            Planned::Mark { .. } => Outcome::result("{}"),
        };
        planned.into_iter().map(done).collect()
    }

    /// Keeps the rows of small tables.
    fn keep(&mut self, rows: Rows) {
        for (of, by) in rows.bans {
            if by.is_some() {
                self.facts.bans.insert(of);
            } else {
                self.facts.bans.remove(&of);
            }
        }
        for ((room, id), link) in rows.links {
            let links = self.facts.links.entry(room).or_default();
            links.retain(|other| other.info.id != id);
            links.extend(link);
        }
        self.facts.preferences.extend(rows.preferences);
        self.facts.last_sent.extend(rows.sent);
    }

    fn check(&self) {
        for (id, head) in &self.heads {
            let log: Vec<&LogEvent> = self
                .log
                .range((*id, 0)..=(*id, i64::MAX))
                .map(|(_, event)| event)
                .collect();
            let seqs: Vec<i64> = log.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, (1..=head.seq).collect::<Vec<_>>(), "the log has no hole");
            let ns: Vec<i64> = log.iter().filter_map(|event| event.n).collect();
            assert_eq!(ns, (1..=head.n).collect::<Vec<_>>(), "messages are counted");
            assert!(
                log.windows(2).all(|pair| pair[0].created_at < pair[1].created_at),
                "time follows seq"
            );
            let room = &self.rooms[id];
            assert!(room.stays().is_sorted_by_key(|stay| stay.user));
            let owners = room
                .stays()
                .iter()
                .filter(|stay| stay.role == Role::Owner)
                .count();
            assert_eq!(
                owners,
                usize::from(!room.stays().is_empty()),
                "one owner while there is anybody"
            );
            assert_eq!(
                room.ended,
                room.stays().is_empty(),
                "a room ends with its last member"
            );
            for stay in room.stays() {
                assert!(!self.facts.is_banned(*id, stay.user), "a member is not kept out");
            }
            let links = self.facts.links.get(id).into_iter().flatten();
            for link in links {
                assert!(
                    link.info.uses_max.is_none_or(|max| link.info.uses <= max),
                    "no link lets in more than it may"
                );
            }
        }
    }
}

fn write(actor: u128, in_room: u128, op: u128, command: Command) -> Write {
    // The hash is that of room and content: here the op and the content are drawn together.
    let hash = [u8::try_from(op % 251).unwrap() ^ u8::try_from(in_room).unwrap(); 16];
    let op = (!matches!(command, Command::Read(_))).then(|| (Op(Uuid::from_u128(op + 1)), hash));
    Write {
        room: room(in_room),
        actor: user(actor),
        command,
        op,
    }
}

fn send(actor: u128, op: u128, text: &str) -> Write {
    let params = Send {
        client_message_id: Op(Uuid::from_u128(op + 1)),
        ..plain(text)
    };
    write(actor, 1, op, Command::Send(params))
}

fn plain(text: &str) -> Send {
    Send {
        client_message_id: Op::NIL,
        text: text.to_owned(),
        reply_to: None,
        thread: None,
        forward: None,
        entities: Vec::new(),
    }
}

fn create(actor: u128, in_room: u128, op: u128, kind: RoomKind, others: &[u128]) -> Write {
    let members = others.iter().copied().map(user).collect();
    let op_id = Op(Uuid::from_u128(op + 1));
    let params = Create {
        op: op_id,
        id: room(in_room),
        kind,
        name: "r".to_owned(),
        members,
    };
    write(actor, in_room, op, Command::Create(params))
}

fn reply(outcome: &Outcome) -> Result<Value, ErrorCode> {
    match outcome.reply.as_ref().expect("every write has an answer") {
        Ok(json) => Ok(serde_json::from_slice(json).unwrap()),
        Err(error) => Err(error.code),
    }
}

fn seen_by(outcome: &Outcome) -> Vec<UserId> {
    outcome
        .deliveries
        .iter()
        .flat_map(|delivery| super::large::users_of(&delivery.audience))
        .collect()
}

fn any_write() -> impl Strategy<Value = Write> {
    let actor = 0..USERS;
    (actor, 1..3_u128, 0..40_u128, 0..17_u8, 0..USERS, 0..4_u64).prop_map(
        |(actor, in_room, op, what, other, seq)| {
            // The op decides the content, so that a repeat is a repeat.
            let op_id = Op(Uuid::from_u128(op + 1));
            match what {
                0 => {
                    let kind = if in_room == 1 {
                        RoomKind::Group
                    } else {
                        RoomKind::Channel
                    };
                    create(actor, in_room, op * 8, kind, &[0, 1])
                }
                1 => write(actor, in_room, op * 8 + 1, Command::Join),
                2 => write(actor, in_room, op * 8 + 2, Command::Leave),
                3 => {
                    let role = [None, Some(Role::Admin)][usize::from(op.is_multiple_of(2))];
                    let add = Add {
                        op: op_id,
                        user: user(other),
                        role,
                    };
                    write(actor, in_room, op * 8 + 3 + other * 1_000, Command::Add(add))
                }
                4 => {
                    let remove = Remove {
                        op: op_id,
                        user: user(other),
                    };
                    write(
                        actor,
                        in_room,
                        op * 8 + 4 + other * 1_000,
                        Command::Remove(remove),
                    )
                }
                5 => write(actor, in_room, 0, Command::Read(Read { seq })),
                6..15 => managing(actor, in_room, op, what, other, seq),
                _ => {
                    let params = Send {
                        client_message_id: op_id,
                        ..plain(&op.to_string())
                    };
                    write(actor, in_room, op * 8 + 5, Command::Send(params))
                }
            }
        },
    )
}

/// What owners and admins do, and what links lead to. Codes are few, so that they meet.
fn managing(actor: u128, in_room: u128, op: u128, what: u8, other: u128, seq: u64) -> Write {
    let op_id = Op(Uuid::from_u128(op + 1));
    let role = [Role::Reader, Role::Member, Role::Admin, Role::Owner][usize::try_from(seq).unwrap()];
    let code = |number: u128| format!("code {}", number % 3);
    let command = match what {
        6 => Command::SetRole(SetRole {
            op: op_id,
            user: user(other),
            role,
        }),
        7 => Command::Ban(Ban {
            op: op_id,
            user: user(other),
        }),
        8 => Command::Unban(Ban {
            op: op_id,
            user: user(other),
        }),
        9 => Command::Update(Update {
            op: op_id,
            name: Some(format!("name {seq}")),
            topic: None,
            avatar: None,
            settings: Some(SettingsChange {
                add: Some([Role::Member, Role::Admin][usize::from(op.is_multiple_of(2))]),
                history: Some([Seen::Join, Seen::All][usize::from(op.is_multiple_of(3))]),
                ..SettingsChange::default()
            }),
        }),
        // Seldom: it ends the trial for the room.
        10 if op.is_multiple_of(13) => Command::Delete,
        10 | 11 => Command::CreateInvite(
            CreateInvite {
                op: op_id,
                expires_in_s: None,
                uses_max: Some(u32::try_from(1 + seq).unwrap()),
                role: None,
            },
            code(op),
        ),
        12 => Command::AcceptInvite(code_hash(&code(other)).unwrap()),
        13 => {
            let hash = code_hash(&code(other)).unwrap();
            let invite = uuid::Builder::from_custom_bytes(hash).into_uuid();
            Command::RevokeInvite(RevokeInvite { op: op_id, invite })
        }
        _ => Command::Prefer(Prefer {
            op: op_id,
            archived: Some(seq.is_multiple_of(2)),
            muted_until: None,
            pinned: Some(seq > 1),
        }),
    };
    let content = u128::from(what) * 10_000 + other * 1_000 + u128::from(seq) * 200_000;
    write(actor, in_room, op * 8 + content, command)
}

proptest! {
    #[test]
    fn logs_have_no_hole_and_repeats_have_the_first_result(
        batches in proptest::collection::vec(proptest::collection::vec(any_write(), 1..8), 1..25),
    ) {
        let mut model = Model::default();
        model.run(vec![create(0, 1, 90_000, RoomKind::Group, &[1, 2]), create(0, 2, 90_001, RoomKind::Channel, &[1])]);
        let mut first: HashMap<(RoomId, UserId, Op), Value> = HashMap::new();
        for batch in batches {
            let before = model.rooms.clone();
            let outcomes = model.run(batch.clone());
            model.check();
            for (write, outcome) in batch.iter().zip(&outcomes) {
                let Some((op, _)) = write.op else { continue };
                if let Ok(result) = reply(outcome) {
                    let known = first.entry((write.room, write.actor, op)).or_insert_with(|| result.clone());
                    prop_assert_eq!(&known["seq"], &result["seq"]);
                    prop_assert_eq!(&known["message"], &result["message"]);
                    prop_assert_eq!(&known["invite"], &result["invite"]);
                    prop_assert_eq!(&known["preferences"], &result["preferences"]);
                } else {
                    prop_assert!(outcome.deliveries.is_empty(), "a refusal tells nobody");
                }
                // Whoever is told belonged to the room before or belongs to it after the batch.
                for user in seen_by(outcome) {
                    let known = |rooms: &HashMap<RoomId, Arc<Room>>| {
                        rooms.get(&write.room).is_some_and(|room| room.find(user).is_some())
                    };
                    let within = batch.iter().any(|other| matches!(&other.command,
                        Command::Add(add) if add.user == user)
                        || matches!(&other.command, Command::AcceptInvite(_) if other.actor == user)
                        || matches!(&other.command, Command::Join if other.actor == user));
                    prop_assert!(known(&before) || known(&model.rooms) || within);
                }
            }
        }
    }

    #[test]
    fn the_grouping_into_transactions_changes_no_result(
        writes in proptest::collection::vec(any_write(), 1..40), cuts in proptest::collection::vec(1..6_usize, 1..40),
    ) {
        let start = || {
            let mut model = Model::default();
            model.run(vec![create(0, 1, 90_000, RoomKind::Group, &[1, 2])]);
            model
        };
        let (mut single, mut grouped) = (start(), start());
        let one: Vec<_> = writes.iter().flat_map(|write| single.run(vec![write.clone()])).collect();
        let mut many = Vec::new();
        let (mut rest, mut cuts) = (writes.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            many.extend(grouped.run(now.to_vec()));
            rest = later;
        }
        let essence = |outcome: &Outcome| reply(outcome).map(|v| (v["seq"].clone(), v["duplicate"].clone()));
        for (a, b) in one.iter().zip(&many) {
            prop_assert_eq!(essence(a), essence(b));
        }
        prop_assert_eq!(single.heads.get(&room(1)).map(|h| h.seq), grouped.heads.get(&room(1)).map(|h| h.seq));
    }
}

fn group() -> Model {
    let mut model = Model::default();
    model.run(vec![create(0, 1, 1, RoomKind::Group, &[1, 2])]);
    model
}

#[test]
fn the_same_op_with_another_content_is_a_conflict() {
    let mut model = group();
    assert_eq!(reply(&model.run(vec![send(1, 7, "a")])[0]).unwrap()["seq"], 2);
    let mut other = send(1, 7, "b");
    other.op = other.op.map(|(op, _)| (op, [9; 16]));
    assert_eq!(reply(&model.run(vec![other])[0]), Err(ErrorCode::Conflict));
}

#[test]
fn a_repeat_inside_one_read_is_a_duplicate_and_told_again() {
    let mut model = group();
    let outcomes = model.run(vec![send(1, 7, "a"), send(1, 7, "a"), send(2, 7, "a")]);
    let results: Vec<_> = outcomes.iter().map(|outcome| reply(outcome).unwrap()).collect();
    assert_eq!(
        (&results[0]["seq"], &results[0]["duplicate"]),
        (&2.into(), &false.into())
    );
    assert_eq!(
        (&results[1]["seq"], &results[1]["duplicate"]),
        (&2.into(), &true.into())
    );
    // Another user's op of the same name is another change.
    assert_eq!(
        (&results[2]["seq"], &results[2]["duplicate"]),
        (&3.into(), &false.into())
    );
    assert_eq!(seen_by(&outcomes[1]).len(), 3);
    assert_eq!(outcomes[0].deliveries[0].body, outcomes[1].deliveries[0].body);
}

#[test]
fn a_removed_member_gets_his_removal_and_nothing_after_it() {
    let mut model = group();
    let remove = Remove {
        op: Op(Uuid::from_u128(70)),
        user: user(2),
    };
    let outcomes = model.run(vec![
        send(2, 5, "before"),
        write(0, 1, 69, Command::Remove(remove)),
        send(0, 6, "after"),
        send(2, 8, "too late"),
    ]);
    assert!(seen_by(&outcomes[0]).contains(&user(2)));
    assert!(seen_by(&outcomes[1]).contains(&user(2)));
    assert!(!seen_by(&outcomes[2]).contains(&user(2)));
    assert_eq!(reply(&outcomes[3]), Err(ErrorCode::NotFound));
}

#[test]
fn strangers_learn_nothing() {
    let mut model = group();
    let add = Add {
        op: Op(Uuid::from_u128(71)),
        user: user(4),
        role: None,
    };
    let calls = vec![
        send(4, 5, "x"),
        write(4, 1, 70, Command::Add(add)),
        write(4, 1, 72, Command::Join),
        write(4, 1, 73, Command::Leave),
        write(4, 1, 0, Command::Read(Read { seq: 1 })),
        write(4, 9, 74, Command::Join),
    ];
    for outcome in model.run(calls) {
        assert_eq!(reply(&outcome), Err(ErrorCode::NotFound));
    }
}

#[test]
fn an_owner_who_leaves_is_followed_by_an_admin() {
    let mut model = group();
    let add = Add {
        op: Op(Uuid::from_u128(71)),
        user: user(4),
        role: Some(Role::Admin),
    };
    model.run(vec![
        write(0, 1, 70, Command::Add(add)),
        write(0, 1, 71, Command::Leave),
    ]);
    assert_eq!(model.rooms[&room(1)].find(user(4)).unwrap().role, Role::Owner);
    assert!(model.rooms[&room(1)].find(user(0)).is_none());
    model.check();
}

#[test]
fn readers_of_a_channel_come_and_go_without_events_and_do_not_write() {
    let mut model = Model::default();
    let mut readers_send = send(3, 9, "x");
    readers_send.room = room(2);
    let outcomes = model.run(vec![
        create(0, 2, 1, RoomKind::Channel, &[]),
        write(3, 2, 2, Command::Join),
        readers_send,
        write(3, 2, 2, Command::Join),
        write(3, 2, 4, Command::Leave),
        write(3, 2, 2, Command::Join),
    ]);
    assert_eq!(reply(&outcomes[1]).unwrap()["seq"], 0);
    assert_eq!(reply(&outcomes[2]), Err(ErrorCode::Forbidden));
    // A repeat changes nothing, also when the opposite happened since.
    assert_eq!(reply(&outcomes[5]).unwrap()["duplicate"], true);
    assert!(model.rooms[&room(2)].find(user(3)).is_none());
    assert_eq!(
        (model.heads[&room(2)].seq, model.heads[&room(2)].revision),
        (1, 2)
    );
}

#[test]
fn rooms_do_not_grow_beyond_their_bound() {
    let others: Vec<u128> = (1..256).collect();
    let mut writes = vec![create(0, 1, 1, RoomKind::Group, &others)];
    writes.push(write(
        0,
        1,
        2,
        Command::Add(Add {
            op: Op(Uuid::from_u128(3)),
            user: user(300),
            role: None,
        }),
    ));
    // All these accounts exist in this test.
    let mut loaded = Loaded::default();
    loaded.heads.insert(room(1), Head::default());
    loaded.facts.users = (0..400).map(user).collect();
    loaded.members_max = 256;
    let writes: Vec<_> = writes.into_iter().map(Ok).collect();
    let plan = plan(&writes, loaded, 1);
    let Planned::Done(outcome) = &plan.planned[1] else {
        panic!("not a mark")
    };
    assert_eq!(reply(outcome), Err(ErrorCode::TooLarge));
}
