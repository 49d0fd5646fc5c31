//! Limits of tries, and who is not concerned by them.

use std::time::Duration;

use hub_protocol::Method;
use hub_services::config::{Allowance, AuthConfig};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, config, refusal};

fn login(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password})
}

#[tokio::test]
async fn strangers_use_up_their_own_tries_and_nobody_elses() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    world.register("bob").await;
    // From many addresses, as whoever guesses in earnest does; the same for a name that nobody has.
    for name in ["ada", "nobody"] {
        let mut codes = Vec::new();
        for host in 0..11 {
            let tried = world
                .public_from(host, Method::AuthLogin, login(name, "wrong horse"))
                .await;
            codes.push(refusal(tried).0);
        }
        assert_eq!(codes[..10], ["unauthenticated"; 10], "{name}");
        assert_eq!(codes[10], "rate_limited", "{name}");
    }
    let stranger = world
        .public_from(99, Method::AuthLogin, login("ada", PASSWORD))
        .await;
    let error = stranger.unwrap_err();
    assert_eq!(error.code.name(), "rate_limited");
    assert!(
        error.retryable && error.retry_after_ms.is_some_and(|ms| ms <= 60_000),
        "{error:?}"
    );

    // The device that ada knows, and other people.
    let mut known = login("ada", PASSWORD);
    known["device_token"] = ada.device_token.clone();
    let again = world.public(Method::AuthLogin, known.clone()).await.unwrap();
    assert_eq!(
        again["device_token"], ada.device_token,
        "it stays the same device"
    );
    assert!(
        world
            .public(Method::AuthLogin, login("bob", PASSWORD))
            .await
            .is_ok()
    );
    // A token of another account, or a forged one, makes nobody known.
    let mut foreign = login("bob", "wrong horse");
    foreign["device_token"] = ada.device_token.clone();
    for _ in 0..9 {
        let _ = world.public(Method::AuthLogin, foreign.clone()).await;
    }
    assert_eq!(
        refusal(world.public(Method::AuthLogin, foreign.clone()).await).0,
        "unauthenticated"
    );
    assert_eq!(
        refusal(world.public(Method::AuthLogin, foreign).await).0,
        "rate_limited"
    );
    // The known device has tries of its own, which end as well.
    known["password"] = json!("wrong horse");
    let mut codes = Vec::new();
    for _ in 0..21 {
        codes.push(refusal(world.public(Method::AuthLogin, known.clone()).await).0);
    }
    assert_eq!((codes[0], codes[20]), ("unauthenticated", "rate_limited"));
}

#[tokio::test]
async fn one_address_cannot_try_all_accounts() {
    let allowance = Allowance {
        burst: 5,
        every: Duration::from_hours(1),
    };
    let world = World::with(AuthConfig {
        address_attempts: allowance,
        ..config()
    })
    .await;
    let ada = world.register("ada").await;
    for number in 0..4 {
        let tried = world
            .public(Method::AuthLogin, login(&format!("user{number}"), "password"))
            .await;
        assert_eq!(refusal(tried).0, "unauthenticated");
    }
    assert_eq!(
        refusal(world.public(Method::AuthLogin, login("user9", "password")).await).0,
        "rate_limited"
    );
    assert_eq!(
        refusal(world.public(Method::AuthRegister, login("carl", PASSWORD)).await).0,
        "rate_limited"
    );
    assert!(
        world
            .public_from(2, Method::AuthRegister, login("carl", PASSWORD))
            .await
            .is_ok()
    );
    // Behind the same address, on a device that is known; and renewing has no limit.
    let mut known = login("ada", PASSWORD);
    known["device_token"] = ada.device_token.clone();
    assert!(world.public(Method::AuthLogin, known).await.is_ok());
    assert!(world.refresh(&ada.refresh_token).await.is_ok());
}

#[tokio::test]
async fn a_stolen_session_cannot_guess_the_password() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let phone = world.log_in("ada", "phone").await;
    let mut codes = Vec::new();
    for _ in 0..21 {
        let tried = world
            .call(
                &phone,
                Method::AuthDeleteAccount,
                json!({"password": "wrong horse"}),
            )
            .await;
        codes.push(refusal(tried).0);
    }
    assert_eq!((codes[19], codes[20]), ("forbidden", "rate_limited"));
    let change = json!({"password": PASSWORD, "new_password": "another horse"});
    assert!(world.call(&ada, Method::AuthChangePassword, change).await.is_ok());
}
