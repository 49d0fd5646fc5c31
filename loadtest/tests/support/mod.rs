//! A hub of one process for tests of the harness: the public protocol on real sockets, a log per room in memory,
//! spoken by a WebSocket library that we did not write.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message, accept_hdr};

/// What is wrong with the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Every so many sends are acknowledged and forgotten.
    Forgets(u64),
    /// Every so many deliveries are lost, and nobody is told.
    LosesDeliveries(u64),
}

/// The hub; it lives as long as the test's process.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    /// While this file is there, connections are cut.
    cut_file: PathBuf,
    /// Users by token.
    users: HashMap<String, String>,
    /// Members by room.
    members: HashMap<String, Vec<String>>,
    state: Mutex<State>,
    sends: AtomicU64,
    deliveries: AtomicU64,
    pub(crate) renewals: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Data of messages by room, in order.
    logs: HashMap<String, Vec<Value>>,
    /// Connections by user.
    online: Vec<(String, Sender<String>)>,
}

/// A token that says when it was issued.
pub(crate) fn token(user: usize, issued_at: u64) -> String {
    use base64::Engine;
    let claims = json!({"iat": issued_at, "sub": user}).to_string();
    format!(
        "e30.{}.sig",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)
    )
}

fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

impl Hub {
    /// Starts a hub and writes its token file into `folder`.
    pub(crate) fn start(
        folder: &Path,
        users: usize,
        rooms: usize,
        members: usize,
        issued_at: u64,
        fault: Fault,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut lines = vec![json!({"type": "meta", "users": users, "rooms": rooms})];
        let (mut by_token, mut by_room) = (HashMap::new(), HashMap::new());
        for user in 0..users {
            let token = token(user, issued_at);
            by_token.insert(token.clone(), id(user));
            lines.push(
                json!({"type": "user", "user": id(user), "username": format!("u{user}"), "token": token,
                "refresh_token": format!("refresh-{user}")}),
            );
        }
        for room in 0..rooms {
            let list: Vec<String> = (0..members)
                .map(|member| id((room * 3 + member) % users))
                .collect();
            lines.push(json!({"type": "room", "room": id(1_000_000 + room), "members": list}));
            by_room.insert(id(1_000_000 + room), list);
        }
        let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
        fs::write(folder.join("tokens.jsonl"), text.join("\n")).unwrap();
        let shared = Arc::new(Shared {
            fault,
            cut_file: folder.join("cut"),
            users: by_token,
            members: by_room,
            state: Mutex::default(),
            sends: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
        });
        let address = listener.local_addr().unwrap();
        let hub = Self {
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        hub
    }

    /// Tokens that were renewed.
    pub(crate) fn renewals(&self) -> u64 {
        self.shared.renewals.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut first = [0; 4];
        if self.cut_file.exists() || stream.peek(&mut first).unwrap_or(0) == 0 {
            return;
        }
        if first == *b"POST" {
            self.rpc(stream);
        } else {
            self.websocket(stream);
        }
    }

    /// `auth.refresh`: the same user, a fresh token.
    fn rpc(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !request.ends_with(b"}}") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "the request is whole");
            request.extend_from_slice(&piece[..read]);
        }
        let text = String::from_utf8(request).unwrap();
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let refresh = body["params"]["refresh_token"].as_str().unwrap();
        let user: usize = refresh.rsplit('-').next().unwrap().parse().unwrap();
        self.renewals.fetch_add(1, Ordering::Relaxed);
        // Any issued-at names the user; the test's own clock does not matter to the hub.
        let answer = json!({"id": body["id"], "result": {
            "user": {"id": id(user), "username": "u", "display_name": "u", "created_at": 0},
            "access_token": token(user, 4_000_000_000), "refresh_token": format!("again-{user}"), "expires_in": 900,
        }})
        .to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }

    fn user_of(&self, token: &str) -> String {
        let renewed = || {
            (0..self.users.len())
                .find(|&user| self::token(user, 4_000_000_000) == token)
                .map(id)
        };
        self.users
            .get(token)
            .cloned()
            .or_else(renewed)
            .expect("a token of this hub")
    }

    #[expect(clippy::result_large_err, reason = "the library's callback type")]
    fn websocket(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let Ok(mut socket) = accept_hdr(stream, |_: &Request, mut response: Response| {
            response
                .headers_mut()
                .insert("sec-websocket-protocol", "socket-hub.v1".parse().unwrap());
            Ok(response)
        }) else {
            return;
        };
        socket
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let (out, inbox): (Sender<String>, Receiver<String>) = mpsc::channel();
        let mut user = None;
        while !self.cut_file.exists() {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    self.on_request(&serde_json::from_str(&text).unwrap(), &mut user, &out);
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            for text in inbox.try_iter() {
                if socket.send(Message::text(text)).is_err() {
                    return;
                }
            }
        }
    }

    fn on_request(&self, request: &Value, user: &mut Option<String>, out: &Sender<String>) {
        let (params, room) = (&request["params"], request["room"].as_str());
        let result = match (request["method"].as_str().unwrap(), room) {
            ("session.open", _) => {
                let opened = self.user_of(params["token"].as_str().unwrap());
                self.state
                    .lock()
                    .unwrap()
                    .online
                    .push((opened.clone(), out.clone()));
                let result = json!({
                    "user": opened, "session": id(7), "expires_at": 0, "heartbeat_ms": 25_000, "server_time": 0,
                    "epoch": "e", "features": [],
                    "limits": {"message_bytes": 65_536, "messages_per_second": 0, "messages_burst": 0},
                });
                *user = Some(opened);
                result
            }
            ("sync", _) => self.sync(user.as_ref().unwrap()),
            ("message.history", Some(room)) => self.history(room, params),
            ("message.send", Some(room)) => self.send(room, user.as_ref().unwrap(), params),
            (method, _) => panic!("{method} is not expected"),
        };
        let _ = out.send(json!({"id": request["id"], "result": result}).to_string());
    }

    fn sync(&self, user: &String) -> Value {
        let state = self.state.lock().unwrap();
        let mine = self.members.iter().filter(|(_, members)| members.contains(user));
        let rooms: Vec<Value> = mine
            .map(|(room, _)| {
                let seq = state.logs.get(room).map_or(0, Vec::len);
                json!({
                    "room": {"id": room, "kind": "group", "name": "", "created_by": user, "created_at": 0},
                    "seq": seq, "n": seq, "from_seq": 1, "role": "member", "read_seq": 0, "unread": 0, "mentions": 0,
                })
            })
            .collect();
        json!({"rooms": rooms, "left": [], "cursor": "c", "reset": true})
    }

    fn history(&self, room: &str, params: &Value) -> Value {
        let state = self.state.lock().unwrap();
        let after = usize::try_from(params["after"].as_u64().unwrap()).unwrap();
        let log = state.logs.get(room).map_or(&[][..], Vec::as_slice);
        let events: Vec<Value> = log.iter().skip(after).take(200).map(event).collect();
        json!({"events": events, "hidden": [], "more": log.len() > after + 200})
    }

    fn send(&self, room: &str, user: &str, params: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        let op = &params["client_message_id"];
        let log = state.logs.entry(room.to_owned()).or_default();
        if let Some(known) = log.iter().find(|data| &data["client_message_id"] == op).cloned() {
            self.deliver(&mut state, room, &known);
            return json!({"message": known, "seq": known["seq"], "n": known["n"], "duplicate": true});
        }
        let seq = log.len() + 1;
        let data = json!({
            "room": room, "seq": seq, "n": seq, "sender": user, "client_message_id": op, "text": params["text"],
            "created_at": 0,
        });
        let number = self.sends.fetch_add(1, Ordering::Relaxed) + 1;
        if !matches!(self.fault, Fault::Forgets(every) if number.is_multiple_of(every)) {
            log.push(data.clone());
            self.deliver(&mut state, room, &data);
        }
        json!({"message": data, "seq": seq, "n": seq, "duplicate": false})
    }

    fn deliver(&self, state: &mut State, room: &str, data: &Value) {
        let text = event(data).to_string();
        let members = &self.members[room];
        state.online.retain(|(user, out)| {
            if !members.contains(user) {
                return true;
            }
            let number = self.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
            let is_lost = matches!(self.fault, Fault::LosesDeliveries(every) if number.is_multiple_of(every));
            is_lost || out.send(text.clone()).is_ok()
        });
    }
}

fn event(data: &Value) -> Value {
    json!({"event": "message.created", "room": data["room"], "seq": data["seq"], "data": data})
}
