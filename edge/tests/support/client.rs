//! A client that is only a socket: it sends what it is told, however wrong.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use hub_ws::frame::{Opcode, push_masked};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// Plain, or under TLS.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection.
pub struct Client {
    stream: Wire,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The `code` of its error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .expect("a refusal")
            .to_owned()
    }
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Close(u16),
    Other(u8, Vec<u8>),
    /// The connection ended without a frame.
    End,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("the node listens"))
    }

    /// Connects from another address of this host.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .expect("127.0.0.0/8 is ours");
        socket.connect(&address.into()).expect("the node listens");
        Self::new(socket.into())
    }

    /// Connects with a receive buffer as small as the kernel allows: who does not read stops the other side soon.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1).expect("is rounded up");
        socket.connect(&address.into()).expect("the node listens");
        Self::new(socket.into())
    }

    /// A client on this socket.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("is a TCP socket");
        stream
            .set_read_timeout(Some(super::PATIENCE))
            .expect("is not zero");
        stream
            .set_write_timeout(Some(super::PATIENCE))
            .expect("is not zero");
        Self {
            stream: Wire::Plain(stream),
            buffer: Vec::new(),
        }
    }

    /// The same under TLS, to `hub.example`. The handshake happens with the first bytes.
    pub fn secure(self, config: &Arc<ClientConfig>) -> Self {
        let Wire::Plain(stream) = self.stream else {
            panic!("it is under TLS already");
        };
        let name = ServerName::try_from("hub.example").expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
        Self {
            stream: Wire::Tls(Box::new(StreamOwned::new(session, stream))),
            buffer: self.buffer,
        }
    }

    /// Sends bytes; that the other side has closed is no failure here.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .is_ok()
    }

    /// Says that nothing more comes.
    pub fn finish(&self) {
        let _ = self.stream.socket().shutdown(std::net::Shutdown::Write);
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(len) => {
                self.buffer.extend_from_slice(&chunk[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the node says nothing"),
            Err(_) => false,
        }
    }

    /// The next response; status 0 if the connection ended without one.
    pub fn reply(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return Reply {
                    status: 0,
                    head: String::new(),
                    body: Vec::new(),
                };
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("a head is text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        while self.buffer.len() < length {
            assert!(self.fill(), "the body is cut");
        }
        let body = self.buffer.drain(..length).collect();
        Reply { status, head, body }
    }

    /// Sends a request and reads its response.
    pub fn reply_to(&mut self, text: &str) -> Reply {
        self.write(text.as_bytes());
        self.reply()
    }

    /// The next response up to its body.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.buffer.drain(..at + 4).collect()).expect("a head is text");
            }
            assert!(self.fill(), "the head is cut");
        }
    }

    /// True if the node has closed the connection and said nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    /// Reads whatever comes until the node ends the connection.
    pub fn skip_to_end(&mut self) {
        while self.fill() {
            self.buffer.clear();
        }
    }

    /// Opens a WebSocket; `extra` are more header lines, `early` is sent with the head.
    pub fn upgrade(&mut self, path: &str, extra: &str, early: &[u8]) -> Reply {
        let nonce = *b"sixteen bytes ok";
        let mut bytes = hub_ws::handshake::write_request("a", path, nonce, None, extra).into_bytes();
        bytes.extend_from_slice(early);
        self.write(&bytes);
        self.reply()
    }

    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        self.write(&text_frame(text));
    }

    /// The next frame of the server.
    pub fn frame(&mut self) -> Frame {
        let mut need = 2;
        loop {
            if self.buffer.len() >= need {
                let (header, len) = match self.buffer[1] & 0x7F {
                    126 if self.buffer.len() >= 4 => (
                        4,
                        usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])),
                    ),
                    126 => (4, 0),
                    127 if self.buffer.len() >= 10 => {
                        let length = self.buffer[2..10].try_into().expect("eight bytes");
                        (10, usize::try_from(u64::from_be_bytes(length)).expect("fits"))
                    }
                    127 => (10, 0),
                    len => (2, usize::from(len)),
                };
                need = header + len;
                if self.buffer.len() >= need {
                    let opcode = self.buffer[0] & 0x0F;
                    let payload = self.buffer.drain(..need).skip(header).collect::<Vec<_>>();
                    return match opcode {
                        1 => Frame::Text(String::from_utf8(payload).expect("text")),
                        8 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
                        other => Frame::Other(other, payload),
                    };
                }
            }
            if !self.fill() {
                return Frame::End;
            }
        }
    }

    /// The next text, as JSON.
    pub fn json(&mut self) -> serde_json::Value {
        match self.frame() {
            Frame::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?} instead of a text"),
        }
    }
}

/// A masked frame with any first byte: `FIN RSV1 RSV2 RSV3 opcode`.
pub fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_masked(&mut bytes, Opcode::Text, payload, [1, 2, 3, 4]);
    bytes[0] = first;
    bytes
}

/// A whole masked text message.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_masked(&mut bytes, Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
    bytes
}
