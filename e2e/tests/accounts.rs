//! Accounts and logins, through the edge and the auth service.

use anyhow::Result;
use hub_e2e::{Account, Connection, Options, Stack, http};
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
