//! The address that one-time codes go to, and the ways on which they go.

use hub_protocol::Method;
use hub_services::config::OutboxKind;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::world::{PASSWORD, World, because, config, digits, refusal};

#[tokio::test]
async fn an_address_counts_once_its_code_came_back() {
    let world = World::start().await;
    let ada = world.register("ada").await;
    let bob = world.register("bob").await;
    let set = |password: &str, email: &str| json!({"password": password, "email": email});
    for email in [
        "",
        "ada",
        "ada@",
        "a b@example.org",
        &format!("a@{}.org", "b".repeat(260)),
    ] {
        let refused = world.call(&ada, Method::AuthSetEmail, set(PASSWORD, email)).await;
        assert_eq!(refusal(refused).0, "bad_request", "{email}");
    }
    let wrong = world
        .call(&ada, Method::AuthSetEmail, set("wrong horse", "ada@example.org"))
        .await;
    assert_eq!(refusal(wrong), because("forbidden", "password_invalid"));
    assert_eq!(world.messages(), 0);

    let asked = world
        .call(&ada, Method::AuthSetEmail, set(PASSWORD, "ada@example.org"))
        .await
        .unwrap();
    let confirm = |code: &str| json!({"challenge": asked["challenge"], "code": code});
    let code = world.code(1).await;
    let listed = async || world.call(&ada, Method::AuthLogins, json!({})).await.unwrap();
    assert!(listed().await.get("email").is_none());
    let wrong = world.call(&ada, Method::AuthConfirmEmail, confirm("1")).await;
    assert_eq!(refusal(wrong), because("forbidden", "code_invalid"));
    for _ in 0..2 {
        assert!(
            world
                .call(&ada, Method::AuthConfirmEmail, confirm(&code))
                .await
                .is_ok()
        );
    }
    assert_eq!(listed().await["email"], "ada@example.org");
    let foreign = world.call(&bob, Method::AuthConfirmEmail, confirm(&code)).await;
    assert_eq!(refusal(foreign).0, "forbidden");

    let removed = json!({"password": PASSWORD, "email": null});
    assert_eq!(
        world.call(&ada, Method::AuthSetEmail, removed).await.unwrap(),
        json!({})
    );
    assert!(listed().await.get("email").is_none());
}

#[tokio::test]
async fn a_system_that_sends_nothing_says_so() {
    let world = World::with_outbox(config(), OutboxKind::None, tempfile::tempdir().unwrap()).await;
    let ada = world.register("ada").await;
    let set = json!({"password": PASSWORD, "email": "ada@example.org"});
    let refused = world.call(&ada, Method::AuthSetEmail, set).await;
    assert_eq!(refusal(refused), because("forbidden", "no_outbox"));
    for name in ["ada", "nobody"] {
        let refused = world
            .public(Method::AuthRequestReset, json!({"username": name}))
            .await;
        assert_eq!(refusal(refused), because("forbidden", "no_outbox"));
    }
}

/// The other end of SMTP (RFC 5321), as far as one message needs it: returns recipient and text.
async fn receive(listener: TcpListener) -> (String, String) {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test ESMTP\r\n").await.unwrap();
    let (mut to, mut text, mut is_data) = (String::new(), String::new(), false);
    while let Some(line) = lines.next_line().await.unwrap() {
        if is_data && line != "." {
            text.push_str(&line);
            text.push('\n');
            continue;
        }
        let reply = match line.split(' ').next().unwrap() {
            "." => {
                is_data = false;
                "250 kept"
            }
            "DATA" => {
                is_data = true;
                "354 go on"
            }
            "RCPT" => {
                to = line;
                "250 fine"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        if reply == "250 kept" {
            return (to, text);
        }
    }
    panic!("no message came");
}

#[tokio::test]
async fn a_code_travels_by_smtp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let received = tokio::spawn(receive(listener));
    let world = World::with_outbox(config(), OutboxKind::Smtp(url), tempfile::tempdir().unwrap()).await;
    let ada = world.register("ada").await;
    let set = json!({"password": PASSWORD, "email": "ada@example.org"});
    let asked = world.call(&ada, Method::AuthSetEmail, set).await.unwrap();
    let (to, text) = received.await.unwrap();
    assert!(to.contains("<ada@example.org>"), "{to}");
    assert!(text.contains("From: Hub <hub@example.org>"), "{text}");
    let confirm = json!({"challenge": asked["challenge"], "code": digits(&text)});
    assert!(world.call(&ada, Method::AuthConfirmEmail, confirm).await.is_ok());
}
