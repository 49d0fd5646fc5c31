//! The shipped file is the default, documents every key, and wrong values are named.

use super::*;

fn with(change: impl Fn(&mut Raw)) -> Result<Config, ConfigError> {
    let mut raw: Raw = Figment::from(Toml::string(DEFAULT))
        .extract()
        .expect("the default parses");
    change(&mut raw);
    Config::try_from(raw)
}

#[test]
fn the_shipped_file_is_valid_and_has_every_key_with_a_comment_above_it() {
    let config = with(|_| {}).expect("the default is valid");
    let sections = serde_json::to_value(&config.raw).unwrap();
    let mut wanted: Vec<String> = Vec::new();
    for (section, keys) in sections.as_object().unwrap() {
        wanted.extend(
            keys.as_object()
                .unwrap()
                .keys()
                .map(|key| format!("{section}.{key}")),
        );
    }
    let mut found = Vec::new();
    let mut section = "";
    let mut above = "";
    for line in DEFAULT.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            assert!(above.starts_with("# "), "{key} has no comment");
            found.push(format!("{section}.{key}"));
        }
        above = line;
    }
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_printed_parses_to_the_same() {
    let config = with(|_| {}).unwrap();
    let again: Raw = Figment::from(Toml::string(&config.to_toml())).extract().unwrap();
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        serde_json::to_value(&config.raw).unwrap()
    );
}

#[test]
fn defaults_agree_with_the_protocol() {
    let config = with(|_| {}).unwrap();
    assert_eq!(config.limits.message_bytes_max, limits::MESSAGE_BYTES_MAX);
    assert_eq!(config.limits.outbound_bytes_max, limits::OUTBOUND_BYTES_MAX);
    assert_eq!(config.uplink.batch_envelopes_max, limits::UPLINK_ENVELOPES_MAX);
    assert_eq!(config.uplink.batch_bytes_max, limits::UPLINK_BYTES_MAX);
    assert_eq!(
        config.limits.call_wait,
        Duration::from_millis(limits::CALL_WAIT_MS_MAX)
    );
    assert!(config.server.shards >= 1);
}

#[test]
fn wrong_values_are_named() {
    type Spoil = fn(&mut Raw);
    let cases: [(&str, Spoil); 14] = [
        ("server.listen", |raw| raw.server.listen = "8080".into()),
        ("server.shards", |raw| raw.server.shards = 5000),
        ("ring.engine", |raw| raw.ring.engine = "uring".into()),
        ("ring.submissions", |raw| raw.ring.submissions = 500),
        ("ring.completions", |raw| raw.ring.completions = 512),
        ("redis.url", |raw| raw.redis.url = "http://x".into()),
        ("auth.leeway_s", |raw| raw.auth.leeway_s = 3600),
        ("uplink.batch_bytes_max", |raw| raw.uplink.batch_bytes_max = 10),
        ("limits.message_bytes_max", |raw| {
            raw.limits.message_bytes_max = 1 << 20;
        }),
        ("limits.idle_ms", |raw| raw.limits.idle_ms = raw.limits.ping_ms),
        ("limits.messages_burst", |raw| raw.limits.messages_burst = 0),
        ("limits.bytes_burst", |raw| raw.limits.bytes_burst = 1000),
        ("server.origins", |raw| {
            raw.server.origins = vec!["https://a.example/path".into()];
        }),
        ("server.origins", |raw| {
            raw.server.origins = vec!["a.example".into()];
        }),
    ];
    for (key, change) in cases {
        let error = with(change).expect_err(key).to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn later_sources_win_and_unknown_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.toml");
    std::fs::write(&good, "[server]\nlisten = \"127.0.0.1:1\"\nshards = 3\n").unwrap();
    let overrides = Overrides {
        shards: Some(5),
        ..Overrides::default()
    };
    let config = Config::load(Some(&good), &overrides).expect("valid");
    assert_eq!(config.server.listen.port(), 1);
    assert_eq!(config.server.shards, 5);

    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "[server]\nlitsen = \"127.0.0.1:1\"\n").unwrap();
    let error = Config::load(Some(&bad), &overrides).expect_err("unknown key");
    assert!(error.to_string().contains("litsen"), "{error}");
    let none = Config::load(Some(&folder.path().join("none.toml")), &overrides);
    assert!(matches!(none, Err(ConfigError::NoFile(_))));
}

#[test]
fn every_section_and_every_source_gets_one_line_that_names_the_key() {
    let error = with(|raw| {
        raw.server.listen = "8080".into();
        raw.limits.idle_ms = 1;
    });
    let lines = error.expect_err("two faults").lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("server.listen = 8080: an address"), "{lines:?}");
    assert!(lines[1].contains("limits.idle_ms = 1: from 20"), "{lines:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    for (text, expected) in [
        (
            "[server]\nshards = \"two\"\n",
            "expected u16 for key \"server.shards\"",
        ),
        (
            "[limits]\nping_ms = 5.5\n",
            "expected u64 for key \"limits.ping_ms\"",
        ),
        ("[limits]\nx = 1\n", "unknown field: found `x`"),
        ("[ring\n", "line 1, column 6"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Config::load(Some(&file), &Overrides::default()).expect_err(text);
        let lines = error.lines();
        assert!(lines.len() == 1 && !lines[0].contains('\n'), "{lines:?}");
        assert!(
            lines[0].contains(expected) && lines[0].contains("bad.toml"),
            "{lines:?}"
        );
        assert_eq!(lines[0].matches(expected).count(), 1, "said once: {lines:?}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let config = with(|raw| raw.redis.url = "redis://user:s3cr3t@host:1/0".into()).unwrap();
    for text in [format!("{:?}", config.redis), config.to_toml()] {
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("@host:1/0"), "{text}");
    }
    let error = with(|raw| raw.redis.url = "reids://user:s3cr3t@host:1/0".into()).expect_err("wrong scheme");
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
}
