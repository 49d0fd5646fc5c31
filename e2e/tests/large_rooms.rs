//! Large rooms over two edges: whatever happens to the room or to the system, each member sees the whole log in its
//! order, and who was removed sees nothing behind his removal.
//!
//! Method: followers read by the client rule (an event that is the next one is shown, older ones are dropped, anything
//! else makes them fetch the range), and what each of them has shown is compared with the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hub_e2e::{Account, Connection, Options, Stack, op, room_id, sender, wait};
use hub_protocol::limits::{ROOM_LARGE_ABOVE, ROOM_LARGE_BELOW};
use hub_protocol::{RoomId, UserId};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// A follower that hears nothing for so long asks how far the room is, as a client does that comes to the foreground.
const LOOK: Duration = Duration::from_secs(2);

/// Users without a login, to fill rooms with.
async fn fillers(stack: &Stack, count: usize) -> Result<Vec<UserId>> {
    let client = stack.database.client().await?;
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let sql = "INSERT INTO users (id, username, display_name, created_at) \
         SELECT id, 'u' || left(replace(id::text, '-', ''), 28), 'filler', 0 FROM unnest($1::uuid[]) AS t (id)";
    client.execute(sql, &[&ids]).await?;
    Ok(ids.into_iter().map(UserId).collect())
}

/// A group of accounts and fillers.
async fn room_of(stack: &Stack, accounts: &[Account], fillers: &[UserId]) -> Result<RoomId> {
    let room = room_id();
    let others = accounts[1..].iter().map(|account| account.user);
    let members: Vec<UserId> = others.chain(fillers.iter().copied()).collect();
    let params = json!({"op": op(), "id": room, "kind": "group", "name": "Crowd", "members": members});
    let answer = accounts[0]
        .call(stack.edge(0), "room.create", Some(room), params)
        .await?;
    answer.result()?;
    Ok(room)
}

/// Changes the membership; system errors are asked again under the same op.
async fn change(stack: &Stack, owner: &Account, method: &str, room: RoomId, user: UserId) -> Result<u64> {
    let params = json!({"op": op(), "user": user});
    let answer = wait::until("the change is made", async || {
        let answer = owner
            .call(stack.edge(0), method, Some(room), params.clone())
            .await;
        answer.ok()?.result().ok().cloned()
    })
    .await;
    answer["seq"].as_u64().context("a change has a seq")
}

/// Reads a room until it has shown the event `until`, or its own removal. Returns what it has shown.
struct Follower {
    shown: Arc<AtomicU64>,
    task: JoinHandle<Result<Vec<u64>>>,
}

fn follow(edges: Vec<SocketAddr>, account: Account, room: RoomId, until: Arc<AtomicU64>) -> Follower {
    let shown = Arc::new(AtomicU64::new(0));
    let last = Arc::clone(&shown);
    let task = tokio::spawn(async move {
        let mut seqs: Vec<u64> = Vec::new();
        let mut tries = 0;
        while seqs.last().copied().unwrap_or(0) < until.load(Ordering::Relaxed) {
            ensure!(tries < 1_000, "gives up at {:?}", seqs.last());
            let edge = edges[tries % edges.len()];
            tries += 1;
            if let Ok(mut connection) = Connection::open(edge, &account).await {
                // The connection breaks when a part is killed; the follower opens another one.
                let _broken = read(&mut connection, &account, room, &mut seqs, &last, &until).await;
            }
            if last.load(Ordering::Relaxed) == u64::MAX {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(seqs)
    });
    Follower { shown, task }
}

async fn read(
    connection: &mut Connection,
    account: &Account,
    room: RoomId,
    seqs: &mut Vec<u64>,
    shown: &AtomicU64,
    until: &AtomicU64,
) -> Result<()> {
    let mut must_fetch = true;
    while seqs.last().copied().unwrap_or(0) < until.load(Ordering::Relaxed) {
        if must_fetch {
            let after = seqs.last().copied().unwrap_or(0);
            let range = connection
                .ok(
                    "message.history",
                    Some(room),
                    json!({"after": after, "limit": 200}),
                )
                .await?;
            for event in range["events"].as_array().context("events")? {
                show(account, event, seqs, shown);
            }
            must_fetch = range["more"] == true;
        }
        if shown.load(Ordering::Relaxed) == u64::MAX {
            return Ok(());
        }
        let is_ours = |event: &Value| event["room"] == json!(room) || event["event"] == "system.sync";
        let Ok(event) = timeout(LOOK, connection.event("an event of the room", is_ours)).await else {
            must_fetch = true;
            continue;
        };
        let event = event?;
        let (last, seq) = (seqs.last().copied().unwrap_or(0), event["seq"].as_u64());
        match seq {
            None => must_fetch = event["event"] == "system.sync",
            Some(seq) if seq <= last => {}
            Some(seq) if seq == last + 1 && event["event"] != "room.bump" => {
                show(account, &event, seqs, shown);
            }
            Some(_) => must_fetch = true,
        }
    }
    Ok(())
}

/// Shows one event; the own removal is the last one.
fn show(account: &Account, event: &Value, seqs: &mut Vec<u64>, shown: &AtomicU64) {
    let Some(seq) = event["seq"].as_u64() else { return };
    seqs.push(seq);
    let is_removed = event["event"] == "member.removed" && event["data"]["user"] == json!(account.user);
    shown.store(if is_removed { u64::MAX } else { seq }, Ordering::Relaxed);
}

/// Sends messages until told to stop; returns the last seq.
fn speak(edge: SocketAddr, account: Account, room: RoomId, stop: Arc<AtomicU64>) -> JoinHandle<Result<u64>> {
    tokio::spawn(async move {
        let mut last = 0;
        while stop.load(Ordering::Relaxed) == 0 {
            let params = json!({"client_message_id": op(), "text": "hello"});
            let mut tries = 0;
            let answer = loop {
                let answer = account
                    .call(edge, "message.send", Some(room), params.clone())
                    .await;
                if let Ok(answer) = answer
                    && let Ok(result) = answer.result()
                {
                    break result.clone();
                }
                tries += 1;
                ensure!(tries < 1_000, "the message is not stored");
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            last = answer["seq"].as_u64().context("a message has a seq")?;
        }
        Ok(last)
    })
}

async fn is_large(stack: &Stack, room: RoomId) -> Result<bool> {
    let client = stack.database.client().await?;
    let sql = "SELECT large FROM rooms WHERE id = $1";
    Ok(client.query_one(sql, &[&room.0]).await?.get(0))
}

async fn two_edges() -> Result<Stack> {
    Stack::start(Options {
        edges: 2,
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn every_member_sees_the_whole_log_while_a_room_grows_large_and_shrinks_again() -> Result<()> {
    let stack = two_edges().await?;
    let accounts = stack.accounts::<4>().await?;
    let fillers = fillers(&stack, ROOM_LARGE_ABOVE).await?;
    let (first, more) = fillers.split_at(ROOM_LARGE_ABOVE - accounts.len());
    let room = room_of(&stack, &accounts, first).await?;
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let edges = [stack.edge(0), stack.edge(1)];
    let followers: Vec<Follower> = accounts
        .iter()
        .enumerate()
        .map(|(number, account)| follow(vec![edges[number % 2]], account.clone(), room, Arc::clone(&until)))
        .collect();
    let stop = Arc::new(AtomicU64::new(0));
    let speaker = speak(stack.edge(1), accounts[1].clone(), room, Arc::clone(&stop));
    let owner = &accounts[0];
    // Twice through the threshold, while messages come.
    let mut last = 0;
    for _ in 0..2 {
        last = change(&stack, owner, "member.add", room, more[0]).await?;
        ensure!(is_large(&stack, room).await?);
        wait::until("everybody has seen it", async || {
            let shown = followers
                .iter()
                .map(|follower| follower.shown.load(Ordering::Relaxed));
            shown.min().is_some_and(|seq| seq >= last).then_some(())
        })
        .await;
        let gone = &first[..=ROOM_LARGE_ABOVE - ROOM_LARGE_BELOW];
        for user in gone {
            last = change(&stack, owner, "member.remove", room, *user).await?;
        }
        change(&stack, owner, "member.remove", room, more[0]).await?;
        ensure!(!is_large(&stack, room).await?);
        for user in gone {
            last = change(&stack, owner, "member.add", room, *user).await?;
        }
    }
    stop.store(1, Ordering::Relaxed);
    last = last.max(speaker.await??);
    until.store(last, Ordering::Relaxed);
    for follower in followers {
        assert_eq!(follower.task.await??, (1..=last).collect::<Vec<_>>());
    }
    assert_eq!(
        sender::history(stack.edge(0), owner, room).await?.len(),
        usize::try_from(last)?
    );
    stack.finish().await
}

#[tokio::test]
async fn a_removed_member_gets_nothing_after_his_removal_and_comes_back_to_what_follows() -> Result<()> {
    let stack = two_edges().await?;
    let accounts = stack.accounts::<3>().await?;
    let fillers = fillers(&stack, ROOM_LARGE_ABOVE).await?;
    let (first, more) = fillers.split_at(ROOM_LARGE_ABOVE - accounts.len());
    let room = room_of(&stack, &accounts, first).await?;
    change(&stack, &accounts[0], "member.add", room, more[0]).await?;
    let stop = Arc::new(AtomicU64::new(0));
    let speaker = speak(stack.edge(0), accounts[1].clone(), room, Arc::clone(&stop));
    let mut removed = Connection::open(stack.edge(1), &accounts[2]).await?;
    for _ in 0..5 {
        // He is attached: events come by themselves.
        let event = removed.event_named("message.created").await?;
        ensure!(event["room"] == json!(room));
        let cut = change(&stack, &accounts[0], "member.remove", room, accounts[2].user).await?;
        let is_his = |event: &Value| {
            event["event"] == "member.removed" && event["data"]["user"] == json!(accounts[2].user)
        };
        removed.event("his removal", is_his).await?;
        // The room goes on; when he is back, what comes first is from then.
        let spoken = wait::until("the room went on", async || {
            let log = accounts[1].call(stack.edge(0), "message.history", Some(room), json!({"limit": 1}));
            let seq = log.await.ok()?.body["result"]["events"][0]["seq"].as_u64()?;
            (seq > cut + 3).then_some(seq)
        })
        .await;
        let back = change(&stack, &accounts[0], "member.add", room, accounts[2].user).await?;
        ensure!(back > spoken);
        removed
            .event("his return", |event| event["event"] == "member.added")
            .await?;
        for event in removed.unread_events() {
            let seq = event["seq"].as_u64().unwrap_or(0);
            // A bump says how far the room is, and nothing of what was said.
            let is_text = event["event"] == "message.created";
            ensure!(!is_text || seq < cut || seq > back, "{cut} {back}: {event}");
        }
    }
    stop.store(1, Ordering::Relaxed);
    speaker.await??;
    stack.finish().await
}

#[tokio::test]
async fn nobody_misses_anything_when_owners_edges_and_redis_die() -> Result<()> {
    let mut stack = Stack::start(Options {
        edges: 2,
        chats: 2,
        ..Options::default()
    })
    .await?;
    let accounts = stack.accounts::<4>().await?;
    let fillers = fillers(&stack, ROOM_LARGE_ABOVE).await?;
    let (first, more) = fillers.split_at(ROOM_LARGE_ABOVE - accounts.len());
    let room = room_of(&stack, &accounts, first).await?;
    change(&stack, &accounts[0], "member.add", room, more[0]).await?;
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let edges = [stack.edge(0), stack.edge(1)];
    let followers: Vec<Follower> = accounts
        .iter()
        .enumerate()
        .map(|(number, account)| {
            let edges = vec![edges[number % 2], edges[(number + 1) % 2]];
            follow(edges, account.clone(), room, Arc::clone(&until))
        })
        .collect();
    let stop = Arc::new(AtomicU64::new(0));
    let speaker = speak(stack.edge(0), accounts[1].clone(), room, Arc::clone(&stop));
    let seen_more = async |count: u64| {
        let shown = || {
            followers
                .iter()
                .map(|follower| follower.shown.load(Ordering::Relaxed))
                .min()
        };
        let from = shown().unwrap_or(0);
        wait::until("everybody has seen more", async || {
            (shown()? >= from + count).then_some(())
        })
        .await;
    };
    seen_more(20).await;
    for number in 0..2 {
        stack.chats[number].kill()?;
        seen_more(20).await;
        stack.chats[number].start()?;
        stack.chats[number].ready().await?;
    }
    stack.edges[1].kill()?;
    stack.edges[1].start()?;
    stack.edges[1].ready().await?;
    seen_more(20).await;
    stack.restart_redis().await?;
    stack.ready().await?;
    seen_more(20).await;
    stop.store(1, Ordering::Relaxed);
    let last = speaker.await??;
    until.store(last, Ordering::Relaxed);
    for follower in followers {
        let seqs = follower.task.await??;
        assert_eq!(seqs, (1..=seqs.last().copied().unwrap_or(0)).collect::<Vec<_>>());
        ensure!(seqs.last() >= Some(&last));
    }
    stack.finish().await
}

#[tokio::test]
async fn who_does_not_look_gets_one_bump_a_second_and_who_looks_gets_the_events() -> Result<()> {
    let stack = two_edges().await?;
    let accounts = stack.accounts::<3>().await?;
    let fillers = fillers(&stack, ROOM_LARGE_ABOVE).await?;
    let (first, more) = fillers.split_at(ROOM_LARGE_ABOVE - accounts.len());
    let room = room_of(&stack, &accounts, first).await?;
    change(&stack, &accounts[0], "member.add", room, more[0]).await?;
    let mut quiet = Connection::open(stack.edge(0), &accounts[1]).await?;
    let mut looking = Connection::open(stack.edge(0), &accounts[2]).await?;
    // Attached: the room's position is told.
    quiet.event_named("room.bump").await?;
    looking.event_named("room.bump").await?;
    quiet.ok("session.look", None, json!({"rooms": []})).await?;
    looking.ok("session.look", None, json!({"rooms": [room]})).await?;
    let too_many: Vec<RoomId> = (0..17).map(|_| room_id()).collect();
    let refused = quiet
        .refused("session.look", None, json!({"rooms": too_many}))
        .await?;
    assert_eq!(refused, "too_large");
    let mut last = 0;
    for _ in 0..30 {
        let params = json!({"client_message_id": op(), "text": "x"});
        let answer = accounts[0]
            .call(stack.edge(1), "message.send", Some(room), params)
            .await?;
        last = answer.result()?["seq"].as_u64().context("a seq")?;
    }
    let is_last = |event: &Value| event["seq"] == last;
    assert_eq!(
        looking.event("the last", is_last).await?["event"],
        "message.created"
    );
    assert_eq!(quiet.event("the last", is_last).await?["event"], "room.bump");
    let texts = |connection: &Connection, name: &str| {
        connection
            .unread_events()
            .filter(|event| event["event"] == name)
            .count()
    };
    assert_eq!(texts(&looking, "message.created"), 29);
    assert_eq!(texts(&quiet, "message.created"), 0);
    assert!(texts(&quiet, "room.bump") < 15, "merged");
    stack.finish().await
}
