//! The end of an account.

use hub_protocol::Method;
use serde_json::json;

use crate::world::{PASSWORD, World, answer, because, refusal};

#[tokio::test]
async fn a_deleted_account_is_gone_but_for_its_row() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let phone = world.log_in("ada", "phone").await;
    world.confirm_email(&ada).await;
    let wrong = world
        .call(
            &ada,
            Method::AuthDeleteAccount,
            json!({"password": "wrong horse"}),
        )
        .await;
    assert_eq!(refusal(wrong), because("forbidden", "password_invalid"));

    for _ in 0..2 {
        let done = world
            .revoking(&ada, Method::AuthDeleteAccount, json!({"password": PASSWORD}))
            .await;
        let mut revoked = done.revoked.clone();
        revoked.sort_unstable();
        let mut both = [ada.login, phone.login];
        both.sort_unstable();
        assert_eq!(revoked, both, "also when it is said twice");
        assert_eq!(answer(done).unwrap(), json!({}));
    }
    for token in [&ada.refresh_token, &phone.refresh_token] {
        assert_eq!(refusal(world.refresh(token).await).0, "unauthenticated");
    }
    let login = json!({"username": "ada", "password": PASSWORD});
    assert_eq!(
        refusal(world.public(Method::AuthLogin, login.clone()).await).0,
        "unauthenticated"
    );
    assert_eq!(
        refusal(world.public(Method::AuthRegister, login).await).0,
        "conflict",
        "for ever"
    );

    let rows = world
        .sql(
            "SELECT username, display_name, deleted_at IS NOT NULL FROM users WHERE id = $1",
            &[&ada.user.0],
        )
        .await;
    let username: String = rows[0].get(0);
    assert!(username.starts_with('~') && username.len() == 32, "{username}");
    assert_eq!(
        (rows[0].get::<_, &str>(1), rows[0].get::<_, bool>(2)),
        ("deleted account", true)
    );
    for table in ["credentials", "devices", "codes", "totp", "recovery_codes"] {
        let rows = world
            .sql(&format!("SELECT FROM {table} WHERE user_id = $1"), &[&ada.user.0])
            .await;
        assert!(rows.is_empty(), "{table}");
    }
    let dump = world
        .sql(
            "SELECT string_agg(reserved_names::text, ' ') FROM reserved_names",
            &[],
        )
        .await;
    assert!(!dump[0].get::<_, String>(0).contains("ada"));
    assert_eq!(world.audited(ada.user).await.last().unwrap(), "account_deleted");
}
