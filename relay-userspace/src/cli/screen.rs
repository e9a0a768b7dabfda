//! Text for people: aligned rows, numbers with separators.

use std::fmt::{self, Display, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Prints a text and a line break at once. `println!` would panic where this returns an error; a reader that has seen
/// enough and went away (`turnpike status | head`) is none.
pub(super) fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Rows of a label and a text, the texts aligned.
#[derive(Debug, Default)]
pub(super) struct Screen(String);

const LABEL_WIDTH: usize = 13;

impl Screen {
    /// A row; an empty label continues the row above.
    pub(super) fn row(&mut self, label: &str, text: impl Display) {
        self.line(format_args!("{label:<LABEL_WIDTH$}{text}"));
    }

    /// A row for each of the texts, the label before the first.
    pub(super) fn rows(&mut self, label: &str, texts: impl IntoIterator<Item = impl Display>) {
        for (n, text) in texts.into_iter().enumerate() {
            self.row(if n == 0 { label } else { "" }, text);
        }
    }

    /// A line of its own; an empty one separates.
    pub(super) fn line(&mut self, text: impl Display) {
        let start = self.0.len();
        write!(self.0, "{text}").expect("a string takes every text");
        self.0.truncate(start + self.0[start..].trim_end().len());
        self.0.push('\n');
    }
}

impl Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

/// Columns as wide as their longest text, two blanks between them.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default());
    let mut screen = Screen::default();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        screen.line(cells.join("  "));
    }
    screen.to_string()
}

/// `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 GiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `3h 12m`: the two largest units.
pub(super) fn uptime(time: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(
            [0, 59, 11_525, 180_000].map(|s| uptime(Duration::from_secs(s))),
            ["0s", "59s", "3h 12m", "2days 2h"]
        );
    }

    #[test]
    fn rows_are_aligned_and_have_no_trailing_blanks() {
        let mut screen = Screen::default();
        screen.rows("listening", ["a", "b"]);
        screen.line("");
        screen.row("admin", "");
        assert_eq!(screen.to_string(), "listening    a\n             b\n\nadmin");
    }
}
