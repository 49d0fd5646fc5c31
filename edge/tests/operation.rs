//! What an operator does with a running node: looks at it, drains it or one shard of it, revokes logins.

mod support;

use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use hub_protocol::{Address, LoginId, UserId, keys};
use uuid::Uuid;

use support::client::{Client, Frame};
use support::edge::{Edge, command};
use support::eventually;
use support::keys::now_s;
use support::redis::Redis;

/// So many that a shard without one would be an accident of one in a hundred thousand.
const SESSIONS: u128 = 18;

fn user(number: u128) -> UserId {
    Uuid::from_u128(0xA000 + number).into()
}

fn login() -> LoginId {
    Uuid::from_u128(0xB).into()
}

/// A node of two shards that is ready, with its Redis.
fn ready(settings: &[(&str, &str)]) -> (Redis, Edge) {
    let redis = Redis::start();
    redis.write_meta();
    let edge = Edge::start("auto", &redis.url(), settings);
    edge.ready();
    (redis, edge)
}

/// A session, and the shard that it is on.
struct Session {
    user: UserId,
    client: Client,
    shard: u16,
}

fn open(redis: &Redis, edge: &Edge, user: UserId, token: &str) -> Session {
    let mut client = edge.connect();
    assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
    client.send(&format!(
        r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
    ));
    let opened = client.json();
    assert_eq!(opened["result"]["user"], user.to_string(), "{opened}");
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg(keys::directory(user))
        .query(&mut redis.connect())
        .expect("reads");
    let address: Address = fields[0].parse().expect("an address");
    Session {
        user,
        client,
        shard: address.shard,
    }
}

/// Sessions of as many users, on both shards.
fn open_all(redis: &Redis, edge: &Edge, expires_at: u64) -> Vec<Session> {
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let token = edge.keys.token_until(user(number), login(), expires_at);
            open(redis, edge, user(number), &token)
        })
        .collect();
    for shard in 0..2 {
        assert!(
            sessions.iter().any(|session| session.shard == shard),
            "nobody is on shard {shard}"
        );
    }
    sessions
}

/// Asks a session for a sign of life.
fn answers(session: &mut Session, token: &str) {
    session.client.send(&format!(
        r#"{{"id":9,"method":"session.refresh","params":{{"token":"{token}"}}}}"#
    ));
    let answer = session.client.json();
    assert_eq!(answer["id"], 9, "{answer}");
    assert!(answer["error"].is_null(), "{answer}");
}

#[test]
fn a_drain_tells_and_closes_sessions_one_after_the_other() {
    const WINDOW: Duration = Duration::from_secs(4);
    let (redis, mut edge) = ready(&[("SERVER__DRAIN_MS", "4000")]);
    let sessions = open_all(&redis, &edge, now_s() + 900);
    let busiest = (0..2).map(|shard| sessions.iter().filter(|session| session.shard == shard).count());
    let busiest = u32::try_from(busiest.max().expect("two shards")).expect("few");
    let start = Instant::now();
    edge.terminate();
    let waiting: Vec<_> = sessions
        .into_iter()
        .map(|mut session| {
            thread::spawn(move || {
                let told = session.client.json();
                assert_eq!(told["event"], "system.migrate");
                assert_eq!(told["data"]["within_ms"], 1200);
                let told = start.elapsed();
                assert_eq!(session.client.frame(), Frame::Close(4000));
                (told, start.elapsed())
            })
        })
        .collect();
    let moments: Vec<_> = waiting
        .into_iter()
        .map(|thread| thread.join().expect("was told"))
        .collect();
    // Slowness of the machine only makes moments later, so that these bounds are certain.
    let last_told = moments.iter().map(|(told, _)| *told).max().expect("many");
    assert!(
        last_told >= WINDOW * 6 / 10 * (busiest - 1) / busiest,
        "{last_told:?}"
    );
    assert!(
        moments.iter().all(|(_, closed)| *closed >= WINDOW * 3 / 10),
        "{moments:?}"
    );
    assert!(edge.wait().success(), "{}", edge.log());
}

#[test]
fn a_drain_ends_when_everybody_has_moved_and_turns_the_node_unready_first() {
    let (redis, mut edge) = ready(&[("SERVER__DRAIN_MS", "600000")]);
    let token = edge.keys.token(user(0), login());
    let mut session = open(&redis, &edge, user(0), &token);
    edge.terminate();
    assert_eq!(session.client.json()["event"], "system.migrate");
    assert_eq!(edge.admin("/readyz"), (503, "draining\n".to_owned()));
    eventually("the listeners are closed", || {
        let mut client = edge.try_connect()?;
        (client.upgrade("/v1/ws", "", b"").status != 101).then_some(())
    });
    drop(session);
    assert!(edge.wait().success(), "{}", edge.log());
    let left: Vec<String> = redis::cmd("KEYS")
        .arg("hub:at:*")
        .query(&mut redis.connect())
        .expect("reads");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_log_line_is_fields_and_the_first_says_what_runs() {
    let (_redis, mut edge) = ready(&[("AUTH__LEEWAY_S", "7")]);
    edge.admin_post("/drain?shard=1&within_ms=5", "");
    edge.terminate();
    edge.wait();
    let log = edge.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let find = |message: &str| {
        let mut fields = lines.iter().map(|line| &line["fields"]);
        fields.find(|fields| fields["message"] == message).expect(message)
    };
    let up = find("edge node is up");
    assert_eq!((&up["shards"], &up["pin"]), (&2.into(), &false.into()), "{up}");
    assert_eq!(up["admin"], edge.admin.to_string());
    assert!(up["listen"].is_string(), "{up}");
    let drained = find("a shard is taken out of service");
    assert_eq!((&drained["shard"], &drained["within_ms"]), (&1.into(), &5.into()));
    assert_eq!(find("the node drains")["drain_ms"], 10_000);
}

#[test]
fn a_second_sigterm_cuts_the_drain() {
    let (redis, mut edge) = ready(&[("SERVER__DRAIN_MS", "600000")]);
    let token = edge.keys.token(user(0), login());
    let mut session = open(&redis, &edge, user(0), &token);
    edge.terminate();
    assert_eq!(session.client.json()["event"], "system.migrate");
    edge.terminate();
    assert!(edge.wait().success(), "{}", edge.log());
    assert!(edge.log().contains("a second time"), "{}", edge.log());
}

#[test]
fn one_shard_is_drained_while_the_other_goes_on_and_is_taken_back() {
    let (redis, edge) = ready(&[]);
    let sessions = open_all(&redis, &edge, now_s() + 900);
    let output = run(&edge, &["drain", "--shard", "0", "--within", "1s"]);
    assert_eq!(text(&output), "shard 0 drains within 1000 ms\n");
    let (moved, mut stayed): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|session| session.shard == 0);
    for mut session in moved {
        assert_eq!(session.client.json()["event"], "system.migrate");
        assert_eq!(session.client.frame(), Frame::Close(4000));
    }
    let is_draining = |wanted: u64| edge.metric_is("hub_edge_shard_draining", |count| count == wanted);
    is_draining(1);
    assert_eq!(edge.admin("/readyz").0, 200);
    let shard_of_new = || {
        let mut client = edge.try_connect()?;
        if client.upgrade("/v1/ws", "", b"").status != 101 {
            return None;
        }
        drop(client);
        let new = user(1000);
        Some(open(&redis, &edge, new, &edge.keys.token(new, login())).shard)
    };
    // A connection may still meet the old listener in the moment of its end.
    eventually("connections are taken", shard_of_new);
    for _ in 0..SESSIONS {
        assert_eq!(shard_of_new(), Some(1));
    }
    eventually("shard 0 is empty", || {
        let (_, metrics) = edge.admin("/metrics");
        metrics
            .contains("hub_edge_connections{shard=\"0\"} 0\n")
            .then_some(())
    });
    for session in &mut stayed {
        let token = edge.keys.token(session.user, login());
        answers(session, &token);
    }

    let output = run(&edge, &["undrain", "--shard", "0"]);
    assert_eq!(text(&output), "shard 0 takes connections\n");
    eventually("shard 0 takes sessions", || (shard_of_new()? == 0).then_some(()));
    is_draining(0);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let (_redis, edge) = ready(&[]);
    for (path, extra, status) in [
        ("/drain", "", 400),
        ("/drain?shard=x", "", 400),
        ("/drain?shard=0&within_ms=x", "", 400),
        ("/drain?shard=0&within_ms=999999999", "", 400),
        ("/drain?shard=2", "", 404),
        ("/undrain?shard=2", "", 404),
        ("/other", "", 404),
        ("/drain?shard=0", "Origin: http://example.org\r\n", 403),
    ] {
        assert_eq!(edge.admin_post(path, extra).0, status, "{path}");
    }
    assert_eq!(edge.admin("/drain?shard=0").0, 405);
    let output = run(&edge, &["drain", "--shard", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(edge.metric("hub_edge_shard_draining"), 0);
    for shard in 0..2 {
        assert_eq!(edge.admin_post(&format!("/drain?shard={shard}"), "").0, 202);
    }
    eventually("a node without shards is not ready", || {
        (edge.admin("/readyz") == (503, "all shards are drained\n".to_owned())).then_some(())
    });
}

#[test]
fn a_revoked_login_is_closed_on_every_shard() {
    let (redis, edge) = ready(&[]);
    let sessions = open_all(&redis, &edge, now_s() + 900);
    let other: LoginId = Uuid::from_u128(0xC).into();
    let stranger = user(1000);
    let token = edge.keys.token(stranger, other);
    let mut stranger = open(&redis, &edge, stranger, &token);
    redis::cmd("XADD")
        .arg(keys::REVOKED)
        .arg(&["*", "login", &login().to_string()])
        .exec(&mut redis.connect())
        .expect("writes");
    for mut session in sessions {
        assert_eq!(
            session.client.frame(),
            Frame::Close(4501),
            "shard {}",
            session.shard
        );
    }
    answers(&mut stranger, &token);
}

#[test]
fn a_refreshed_session_outlives_its_first_token_and_others_end_after_the_grace() {
    // Clocks that may differ by a minute let a token open a session shortly before its grace ends.
    let (redis, edge) = ready(&[("AUTH__LEEWAY_S", "60")]);
    let mut sessions = open_all(&redis, &edge, now_s() - 15);
    let mut refreshed = Vec::new();
    for shard in 0..2 {
        let at = sessions.iter().position(|session| session.shard == shard);
        let mut session = sessions.remove(at.expect("both have some"));
        let token = edge.keys.token(session.user, login());
        answers(&mut session, &token);
        refreshed.push((session, token));
    }
    for mut session in sessions {
        assert_eq!(session.client.frame(), Frame::Close(4500));
    }
    for (mut session, token) in refreshed {
        answers(&mut session, &token);
    }
}

#[test]
fn top_prints_one_row_per_shard_and_says_who_does_not_answer() {
    let (redis, mut edge) = ready(&[]);
    let sessions = open_all(&redis, &edge, now_s() + 900);
    let output = run(&edge, &["top", "--once", "--interval", "200ms"]);
    let table = text(&output);
    let lines: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[0].starts_with(&["shard", "cpu", "busy", "conns", "sess"]),
        "{table}"
    );
    for shard in 0..2_u16 {
        let line = &lines[usize::from(shard) + 1];
        let count = sessions
            .iter()
            .filter(|session| session.shard == shard)
            .count()
            .to_string();
        assert_eq!(
            (line[0], line[3], line[4]),
            (shard.to_string().as_str(), count.as_str(), count.as_str())
        );
    }
    assert_eq!(lines[3][0], "all");
    drop(sessions);
    edge.terminate();
    edge.wait();
    let output = run(&edge, &["top", "--once"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&edge.admin.to_string()));
}

/// Runs the binary against the admin port of a node.
fn run(edge: &Edge, arguments: &[&str]) -> Output {
    let admin = format!("http://{}/", edge.admin);
    command()
        .args(arguments)
        .args(["--admin", &admin])
        .output()
        .expect("the binary starts")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("is text")
}
