//! One frame of the live view.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table};

use super::View;
use super::row::Row;
use super::table::{HEADINGS, cells};

/// Characters of the bar that shows how hot a core is.
const BAR: u16 = 10;
/// Above this share of its core a shard is warm: little is left for a burst.
const WARM: f64 = 0.5;
/// Above this it is hot: turns get longer and everything on it waits.
const HOT: f64 = 0.8;

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(frame.area());
    frame.render_widget(Paragraph::new(Line::from(view.headline())), head);
    if view.rows.is_empty() {
        return;
    }
    let headings = std::iter::once("").chain(HEADINGS).map(Cell::from);
    let style = Style::new().add_modifier(Modifier::BOLD);
    let mut widths = vec![Constraint::Length(BAR)];
    widths.extend(HEADINGS.map(|heading| Constraint::Length(width(heading))));
    let table = Table::new(view.rows.iter().map(line), widths)
        .header(TableRow::new(headings).style(style))
        .column_spacing(1);
    frame.render_widget(table, body);
}

fn width(heading: &str) -> u16 {
    u16::try_from(heading.len()).unwrap_or(u16::MAX).max(7)
}

fn line(row: &Row) -> TableRow<'static> {
    let share = row.cpu.max(row.busy);
    let bar = Cell::from(bar(share)).style(Style::new().fg(colour(share)));
    let line = TableRow::new(std::iter::once(bar).chain(cells(row).map(Cell::from)));
    if row.is_draining {
        line.style(Style::new().add_modifier(Modifier::DIM))
    } else {
        line
    }
}

fn colour(share: f64) -> Color {
    if share >= HOT {
        Color::Red
    } else if share >= WARM {
        Color::Yellow
    } else {
        Color::Green
    }
}

fn bar(share: f64) -> String {
    (0..BAR)
        .map(|step| {
            let is_filled = share >= (f64::from(step) + 0.5) / f64::from(BAR);
            if is_filled { '█' } else { '·' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(view: &View) -> (Vec<String>, Vec<Color>) {
        let mut terminal = Terminal::new(TestBackend::new(140, 6)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, view)).expect("draws");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..140).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let lines = (0..6).map(|y| line(y).trim_end().to_owned()).collect();
        (lines, (0..6).map(|y| buffer[(0, y)].fg).collect())
    }

    #[test]
    fn a_hot_shard_is_seen_by_its_bar_and_colour() {
        let mut view = View::new("127.0.0.1:9080".parse().expect("an address"));
        let row = |name: &str, cpu| Row {
            name: name.to_owned(),
            cpu,
            ..Row::default()
        };
        view.rows = vec![row("0", 0.1), row("1", 0.6), row("2", 0.97)];
        let (lines, colours) = drawn(&view);
        assert!(
            lines[2].contains("shard") && lines[2].contains("turn p50"),
            "{lines:?}"
        );
        assert!(lines[3].starts_with("█·········"), "{lines:?}");
        assert!(lines[4].starts_with("██████····"), "{lines:?}");
        assert!(
            lines[5].starts_with("██████████") && lines[5].contains("97%"),
            "{lines:?}"
        );
        assert_eq!(colours[3..], [Color::Green, Color::Yellow, Color::Red]);
    }

    #[test]
    fn a_node_that_is_away_is_waited_for() {
        let mut view = View::new("127.0.0.1:9080".parse().expect("an address"));
        view.on_answer(Err("127.0.0.1:9080: connection refused".to_owned()));
        let (lines, _) = drawn(&view);
        assert!(
            lines[0].starts_with("waiting for 127.0.0.1:9080: connection refused"),
            "{lines:?}"
        );
        assert!(lines[2..].iter().all(String::is_empty));
    }
}
