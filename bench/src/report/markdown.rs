//! The report as Markdown.

use std::fmt::Write;

use super::Report;
use super::aims::{Aim, Bound, Unit};
use super::format::{date, digits, micros, percent, si, spread};
use crate::runs::measure::Measure;
use crate::runs::results::{CaseResult, Point, RunResult};
use crate::runs::setup::{direction_name, grouped};
use crate::runs::subject::Absent;

/// The whole report; the plots are title and path, as seen from where the report is.
pub fn markdown(report: &Report, plots: &[(String, String)]) -> String {
    let mut out = String::from("# What this machine relays\n\n");
    head(&mut out, report);
    aims(&mut out, &report.aims);
    for (title, path) in plots {
        line(&mut out, format_args!("![{title}]({path})\n"));
    }
    for run in &report.runs {
        one_run(&mut out, run);
    }
    out
}

fn head(out: &mut String, report: &Report) {
    let (machine, method) = (&report.machine, &report.method);
    line(out, format_args!("`{}`, {}, {:.0} s.\n", report.command, date(report.started), report.seconds));
    line(
        out,
        format_args!(
            "Medians of {} round{}, and between what the middle half of them were; the subjects took turns in each round, and one round \
             before them does not count. A rate is lossless when most of {} slices of {} ms lost less than {}, and is found to \
             {}. Packets per CPU-second are those that arrived at that rate, by the CPU time of the relay: its process and the threads that poll \
             its interfaces. Generator and sink are not in it.{}\n",
            method.rounds,
            if method.rounds == 1 { "" } else { "s" },
            method.slices,
            digits(method.slice * 1e3),
            percent(method.loss),
            percent(method.precision - 1.0),
            if method.quick { " A quick run: a look, not a figure to quote." } else { "" },
        ),
    );
    let memory = format!("{} GiB", digits(machine.memory as f64 / f64::from(1 << 30)));
    let mitigations: Vec<String> =
        machine.mitigations.iter().map(|(weakness, state)| format!("{weakness}: {state}")).collect();
    let facts = [
        ("CPU", format!("{}, {} online", machine.cpu, machine.cpus)),
        ("memory", memory),
        ("kernel", format!("{}, {}", machine.kernel, machine.distribution)),
        ("driver", machine.drivers.join(", ")),
        ("mitigations", if mitigations.is_empty() { "none needed".into() } else { mitigations.join("; ") }),
    ];
    out.push_str("| machine | |\n|---|---|\n");
    for (name, value) in facts {
        line(out, format_args!("| {name} | {} |", cell(&value)));
    }
    for warning in machine.warnings() {
        line(out, format_args!("| note | {warning} |"));
    }
    let mut subjects: Vec<_> =
        report.runs.iter().flat_map(|run| run.cases.iter().flat_map(|case| &case.results)).collect();
    subjects.sort_by_key(|result| result.subject.role);
    let mut named = Vec::new();
    for result in subjects {
        if !named.contains(&&result.subject) {
            named.push(&result.subject);
        }
    }
    if !named.is_empty() {
        out.push_str("\n| subject | version |\n|---|---|\n");
    }
    for subject in named {
        line(out, format_args!("| {} | {} |", cell(&subject.name), cell(&subject.version)));
    }
    out.push('\n');
}

fn aims(out: &mut String, aims: &[Aim]) {
    if aims.is_empty() {
        return;
    }
    out.push_str(
        "## Figures to reach\n\n| figure | where | here | aim | reached | |\n|---|---|---|---|---|---|\n",
    );
    for aim in aims {
        let number = |value: f64| match aim.unit {
            Unit::Ratio => digits(value),
            Unit::Micros => format!("{} us", digits(value)),
            Unit::Share => percent(value),
            Unit::Count => si(value),
            Unit::Bytes => format!("{value:.0} B"),
        };
        let bound = match aim.bound {
            Some(Bound::AtLeast(bound)) => format!("at least {}", number(bound)),
            Some(Bound::AtMost(bound)) => format!("at most {}", number(bound)),
            Some(Bound::Below(bound)) => format!("below {}", number(bound)),
            None => "-".into(),
        };
        let reached = match (aim.bound, aim.reached) {
            (None, _) => "-",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "**no**",
            (_, None) => "?",
        };
        let here = spread(aim.value.as_ref(), number);
        line(
            out,
            format_args!(
                "| {} | {} | {here} | {bound} | {reached} | {} |",
                aim.what,
                cell(&aim.case),
                cell(&aim.note)
            ),
        );
    }
    out.push('\n');
}

fn one_run(out: &mut String, run: &RunResult) {
    line(out, format_args!("## {}\n\n{}.\n", run.name, capitalised(run.about)));
    for case in &run.cases {
        let shown = &case.case;
        line(
            out,
            format_args!(
                "### {}, {}, frames of {} bytes{}\n",
                shown.setup,
                direction_name(shown.direction),
                shown.frame,
                shown.in_trains()
            ),
        );
        match shown.measure {
            Measure::Capacity => capacity(out, case),
            Measure::Latency => latency(out, case),
            Measure::Bursts => bursts(out, case),
            Measure::Window => window(out, case),
        }
        absent(out, &case.absent);
    }
    if !run.figures.is_empty() {
        out.push_str("| figure | subject | |\n|---|---|---|\n");
        for result in &run.figures {
            let figure = &result.figure;
            let value = spread(result.spread.as_ref(), |value| grouped(value.round() as u64));
            line(
                out,
                format_args!(
                    "| {} | {} | {value} {} |",
                    cell(&figure.what),
                    cell(&figure.subject.name),
                    figure.unit
                ),
            );
        }
        out.push('\n');
    }
    absent(out, &run.absent);
}

fn capacity(out: &mut String, case: &CaseResult) {
    out.push_str("| subject | lossless, packets/s | packets per CPU-second | ns a packet | flooded, packets/s | lost | reordered, corrupt |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    for result in &case.results {
        let (mut lossless, mut flood): (Option<&Point>, Option<&Point>) = (None, None);
        for point in &result.points {
            *if point.label == crate::runs::measure::Label::Lossless { &mut lossless } else { &mut flood } =
                Some(point);
        }
        let rate = lossless.and_then(|point| point.rate.as_ref());
        let per_cpu = lossless.and_then(|point| point.packets_per_cpu_second);
        let at_least = if lossless.is_some_and(|point| point.at_least) { "at least " } else { "" };
        let (reordered, corrupt) =
            result.points.iter().fold((0, 0), |(a, b), point| (a + point.reordered, b + point.corrupt));
        line(
            out,
            format_args!(
                "| {} | {at_least}{} | {} | {} | {} | {} | {}, {} |",
                cell(&result.subject.name),
                spread(rate, si),
                spread(per_cpu.as_ref(), si),
                per_cpu.map_or_else(|| "-".into(), |spread| grouped((1e9 / spread.median).round() as u64)),
                spread(flood.and_then(|point| point.rate.as_ref()), si),
                flood.and_then(|point| point.loss).map_or_else(|| "-".into(), |loss| percent(loss.median)),
                grouped(reordered),
                grouped(corrupt),
            ),
        );
    }
    out.push('\n');
}

fn latency(out: &mut String, case: &CaseResult) {
    out.push_str("Microseconds from generator to sink. The floor's load is the driver mode's.\n\n");
    out.push_str(
        "| subject | load | packets/s | p50 | p99 | p99.9 | lost |\n|---|---|---|---|---|---|---|\n",
    );
    for result in &case.results {
        for point in &result.points {
            line(
                out,
                format_args!(
                    "| {} | {} | {} | {} | {} | {} | {} |",
                    cell(&result.subject.name),
                    point.label,
                    point.rate.map_or_else(|| "-".into(), |rate| si(rate.median)),
                    spread(point.p50.as_ref(), micros),
                    spread(point.p99.as_ref(), micros),
                    spread(point.p999.as_ref(), micros),
                    point.loss.map_or_else(|| "-".into(), |loss| percent(loss.median)),
                ),
            );
        }
    }
    out.push('\n');
}

fn bursts(out: &mut String, case: &CaseResult) {
    out.push_str(
        "| subject | load | lost, median | lost, worst round | reordered, corrupt |\n|---|---|---|---|---|\n",
    );
    for result in &case.results {
        for point in &result.points {
            let worst = point.rounds.iter().flatten().map(|outcome| outcome.loss()).fold(0.0, f64::max);
            line(
                out,
                format_args!(
                    "| {} | {} | {} | {} | {}, {} |",
                    cell(&result.subject.name),
                    point.label,
                    spread(point.loss.as_ref(), percent),
                    percent(worst),
                    grouped(point.reordered),
                    grouped(point.corrupt),
                ),
            );
        }
    }
    out.push('\n');
}

fn window(out: &mut String, case: &CaseResult) {
    out.push_str("As many packets as get through; the generator's CPU may be the one that is busy.\n\n");
    out.push_str(
        "| subject | packets/s | packets per CPU-second | ns a packet | lost | reordered, corrupt |\n",
    );
    out.push_str("|---|---|---|---|---|---|\n");
    for result in &case.results {
        for point in &result.points {
            let per_cpu = point.packets_per_cpu_second;
            line(
                out,
                format_args!(
                    "| {} | {} | {} | {} | {} | {}, {} |",
                    cell(&result.subject.name),
                    spread(point.rate.as_ref(), si),
                    spread(per_cpu.as_ref(), si),
                    per_cpu
                        .map_or_else(|| "-".into(), |spread| grouped((1e9 / spread.median).round() as u64)),
                    point.loss.map_or_else(|| "-".into(), |loss| percent(loss.median)),
                    grouped(point.reordered),
                    grouped(point.corrupt),
                ),
            );
        }
    }
    out.push('\n');
}

fn absent(out: &mut String, absent: &[Absent]) {
    for Absent { subject, why } in absent {
        line(out, format_args!("Not measured: {subject}: {}\n", brief(why)));
    }
}

/// An error's first line and its last, between which the kernel may have put a verifier's log.
fn brief(why: &str) -> String {
    let mut lines = why.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first} ... {last}"))
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

/// Text that does not end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;
    use crate::runs::fake::{FakeBench, Relay};
    use crate::runs::subject::Role;

    #[test]
    fn every_table_has_as_many_cells_in_each_row() {
        let report = report(&["capacity", "latency", "bursts", "streams", "scale"]);
        let text = markdown(&report, &[("capacity".into(), "plots/capacity.svg".into())]);
        let mut columns = None;
        let mut tables = 0;
        for line in text.lines() {
            let cells = line.starts_with('|').then(|| line.replace("\\|", "").matches('|').count());
            if let (Some(before), Some(now)) = (columns, cells) {
                assert_eq!(before, now, "{line}");
            }
            tables += usize::from(columns.is_none() && cells.is_some());
            columns = cells;
        }
        assert_eq!(tables, 3 + 10 + 4 + 2 + 12 + 1);
        assert!(text.contains("![capacity](plots/capacity.svg)"));
        assert!(text.contains("`cargo xtask bench run capacity`"));
    }

    #[test]
    fn figures_stand_beside_their_aims() {
        let text = markdown(&report(&["capacity"]), &[]);
        let row = text.lines().find(|line| line.starts_with("| XDP in the driver / floor")).expect("a row");
        assert!(
            row.contains("| 64 flows, to the peer |") && row.contains("| at least 0.90 | **no** |"),
            "{row}"
        );
        assert!(text.contains("| coturn 4.17.1 | 1 |"), "the version of each subject");
        let row =
            text.lines().find(|line| line.contains("| 64 flows, to the peer, trains of 8 |")).expect("a row");
        assert!(row.contains(" | - | - | coturn 4.17.1 |"), "a figure without an aim: {row}");
        let heading =
            "### 64 flows, channels, IPv4, one interface, to the peer, frames of 1200 bytes, trains of 8";
        assert!(text.lines().any(|line| line == heading), "{text}");
    }

    #[test]
    fn a_verifiers_log_is_left_out() {
        assert_eq!(brief("refused: permission denied"), "refused: permission denied");
        assert_eq!(
            brief("refused:\n0: r0 = 0\n1: exit\npermission denied\n"),
            "refused: ... permission denied"
        );
    }

    #[test]
    fn who_was_not_measured_is_named() {
        let mut bench =
            FakeBench::of_all_roles().with("gone", Role::External, Relay::default()).failing("gone", 0);
        let mut report = report(&["scale"]);
        report.runs = crate::report::sample::runs(&["nics"], &mut bench);
        assert!(markdown(&report, &[]).contains("Not measured: gone: gone is gone"));
    }
}
