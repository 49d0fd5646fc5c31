//! Time-based codes as a second factor, and recovery codes in their place.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use hub_protocol::Method;
use hub_protocol::error::ErrorBody;
use serde_json::{Value, json};

use crate::world::{Caller, PASSWORD, World, because, refusal};

/// The code of now and of `later` steps, as an app on a phone computes it from what it was shown (RFC 6238).
fn app(secret: &Value, later: i64) -> String {
    let mut bits = String::new();
    for digit in secret.as_str().unwrap().bytes() {
        let value = if digit.is_ascii_uppercase() {
            digit - b'A'
        } else {
            digit - b'2' + 26
        };
        write!(bits, "{value:05b}").unwrap();
    }
    let bytes: Vec<u8> = (0..bits.len() / 8)
        .map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap())
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let step = i64::try_from(now / 30).unwrap() + later;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7FFF_FFFF;
    format!("{:06}", number % 1_000_000)
}

async fn enroll(world: &World, caller: &Caller) -> Value {
    let enrolled = world
        .call(caller, Method::TotpEnroll, json!({"password": PASSWORD}))
        .await;
    enrolled.unwrap()
}

async fn login(world: &World, code: Option<&str>) -> Result<Value, ErrorBody> {
    let mut params = json!({"username": "ada", "password": PASSWORD});
    if let Some(code) = code {
        params["code"] = json!(code);
    }
    world.public(Method::AuthLogin, params).await
}

#[tokio::test]
async fn a_second_factor_is_asked_for_once_it_is_confirmed() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let wrong = world
        .call(&ada, Method::TotpEnroll, json!({"password": "wrong horse"}))
        .await;
    assert_eq!(refusal(wrong), because("forbidden", "password_invalid"));
    let nothing = world
        .call(&ada, Method::TotpConfirm, json!({"code": "123456"}))
        .await;
    assert_eq!(refusal(nothing).0, "conflict");

    enroll(&world, &ada).await;
    let enrolled = enroll(&world, &ada).await;
    assert_eq!(enrolled["recovery_codes"].as_array().unwrap().len(), 10);
    let secret = &enrolled["secret"];
    let uri = enrolled["uri"].as_str().unwrap();
    assert!(
        uri.contains(&format!("secret={}", secret.as_str().unwrap())),
        "{uri}"
    );
    assert!(login(&world, None).await.is_ok(), "not in force yet");

    let old = world
        .call(&ada, Method::TotpConfirm, json!({"code": app(secret, -100)}))
        .await;
    assert_eq!(refusal(old), because("forbidden", "totp_invalid"));
    let code = app(secret, 0);
    for _ in 0..2 {
        let confirmed = world.call(&ada, Method::TotpConfirm, json!({"code": code})).await;
        assert_eq!(confirmed.unwrap(), json!({}), "also when it is said twice");
    }
    let again = world
        .call(&ada, Method::TotpEnroll, json!({"password": PASSWORD}))
        .await;
    assert_eq!(refusal(again).0, "conflict");

    assert_eq!(
        refusal(login(&world, None).await),
        because("unauthenticated", "totp_required")
    );
    let replayed = login(&world, Some(&code)).await;
    assert_eq!(
        refusal(replayed),
        because("unauthenticated", "totp_invalid"),
        "used to confirm"
    );
    let next = app(secret, 1);
    assert!(login(&world, Some(&next)).await.is_ok());
    assert_eq!(
        refusal(login(&world, Some(&next)).await),
        because("unauthenticated", "totp_invalid")
    );
    // A wrong password is told nothing about the factor.
    let params = json!({"username": "ada", "password": "wrong horse"});
    assert_eq!(
        refusal(world.public(Method::AuthLogin, params).await),
        ("unauthenticated", None)
    );
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_the_factor_can_be_taken_away() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let enrolled = enroll(&world, &ada).await;
    let confirm = json!({"code": app(&enrolled["secret"], 0)});
    world.call(&ada, Method::TotpConfirm, confirm).await.unwrap();
    let code = |at: usize| enrolled["recovery_codes"][at].as_str().unwrap().to_owned();

    assert!(login(&world, Some(&code(0).to_lowercase())).await.is_ok());
    assert_eq!(
        refusal(login(&world, Some(&code(0))).await),
        because("unauthenticated", "totp_invalid")
    );
    let listed = world.call(&ada, Method::AuthLogins, json!({})).await.unwrap();
    assert_eq!(
        (&listed["totp"], &listed["recovery_codes_left"]),
        (&json!(true), &json!(9))
    );

    let disable = |code: Option<String>| json!({"password": PASSWORD, "code": code});
    let refused = world
        .call(&ada, Method::TotpDisable, json!({"password": PASSWORD}))
        .await;
    assert_eq!(refusal(refused), because("forbidden", "totp_required"));
    let refused = world
        .call(&ada, Method::TotpDisable, disable(Some(code(0))))
        .await;
    assert_eq!(refusal(refused), because("forbidden", "totp_invalid"));
    for _ in 0..2 {
        assert!(
            world
                .call(&ada, Method::TotpDisable, disable(Some(code(1))))
                .await
                .is_ok()
        );
    }
    assert!(login(&world, None).await.is_ok());
    let stored = world.sql("SELECT count(*) FROM recovery_codes", &[]).await;
    assert_eq!(stored[0].get::<_, i64>(0), 0);
}

#[tokio::test]
async fn codes_cannot_be_guessed_without_end() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let enrolled = enroll(&world, &ada).await;
    let confirm = json!({"code": app(&enrolled["secret"], 0)});
    world.call(&ada, Method::TotpConfirm, confirm).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..11 {
        codes.push(refusal(login(&world, Some(&app(&enrolled["secret"], 50))).await).0);
    }
    assert_eq!(codes[..10], ["unauthenticated"; 10]);
    assert_eq!(codes[10], "rate_limited");
    // The owner's device has tries of its own.
    let own = json!({"username": "ada", "password": PASSWORD, "device_token": ada.device_token,
                     "code": enrolled["recovery_codes"][0]});
    assert!(world.public(Method::AuthLogin, own).await.is_ok());
}

#[tokio::test]
async fn an_account_with_a_second_factor_ends_with_it_only() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let enrolled = enroll(&world, &ada).await;
    let confirm = json!({"code": app(&enrolled["secret"], 0)});
    world.call(&ada, Method::TotpConfirm, confirm).await.unwrap();
    let refused = world
        .call(&ada, Method::AuthDeleteAccount, json!({"password": PASSWORD}))
        .await;
    assert_eq!(refusal(refused), because("forbidden", "totp_required"));
    let wrong = json!({"password": PASSWORD, "code": "AAAA-AAAA-AAAA-AAAA"});
    let refused = world.call(&ada, Method::AuthDeleteAccount, wrong).await;
    assert_eq!(refusal(refused), because("forbidden", "totp_invalid"));
    let right = json!({"password": PASSWORD, "code": enrolled["recovery_codes"][3]});
    assert!(world.call(&ada, Method::AuthDeleteAccount, right).await.is_ok());
}
