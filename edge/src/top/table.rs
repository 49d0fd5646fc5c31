//! Rows → columns of text, for the terminal and for `--once`.

use std::fmt::Write as _;

use super::row::Row;

/// Above the columns of [`cells`].
pub const HEADINGS: [&str; 15] = [
    "shard", "cpu", "busy", "conns", "sess", "msg/s", "deliv/s", "in B/s", "out B/s", "turn p50", "max",
    "compl", "queue B", "shed/s", "uplink",
];

/// The texts of a row, one per column.
pub fn cells(row: &Row) -> [String; HEADINGS.len()] {
    let name = if row.is_draining {
        format!("{} drain", row.name)
    } else {
        row.name.clone()
    };
    [
        name,
        percent(row.cpu),
        percent(row.busy),
        number(row.connections),
        number(row.sessions),
        number(row.messages),
        number(row.deliveries),
        number(row.bytes_in),
        number(row.bytes_out),
        row.turn_p50.map_or_else(|| "-".to_owned(), time),
        time(row.turn_max),
        row.completions
            .map_or_else(|| "-".to_owned(), |count| format!("{count:.1}")),
        number(row.queue_bytes),
        number(row.sheds),
        time(row.uplink_lag),
    ]
}

/// The rows as lines of plain text, columns aligned to the right.
pub fn plain(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            let gap = if column == 0 { "" } else { "  " };
            let _ = write!(text, "{gap}{cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Three digits and a letter: `12`, `4.5k`, `120M`.
fn number(value: f64) -> String {
    let mut value = value;
    for unit in ["", "k", "M", "G"] {
        if value < 999.5 {
            let digits = usize::from(!unit.is_empty() && value < 99.95);
            return format!("{value:.digits$}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.0}T")
}

/// Seconds in a fitting unit.
fn time(seconds: f64) -> String {
    let us = seconds * 1e6;
    if us < 999.5 {
        format!("{us:.0}us")
    } else if us < 999_500.0 {
        format!("{:.1}ms", us / 1e3)
    } else {
        format!("{seconds:.1}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let numbers = [0.0, 7.4, 999.0, 1234.0, 99_960.0, 999_600.0, 3.2e9, 5e12].map(number);
        assert_eq!(numbers, ["0", "7", "999", "1.2k", "100k", "1.0M", "3.2G", "5T"]);
        assert_eq!(
            [0.0, 12e-6, 0.0015, 2.5].map(time),
            ["0us", "12us", "1.5ms", "2.5s"]
        );
    }

    #[test]
    fn columns_stand_below_their_headings() {
        let row = |name: &str, connections| Row {
            name: name.to_owned(),
            connections,
            ..Row::default()
        };
        let mut drained = row("1", 0.0);
        drained.is_draining = true;
        let text = plain(&[row("0", 12_345.0), drained]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let end = lines[0].find("conns").expect("a heading") + "conns".len();
        assert!(lines[1][..end].ends_with(" 12.3k"), "{text}");
        assert!(lines[2].starts_with("1 drain"), "{text}");
    }
}
