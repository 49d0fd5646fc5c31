//! A WebSocket client on tokio-tungstenite: calls with their answers, events in their order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use hub_protocol::{RoomId, UserId};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::http::Account;
use crate::wait;

/// One WebSocket connection.
#[derive(Debug)]
pub struct Connection {
    socket: WebSocketStream<TcpStream>,
    calls: u64,
    events: VecDeque<Value>,
}

impl Connection {
    /// Connects without opening a session.
    pub async fn connect(edge: SocketAddr) -> Result<Self> {
        let mut request = format!("ws://{edge}{}", hub_protocol::api::PATH_WS).into_client_request()?;
        let protocol = hub_protocol::api::SUBPROTOCOL.parse().context("a header value")?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let stream = TcpStream::connect(edge).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = timeout(wait::LONG, client_async(request, stream))
            .await
            .context("no upgrade")??;
        Ok(Self {
            socket,
            calls: 0,
            events: VecDeque::new(),
        })
    }

    /// Connects and opens a session.
    pub async fn open(edge: SocketAddr, account: &Account) -> Result<Self> {
        let mut connection = Self::connect(edge).await?;
        let opened = connection
            .ok("session.open", None, json!({"token": account.access_token}))
            .await?;
        let user: UserId = serde_json::from_value(opened["user"].clone())?;
        if user != account.user {
            bail!("the session belongs to {user}");
        }
        Ok(connection)
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Message::text(text.into())).await
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        timeout(wait::LONG, self.socket.send(message))
            .await
            .context("cannot send")??;
        Ok(())
    }

    /// Sends a call and returns its id, without waiting.
    pub async fn post(&mut self, method: &str, room: Option<RoomId>, params: Value) -> Result<u64> {
        self.calls += 1;
        let mut request = json!({"id": self.calls, "method": method, "params": params});
        if let Some(room) = room {
            request["room"] = json!(room);
        }
        self.send_text(request.to_string()).await?;
        Ok(self.calls)
    }

    /// A call and its whole answer. Events that come before it are kept.
    pub async fn call(&mut self, method: &str, room: Option<RoomId>, params: Value) -> Result<Value> {
        let id = self.post(method, room, params).await?;
        self.answer(id).await
    }

    /// A call that must go well, and its result.
    pub async fn ok(&mut self, method: &str, room: Option<RoomId>, params: Value) -> Result<Value> {
        let answer = self.call(method, room, params).await?;
        answer
            .get("result")
            .cloned()
            .with_context(|| format!("{method}: {answer}"))
    }

    /// A call that must be refused, and the code.
    pub async fn refused(&mut self, method: &str, room: Option<RoomId>, params: Value) -> Result<String> {
        let answer = self.call(method, room, params).await?;
        let code = answer["error"]["code"]
            .as_str()
            .with_context(|| format!("{method}: {answer}"))?;
        Ok(code.to_owned())
    }

    /// The answer of a call that was posted.
    pub async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.receive().await?;
            if message.get("event").is_some() {
                self.events.push_back(message);
            } else if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// The next message that is no event: an answer, or a refusal without an id.
    pub async fn next_answer(&mut self) -> Result<Value> {
        loop {
            let message = self.receive().await?;
            if message.get("event").is_none() {
                return Ok(message);
            }
            self.events.push_back(message);
        }
    }

    /// The next event that `wanted` accepts; others stay in their order.
    pub async fn event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.events.iter().position(&wanted) {
            return self.events.remove(at).context("the position exists");
        }
        loop {
            let message = self
                .receive()
                .await
                .with_context(|| format!("while waiting for {what}"))?;
            if message.get("event").is_none() {
                continue;
            }
            if wanted(&message) {
                return Ok(message);
            }
            self.events.push_back(message);
        }
    }

    /// The next event of this name.
    pub async fn event_named(&mut self, name: &str) -> Result<Value> {
        self.event(name, |event| event["event"] == name).await
    }

    /// Events that came and nobody asked for.
    pub fn unread_events(&self) -> impl Iterator<Item = &Value> {
        self.events.iter()
    }

    /// Reads until the connection is closed, and returns the code.
    pub async fn closed(&mut self) -> Result<u16> {
        loop {
            match timeout(wait::LONG, self.socket.next())
                .await
                .context("the connection was not closed")?
            {
                Some(Ok(Message::Close(frame))) => {
                    return frame
                        .map(|frame| frame.code.into())
                        .context("a close without a code");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("the connection broke"),
                None => bail!("the connection ended without a close"),
            }
        }
    }

    /// Closes in the orderly way and waits for the other side.
    pub async fn close(mut self) -> Result<()> {
        self.socket.close(None).await?;
        while let Some(Ok(_)) = timeout(wait::LONG, self.socket.next())
            .await
            .context("no close in return")?
        {}
        Ok(())
    }

    async fn receive(&mut self) -> Result<Value> {
        loop {
            let message = timeout(wait::LONG, self.socket.next())
                .await
                .context("no message")?;
            match message.context("the connection ended")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }
}
