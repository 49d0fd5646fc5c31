//! The audit log, and what ends by its age.

use std::time::Duration;

use hub_protocol::Method;
use hub_services::auth::tidy;
use serde_json::json;

use crate::world::{PASSWORD, World};

const DAY_US: i64 = 86_400 * 1_000_000;

#[tokio::test]
async fn what_happens_to_an_account_is_written_down_with_its_place() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let wrong = json!({"username": "ada", "password": "wrong horse"});
    assert!(world.public_from(7, Method::AuthLogin, wrong).await.is_err());
    world.call(&ada, Method::AuthLogout, json!({})).await.unwrap();
    assert_eq!(
        world.audited(ada.user).await,
        ["registered", "logged_in", "login_failed", "logged_out"]
    );
    let rows = world
        .sql(
            "SELECT address FROM audit WHERE user_id = $1 ORDER BY id",
            &[&ada.user.0],
        )
        .await;
    let addresses: Vec<Option<Vec<u8>>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(addresses[0], addresses[1]);
    assert!(addresses[0].is_some() && addresses[2].is_some() && addresses[0] != addresses[2]);
    assert_eq!(addresses[3], None, "over a session nobody says");
    let dump = world
        .sql("SELECT string_agg(audit::text, ' ') FROM audit", &[])
        .await;
    let dump: String = dump[0].get(0);
    assert!(!dump.contains("horse") && !dump.contains("0a000001"), "{dump}");
}

#[tokio::test]
async fn what_is_too_old_is_deleted_and_nothing_else() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let phone = world.log_in("ada", "phone").await;
    world.confirm_email(&ada).await;
    world.call(&phone, Method::AuthLogout, json!({})).await.unwrap();
    let count = async || {
        let sql = "SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM codes), \
                   (SELECT count(*) FROM logins), (SELECT count(*) FROM devices)";
        let rows = world.sql(sql, &[]).await;
        [0, 1, 2, 3].map(|at| rows[0].get::<_, i64>(at))
    };
    let now = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_micros(),
    )
    .unwrap();
    let audit = Duration::from_hours(24 * 90);
    let tidy = async |days: i64| {
        tidy::once(&world.db.store, audit, now + days * DAY_US)
            .await
            .unwrap()
    };
    let all = count().await;
    assert_eq!(tidy(0).await, 0);
    assert_eq!(count().await, all);
    assert_eq!(tidy(2).await, 1, "the code");
    assert_eq!(tidy(31).await, 1, "the login that ended");
    assert_eq!(tidy(61).await, 1, "the one that was not renewed");
    assert_eq!(tidy(91).await, u64::try_from(all[0]).unwrap(), "the log");
    assert_eq!(tidy(401).await, 2, "the devices");
    assert_eq!(count().await, [0, 0, 0, 0]);
    let login = json!({"username": "ada", "password": PASSWORD});
    assert!(world.public(Method::AuthLogin, login).await.is_ok());
}
