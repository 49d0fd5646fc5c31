//! Calls over HTTP/1.1, written by hand: one connection per call.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use hub_protocol::{RoomId, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; a JSON string if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The result of a call that went well.
    pub fn result(&self) -> Result<&Value> {
        self.body
            .get("result")
            .with_context(|| format!("no result: {self:?}"))
    }

    /// The code of a refusal, or an empty text.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// An account with a login.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub user: UserId,
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Opens sessions.
    pub access_token: String,
    /// Renews the login.
    pub refresh_token: String,
}

impl Account {
    /// Registers an account under a new name.
    pub async fn register(edge: SocketAddr) -> Result<Self> {
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let username = format!("u{}", &unique[..26]);
        let password = "correct horse battery".to_owned();
        let answer = rpc(
            edge,
            None,
            json!({"id": 1, "method": "auth.register",
                   "params": {"username": username, "password": password}}),
        )
        .await?;
        Self::from_result(answer.result()?, password)
    }

    /// Reads the result of `auth.register`, `auth.login` or `auth.refresh`.
    pub fn from_result(result: &Value, password: String) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        Ok(Self {
            user: result["user"]["id"].as_str().context("the user's id")?.parse()?,
            username: text(&result["user"]["username"])?,
            password,
            access_token: text(&result["access_token"])?,
            refresh_token: text(&result["refresh_token"])?,
        })
    }

    /// A call of this account.
    pub async fn call(
        &self,
        edge: SocketAddr,
        method: &str,
        room: Option<RoomId>,
        params: Value,
    ) -> Result<Answer> {
        let mut request = json!({"id": 1, "method": method, "params": params});
        if let Some(room) = room {
            request["room"] = json!(room);
        }
        rpc(edge, Some(&self.access_token), request).await
    }
}

/// Posts a call.
pub async fn rpc(edge: SocketAddr, token: Option<&str>, request: Value) -> Result<Answer> {
    post(edge, token, &request.to_string()).await
}

/// Posts any text.
pub async fn post(edge: SocketAddr, token: Option<&str>, body: &str) -> Result<Answer> {
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "POST /v1/rpc HTTP/1.1\r\nHost: {edge}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         {token}Connection: close\r\n\r\n",
        body.len()
    );
    exchange(edge, &[head.as_bytes(), body.as_bytes()].concat()).await
}

/// Gets a path.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .await
}

async fn exchange(address: SocketAddr, request: &[u8]) -> Result<Answer> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        // A server may answer and close before it has read everything, as for a body that is too large.
        let written = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        if bytes.is_empty() {
            written?;
            read?;
        }
        anyhow::Ok(bytes)
    };
    let bytes = timeout(wait::LONG, talk).await.context("no answer")??;
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("no HTTP answer: {text:?}")
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("a status")?;
    Ok(Answer {
        status,
        body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
    })
}
