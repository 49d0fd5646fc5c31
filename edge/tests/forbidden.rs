//! Goal: where io_uring is denied, as the default profiles of container runtimes deny it, a node runs on epoll, or says
//! in one line why not. Method: the real binary, started by a thread under a seccomp filter that the binary inherits.

mod support;

use std::collections::BTreeMap;

use hub_protocol::{LoginId, UserId};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use uuid::Uuid;

use support::client::{Frame, text_frame};
use support::edge::{Edge, command};
use support::keys::Keys;
use support::redis::Redis;

/// Runs `work` on a thread that may not set up an io_uring, nor may the processes that it starts.
fn without_io_uring<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let deny = || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            std::env::consts::ARCH.try_into().expect("seccompiler knows it"),
        )
        .expect("a filter");
        let program: BpfProgram = filter.try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("the kernel takes filters");
    };
    let thread = std::thread::spawn(move || {
        deny();
        work()
    });
    thread.join().expect("the work ends well")
}

#[test]
fn auto_serves_echo_and_sessions_on_epoll() {
    let redis = Redis::start();
    redis.write_meta();
    let url = redis.url();
    let edge = without_io_uring(move || Edge::start("auto", &url, &[]));
    edge.ready();

    let mut client = edge.connect();
    assert_eq!(client.upgrade("/echo", "", &text_frame("early")).status, 101);
    assert_eq!(client.frame(), Frame::Text("early".into()));
    client.send("later");
    assert_eq!(client.frame(), Frame::Text("later".into()));

    let user = UserId::from(Uuid::from_u128(0xA));
    let token = edge.keys.token(user, LoginId::from(Uuid::from_u128(0xB)));
    let mut client = edge.connect();
    assert_eq!(client.upgrade("/v1/ws", "", b"").status, 101);
    client.send(&format!(
        r#"{{"id":1,"method":"session.open","params":{{"token":"{token}"}}}}"#
    ));
    assert_eq!(client.json()["result"]["user"], user.to_string());

    let (_, metrics) = edge.admin("/metrics");
    assert!(
        metrics
            .lines()
            .any(|line| line == r#"hub_edge_engine{engine="epoll"} 1"#),
        "{metrics}"
    );
    let log = edge.log();
    let up: Vec<_> = log.lines().filter(|line| line.contains("is up")).collect();
    assert!(
        up.len() == 1
            && up[0].contains(r#""engine":"epoll""#)
            && up[0].contains("io_uring is forbidden here"),
        "{log}"
    );
}

#[test]
fn io_uring_by_name_is_refused_in_one_line() {
    let keys = Keys::make();
    let folder = keys.path().to_owned();
    let output = without_io_uring(move || {
        command()
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--keys"])
            .arg(folder)
            .env("HUB_EDGE__RING__ENGINE", "io_uring")
            .output()
            .expect("the binary starts")
    });
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    let lines: Vec<_> = log.lines().collect();
    assert!(
        lines.len() == 1
            && lines[0].contains("ring.engine")
            && lines[0].contains("io_uring is forbidden here: allow io_uring_setup"),
        "{log}"
    );
}
