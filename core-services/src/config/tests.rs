use figment::Figment;
use figment::providers::{Format, Toml};

use super::*;

fn with(text: &str) -> Result<Config, ConfigError> {
    let figment = Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text));
    Config::try_from(figment.extract::<Raw>().map_err(Box::new)?)
}

#[test]
fn the_shipped_file_is_valid_and_prints_as_itself() {
    let raw: Raw = Figment::from(Toml::string(DEFAULTS)).extract().unwrap();
    let printed = raw.print();
    let again: Raw = Figment::from(Toml::string(&printed)).extract().unwrap();
    assert_eq!(printed, again.print());
    let config = Config::try_from(raw).unwrap();
    assert_eq!(config.admin, None);
    assert_eq!(config.node_entries_max, 4_000);
    // Every value of the shipped file is printed, in its order.
    let values: Vec<&str> = DEFAULTS
        .lines()
        .filter(|line| line.contains(" = "))
        .map(|line| &line[..4])
        .collect();
    let printed: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains(" = "))
        .map(|line| &line[..4])
        .collect();
    assert_eq!(values, printed);
}

#[test]
fn misspelt_settings_are_refused() {
    assert!(matches!(with("[worker]\nreads = 1"), Err(ConfigError::Read(_))));
    assert!(matches!(
        with("[wroker]\nreads_max = 1"),
        Err(ConfigError::Read(_))
    ));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (text, key) in [
        ("[worker]\nreads_max = 0", "worker.reads_max"),
        ("[worker]\nblock_ms = 5000", "worker.block_ms"),
        (
            "[delivery]\ndirectory_reuse_ms = 1000",
            "delivery.directory_reuse_ms",
        ),
        ("[auth]\naccess_token_s = 901", "auth.access_token_s"),
        ("[admin]\nlisten = \"9081\"", "admin.listen"),
        ("[postgres]\npool_max = 0", "postgres.pool_max"),
        ("[auth]\naccount_attempt_s = 0", "auth.account_attempt_s"),
        ("[outbox]\nkind = \"pigeon\"", "outbox.kind"),
        ("[outbox]\nkind = \"smtp\"", "outbox.url"),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn flags_win() {
    let flags = Flags {
        database: Some("postgres://x@h/d".to_owned()),
        admin: Some("127.0.0.1:1".parse().unwrap()),
        ..Flags::default()
    };
    let config = read(&flags).unwrap();
    assert_eq!(config.store.url, "postgres://x@h/d");
    assert_eq!(config.admin, flags.admin);
}

#[test]
fn passwords_are_not_shown() {
    assert_eq!(
        redact("postgres://u:secret@h:1/d"),
        "postgres://u:[redacted]@h:1/d"
    );
    assert_eq!(redact("redis://:secret@h/0"), "redis://:[redacted]@h/0");
    assert_eq!(redact("postgres://u@h/d?password=x"), "postgres://u@h/[redacted]");
    assert_eq!(redact("redis://h/0"), "redis://h/0");
}
