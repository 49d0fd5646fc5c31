//! Whole runs of the program against a hub of one process: exit codes, reports, repairs, verdicts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{Fault, Hub};

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn hub_load(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hub-load"))
        .args(args)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap()
}

/// A short run: exit code, report, and everything that was printed.
fn run(hub: &Hub, folder: &Path, more: &[&str]) -> (i32, Value, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (tokens, json, status) = (path("tokens.jsonl"), path("report.json"), path("status"));
    let url = format!("ws://{}", hub.address);
    let mut args = vec![
        "run",
        "chat",
        "--tokens",
        &tokens,
        "--url",
        &url,
        "--json",
        &json,
        "--status-file",
        &status,
        "--rate",
        "300",
        "--duration",
        "2s",
        "--warmup",
        "500ms",
        "--quiet",
        "1s",
        "--text-bytes",
        "64",
    ];
    args.extend_from_slice(more);
    let output = hub_load(&args);
    let printed =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let report = fs::read_to_string(json).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    (output.status.code().unwrap(), report, printed)
}

#[test]
fn a_correct_hub_passes_on_two_threads_and_every_offered_send_is_shown_to_every_member() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 30, 10, 5, now_s(), Fault::None);
    let (code, report, printed) = run(&hub, folder.path(), &["--threads", "2"]);
    assert_eq!(code, 0, "{printed}");
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}"));
    assert!(
        figure("offered") > 500.0 && figure("offered") < 1_000.0,
        "{printed}"
    );
    assert_eq!(report["acked"], report["offered"]);
    assert!(
        (figure("delivered_ours") - 5.0 * figure("acked")).abs() < 0.5,
        "{printed}"
    );
    assert!(figure("ack_p50_ms") > 0.0 && figure("ack_p50_ms") <= figure("ack_p999_ms"));
    assert_eq!(
        (report["lost"].as_u64(), report["connected"].as_u64()),
        (Some(0), Some(30))
    );
    assert_eq!(report["database_checked"], false);
    let status = fs::read_to_string(folder.path().join("status")).unwrap();
    assert!(
        status.starts_with("phase=judge ") && status.contains(" unacked=0 "),
        "{status}"
    );
    assert_eq!(hub.renewals(), 0);
}

#[test]
fn cut_connections_come_back_resend_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 30, 10, 5, now_s(), Fault::None);
    let cut = folder.path().join("cut").to_str().unwrap().to_owned();
    let command = format!("touch {cut}; sleep 0.3; rm {cut}");
    let fault = [
        "--fault-command",
        &command,
        "--fault-after",
        "1s",
        "--fault-unacked",
        "50",
    ];
    let (code, report, printed) = run(&hub, folder.path(), &fault);
    assert_eq!(code, 0, "{printed}");
    assert!(report["fault_unacked"].as_u64().unwrap() >= 50, "{printed}");
    assert_eq!(report["reconnects"].as_u64(), Some(30), "{printed}");
    assert!(report["resends"].as_u64().unwrap() > 0, "{printed}");
    assert!(report["first_new_ack_after_fault_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["acked"], report["offered"]);
}

#[test]
fn a_hub_that_forgets_what_it_acknowledged_is_convicted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 30, 10, 5, now_s(), Fault::Forgets(50));
    let (code, report, printed) = run(&hub, folder.path(), &[]);
    assert_eq!(code, 2, "{printed}");
    assert_eq!(report["verdict"], "violation");
    assert!(report["findings"]["ack_moved"].as_u64().unwrap() > 0, "{printed}");
}

#[test]
fn a_hub_that_loses_the_last_delivery_is_convicted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 30, 10, 5, now_s(), Fault::LosesDeliveries(2));
    let (code, report, printed) = run(&hub, folder.path(), &[]);
    assert_eq!(code, 2, "{printed}");
    assert!(
        report["findings"]["head_missing"].as_u64().unwrap() > 0,
        "{printed}"
    );
    assert!(report["ranges"].as_u64().unwrap() > 0, "{printed}");
}

#[test]
fn old_tokens_are_renewed_first_and_written_back() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 6, 2, 3, now_s() - 3_600, Fault::None);
    let (code, _, printed) = run(&hub, folder.path(), &["--rate", "50"]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(hub.renewals(), 6);
    let tokens = fs::read_to_string(folder.path().join("tokens.jsonl")).unwrap();
    assert_eq!(tokens.matches("again-").count(), 6);
}

#[test]
fn a_threshold_that_is_exceeded_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), 6, 2, 3, now_s(), Fault::None);
    let (code, report, printed) = run(
        &hub,
        folder.path(),
        &["--rate", "50", "--threshold", "ack_p50_ms=0.0001"],
    );
    assert_eq!(code, 99, "{printed}");
    assert_eq!(report["exceeded"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_run_says_why_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none").to_str().unwrap().to_owned();
    for args in [
        &["run", "chat", "--tokens", &missing, "--url", "ws://127.0.0.1:1"][..],
        &["run", "chat", "--tokens", &missing, "--url", "ws://192.0.2.1:80"],
        &[
            "run",
            "nothing",
            "--tokens",
            &missing,
            "--url",
            "ws://127.0.0.1:1",
        ],
        &["scenarios", "nothing"],
        &["scenarios", "chat", "more"],
    ] {
        let output = hub_load(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        assert!(
            !error.is_empty() && !error.contains("panicked"),
            "{args:?}: {error}"
        );
    }
}

#[test]
fn the_oracle_tests_itself() {
    let output = hub_load(&["oracle", "--self-test"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(
        table.lines().count() > 15 && table.ends_with("0 missed\n"),
        "{table}"
    );
}

#[test]
fn built_in_scenarios_are_listed_and_printed() {
    let list = hub_load(&["scenarios"]);
    assert!(String::from_utf8_lossy(&list.stdout).starts_with("chat "));
    let text = hub_load(&["scenarios", "chat"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("rate = 2000.0"));
}
