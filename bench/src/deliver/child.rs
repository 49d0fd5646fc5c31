//! A process of this program that is spoken with in lines, and killed when dropped.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A running subcommand of this program.
pub struct Child {
    name: &'static str,
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    /// Starts a subcommand; `wrapper` is put before the program's name.
    pub fn start(wrapper: &[String], name: &'static str, args: &[String]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = if let [first, rest @ ..] = wrapper {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg(name).args(args);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().context("was asked for")?),
            process,
        })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Says a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        writeln!(input, "{line}").with_context(|| format!("{} has ended", self.name))
    }

    /// Waits for the next line, which starts with this word; returns the rest of it.
    pub fn expect(&mut self, word: &str) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let line = line.trim_end();
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None if line.is_empty() => bail!("{} has ended", self.name),
            None => bail!("{} says {line:?} instead of {word}", self.name),
        }
    }

    /// Closes its input, which ends it, and waits for that.
    pub fn finish(&mut self) -> Result<()> {
        self.input = None;
        let status = self.process.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}
