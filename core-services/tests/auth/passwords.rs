//! Passwords that are changed, and passwords that were forgotten.

use hub_protocol::Method;
use hub_protocol::error::ErrorBody;
use serde_json::{Value, json};

use crate::world::{Caller, PASSWORD, World, answer, because, refusal};

const NEW: &str = "another horse";

async fn login(world: &World, name: &str, password: &str) -> Result<Value, ErrorBody> {
    world
        .public(Method::AuthLogin, json!({"username": name, "password": password}))
        .await
}

async fn ask(world: &World, name: &str) -> Value {
    let asked = world
        .public(Method::AuthRequestReset, json!({"username": name}))
        .await;
    let asked = asked.unwrap();
    assert_eq!(asked["expires_in"], 900);
    asked["challenge"].clone()
}

async fn reset(world: &World, challenge: &Value, code: &str, password: &str) -> Result<Value, ErrorBody> {
    let params = json!({"challenge": challenge, "code": code, "password": password});
    world.public(Method::AuthResetPassword, params).await
}

/// Waits until the desk has stored the code of a challenge.
async fn stored(world: &World, count: i64) {
    for _ in 0..6_000 {
        let rows = world
            .sql("SELECT count(*) FROM codes WHERE kind = 'reset'", &[])
            .await;
        if rows[0].get::<_, i64>(0) >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{count} codes were not stored");
}

#[tokio::test]
async fn a_changed_password_ends_all_other_logins_and_may_be_said_twice() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let phone = world.log_in("ada", "phone").await;
    let change = |password: &str, new: &str| json!({"password": password, "new_password": new});

    let wrong = world
        .call(&ada, Method::AuthChangePassword, change("wrong horse", NEW))
        .await;
    assert_eq!(refusal(wrong), because("forbidden", "password_invalid"));
    let short = world
        .call(&ada, Method::AuthChangePassword, change(PASSWORD, "short"))
        .await;
    assert_eq!(refusal(short).0, "bad_request");
    assert!(
        world.refresh(&phone.refresh_token).await.is_ok(),
        "nothing has happened"
    );

    for _ in 0..2 {
        let done = world
            .revoking(&ada, Method::AuthChangePassword, change(PASSWORD, NEW))
            .await;
        assert_eq!(done.revoked, [phone.login]);
        assert_eq!(answer(done).unwrap(), json!({}));
    }
    assert_eq!(refusal(login(&world, "ada", PASSWORD).await).0, "unauthenticated");
    assert!(login(&world, "ada", NEW).await.is_ok());
    assert!(
        world.refresh(&ada.refresh_token).await.is_ok(),
        "the one who changed it stays"
    );
    let changes = world.audited(ada.user).await;
    assert_eq!(
        changes.iter().filter(|kind| *kind == "password_changed").count(),
        1
    );
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_a_code_once() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    world.confirm_email(&ada).await;
    let challenge = ask(&world, "ada").await;
    let message = world.message(2).await;
    assert!(message.contains("To: ada@example.org"), "{message}");
    let code = world.code(2).await;

    let done = reset(&world, &challenge, &code, NEW).await;
    assert_eq!(done.unwrap(), json!({}));
    assert_eq!(
        reset(&world, &challenge, &code, NEW).await.unwrap(),
        json!({}),
        "said twice"
    );
    let other = reset(&world, &challenge, &code, "a third horse").await;
    assert_eq!(
        refusal(other),
        because("unauthenticated", "code_invalid"),
        "but good once"
    );
    assert_eq!(
        refusal(world.refresh(&ada.refresh_token).await).0,
        "unauthenticated"
    );
    assert!(login(&world, "ada", NEW).await.is_ok());
    let known = world
        .sql(
            "SELECT FROM devices WHERE user_id = $1 AND created_at < $2",
            &[&ada.user.0, &0_i64],
        )
        .await;
    assert!(known.is_empty());
}

#[tokio::test]
async fn five_wrong_tries_end_a_code_and_so_does_its_time() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    world.confirm_email(&ada).await;
    let challenge = ask(&world, "ada").await;
    let code = world.code(2).await;
    let wrong = if code == "00000000" {
        "00000001"
    } else {
        "00000000"
    };
    for _ in 0..5 {
        let refused = reset(&world, &challenge, wrong, NEW).await;
        assert_eq!(refusal(refused), because("unauthenticated", "code_invalid"));
    }
    assert_eq!(
        refusal(reset(&world, &challenge, &code, NEW).await).0,
        "unauthenticated"
    );

    // Somebody who asks for codes does not use up the tries of another challenge.
    let mine = ask(&world, "ada").await;
    let code = world.code(3).await;
    let theirs = ask(&world, "ada").await;
    world.message(4).await;
    for _ in 0..5 {
        assert_eq!(
            refusal(reset(&world, &theirs, &code, NEW).await).0,
            "unauthenticated"
        );
    }
    assert!(reset(&world, &mine, &code, NEW).await.is_ok());

    world.sql("UPDATE codes SET expires_at = 1", &[]).await;
    let late = ask(&world, "ada").await;
    let code = world.code(5).await;
    world.sql("UPDATE codes SET expires_at = 1", &[]).await;
    assert_eq!(
        refusal(reset(&world, &late, &code, NEW).await).0,
        "unauthenticated"
    );
    assert!(login(&world, "ada", NEW).await.is_ok());
}

/// Whether there is an account shows neither in the answer nor in what trying a code does.
#[tokio::test]
async fn asking_for_a_code_tells_nothing_about_the_account() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    world.confirm_email(&ada).await;
    world.register("bob").await;
    let mut shapes = Vec::new();
    for (count, name) in [(1, "ada"), (2, "bob"), (3, "nobody"), (4, "a\0b")] {
        let challenge = ask(&world, name).await;
        stored(&world, count).await;
        let mut answers = vec![refusal(reset(&world, &challenge, "12345678", NEW).await)];
        let tries = world
            .sql("SELECT sum(tries)::bigint FROM codes WHERE kind = 'reset'", &[])
            .await;
        answers.push(refusal(reset(&world, &challenge, "x", NEW).await));
        shapes.push(answers);
        assert_eq!(tries[0].get::<_, i64>(0), count * 2 - 1, "{name}");
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:?}");
    // One message for the address, one for ada's code; none for those without an address.
    world.message(2).await;
    assert_eq!(world.messages(), 2);
}

#[tokio::test]
async fn codes_are_not_stored_and_not_without_limits() {
    let world = World::start().await;
    let ada: Caller = world.register("ada").await;
    world.confirm_email(&ada).await;
    for _ in 0..5 {
        ask(&world, "ada").await;
    }
    let refused = world
        .public(Method::AuthRequestReset, json!({"username": "ada"}))
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.code.name(), "rate_limited");
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 800_000), "{error:?}");
    // The owner's device is not concerned.
    let params = json!({"username": "ada", "device_token": ada.device_token});
    assert!(world.public(Method::AuthRequestReset, params).await.is_ok());
    let code = world.code(2).await;
    let dump = world
        .sql("SELECT string_agg(codes::text, ' ') FROM codes", &[])
        .await;
    assert!(!dump[0].get::<_, String>(0).contains(&code));
}
