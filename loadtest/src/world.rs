//! Users, tokens and rooms of a run, as `hub-services seed` wrote them, and what all clients share.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hub_protocol::{RoomId, UserId};
use serde::{Deserialize, Serialize};

use crate::units::{Clock, MS, at, index};

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Meta {
        users: u64,
        rooms: u64,
    },
    User {
        user: UserId,
        username: String,
        token: String,
        refresh_token: String,
    },
    Room {
        room: RoomId,
        members: Vec<UserId>,
    },
}

/// An account that a client uses.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub user: UserId,
    /// Its name.
    pub username: String,
    /// Opens sessions.
    pub token: Arc<str>,
    /// Renews the token, once.
    pub refresh_token: String,
    /// When the token was issued, seconds since the Unix epoch; 0 if it does not say.
    pub issued_at: u64,
    rooms: Vec<u32>,
}

/// A room of the run.
#[derive(Clone, Debug)]
struct Room {
    id: RoomId,
    /// Indices of users.
    members: Vec<u32>,
    start_head: Option<u64>,
}

/// Everything that is the same for all clients of a run.
#[derive(Debug)]
pub struct World {
    /// The accounts, in the order of the file.
    pub accounts: Vec<Account>,
    rooms: Vec<Room>,
    by_id: HashMap<RoomId, u32, FixedState>,
    nonce: u32,
    text_bytes: usize,
    clock: Clock,
    wall_ms_at_start: u64,
    /// Sends that are meant for this moment or a later one are measured.
    measured_from: AtomicU64,
    /// What a session may send per second, as the hub says; `u32::MAX` before it has.
    messages_per_second: AtomicU32,
}

impl World {
    /// Reads the file. `nonce` marks the texts of this run.
    pub fn read(path: &Path, nonce: u32, text_bytes: usize) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, nonce, text_bytes).with_context(|| format!("{} is no token file", path.display()))
    }

    /// The same from a text.
    pub fn parse(text: &str, nonce: u32, text_bytes: usize) -> Result<Self> {
        let mut accounts = Vec::new();
        let mut rooms = Vec::new();
        let mut expected = None;
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line).with_context(|| format!("line {number}"))? {
                Line::Meta { users, rooms } => expected = Some((users, rooms)),
                Line::User {
                    user,
                    username,
                    token,
                    refresh_token,
                } => accounts.push(Account {
                    user,
                    username,
                    issued_at: issued_at(&token).unwrap_or(0),
                    token: token.into(),
                    refresh_token,
                    rooms: Vec::new(),
                }),
                Line::Room { room, members } => rooms.push((room, members)),
            }
        }
        if expected
            .is_some_and(|(users, count)| users != accounts.len() as u64 || count != rooms.len() as u64)
        {
            bail!("it is not complete: its first line promises {expected:?}");
        }
        if accounts.is_empty() || rooms.is_empty() {
            bail!("it names no users or no rooms");
        }
        Self::build(accounts, rooms, nonce, text_bytes)
    }

    fn build(
        mut accounts: Vec<Account>,
        listed: Vec<(RoomId, Vec<UserId>)>,
        nonce: u32,
        text_bytes: usize,
    ) -> Result<Self> {
        let users: HashMap<UserId, usize, FixedState> = accounts
            .iter()
            .enumerate()
            .map(|(at, account)| (account.user, at))
            .collect();
        let mut rooms = Vec::with_capacity(listed.len());
        let mut by_id = HashMap::default();
        for (id, members) in listed {
            let room = index(rooms.len());
            let mut indices = Vec::with_capacity(members.len());
            for user in members {
                let Some(&user) = users.get(&user) else {
                    bail!("room {id} names an unknown user {user}")
                };
                accounts[user].rooms.push(room);
                indices.push(index(user));
            }
            if indices.is_empty() {
                bail!("room {id} has no members");
            }
            if by_id.insert(id, room).is_some() {
                bail!("room {id} stands there twice");
            }
            rooms.push(Room {
                id,
                members: indices,
                start_head: None,
            });
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            accounts,
            rooms,
            by_id,
            nonce,
            text_bytes,
            clock: Clock::start(),
            wall_ms_at_start: u64::try_from(since_epoch.as_millis()).unwrap_or(0),
            measured_from: AtomicU64::new(u64::MAX),
            messages_per_second: AtomicU32::new(u32::MAX),
        })
    }

    /// Writes the file again, with the tokens as they are now; whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let next = path.with_extension("next");
        let mut file = BufWriter::new(fs::File::create(&next)?);
        let mut line = |line: &Line| -> Result<()> {
            serde_json::to_writer(&mut file, line)?;
            Ok(file.write_all(b"\n")?)
        };
        line(&Line::Meta {
            users: self.accounts.len() as u64,
            rooms: self.rooms.len() as u64,
        })?;
        for account in &self.accounts {
            let Account {
                user,
                username,
                token,
                refresh_token,
                ..
            } = account.clone();
            line(&Line::User {
                user,
                username,
                token: token.to_string(),
                refresh_token,
            })?;
        }
        for room in &self.rooms {
            let members = room
                .members
                .iter()
                .map(|&user| self.accounts[at(user)].user)
                .collect();
            line(&Line::Room {
                room: room.id,
                members,
            })?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(next, path)?;
        Ok(())
    }

    /// Where each room stands before the run.
    pub fn set_start_heads(&mut self, heads: &[u64]) {
        for (room, head) in self.rooms.iter_mut().zip(heads) {
            room.start_head = Some(*head);
        }
    }

    /// Number of rooms.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The id of a room.
    pub fn room_id(&self, room: u32) -> RoomId {
        self.rooms[at(room)].id
    }

    /// The ids of all rooms.
    pub fn room_ids(&self) -> impl Iterator<Item = RoomId> {
        self.rooms.iter().map(|room| room.id)
    }

    /// The index of a room.
    pub fn find_room(&self, id: RoomId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The members of a room.
    pub fn members(&self, room: u32) -> &[u32] {
        &self.rooms[at(room)].members
    }

    /// The rooms of a user.
    pub fn rooms_of(&self, user: u32) -> &[u32] {
        &self.accounts[at(user)].rooms
    }

    /// Where a room stood before the run, if it is known.
    pub fn start_head(&self, room: u32) -> Option<u64> {
        self.rooms[at(room)].start_head
    }

    /// Marks the texts of this run.
    pub fn nonce(&self) -> u32 {
        self.nonce
    }

    /// How long a text is.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The clock of the run.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The wall clock at a reading, milliseconds since the Unix epoch.
    pub fn wall_ms(&self, now: u64) -> u64 {
        self.wall_ms_at_start + now / MS
    }

    /// Ends the warm-up.
    pub fn measure_from(&self, start: u64) {
        self.measured_from.store(start, Ordering::Relaxed);
    }

    /// True if a send that is meant for then is measured.
    pub fn is_measured(&self, intended: u64) -> bool {
        intended >= self.measured_from.load(Ordering::Relaxed)
    }

    /// The hub said how much a session may send.
    pub fn note_limits(&self, messages_per_second: u32) {
        self.messages_per_second
            .store(messages_per_second, Ordering::Relaxed);
    }

    /// What the hub said; 0 means unlimited, `None` that it has said nothing yet.
    pub fn messages_per_second(&self) -> Option<u32> {
        Some(self.messages_per_second.load(Ordering::Relaxed)).filter(|&limit| limit != u32::MAX)
    }
}

/// When an access token says that it was issued.
pub fn issued_at(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        iat: u64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    Some(serde_json::from_slice::<Claims>(&payload).ok()?.iat)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with that many users and rooms of `size` members each.
    pub(crate) fn file(users: u32, rooms: u32, size: u32) -> String {
        let user = |n: u32| UserId(uuid::Uuid::from_u128(u128::from(n) + 1));
        let mut lines = vec![Line::Meta {
            users: users.into(),
            rooms: rooms.into(),
        }];
        for n in 0..users {
            let (token, refresh_token) = (format!("token-{n}"), format!("refresh-{n}"));
            lines.push(Line::User {
                user: user(n),
                username: format!("u{n}"),
                token,
                refresh_token,
            });
        }
        for n in 0..rooms {
            let room = RoomId(uuid::Uuid::from_u128(1_000_000 + u128::from(n)));
            let members = (0..size).map(|member| user((n + member) % users)).collect();
            lines.push(Line::Room { room, members });
        }
        lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap() + "\n")
            .collect()
    }

    #[test]
    fn a_file_is_read_and_written_back_with_new_tokens() {
        let mut world = World::parse(&file(5, 3, 2), 1, 64).unwrap();
        assert_eq!(world.rooms_of(1), [0, 1]);
        assert_eq!(world.members(2), [2, 3]);
        world.accounts[4].token = "renewed".into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.jsonl");
        world.write(&path).unwrap();
        let again = World::read(&path, 1, 64).unwrap();
        assert_eq!(&*again.accounts[4].token, "renewed");
        assert_eq!(again.room_id(2), world.room_id(2));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn incomplete_and_contradicting_files_are_refused() {
        let whole = file(3, 2, 2);
        let cut = whole.lines().take(5).collect::<Vec<_>>().join("\n");
        for text in [
            cut,
            String::new(),
            whole.replace("0003\"]", "0009\"]"),
            "{}".to_owned(),
        ] {
            assert!(World::parse(&text, 1, 64).is_err(), "{text}");
        }
    }

    #[test]
    fn the_age_of_a_token_is_read_from_it() {
        let payload = URL_SAFE_NO_PAD.encode(br#"{"iat":1700000000,"exp":1700000900}"#);
        assert_eq!(issued_at(&format!("e30.{payload}.sig")), Some(1_700_000_000));
        assert_eq!(issued_at("opaque"), None);
    }
}
