//! The golden vectors in `vectors/`: what stands there is version 1 of the protocol, and other programs read it.
//! A change that breaks one of these tests breaks running clients or a rolling upgrade.
//!
//! After a deliberate change `HUB_WRITE_VECTORS=1 cargo test -p hub-protocol` writes the batches anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use hub_protocol::api::event::{
    CreatedData, DeletedData, EditedData, Event, HiddenData, MemberData, MigrateData, PinnedData,
    ReactedData, ReceiptsData, RoomDeletedData, SyncData, TypingData, UnreadData, UpdatedData, UserData,
};
use hub_protocol::api::{
    Empty, Failure, Request, Success, auth, message, presence, push, receipt, room, session, sync, user,
};
use hub_protocol::batch::{
    DownlinkBatch, DownlinkWriter, EntryKind, EnvelopeHeader, Reply, Target, UplinkBatch, UplinkWriter,
};
use hub_protocol::{Address, ErrorCode, LoginId, Method, NodeId, RoomId, SessionId, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const NODE: NodeId = NodeId(0x0123_4567_89ab_cdef);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("the vector stands in the folder")
}

/// Hexadecimal text, sixteen bytes a line.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        for byte in line {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits"))
        .collect()
}

/// Compares with the vector, or writes it when asked to.
fn agrees_with_vector(name: &str, bytes: &[u8]) -> Vec<u8> {
    if std::env::var_os("HUB_WRITE_VECTORS").is_some() {
        fs::write(folder().join(name), to_hex(bytes)).expect("the folder is writable");
    }
    let vector = from_hex(&read(name));
    assert_eq!(
        to_hex(bytes),
        to_hex(&vector),
        "{name}: the layout differs from version 1"
    );
    vector
}

fn envelopes() -> [(EnvelopeHeader, &'static [u8]); 2] {
    let address = Address {
        node: NODE,
        shard: 1,
        slot: 0x0203_0405,
        generation: 6,
    };
    let send = EnvelopeHeader {
        address,
        request: 7,
        method: Method::MessageSend,
        user: UserId::from_bytes([0x11; 16]),
        login: LoginId::from_bytes([0x22; 16]),
        session: SessionId::from_bytes([0x33; 16]),
        room: RoomId::from_bytes([0x44; 16]),
    };
    let login = EnvelopeHeader {
        address: Address { shard: 0, ..address },
        request: u64::MAX,
        method: Method::AuthLogin,
        user: UserId::NIL,
        login: LoginId::NIL,
        session: SessionId::NIL,
        room: RoomId::NIL,
    };
    [(send, br#"{"id":7,"method":"message.send"}"#), (login, b"")]
}

#[test]
fn uplink_batches_keep_their_layout() {
    let mut writer = UplinkWriter::new(NODE);
    for (header, body) in &envelopes() {
        writer.push(header, body);
    }
    let vector = agrees_with_vector("uplink-v1.hex", &writer.take());

    let batch = UplinkBatch::parse(&vector).expect("the vector is a batch");
    assert_eq!(batch.node(), NODE);
    let read: Vec<_> = batch
        .iter()
        .map(|envelope| (envelope.header, envelope.body))
        .collect();
    assert_eq!(read, envelopes());
}

fn entries() -> [(EntryKind, Vec<Target>, &'static [u8]); 4] {
    let target = |shard, slot, user| {
        Target::new(
            Address {
                node: NODE,
                shard,
                slot,
                generation: 9,
            },
            UserId::from_bytes([user; 16]),
        )
    };
    let room = RoomId::from_bytes([0x44; 16]);
    [
        (
            EntryKind::Event { room, seq: 41 },
            vec![target(0, 1, 0x11), target(0, 7, 0x12), target(1, 2, 0x11)],
            br#"{"event":"message.created"}"#,
        ),
        (
            EntryKind::Reply(Reply {
                request: 7,
                error: None,
                sealed: false,
            }),
            vec![target(1, 2, 0x11)],
            br#"{"id":7,"result":{}}"#,
        ),
        (
            EntryKind::Reply(Reply {
                request: 8,
                error: Some(ErrorCode::Conflict),
                sealed: true,
            }),
            vec![target(1, 2, 0)],
            b"sealed",
        ),
        (EntryKind::Ephemeral { room }, vec![], b"{}"),
    ]
}

#[test]
fn downlink_batches_keep_their_layout() {
    let mut writer = DownlinkWriter::new(NODE);
    for (kind, targets, body) in &entries() {
        writer.push(*kind, targets, body);
    }
    let vector = agrees_with_vector("downlink-v1.hex", &writer.take());

    let batch = DownlinkBatch::parse(&vector).expect("the vector is a batch");
    assert_eq!(batch.node(), NODE);
    let read: Vec<_> = batch
        .iter()
        .map(|entry| (entry.kind, entry.targets.to_vec(), entry.body))
        .collect();
    assert_eq!(read, entries());
}

fn large_entries() -> [(EntryKind, Vec<Target>, &'static [u8]); 6] {
    let room = RoomId::from_bytes([0x44; 16]);
    let user = UserId::from_bytes([0x11; 16]);
    let address = Address {
        node: NODE,
        shard: 1,
        slot: 2,
        generation: 9,
    };
    let shards = |user| vec![Target::of_shard(0, user), Target::of_shard(1, user)];
    let attached = |is_large| EntryKind::Attached {
        room,
        head: 41,
        nonce: 5,
        is_large,
    };
    [
        (EntryKind::Large { room }, vec![Target::new(address, user)], b""),
        (attached(true), vec![Target::new(address, user)], b""),
        (
            EntryKind::RoomEvent { room, seq: 42 },
            shards(UserId::NIL),
            br#"{"event":"message.created"}"#,
        ),
        (EntryKind::Detach { room }, shards(user), b""),
        (EntryKind::Small { room, seq: 42 }, shards(UserId::NIL), b""),
        (attached(false), vec![Target::new(address, user)], b""),
    ]
}

#[test]
fn entries_of_large_rooms_keep_their_layout_in_version_2() {
    let mut writer = DownlinkWriter::new(NODE);
    for (kind, targets, body) in &large_entries() {
        writer.push(*kind, targets, body);
    }
    let vector = agrees_with_vector("downlink-v2.hex", &writer.take());

    let batch = DownlinkBatch::parse(&vector).expect("the vector is a batch");
    let read: Vec<_> = batch
        .iter()
        .map(|entry| (entry.kind, entry.targets.to_vec(), entry.body))
        .collect();
    assert_eq!(read, large_entries());

    // A batch that says it is of version 1 has none of these.
    let mut old = vector;
    old[4] = 1;
    assert!(DownlinkBatch::parse(&old).is_err());
}

/// Reads the text as `T` and writes it again: the same text must come out.
fn round_trip<T: Serialize + DeserializeOwned>(text: &str) -> String {
    let value: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    serde_json::to_string(&value).expect("serialises")
}

fn round_trip_of(shape: &str, text: &str) -> String {
    match shape {
        "request auth.register" | "request auth.login" => round_trip::<Request<auth::Credentials>>(text),
        "request auth.refresh" => round_trip::<Request<auth::Refresh>>(text),
        "request auth.logout" | "request auth.logins" | "request user.me" => {
            round_trip::<Request<Empty>>(text)
        }
        "request auth.revoke_login" => round_trip::<Request<auth::RevokeLogin>>(text),
        "request auth.change_password" => round_trip::<Request<auth::ChangePassword>>(text),
        "request auth.request_reset" => round_trip::<Request<auth::RequestReset>>(text),
        "request auth.reset_password" => round_trip::<Request<auth::ResetPassword>>(text),
        "request auth.set_email" => round_trip::<Request<auth::SetEmail>>(text),
        "request auth.confirm_email" => round_trip::<Request<auth::ConfirmEmail>>(text),
        "request auth.delete_account" | "request totp.disable" => round_trip::<Request<auth::Proof>>(text),
        "request totp.enroll" => round_trip::<Request<auth::Enroll>>(text),
        "request totp.confirm" => round_trip::<Request<auth::Confirm>>(text),
        "request session.look" => round_trip::<Request<session::Look>>(text),
        "request session.open" => round_trip::<Request<session::Open>>(text),
        "request user.get" => round_trip::<Request<user::Get>>(text),
        "request room.create" => round_trip::<Request<room::Create>>(text),
        "request room.list" => round_trip::<Request<room::List>>(text),
        "request room.join" => round_trip::<Request<room::JoinLeave>>(text),
        "request member.add" => round_trip::<Request<room::Add>>(text),
        "request member.remove" => round_trip::<Request<room::Remove>>(text),
        "request message.send" => round_trip::<Request<message::Send>>(text),
        "request message.history" => round_trip::<Request<message::History>>(text),
        "request typing.set" => round_trip::<Request<message::Typing>>(text),
        "request receipt.read" => round_trip::<Request<message::Read>>(text),
        "request sync" => round_trip::<Request<sync::Sync>>(text),
        "result auth.login" => round_trip::<Success<auth::Tokens>>(text),
        "result auth.logins" => round_trip::<Success<auth::Logins>>(text),
        "result auth.request_reset" => round_trip::<Success<auth::Challenge>>(text),
        "result totp.enroll" => round_trip::<Success<auth::Enrolled>>(text),
        "result session.open" => round_trip::<Success<session::Opened>>(text),
        "result user.me" => round_trip::<Success<user::Me>>(text),
        "result user.get" => round_trip::<Success<user::Users>>(text),
        "request user.update" => round_trip::<Request<user::Update>>(text),
        "result user.update" => round_trip::<Success<user::Updated>>(text),
        "request user.search" => round_trip::<Request<user::Search>>(text),
        "result user.search" => round_trip::<Success<user::Found>>(text),
        "request contact.set" => round_trip::<Request<user::SetContact>>(text),
        "result contact.list" => round_trip::<Success<user::Contacts>>(text),
        "request block.add" => round_trip::<Request<user::Relate>>(text),
        "result block.add" => round_trip::<Success<user::Done>>(text),
        "result block.list" => round_trip::<Success<user::Blocked>>(text),
        "request presence.watch" => round_trip::<Request<presence::Watch>>(text),
        "result presence.watch" => round_trip::<Success<presence::Watched>>(text),
        "request presence.set" => round_trip::<Request<presence::Set>>(text),
        "request push.subscribe" => round_trip::<Request<push::Subscribe>>(text),
        "result push.subscribe" => round_trip::<Success<push::Subscribed>>(text),
        "request push.unsubscribe" => round_trip::<Request<push::Unsubscribe>>(text),
        "result push.list" => round_trip::<Success<push::Subscriptions>>(text),
        "event presence" => round_trip::<Event<presence::PresenceData>>(text),
        "event user.updated" => round_trip::<Event<UserData>>(text),
        "push" => round_trip::<push::Notification>(text),
        "result room.create" => round_trip::<Success<room::Created>>(text),
        "result room.get" => round_trip::<Success<room::Got>>(text),
        "result room.list" => round_trip::<Success<room::Rooms>>(text),
        "result member.remove" => round_trip::<Success<room::Changed>>(text),
        "result message.send" => round_trip::<Success<message::Sent>>(text),
        "result message.history" => round_trip::<Success<message::Range>>(text),
        "result receipt.read" => round_trip::<Success<message::ReadMark>>(text),
        "result sync" => round_trip::<Success<sync::Synced>>(text),
        "result empty" => round_trip::<Success<Empty>>(text),
        "failure" => round_trip::<Failure>(text),
        "event room.created" => round_trip::<Event<CreatedData>>(text),
        "event message.created" => round_trip::<Event<message::Message>>(text),
        "event room.updated" => round_trip::<Event<UpdatedData>>(text),
        "event room.deleted" => round_trip::<Event<RoomDeletedData>>(text),
        "event member.added" | "event member.removed" | "event member.updated" => {
            round_trip::<Event<MemberData>>(text)
        }
        "event typing" => round_trip::<Event<TypingData>>(text),
        "event receipts" => round_trip::<Event<ReceiptsData>>(text),
        "event unread" => round_trip::<Event<UnreadData>>(text),
        "event message.hidden" => round_trip::<Event<HiddenData>>(text),
        "event message.edited" => round_trip::<Event<EditedData>>(text),
        "event message.deleted" => round_trip::<Event<DeletedData>>(text),
        "event message.reacted" => round_trip::<Event<ReactedData>>(text),
        "event message.pinned" => round_trip::<Event<PinnedData>>(text),
        "request message.edit" => round_trip::<Request<message::Edit>>(text),
        "request message.delete" => round_trip::<Request<message::Delete>>(text),
        "request message.react" => round_trip::<Request<message::React>>(text),
        "request message.pin" => round_trip::<Request<message::Pin>>(text),
        "request message.thread" => round_trip::<Request<message::Thread>>(text),
        "request message.search" => round_trip::<Request<message::SearchRoom>>(text),
        "request search" => round_trip::<Request<message::Search>>(text),
        "request message.reactions" => round_trip::<Request<message::OfMessage>>(text),
        "request receipt.delivered" => round_trip::<Request<receipt::Delivered>>(text),
        "request receipt.list" => round_trip::<Request<receipt::List>>(text),
        "result receipt.list" => round_trip::<Success<receipt::Listed>>(text),
        "result message.reactions" => round_trip::<Success<message::Reactions>>(text),
        "result message.edits" => round_trip::<Success<message::Versions>>(text),
        "result message.search" | "result search" => round_trip::<Success<message::Messages>>(text),
        "result message.pins" => round_trip::<Success<message::Pins>>(text),
        "event room.bump" => round_trip::<Event<Empty>>(text),
        "event system.sync" => round_trip::<Event<SyncData>>(text),
        "event system.migrate" => round_trip::<Event<MigrateData>>(text),
        "claims" => round_trip::<auth::Claims>(text),
        other => panic!("vectors/messages.json has a shape that this test does not know: {other}"),
    }
}

#[test]
fn json_texts_keep_their_shape() {
    let vectors: Vec<Value> = serde_json::from_str(&read("messages.json")).expect("a list");
    for vector in &vectors {
        let shape = vector["shape"].as_str().expect("each vector names its shape");
        let text = vector["text"].as_str().expect("each vector has a text");
        assert_eq!(round_trip_of(shape, text), text, "{shape}");
    }
    // Every method and every event has at least one vector.
    let has = |shape: &str| vectors.iter().any(|vector| vector["shape"] == shape);
    for kind in hub_protocol::api::event::Kind::ALL {
        assert!(has(&format!("event {}", kind.name())), "{}", kind.name());
    }
}

#[test]
fn members_that_a_client_misspelt_are_refused() {
    let vectors: Vec<Value> = serde_json::from_str(&read("refused.json")).expect("a list");
    for vector in &vectors {
        let shape = vector["shape"].as_str().expect("each vector names its shape");
        let text = vector["text"]
            .as_str()
            .expect("each vector has a text")
            .to_owned();
        let read = std::panic::catch_unwind(|| round_trip_of(shape, &text));
        assert!(read.is_err(), "{shape} took {text}");
    }
}

#[test]
fn direct_rooms_keep_their_ids() {
    let vectors: Vec<Value> = serde_json::from_str(&read("direct-rooms.json")).expect("a list");
    for vector in &vectors {
        let user = |name: &str| {
            vector[name]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("a user id")
        };
        let wanted = vector["room"].as_str().expect("a room id");
        assert_eq!(room::direct_room(user("a"), user("b")).to_string(), wanted);
        assert_eq!(room::direct_room(user("b"), user("a")).to_string(), wanted);
    }
}
