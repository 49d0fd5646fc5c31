//! The real binary.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::client::{Client, Reply};
use super::keys::Keys;

/// An edge node of one test.
pub struct Edge {
    /// Its keys.
    pub keys: Keys,
    listen: SocketAddr,
    /// The operators' port.
    pub admin: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Edge {
    /// Starts a node on this engine, with two shards and `/echo`, against this Redis and waits until it answers.
    /// `settings` are `SECTION__KEY` and value.
    pub fn start(engine: &str, redis_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_with(command(), engine, redis_url, settings)
    }

    /// The same, started by another command that ends with the program's name.
    pub fn start_with(
        mut command: Command,
        engine: &str,
        redis_url: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let keys = Keys::make();
        let folder = tempfile::tempdir().expect("a folder");
        let (listen, admin) = (free_address(), free_address());
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        command
            .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
            .args(["--redis", redis_url, "--shards", "2", "--echo", "--keys"])
            .arg(keys.path())
            .env("HUB_EDGE__SERVER__PIN", "false")
            .env("HUB_EDGE__RING__CONNECTIONS_MAX", "1024")
            .env("HUB_EDGE__RING__ENGINE", engine)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        for (name, value) in settings {
            command.env(format!("HUB_EDGE__{name}"), value);
        }
        let mut edge = Self {
            keys,
            listen,
            admin,
            child: command.spawn().expect("the binary starts"),
            folder,
        };
        super::eventually("the node answers", || {
            if let Some(status) = edge.child.try_wait().expect("is our child") {
                panic!("the node ended with {status}: {}", edge.log());
            }
            std::net::TcpStream::connect(edge.admin).ok().map(drop)
        });
        // The port is opened first and answers last, when every shard listens.
        assert_eq!(edge.admin("/healthz").0, 200);
        edge
    }

    /// A new connection to the public port.
    pub fn connect(&self) -> Client {
        Client::connect(self.listen)
    }

    /// The same, or nothing if nobody listens.
    pub fn try_connect(&self) -> Option<Client> {
        std::net::TcpStream::connect(self.listen).ok().map(Client::new)
    }

    /// The public port.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// One request on a connection of its own.
    pub fn request(&self, text: &str) -> Reply {
        let mut client = self.connect();
        client.write(text.as_bytes());
        client.reply()
    }

    /// `POST /v1/rpc`.
    pub fn call(&self, token: Option<&str>, body: &str) -> Reply {
        let authorization = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        self.request(&format!(
            "POST /v1/rpc HTTP/1.1\r\nHost: a\r\n{authorization}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    /// `GET` on the admin port: status and body.
    pub fn admin(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// `POST` on the admin port, `extra` being more header lines: status and body.
    pub fn admin_post(&self, path: &str, extra: &str) -> (u16, String) {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{extra}Content-Length: 0\r\n\r\n"
        ))
    }

    fn ask(&self, request: &str) -> (u16, String) {
        let mut client = Client::connect(self.admin);
        client.write(request.as_bytes());
        let reply = client.reply();
        (reply.status, String::from_utf8(reply.body).expect("is text"))
    }

    /// Waits until the node takes clients.
    pub fn ready(&self) {
        super::eventually("the node is ready", || {
            (self.admin("/readyz").0 == 200).then_some(())
        });
    }

    /// A value on `/metrics`, summed over its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.admin("/metrics");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits for a value on `/metrics`; shards publish theirs ten times a second.
    pub fn metric_is(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        super::eventually(name, || wanted(self.metric(name)).then_some(()));
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        super::signal(&self.child, "TERM");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        super::eventually("the node ends", || self.child.try_wait().expect("is our child"))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Changes how many descriptors it may have, without touching those that it has.
    pub fn limit_descriptors(&self, soft: u32) {
        let status = Command::new("prlimit")
            .args([format!("--nofile={soft}:"), format!("--pid={}", self.child.id())])
            .status()
            .expect("prlimit runs");
        assert!(status.success(), "prlimit");
    }

    /// Its resident memory, bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("proc(5) has VmRSS in kB") * 1024
    }

    /// The CPU time it has used, in ticks of the kernel.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("is alive");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<_> = after_name.split_whitespace().collect();
        // utime and stime are the 14th and 15th of proc(5), the name being the second.
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Captured with the output of the failed test.
            #[expect(clippy::print_stdout, reason = "shown with a failed test")]
            {
                println!("log of the node:\n{}", self.log());
            }
        }
    }
}

/// The binary under test.
pub fn command() -> Command {
    Command::new(program())
}

/// Where the binary under test is.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_hub-edge"))
}

fn free_address() -> SocketAddr {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    probe.local_addr().expect("is bound")
}
