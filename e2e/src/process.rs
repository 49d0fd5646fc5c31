//! One part of a stack: a process with a log, which may be killed and started again with the same arguments.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::http;
use crate::wait;

/// A process of the system under test. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    admin: Option<SocketAddr>,
    child: Option<Child>,
}

impl Process {
    /// A part that is not started yet. Its log goes to `FOLDER/NAME.log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_owned(),
            admin: None,
            child: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds variables to its environment.
    #[must_use]
    pub fn env(mut self, variables: &[(String, String)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Where it answers `/readyz`.
    #[must_use]
    pub fn admin(mut self, admin: SocketAddr) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Its admin port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Starts it; [`ready`](Self::ready) waits for it.
    pub fn start(&mut self) -> Result<()> {
        let path = self.log_path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .context("opens the log")?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("shares the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!(
                    "{} does not start; build it with scripts/check build",
                    self.program.display()
                )
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&mut self) -> Result<()> {
        let Some(admin) = self.admin else { return Ok(()) };
        let name = self.name.clone();
        wait::until(&format!("{name} is ready"), async || {
            if self.has_ended() {
                return Some(false);
            }
            http::get(admin, "/readyz")
                .await
                .ok()
                .filter(|answer| answer.status == 200)
                .map(|_| true)
        })
        .await
        .then_some(())
        .with_context(|| format!("{name} ended:\n{}", self.log()))
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        self.child
            .as_ref()
            .map(Child::id)
            .context("the process was not started")
    }

    /// True if it was never started or has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)))
    }

    /// SIGKILL: it learns nothing of it.
    pub fn kill(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the process was not started")?;
        child.kill().context("kills")?;
        child.wait().context("reaps")?;
        Ok(())
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .context("runs kill")?;
        if !status.success() {
            bail!("kill -s {signal} {pid} failed");
        }
        Ok(())
    }

    /// SIGTERM, and its exit code.
    pub async fn terminate(&mut self) -> Result<Option<i32>> {
        self.signal("TERM")?;
        let name = self.name.clone();
        let child = self.child.as_mut().context("the process was not started")?;
        let status = wait::until(&format!("{name} ends"), async || child.try_wait().ok().flatten()).await;
        Ok(status.code())
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the parts said")]
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}

/// An address on loopback that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binds a port")?;
    listener.local_addr().context("names its port")
}
