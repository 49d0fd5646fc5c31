//! Where a user is logged in, the end of that, and one refresh token in many hands.

use std::sync::Arc;
use std::time::Instant;

use hub_protocol::{LoginId, Method, SessionId, UserId};
use serde_json::json;

use crate::world::{Caller, World, answer, outcome, refusal};

async fn devices(world: &World, caller: &Caller) -> Vec<(String, bool)> {
    let listed = world.call(caller, Method::AuthLogins, json!({})).await.unwrap();
    let logins = listed["logins"].as_array().unwrap();
    logins
        .iter()
        .map(|login| {
            (
                login["device"].as_str().unwrap().to_owned(),
                login["current"] == true,
            )
        })
        .collect()
}

#[tokio::test]
async fn logins_are_listed_with_their_devices_the_latest_first() {
    let world = World::start().await;
    let first = world.register("ada").await;
    let phone = world.log_in("ada", "Ada's phone").await;
    world.register("bob").await;
    world.refresh(&first.refresh_token).await.unwrap();
    let all = |current: usize| {
        ["first", "Ada's phone"]
            .iter()
            .enumerate()
            .map(|(at, name)| ((*name).to_owned(), at == current))
            .collect::<Vec<_>>()
    };
    assert_eq!(devices(&world, &first).await, all(0));
    assert_eq!(devices(&world, &phone).await, all(1));
    let listed = world.call(&first, Method::AuthLogins, json!({})).await.unwrap();
    let first_row = &listed["logins"][0];
    assert!(first_row["last_used_at"].as_i64() > first_row["created_at"].as_i64());
    assert_eq!(
        (&listed["totp"], &listed["recovery_codes_left"]),
        (&json!(false), &json!(0))
    );
    assert!(listed.get("email").is_none());
}

#[tokio::test]
async fn a_revoked_login_ends_and_its_device_is_forgotten() {
    let world = World::start().await;
    let first = world.register("ada").await;
    let phone = world.log_in("ada", "phone").await;
    let bob = world.register("bob").await;

    // Nobody ends a login of somebody else, or learns that there is one.
    for login in [first.login, LoginId::from_bytes([9; 16])] {
        let refused = world
            .call(&bob, Method::AuthRevokeLogin, json!({"login": login}))
            .await;
        assert_eq!(refusal(refused).0, "not_found");
    }
    for _ in 0..2 {
        let done = world
            .revoking(&first, Method::AuthRevokeLogin, json!({"login": phone.login}))
            .await;
        assert_eq!(done.revoked, [phone.login], "also when it is asked for again");
        assert_eq!(answer(done).unwrap(), json!({}));
    }
    assert_eq!(
        refusal(world.refresh(&phone.refresh_token).await).0,
        "unauthenticated"
    );
    assert_eq!(devices(&world, &first).await, [("first".to_owned(), true)]);
    let known = world
        .sql(
            "SELECT count(*) FROM devices WHERE user_id = $1",
            &[&first.user.0],
        )
        .await;
    assert_eq!(known[0].get::<_, i64>(0), 1);
    assert!(
        world
            .audited(first.user)
            .await
            .contains(&"login_revoked".to_owned())
    );
}

/// One token in a hundred hands at once: one successor. The token again, when that is used: the login ends.
#[tokio::test]
async fn a_hundred_uses_of_one_refresh_token_have_one_winner_and_a_reuse_revokes() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (auth, token) = (Arc::clone(&world.auth), ada.refresh_token.clone());
        tasks.push(tokio::spawn(async move {
            let nobody = (UserId::NIL, LoginId::NIL, SessionId::NIL);
            answer(
                outcome(
                    &auth,
                    Method::AuthRefresh,
                    nobody,
                    json!({"refresh_token": token}),
                )
                .await,
            )
        }));
    }
    let mut successors = Vec::new();
    for task in tasks {
        successors.push(
            task.await.unwrap().unwrap()["refresh_token"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let took = began.elapsed();
    successors.sort();
    successors.dedup();
    eprintln!(
        "figure: 100 concurrent uses of one refresh token: {} successor, {took:.0?}",
        successors.len()
    );
    assert_eq!(successors.len(), 1);

    let third = world.refresh(&json!(successors[0])).await.unwrap();
    let nobody = (UserId::NIL, LoginId::NIL, SessionId::NIL);
    let reused = world
        .outcome(
            Method::AuthRefresh,
            nobody,
            json!({"refresh_token": ada.refresh_token}),
        )
        .await;
    assert_eq!(reused.revoked, [ada.login]);
    assert_eq!(refusal(answer(reused)).0, "unauthenticated");
    assert_eq!(
        refusal(world.refresh(&third["refresh_token"]).await).0,
        "unauthenticated"
    );
    assert!(world.audited(ada.user).await.contains(&"token_reused".to_owned()));
}
