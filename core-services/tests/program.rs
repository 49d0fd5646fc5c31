//! The program as operators see it: preconditions, readiness, metrics, an orderly end.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Database, Redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hub-services");

/// A running program, killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(PROGRAM)
        .args(args)
        .env("RUST_LOG", "off")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_head, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn each_missing_precondition_is_one_line() {
    let admin = format!("127.0.0.1:{}", free_port());
    let (code, _, stderr) = run(&[
        "chat",
        "--keys",
        "/nonexistent",
        "--database",
        "postgres://x:secret@127.0.0.1:1/x",
        "--redis",
        "redis://127.0.0.1:1",
        "--admin",
        &admin,
    ]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    for (line, word) in lines.iter().zip(["keys", "Redis", "PostgreSQL"]) {
        assert!(line.contains(word), "{line}");
    }
    assert!(!stderr.contains("secret"), "{stderr}");
}

#[test]
fn settings_are_printed_and_checked() {
    let (code, stdout, _) = run(&["config", "print", "--database", "postgres://u:secret@h/d"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("[postgres]") && stdout.contains("[redacted]") && !stdout.contains("secret"));
    assert_eq!(run(&["config", "check"]).0, 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services.toml");
    std::fs::write(&file, "[worker]\nreads_max = 0\n").unwrap();
    let (code, _, stderr) = run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("worker.reads_max"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_start_become_ready_and_end_in_order() {
    let (db, redis) = (Database::fresh().await, Redis::start().await);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let keys = keys.to_str().unwrap();
    assert_eq!(run(&["config", "keys", keys]).0, 0);
    let port = free_port();
    let (admin, url) = (format!("127.0.0.1:{port}"), redis.url());
    let flags = [
        "--keys",
        keys,
        "--database",
        &db.url,
        "--redis",
        &url,
        "--admin",
        &admin,
    ];
    let child = Command::new(PROGRAM)
        .arg("all")
        .args(flags)
        .env("HUB_SERVICES__POSTGRES__ALLOW_UNSAFE_DURABILITY", "true")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut ready = None;
    for _ in 0..600 {
        ready = get(port, "/readyz").await;
        if ready.as_ref().is_some_and(|(status, _)| *status == 200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ready, Some((200, "ready\n".to_owned())));
    assert_eq!(get(port, "/healthz").await.unwrap().0, 200);
    assert_eq!(get(port, "/other").await.unwrap().0, 404);
    let mut metrics = String::new();
    for _ in 0..600 {
        metrics = get(port, "/metrics").await.unwrap().1;
        if metrics.contains("hub_services_partitions_owned{service=\"chat\"} 8") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        metrics.contains("hub_services_partitions_owned{service=\"chat\"} 8"),
        "{metrics}"
    );
    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let mut redis = redis.connection().await;
    let left: Vec<String> = redis::cmd("KEYS")
        .arg("hub:lease:*")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}
