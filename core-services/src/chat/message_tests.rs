//! Goal: whatever is done to messages, in whatever grouping into transactions and with whatever repeats, the rows
//! are those of the same changes one after the other, and what was taken away leaves nothing. Method: what
//! PostgreSQL would hold in maps beside `plan`, and a second, naive account of every message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hub_protocol::api::entity::{Entity, EntityType};
use hub_protocol::api::event::Kind;
use hub_protocol::api::message::{Delete, DeleteFor, Edit, Pin, React, Send};
use hub_protocol::api::room::{self as api, Role, RoomKind};
use hub_protocol::api::setting::Settings;
use hub_protocol::error::ErrorBody;
use hub_protocol::{ErrorCode, Op, RoomId, UserId};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::command::{About, Command, Write};
use super::facts::Facts;
use super::large::users_of;
use super::log::LogEvent;
use super::plan::message::emptied;
use super::plan::{Known, Loaded, Planned, applied_key, plan};
use super::room::{Head, Room, Stay};
use super::testing::{room, user};
use crate::service::Outcome;

const HOUR_US: i64 = 3_600_000_000;

/// What PostgreSQL would hold of one room.
struct Model {
    room: Arc<Room>,
    head: Head,
    now: i64,
    log: BTreeMap<i64, LogEvent>,
    applied: BTreeMap<(UserId, Op), ([u8; 16], String)>,
    edits: BTreeMap<i64, Vec<(i64, String)>>,
    reactions: BTreeSet<(i64, UserId, String)>,
    kinds: BTreeMap<(i64, String), i64>,
    pins: BTreeSet<i64>,
    threads: BTreeMap<i64, (i64, i64)>,
    hidden: BTreeSet<(UserId, i64)>,
    facts: Facts,
}

impl Model {
    /// The owner 0, the member 1, the reader 2, and the member 3 who came after the first three events.
    fn new() -> Self {
        let info = api::Room {
            id: room(1),
            kind: RoomKind::Group,
            name: "r".to_owned(),
            created_by: user(0),
            created_at: 1,
            topic: String::new(),
            avatar: None,
            settings: Settings {
                edit_window_s: 3_600,
                ..Settings::default()
            },
        };
        let stay = |(number, role, from_seq)| Stay {
            user: user(number),
            role,
            from_seq,
        };
        let stays = [
            (0, Role::Owner, 1),
            (1, Role::Member, 1),
            (2, Role::Reader, 1),
            (3, Role::Member, 4),
        ];
        Self {
            room: Arc::new(Room::new(info, stays.map(stay).to_vec())),
            head: Head {
                seq: 0,
                n: 0,
                revision: 0,
                last_at: 0,
            },
            now: HOUR_US,
            log: BTreeMap::new(),
            applied: BTreeMap::new(),
            edits: BTreeMap::new(),
            reactions: BTreeSet::new(),
            kinds: BTreeMap::new(),
            pins: BTreeSet::new(),
            threads: BTreeMap::new(),
            hidden: BTreeSet::new(),
            facts: Facts::default(),
        }
    }

    fn load(&self, writes: &[Write]) -> Loaded {
        let mut loaded = Loaded::default();
        // A head at 0 would be a room that is made now.
        loaded.heads.insert(room(1), self.head);
        loaded.rooms.insert(room(1), Arc::clone(&self.room));
        loaded.facts = self.facts.clone();
        loaded.facts.users = (0..4).map(user).collect();
        let messages = &mut loaded.messages;
        for (seq, event) in &self.log {
            messages.events.insert((room(1), *seq), event.clone());
        }
        for (seq, rows) in &self.edits {
            messages.edit_counts.insert((room(1), *seq), rows.len());
        }
        for (seq, by, emoji) in &self.reactions {
            messages.reactions.insert(((room(1), *seq), *by, emoji.clone()));
        }
        for ((seq, emoji), count) in &self.kinds {
            messages
                .kinds
                .entry((room(1), *seq))
                .or_default()
                .insert(emoji.clone(), *count);
        }
        messages.pins.insert(room(1), self.pins.iter().copied().collect());
        for write in writes {
            let Some((op, _)) = write.op else { continue };
            let of_op = |event: &&LogEvent| (event.actor, event.op) == (write.actor, op);
            if let Some(event) = self.log.values().find(of_op) {
                let known = Known::Event(event.clone(), Arc::clone(self.room.receivers()));
                loaded.known.insert((write.room, write.actor, op), known);
            } else if let Some((hash, result)) = self.applied.get(&(write.actor, op)) {
                loaded.known.insert(
                    applied_key(write.actor, op),
                    Known::Applied(*hash, result.clone()),
                );
            }
        }
        loaded
    }

    /// One transaction, with what `store` does to the rows.
    fn run(&mut self, writes: &[Write]) -> Vec<Outcome> {
        let loaded = self.load(writes);
        let writes: Vec<Result<Write, ErrorBody>> = writes.iter().cloned().map(Ok).collect();
        let plan = plan(&writes, loaded, self.now);
        for event in plan.events {
            assert!(
                self.log.insert(event.seq, event).is_none(),
                "a number given twice"
            );
        }
        if let Some((_, head)) = plan.heads.first() {
            self.head = *head;
        }
        for row in plan.applied {
            let before = self.applied.insert((row.actor, row.op), (row.hash, row.result));
            assert!(before.is_none(), "an op twice");
        }
        self.facts.last_sent.extend(plan.rows.sent);
        let rows = plan.messages;
        for ((_, seq), event) in rows.changed {
            self.log.insert(seq, event);
        }
        for ((_, seq), edits) in rows.edits {
            let edits = edits.into_iter().map(|edit| (edit.edit_seq, edit.body));
            self.edits.entry(seq).or_default().extend(edits);
        }
        for (((_, seq), by, emoji), event) in rows.reactions {
            if event.is_some() {
                self.reactions.insert((seq, by, emoji));
            } else {
                self.reactions.remove(&(seq, by, emoji));
            }
        }
        for (((_, seq), emoji), (gain, _)) in rows.kinds {
            *self.kinds.entry((seq, emoji)).or_default() += gain;
        }
        self.kinds.retain(|_, count| *count > 0);
        for ((_, seq), pin) in rows.pins {
            if pin.is_some() {
                self.pins.insert(seq);
            } else {
                self.pins.remove(&seq);
            }
        }
        for ((_, root), gain) in rows.threads {
            let (count, last) = self.threads.entry(root).or_default();
            (*count, *last) = (*count + gain.count, gain.last_seq.max(*last));
        }
        self.hidden
            .extend(rows.hidden.into_iter().map(|(by, (_, seq))| (by, seq)));
        for (_, seq) in rows.purged {
            for (edit_seq, _) in self.edits.remove(&seq).unwrap_or_default() {
                let event = self.log.get_mut(&edit_seq).expect("an edit is an event");
                event.body = emptied(&event.body);
            }
            self.reactions.retain(|(of, ..)| *of != seq);
            self.kinds.retain(|(of, _), _| *of != seq);
            self.pins.remove(&seq);
        }
        let done = |planned| match planned {
            Planned::Done(outcome) => outcome,
            Planned::Mark { .. } => panic!("no marks here"),
        };
        plan.planned.into_iter().map(done).collect()
    }

    /// What holds at any time, worked out from the log alone.
    fn check(&self) {
        let seqs: Vec<i64> = self.log.keys().copied().collect();
        assert_eq!(
            seqs,
            (1..=self.head.seq).collect::<Vec<_>>(),
            "the log has no hole"
        );
        let messages: Vec<&LogEvent> = self
            .log
            .values()
            .filter(|event| event.kind == Kind::MessageCreated)
            .collect();
        let ns: Vec<i64> = messages.iter().filter_map(|event| event.n).collect();
        assert_eq!(ns, (1..=self.head.n).collect::<Vec<_>>(), "messages are counted");
        let mut kinds: BTreeMap<(i64, String), i64> = BTreeMap::new();
        for (seq, _, emoji) in &self.reactions {
            *kinds.entry((*seq, emoji.clone())).or_default() += 1;
        }
        assert_eq!(kinds, self.kinds, "reactions are counted");
        for message in &messages {
            let replies = messages.iter().filter(|reply| {
                !reply.is_deleted()
                    && reply
                        .extras
                        .as_ref()
                        .is_some_and(|e| e.thread == Some(message.seq))
            });
            let counted = self.threads.get(&message.seq).map_or(0, |(count, _)| *count);
            assert_eq!(
                counted,
                i64::try_from(replies.count()).unwrap(),
                "a thread is counted"
            );
            let edits = self
                .log
                .values()
                .filter(|event| event.kind == Kind::MessageEdited && event.seen_with() == message.seq);
            let texts: Vec<Value> = edits
                .map(|event| serde_json::from_str(&event.body).unwrap())
                .collect();
            if message.is_deleted() {
                assert!(message.body.is_empty() && message.hash == [0; 16]);
                assert!(
                    texts
                        .iter()
                        .all(|data| data["text"] == "" && data.get("entities").is_none())
                );
                assert!(!self.edits.contains_key(&message.seq) && !self.pins.contains(&message.seq));
                assert!(self.reactions.iter().all(|(seq, ..)| *seq != message.seq));
            } else {
                assert_eq!(texts.len(), self.edits.get(&message.seq).map_or(0, Vec::len));
                // The row says what the last edit says.
                if let Some(last) = texts.last() {
                    assert_eq!(last["text"], message.body);
                    assert_eq!(
                        last["edited_at"],
                        message.extras.as_ref().unwrap().edited_at.unwrap()
                    );
                }
            }
        }
    }
}

fn op_of(number: u128) -> Op {
    Op(Uuid::from_u128(number + 1))
}

fn write(actor: u128, op: u128, command: Command) -> Write {
    Write {
        room: room(1),
        actor: user(actor),
        command,
        op: Some((op_of(op), [u8::try_from(op % 250).unwrap() + 1; 16])),
    }
}

fn send(actor: u128, op: u128, text: &str) -> Write {
    rich(actor, op, text, None, None)
}

fn rich(actor: u128, op: u128, text: &str, reply_to: Option<u64>, thread: Option<u64>) -> Write {
    let send = Send {
        client_message_id: op_of(op),
        text: text.to_owned(),
        reply_to,
        thread,
        forward: None,
        entities: Vec::new(),
    };
    write(actor, op, Command::Send(send))
}

fn edit(actor: u128, op: u128, seq: u64, text: &str) -> Write {
    let edit = Edit {
        op: op_of(op),
        seq,
        text: text.to_owned(),
        entities: Vec::new(),
    };
    write(actor, op, Command::About(About::Edit(edit)))
}

fn delete(actor: u128, op: u128, seq: u64, whom: DeleteFor) -> Write {
    let op_id = op_of(op);
    write(
        actor,
        op,
        Command::About(About::Delete(Delete { op: op_id, seq, whom })),
    )
}

fn react(actor: u128, op: u128, seq: u64, emoji: &str, remove: bool) -> Write {
    let react = React {
        op: op_of(op),
        seq,
        emoji: emoji.to_owned(),
        remove,
    };
    write(actor, op, Command::About(About::React(react)))
}

fn pin(actor: u128, op: u128, seq: u64, pinned: bool) -> Write {
    let op_id = op_of(op);
    write(
        actor,
        op,
        Command::About(About::Pin(Pin {
            op: op_id,
            seq,
            pinned,
        })),
    )
}

fn reply(outcome: &Outcome) -> Result<Value, ErrorCode> {
    match outcome.reply.as_ref().expect("every write has an answer") {
        Ok(json) => Ok(serde_json::from_slice(json).unwrap()),
        Err(error) => Err(error.code),
    }
}

/// The op decides the content, so that a repeat is a repeat.
fn any_write() -> impl Strategy<Value = Write> {
    (0..5_u128, 0..400_u128).prop_map(|(actor, op)| {
        let (what, rest) = (op % 10, op / 10);
        let seq = u64::try_from(rest % 13).unwrap();
        let emoji = ["👍", "🎉"][usize::from(rest % 2 == 0)];
        match what {
            0..3 => send(actor, op, &format!("t{op}")),
            3 => rich(
                actor,
                op,
                "rich",
                (rest % 2 == 0).then_some(seq),
                (rest % 3 < 2).then_some(seq),
            ),
            4 | 5 => edit(actor, op, seq, &format!("e{op}")),
            6 => delete(
                actor,
                op,
                seq,
                if rest % 4 == 0 {
                    DeleteFor::Me
                } else {
                    DeleteFor::All
                },
            ),
            7 => react(actor, op, seq, emoji, false),
            8 => react(actor, op, seq, emoji, true),
            _ => pin(actor, op, seq, rest % 3 > 0),
        }
    })
}

proptest! {
    #[test]
    fn rows_follow_from_the_log_and_the_grouping_into_transactions_changes_nothing(
        writes in proptest::collection::vec(any_write(), 1..60),
        cuts in proptest::collection::vec(1..9_usize, 1..20),
    ) {
        let start = || {
            let mut model = Model::new();
            model.head.seq = 1;
            model.log.insert(1, first_event());
            model.run(&[send(0, 9_000, "a"), send(1, 9_001, "b")]);
            model
        };
        let (mut single, mut grouped) = (start(), start());
        let mut one = Vec::new();
        for write in &writes {
            one.extend(single.run(std::slice::from_ref(write)));
            single.check();
        }
        let mut many = Vec::new();
        let (mut rest, mut cuts) = (writes.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            many.extend(grouped.run(now));
            grouped.check();
            rest = later;
        }
        for ((a, b), write) in one.iter().zip(&many).zip(&writes) {
            prop_assert_eq!(reply(a), reply(b), "{:?}", write);
            let told = |outcome: &Outcome| {
                outcome.deliveries.iter().map(|d| (d.seq, users_of(&d.audience), d.body.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!(told(a), told(b), "{:?}", write);
            // Whoever is refused changes nothing and tells nobody; user 4 is a stranger.
            prop_assert!(reply(a).is_ok() || a.deliveries.is_empty());
            prop_assert!(write.actor != user(4) || reply(a) == Err(ErrorCode::NotFound));
        }
        prop_assert_eq!(&single.log, &grouped.log);
        prop_assert_eq!(&single.edits, &grouped.edits);
        prop_assert_eq!(&single.reactions, &grouped.reactions);
        prop_assert_eq!(&single.pins, &grouped.pins);
        prop_assert_eq!(&single.threads, &grouped.threads);
        prop_assert_eq!(&single.hidden, &grouped.hidden);
    }
}

fn first_event() -> LogEvent {
    LogEvent {
        room: room(1),
        seq: 1,
        n: None,
        kind: Kind::RoomCreated,
        actor: user(0),
        op: Op(Uuid::from_u128(77_777)),
        hash: [1; 16],
        body: "{}".to_owned(),
        created_at: 1,
        extras: None,
    }
}

/// A room with the message 2 of the owner and 3 of the member.
fn model() -> Model {
    let mut model = Model::new();
    model.head.seq = 1;
    model.log.insert(1, first_event());
    model.run(&[send(0, 9_000, "a"), send(1, 9_001, "b")]);
    model
}

fn seq_of(outcome: &Outcome) -> Result<u64, ErrorCode> {
    reply(outcome).map(|value| value["seq"].as_u64().unwrap())
}

#[test]
fn only_the_author_edits_and_only_in_time() {
    let mut model = model();
    let outcomes = model.run(&[
        edit(0, 1, 3, "x"),
        edit(1, 2, 3, "better"),
        edit(2, 3, 3, "x"),
        edit(1, 4, 1, "x"),
        edit(1, 5, 99, "x"),
        // He came later: for him the message does not exist.
        edit(3, 6, 3, "x"),
    ]);
    let seqs: Vec<_> = outcomes.iter().map(seq_of).collect();
    let (no, none) = (Err(ErrorCode::Forbidden), Err(ErrorCode::NotFound));
    assert_eq!(seqs, [no, Ok(4), no, none, none, none]);
    assert!(
        !users_of(&outcomes[1].deliveries[0].audience).contains(&user(3)),
        "an old text is not for who came later"
    );
    assert_eq!(model.edits[&3], [(4, "b".to_owned())]);
    model.now += 2 * HOUR_US;
    assert_eq!(seq_of(&model.run(&[edit(1, 7, 3, "late")])[0]), no);
    assert_eq!(seq_of(&model.run(&[delete(1, 8, 3, DeleteFor::All)])[0]), no);
    // Those who keep order take away at any time.
    assert_eq!(seq_of(&model.run(&[delete(0, 9, 3, DeleteFor::All)])[0]), Ok(5));
    model.check();
}

#[test]
fn a_repeat_of_what_was_edited_or_taken_away_is_a_duplicate() {
    let mut model = model();
    model.run(&[edit(1, 2, 3, "better")]);
    let again = reply(&model.run(&[send(1, 9_001, "b")])[0]).unwrap();
    assert_eq!(
        (&again["duplicate"], &again["message"]["text"]),
        (&true.into(), &"better".into())
    );
    let mut other = send(1, 9_001, "c");
    other.op = other.op.map(|(op, _)| (op, [99; 16]));
    assert_eq!(reply(&model.run(&[other.clone()])[0]), Err(ErrorCode::Conflict));
    model.run(&[delete(1, 4, 3, DeleteFor::All)]);
    // Nothing is left to compare.
    let again = reply(&model.run(&[other])[0]).unwrap();
    assert_eq!((&again["seq"], &again["duplicate"]), (&3.into(), &true.into()));
    assert_eq!(
        (&again["message"]["text"], &again["message"]["deleted"]),
        (&"".into(), &true.into())
    );
    let twice = reply(&model.run(&[delete(1, 5, 3, DeleteFor::All)])[0]).unwrap();
    assert_eq!((&twice["seq"], &twice["duplicate"]), (&0.into(), &true.into()));
    assert_eq!(
        seq_of(&model.run(&[edit(1, 6, 3, "x")])[0]),
        Err(ErrorCode::NotFound)
    );
    assert_eq!(
        seq_of(&model.run(&[react(1, 7, 3, "👍", false)])[0]),
        Err(ErrorCode::NotFound)
    );
}

#[test]
fn kinds_of_reactions_are_bounded_and_one_can_join_the_twentieth() {
    let mut model = model();
    let emoji: Vec<String> = (0..21)
        .map(|n| char::from_u32(0x1F600 + n).unwrap().to_string())
        .collect();
    let writes: Vec<Write> = (0..)
        .zip(&emoji)
        .map(|(n, emoji)| react(1, n, 2, emoji, false))
        .collect();
    let outcomes = model.run(&writes);
    assert!(outcomes[..20].iter().all(|outcome| reply(outcome).is_ok()));
    assert_eq!(reply(&outcomes[20]), Err(ErrorCode::TooLarge));
    assert!(reply(&model.run(&[react(2, 50, 2, &emoji[19], false)])[0]).is_ok());
    model.run(&[react(1, 51, 2, &emoji[0], true)]);
    assert!(reply(&model.run(&[react(2, 52, 2, &emoji[20], false)])[0]).is_ok());
    model.check();
}

#[test]
fn only_those_who_keep_order_pin_and_mention_the_room() {
    let mut model = model();
    assert_eq!(
        seq_of(&model.run(&[pin(1, 1, 2, true)])[0]),
        Err(ErrorCode::Forbidden)
    );
    assert_eq!(seq_of(&model.run(&[pin(0, 2, 2, true)])[0]), Ok(4));
    let mention = |actor, op, kind, who: Option<UserId>| {
        let mut write = send(actor, op, "@all");
        if let Command::Send(send) = &mut write.command {
            send.entities = vec![Entity {
                kind,
                offset: 0,
                length: 4,
                url: None,
                user: who,
            }];
        }
        write
    };
    let outcomes = model.run(&[
        mention(1, 3, EntityType::Room, None),
        mention(0, 4, EntityType::Room, None),
        mention(1, 5, EntityType::Mention, Some(user(2))),
        // A stranger and the caller himself do not count.
        mention(1, 6, EntityType::Mention, Some(user(4))),
        mention(1, 7, EntityType::Mention, Some(user(1))),
    ]);
    assert_eq!(seq_of(&outcomes[0]), Err(ErrorCode::Forbidden));
    let mentions = |seq: i64| {
        model.log[&seq]
            .extras
            .as_ref()
            .map(|e| e.mentions.clone())
            .unwrap_or_default()
    };
    assert_eq!([mentions(5), mentions(6)], [vec![UserId::NIL], vec![user(2)]]);
    assert!(mentions(7).is_empty() && mentions(8).is_empty());
}

#[test]
fn a_source_that_the_caller_does_not_see_is_not_forwarded() {
    let mut model = model();
    let forward = |op, from: RoomId, seq| {
        let mut write = send(1, op, "");
        if let Command::Send(send) = &mut write.command {
            send.forward = Some(hub_protocol::api::message::Source { room: from, seq });
        }
        write
    };
    // Nothing says that he sees it.
    assert_eq!(
        seq_of(&model.run(&[forward(1, room(1), 2)])[0]),
        Err(ErrorCode::NotFound)
    );
    let write = forward(2, room(1), 2);
    let mut loaded = model.load(std::slice::from_ref(&write));
    loaded.messages.sources.insert((user(1), (room(1), 2)));
    let planned = plan(&[Ok(write)], loaded, model.now);
    let event = &planned.events[0];
    let origin = event.extras.as_ref().unwrap().forward.unwrap();
    assert_eq!(
        (event.body.as_str(), origin.seq, origin.sender),
        ("a", 2, user(0))
    );
}

#[test]
fn settings_of_the_room_say_who_pins_who_mentions_all_and_how_long_texts_are_edited() {
    let mut model = model();
    let settings = &mut Arc::make_mut(&mut model.room).info.settings;
    (settings.pin, settings.mention_all) = (Role::Member, Role::Owner);
    settings.edit_window_s = 0;
    let no = Err(ErrorCode::Forbidden);
    let mut mention = send(0, 3, "@all");
    if let Command::Send(send) = &mut mention.command {
        send.entities = vec![Entity {
            kind: EntityType::Room,
            offset: 0,
            length: 4,
            url: None,
            user: None,
        }];
    }
    let outcomes = model.run(&[
        pin(1, 1, 2, true),
        pin(2, 2, 2, false),
        mention.clone(),
        edit(1, 4, 3, "x"),
        delete(1, 5, 3, DeleteFor::All),
    ]);
    let seqs: Vec<_> = outcomes.iter().map(seq_of).collect();
    assert_eq!(seqs, [Ok(4), no, Ok(5), no, no]);
    Arc::make_mut(&mut model.room).set_role(user(0), Role::Admin);
    mention.op = mention.op.map(|(_, hash)| (op_of(6), hash));
    assert_eq!(seq_of(&model.run(&[mention])[0]), no);
    model.check();
}

#[test]
fn nothing_is_done_to_messages_of_a_room_that_has_ended() {
    let mut model = model();
    Arc::make_mut(&mut model.room).end();
    let outcomes = model.run(&[
        send(0, 1, "x"),
        rich(0, 2, "x", Some(2), None),
        edit(0, 3, 2, "x"),
        delete(0, 4, 2, DeleteFor::All),
        delete(0, 5, 2, DeleteFor::Me),
        react(0, 6, 2, "👍", false),
        pin(0, 7, 2, true),
    ]);
    for outcome in &outcomes {
        assert_eq!(seq_of(outcome), Err(ErrorCode::NotFound));
    }
    assert_eq!(model.head.seq, 3);
    model.check();
}

#[test]
fn a_block_stops_whatever_the_other_would_see_and_lets_take_away() {
    let mut model = model();
    let mut info = model.room.info.clone();
    info.kind = RoomKind::Direct;
    let stays = model.room.stays()[..2].to_vec();
    model.room = Arc::new(Room::new(info, stays));
    model.facts.blocks.insert((user(1), user(0)));
    let writes = |from: u128| {
        [
            send(from, 1, "x"),
            rich(from, 2, "x", Some(2), None),
            edit(from, 3, if from == 0 { 2 } else { 3 }, "x"),
            react(from, 4, 2, "👍", false),
            pin(from, 5, 2, true),
        ]
    };
    for from in [0, 1] {
        for outcome in &model.run(&writes(from)) {
            assert_eq!(seq_of(outcome), Err(ErrorCode::Forbidden));
        }
    }
    // A stranger learns nothing of the block.
    model.facts.blocks.insert((user(0), user(4)));
    assert_eq!(
        seq_of(&model.run(&[react(4, 6, 2, "👍", false)])[0]),
        Err(ErrorCode::NotFound)
    );
    assert_eq!(seq_of(&model.run(&[delete(0, 7, 2, DeleteFor::All)])[0]), Ok(4));
    model.check();
}

#[test]
fn slow_mode_holds_answers_too() {
    let mut model = model();
    Arc::make_mut(&mut model.room).info.settings.slow_mode_s = 60;
    let answer = |op| rich(1, op, "x", Some(2), None);
    let outcomes = model.run(&[answer(1), answer(2), send(1, 3, "x"), edit(1, 4, 4, "y")]);
    let seqs: Vec<_> = outcomes.iter().map(seq_of).collect();
    let later = Err(ErrorCode::RateLimited);
    assert_eq!(seqs, [Ok(4), later, later, Ok(5)]);
    assert_eq!(seq_of(&model.run(&[answer(5)])[0]), later);
    model.now += 61_000_000;
    assert_eq!(seq_of(&model.run(&[answer(6)])[0]), Ok(6));
    model.check();
}
