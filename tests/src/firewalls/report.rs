//! What was seen in a network, and how it is told.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::network::Network;
use super::probe::Probe;
use super::subject::Subject;
use super::url::Url;

/// What became of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It connected.
    Connected {
        /// What carries it between client and server.
        by: String,
        /// After how many milliseconds messages could be sent, counted from nothing.
        ms: u64,
        /// In how many milliseconds all messages had come back.
        echo_ms: u64,
    },
    /// Something else was done as it should be, in this many milliseconds.
    Done {
        /// What was seen.
        what: String,
        /// How long that took.
        ms: u64,
    },
    /// It did not connect, and this is what was said.
    Failed(String),
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The URL of a column of the matrix, unless it is something that is tried in one network only.
    pub url: Option<Url>,
    /// What was tried.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was seen in one network.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number and its name.
    pub row: u8,
    /// Its name.
    pub name: &'static str,
    /// The sentence about it.
    pub what: &'static str,
    /// The server.
    pub subject: Subject,
    /// The browser, as it calls itself.
    pub browser: Option<String>,
    /// What passed without any TURN.
    pub probes: Vec<(Probe, bool)>,
    /// What was tried.
    pub cells: Vec<Cell>,
    /// What was not as it should be.
    pub problems: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    pub(super) fn new(network: &Network, subject: Subject) -> Self {
        Self {
            row: network.row,
            name: network.name,
            what: network.what,
            subject,
            browser: None,
            probes: Vec::new(),
            cells: Vec::new(),
            problems: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub(super) fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    pub(super) fn probed(&mut self, probe: Probe, passed: bool, should: bool) {
        if passed != should {
            let verb = if passed { "passes, and should not" } else { "does not pass, and should" };
            self.problem(format!("the network itself: {} {verb}", probe.name()));
        }
        self.probes.push((probe, passed));
    }

    /// An attempt by a URL. `should` says whether it is to connect.
    pub(super) fn tried(&mut self, url: Url, outcome: Outcome, should: bool) {
        let what = url.name().to_owned();
        match &outcome {
            Outcome::Connected { by, .. } if !should => {
                self.problem(format!("{what} connects by {by}, and should not"));
            }
            Outcome::Connected { by, .. } if !url.by().contains(&by.as_str()) => {
                self.problem(format!("{what} connects by {by}"));
            }
            Outcome::Failed(why) if should => self.problem(format!("{what} does not connect: {why}")),
            _ => {}
        }
        self.cells.push(Cell { url: Some(url), what, outcome });
    }

    /// Something that is tried in this network only, and must succeed.
    pub(super) fn also(&mut self, what: &str, outcome: Outcome) {
        if let Outcome::Failed(why) = &outcome {
            self.problem(format!("{what}: {why}"));
        }
        self.cells.push(Cell { url: None, what: what.to_owned(), outcome });
    }

    /// Panics where something was not as it should be.
    pub fn assert_good(&self) {
        print!("{}", self.lines());
        assert!(self.problems.is_empty(), "{}:\n{}", self.name, self.problems.join("\n"));
    }

    /// As lines for a terminal.
    pub fn lines(&self) -> String {
        let seconds = self.took.as_secs_f64();
        let mut text = format!("{:>2} {} ({}), {seconds:.1} s\n", self.row, self.name, self.what);
        let passing: Vec<_> =
            self.probes.iter().filter(|(_, passed)| *passed).map(|(p, _)| p.name()).collect();
        let passing = if passing.is_empty() { "nothing".to_owned() } else { passing.join(", ") };
        let _ = writeln!(text, "     passes without TURN: {passing}");
        for cell in &self.cells {
            let more = match &cell.outcome {
                Outcome::Connected { echo_ms, .. } => format!("; messages back after {echo_ms} ms more"),
                Outcome::Failed(why) => format!(": {}", why.lines().next().unwrap_or_default()),
                _ => String::new(),
            };
            let _ = writeln!(text, "     {:<28} {}{more}", cell.what, cell.outcome.short());
        }
        for problem in &self.problems {
            let _ = writeln!(text, "     WRONG: {problem}");
        }
        text
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let cells = self.cells.iter().map(|cell| {
            let mut value = json!({ "what": cell.what });
            let (outcome, details) = match &cell.outcome {
                Outcome::Connected { by, ms, echo_ms } => {
                    ("connected", json!({ "by": by, "ms": ms, "echo_ms": echo_ms }))
                }
                Outcome::Done { what, ms } => ("done", json!({ "seen": what, "ms": ms })),
                Outcome::Failed(why) => ("failed", json!({ "why": why })),
            };
            value["outcome"] = outcome.into();
            value["details"] = details;
            value
        });
        let probes =
            self.probes.iter().map(|(probe, passed)| json!({ "what": probe.name(), "passed": passed }));
        json!({
            "row": self.row,
            "network": self.name,
            "server": self.subject.name(),
            "browser": self.browser,
            "without_turn": probes.collect::<Vec<_>>(),
            "tried": cells.collect::<Vec<_>>(),
            "problems": self.problems,
            "ms": self.took.as_millis() as u64,
        })
    }
}

impl Outcome {
    /// In a few words.
    fn short(&self) -> String {
        match self {
            Outcome::Connected { by, ms, .. } => format!("{by}, {ms} ms"),
            Outcome::Done { what, ms } => format!("{what}, {ms} ms"),
            Outcome::Failed(_) => "no".to_owned(),
        }
    }
}

/// The matrix as Markdown: a line for each network and a column for each URL, and below it what was tried in one only.
pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::from("| # | network |");
    for url in Url::EVERYWHERE {
        let _ = write!(text, " {} |", url.name());
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(Url::EVERYWHERE.len()));
    for report in reports.iter().filter(|report| report.cells.iter().any(|cell| cell.url.is_some())) {
        let _ = write!(text, "| {} | {} |", report.row, report.name);
        for url in Url::EVERYWHERE {
            let cell = report.cells.iter().find(|cell| cell.url == Some(url));
            let _ = write!(text, " {} |", cell.map_or_else(String::new, |cell| cell.outcome.short()));
        }
        text.push('\n');
    }
    text.push_str("\n| # | network | tried there only | seen |\n|---|---|---|---|\n");
    for report in reports {
        let there_only = |cell: &&Cell| cell.url.is_none_or(|url| !Url::EVERYWHERE.contains(&url));
        for cell in report.cells.iter().filter(there_only) {
            let seen = cell.outcome.short();
            let _ = writeln!(text, "| {} | {} | {} | {seen} |", report.row, report.name, cell.what);
        }
    }
    text.push_str(
        "\n| # | network | passes without TURN, to and from a machine elsewhere |\n|---|---|---|\n",
    );
    for report in reports {
        let passing: Vec<_> =
            report.probes.iter().filter(|(_, passed)| *passed).map(|(p, _)| p.name()).collect();
        let passing = if passing.is_empty() { "nothing".to_owned() } else { passing.join(", ") };
        let _ = writeln!(text, "| {} | {} | {passing} |", report.row, report.name);
    }
    text
}

/// A page with this matrix in place of the one in it; the matrix alone where there is none.
pub fn put_into(page: &str, matrix: &str) -> String {
    const BEGIN: &str = "<!-- matrix -->\n";
    const END: &str = "<!-- end of the matrix -->";
    let parts = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    parts.map_or_else(|| matrix.to_owned(), |(head, tail)| format!("{head}{BEGIN}\n{matrix}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::super::networks::named;
    use super::*;

    fn connected(by: &str) -> Outcome {
        Outcome::Connected { by: by.to_owned(), ms: 100, echo_ms: 20 }
    }

    fn problems(fill: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = Report::new(named("no-udp").expect("a network"), Subject::Turnpike);
        fill(&mut report);
        report.problems
    }

    #[test]
    fn what_connects_and_should_not_is_a_problem_and_so_is_the_reverse() {
        let failed = || Outcome::Failed("not in time".to_owned());
        let tried = |url, outcome, should| problems(|report| report.tried(url, outcome, should)).len();
        assert_eq!(tried(Url::Tcp80, connected("tcp"), true), 0);
        assert_eq!(tried(Url::Tcp80, connected("tcp"), false), 1);
        // A URL of one kind that connects by another was not what connected.
        assert_eq!(tried(Url::Tcp80, connected("udp"), true), 1);
        assert_eq!(tried(Url::Tcp80, failed(), true), 1);
        assert_eq!(tried(Url::Tcp80, failed(), false), 0);
        assert_eq!(problems(|report| report.also("curl", failed())).len(), 1);
    }

    #[test]
    fn a_firewall_that_is_none_is_a_problem() {
        let probed = |passed, should| problems(|report| report.probed(Probe::Udp(443), passed, should)).len();
        assert_eq!([probed(true, true), probed(false, false)], [0, 0]);
        assert_eq!([probed(true, false), probed(false, true)], [1, 1]);
    }

    #[test]
    fn a_page_keeps_what_is_around_the_matrix() {
        let page = "before\n<!-- matrix -->\nold\n<!-- end of the matrix -->\nafter\n";
        let new = "before\n<!-- matrix -->\n\nnew\n\n<!-- end of the matrix -->\nafter\n";
        assert_eq!(put_into(page, "new\n"), new);
        assert_eq!(put_into(new, "new\n"), new);
        assert_eq!(put_into("", "new\n"), "new\n");
    }

    #[test]
    fn the_matrix_has_a_column_for_each_url() {
        let mut report = Report::new(named("no-udp").expect("a network"), Subject::Turnpike);
        report.tried(Url::Tls443, connected("tls"), true);
        report.also("curl", Outcome::Done { what: "50 pages".to_owned(), ms: 7 });
        let text = markdown(&[report]);
        assert!(text.contains("| 3 | no-udp |  |  |  |  |  | tls, 100 ms |  |  |  |\n"), "{text}");
        assert!(text.contains("| 3 | no-udp | curl | 50 pages, 7 ms |\n"), "{text}");
    }
}
