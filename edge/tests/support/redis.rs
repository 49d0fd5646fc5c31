//! A Redis server of one test, on a socket in its own folder, so that it can come back at the same address.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use redis::{Client, Connection, ConnectionLike};
use tempfile::TempDir;

/// A server that ends with its test.
pub struct Redis {
    folder: TempDir,
    child: Child,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(folder.path());
        let redis = Self { folder, child };
        redis.wait();
        redis
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("unix://{}/redis.sock", self.folder.path().display())
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::open(self.url()).expect("a valid address")
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        self.client().get_connection().expect("Redis answers")
    }

    /// Partition counts and epoch, as the services write them.
    pub fn write_meta(&self) {
        redis::cmd("HSET")
            .arg("hub:meta")
            .arg(&[
                "auth_partitions",
                "2",
                "chat_partitions",
                "8",
                "user_partitions",
                "4",
            ])
            .arg(&["epoch", "test", "batch_version", "1"])
            .exec(&mut self.connect())
            .expect("writes");
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, at the same address.
    pub fn restart(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.folder.path().join("redis.sock"));
        self.child = spawn(self.folder.path());
        self.wait();
    }

    /// Stops it in its tracks: connections stay, nothing is answered.
    pub fn stop(&self) {
        super::signal(&self.child, "STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        super::signal(&self.child, "CONT");
    }

    fn wait(&self) {
        super::eventually("Redis answers", || {
            let mut connection = self.client().get_connection().ok()?;
            connection.check_connection().then_some(())
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run scripts/test, which sees to it")
}
