//! `hub-edge top`: all shards of a running node at a glance, from its admin port.
//!
//! `/metrics` → [`sample`] → [`row`] (two samples) → [`table`] → the terminal ([`draw`]) or stdout.

pub mod draw;
pub mod row;
pub mod sample;
pub mod table;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::operator::{AskError, ask};
use row::Row;
use sample::Sample;

/// What the live view shows.
#[derive(Debug)]
pub struct View {
    admin: SocketAddr,
    last: Option<Sample>,
    /// Who does not answer, and why.
    missing: Option<String>,
    /// What is shown now.
    rows: Vec<Row>,
}

impl View {
    /// Nothing yet.
    pub fn new(admin: SocketAddr) -> Self {
        Self {
            admin,
            last: None,
            missing: Some(format!("{admin}: no answer yet")),
            rows: Vec::new(),
        }
    }

    /// The node has answered, or did not.
    pub fn on_answer(&mut self, answer: Result<Sample, String>) {
        match answer {
            Ok(sample) => {
                let before = self.last.as_ref();
                self.rows = before
                    .and_then(|before| row::rows(before, &sample))
                    .unwrap_or_default();
                self.last = Some(sample);
                self.missing = None;
            }
            Err(why) => {
                self.rows.clear();
                self.last = None;
                self.missing = Some(why);
            }
        }
    }

    fn headline(&self) -> String {
        match (&self.missing, &self.last) {
            (None, Some(sample)) => format!(
                "hub-edge {} at {}   redis {}   q quits",
                sample.version,
                self.admin,
                if sample.is_backbone_up { "up" } else { "DOWN" },
            ),
            (why, _) => format!("waiting for {}   q quits", why.as_deref().unwrap_or_default()),
        }
    }
}

/// Asks twice, `interval` apart, and returns the rows as plain text.
pub fn once(admin: SocketAddr, interval: Duration) -> Result<String, AskError> {
    let mut before = take_sample(admin)?;
    loop {
        std::thread::sleep(interval);
        let after = take_sample(admin)?;
        match row::rows(&before, &after) {
            Some(rows) => return Ok(table::plain(&rows)),
            // The node was started anew in between.
            None => before = after,
        }
    }
}

/// Shows the node until `q`.
pub fn watch(admin: SocketAddr, interval: Duration) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let watched = watch_on(&mut terminal, admin, interval);
    ratatui::restore();
    watched
}

fn watch_on(
    terminal: &mut ratatui::DefaultTerminal,
    admin: SocketAddr,
    interval: Duration,
) -> io::Result<()> {
    let mut view = View::new(admin);
    loop {
        let next = Instant::now() + interval;
        view.on_answer(take_sample(admin).map_err(|error| error.to_string()));
        terminal.draw(|frame| draw::draw(frame, &view))?;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                break;
            }
            if is_quit(&event::read()?) {
                return Ok(());
            }
            // The window may have another size.
            terminal.draw(|frame| draw::draw(frame, &view))?;
        }
    }
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || is_interrupt)
}

fn take_sample(admin: SocketAddr) -> Result<Sample, AskError> {
    let at = Instant::now();
    Ok(Sample::read(&ask(admin, "GET", "/metrics")?, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(turns: u32) -> Sample {
        Sample::read(
            &format!("hub_edge_turns_total{{shard=\"0\"}} {turns}\n"),
            Instant::now(),
        )
    }

    #[test]
    fn a_restart_is_waited_for_and_then_shown() {
        let mut view = View::new("127.0.0.1:9080".parse().expect("an address"));
        assert!(view.headline().starts_with("waiting for"));
        view.on_answer(Ok(sample(10)));
        assert_eq!(view.rows.len(), 0, "one sample has no rates");
        view.on_answer(Ok(sample(20)));
        assert_eq!(view.rows.len(), 1);
        view.on_answer(Err("127.0.0.1:9080: connection refused".to_owned()));
        assert_eq!(view.rows.len(), 0);
        assert!(view.headline().contains("connection refused"));
        view.on_answer(Ok(sample(5)));
        view.on_answer(Ok(sample(6)));
        assert_eq!(view.rows.len(), 1);
        view.on_answer(Ok(sample(2)));
        assert_eq!(view.rows.len(), 0, "started anew without being missed");
    }
}
