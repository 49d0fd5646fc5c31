//! Accounts and logins, through the edge and the auth service.

#![allow(clippy::print_stderr, reason = "prints figures")]

use std::time::Instant;

use anyhow::{Context, Result};
use hub_e2e::{Account, Connection, Options, Stack, http, wait};
use serde_json::{Value, json};

async fn auth(stack: &Stack, method: &str, params: Value) -> Result<http::Answer> {
    http::rpc(
        stack.edge(0),
        None,
        json!({"id": 9, "method": method, "params": params}),
    )
    .await
}

#[tokio::test]
async fn an_account_registers_logs_in_renews_and_logs_out() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let credentials = json!({"username": account.username, "password": account.password});

    let login = auth(&stack, "auth.login", credentials).await?;
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(login.body["id"], 9);
    let login = Account::from_result(login.result()?, account.password.clone())?;
    assert_eq!(login.user, account.user);

    let me = login.call(stack.edge(0), "user.me", None, json!({})).await?;
    assert_eq!(me.result()?["user"]["username"], account.username.as_str());

    let renewed = auth(
        &stack,
        "auth.refresh",
        json!({"refresh_token": login.refresh_token}),
    )
    .await?;
    let renewed = Account::from_result(renewed.result()?, account.password.clone())?;
    assert_ne!(renewed.refresh_token, login.refresh_token);

    // The session of a login ends with it; that of another login of the same user stays.
    let mut ended = Connection::open(stack.edge(0), &renewed).await?;
    let mut stays = Connection::open(stack.edge(0), &account).await?;
    let logout = renewed
        .call(stack.edge(0), "auth.logout", None, json!({}))
        .await?;
    assert_eq!(logout.status, 200, "{logout:?}");
    assert_eq!(ended.closed().await?, 4501);
    stays.ok("user.me", None, json!({})).await?;

    let refused = auth(
        &stack,
        "auth.refresh",
        json!({"refresh_token": renewed.refresh_token}),
    )
    .await?;
    assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
    stack.finish().await
}

#[tokio::test]
async fn wrong_credentials_tell_nothing_about_the_account() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let wrong = |username: &str, password: &str| json!({"username": username, "password": password});

    let password = auth(&stack, "auth.login", wrong(&account.username, "not the password")).await?;
    let name = auth(
        &stack,
        "auth.login",
        wrong("nobody.of.that.name", "not the password"),
    )
    .await?;
    assert_eq!((password.status, password.code()), (401, "unauthenticated"));
    assert_eq!(password.body, name.body, "both refusals look the same");

    let taken = auth(
        &stack,
        "auth.register",
        wrong(&account.username, "another password"),
    )
    .await?;
    assert_eq!((taken.status, taken.code()), (409, "conflict"));
    for (username, password) in [
        ("Ab", "long enough"),
        ("has space", "long enough"),
        ("fine.name", "short"),
        ("", "long enough"),
    ] {
        let refused = auth(&stack, "auth.register", wrong(username, password)).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "bad_request"),
            "{username} {password}"
        );
    }
    stack.finish().await
}

#[tokio::test]
async fn passwords_never_cross_a_session() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let mut connection = Connection::open(stack.edge(0), &account).await?;
    let credentials = json!({"username": account.username, "password": account.password});
    let answer = connection.call("auth.login", None, credentials).await?;
    assert_eq!(answer["error"]["retryable"], false, "{answer}");

    // And nothing that can be read of them crosses Redis.
    let mut redis = stack.redis_connection().await?;
    let mut monitor = stack.redis_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("hub:*").query_async(&mut redis).await?;
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut monitor).await?;
        if kind == "stream" {
            let dump: redis::Value = redis::cmd("XRANGE")
                .arg(&key)
                .arg("-")
                .arg("+")
                .query_async(&mut redis)
                .await?;
            assert!(!format!("{dump:?}").contains("battery"), "{key}");
        }
    }
    stack.finish().await
}

#[tokio::test]
async fn a_revoked_login_loses_its_sessions_at_once() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let credentials = json!({"username": account.username, "password": account.password, "device": "phone"});
    let phone = auth(&stack, "auth.login", credentials).await?;
    let phone = Account::from_result(phone.result()?, account.password.clone())?;
    let mut stays = Connection::open(stack.edge(0), &account).await?;
    let mut ended = Connection::open(stack.edge(0), &phone).await?;

    // Over the session: the answers are sealed on their way.
    let listed = stays.ok("auth.logins", None, json!({})).await?;
    let logins = listed["logins"].as_array().context("a list")?;
    assert_eq!(logins.len(), 2, "{listed}");
    let other = logins
        .iter()
        .find(|login| login["current"] == false)
        .context("the phone")?;
    assert_eq!(other["device"], "phone");
    let began = Instant::now();
    stays
        .ok("auth.revoke_login", None, json!({"login": other["id"]}))
        .await?;
    assert_eq!(ended.closed().await?, 4501);
    eprintln!(
        "figure: a session ended {:.1?} after its login was revoked",
        began.elapsed()
    );
    stays.ok("user.me", None, json!({})).await?;
    let refused = phone.call(stack.edge(0), "user.me", None, json!({})).await?;
    assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
    stack.finish().await
}

#[tokio::test]
async fn a_refresh_token_that_comes_back_ends_the_sessions_of_its_login() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let refresh = async |token: &str| auth(&stack, "auth.refresh", json!({"refresh_token": token})).await;
    let second = refresh(&account.refresh_token).await?;
    let second = Account::from_result(second.result()?, account.password.clone())?;
    let third = refresh(&second.refresh_token).await?;
    let third = Account::from_result(third.result()?, account.password.clone())?;
    let mut session = Connection::open(stack.edge(0), &third).await?;

    let began = Instant::now();
    let reused = refresh(&account.refresh_token).await?;
    assert_eq!((reused.status, reused.code()), (401, "unauthenticated"));
    assert_eq!(session.closed().await?, 4501);
    eprintln!(
        "figure: a session ended {:.1?} after a used refresh token came back",
        began.elapsed()
    );
    let refused = refresh(&third.refresh_token).await?;
    assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
    stack.finish().await
}

/// The key in the header of an access token.
fn kid(token: &str) -> Result<String> {
    // The header is `{"typ":"at+jwt","alg":"EdDSA","kid":"…"}` in base64url: digits of four letters hold three bytes.
    let header = token.split('.').next().context("a header")?;
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in header.bytes() {
        bits = bits << 6 | u32::from(digit(letter));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF)?);
        }
    }
    let header: Value = serde_json::from_slice(&bytes)?;
    Ok(header["kid"].as_str().context("a kid")?.to_owned())
}

#[tokio::test]
async fn keys_rotate_under_a_live_session() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let old = kid(&account.access_token)?;
    let mut session = Connection::open(stack.edge(0), &account).await?;
    stack.rotate_keys()?;

    // The new key signs once everybody knows it; until then, and in between, every call works.
    let mut refresh_token = account.refresh_token.clone();
    let mut renewed = None;
    for _ in 0..600 {
        let answer = auth(&stack, "auth.refresh", json!({"refresh_token": refresh_token})).await?;
        let tokens = Account::from_result(answer.result()?, account.password.clone())?;
        refresh_token.clone_from(&tokens.refresh_token);
        session
            .ok("session.refresh", None, json!({"token": tokens.access_token}))
            .await?;
        if kid(&tokens.access_token)? != old {
            renewed = Some(tokens);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let renewed = renewed.context("no token of the new key")?;
    session.ok("user.me", None, json!({})).await?;
    // The old key verifies until it is removed.
    Connection::open(stack.edge(0), &account).await?.close().await?;
    std::fs::remove_file(stack.keys().join(format!("public/{old}.pem")))?;
    wait::until("the old key is forgotten", async || {
        let answer = account
            .call(stack.edge(0), "user.me", None, json!({}))
            .await
            .ok()?;
        (answer.status == 401).then_some(())
    })
    .await;
    session.ok("user.me", None, json!({})).await?;
    Connection::open(stack.edge(0), &renewed).await?.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn the_auth_service_learns_where_a_call_comes_from() -> Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let [account] = stack.accounts().await?;
    let client = hub_e2e::postgres::connect(stack.database.url()).await?;
    let rows = client
        .query(
            "SELECT kind, address IS NOT NULL FROM audit WHERE user_id = $1 ORDER BY id",
            &[&account.user.0],
        )
        .await?;
    let kinds: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        kinds,
        [("registered".to_owned(), true), ("logged_in".to_owned(), true)]
    );
    stack.finish().await
}
