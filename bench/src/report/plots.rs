//! The report as pictures: SVG, which needs no font of this machine.

mod bars;
mod lines;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::style::RGBColor;

use super::Report;
use super::format::{digits, si};
use crate::runs::measure::{Case, Label, Measure};
use crate::runs::results::{CaseResult, Point, RunResult};
use crate::runs::setup::{direction_name, grouped};
use crate::runs::statistics::Spread;
use crate::runs::subject::{Role, Subject};
use bars::{Bar, Group};
use lines::{Chart, Line};

/// Draws what the runs have, into this directory, and says what of and where.
///
/// # Errors
/// Where a file cannot be written.
pub fn plots(report: &Report, directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let pictures = pictures(report).map_err(|error| anyhow!("cannot draw: {error}"))?;
    let write = |Picture { name, title, svg }| {
        let path = directory.join(format!("{name}.svg"));
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        Ok((title, path))
    };
    pictures.into_iter().map(write).collect()
}

struct Picture {
    name: String,
    title: String,
    svg: String,
}

/// Why a picture could not be drawn, in words.
type Drawn<T> = std::result::Result<T, String>;

fn pictures(report: &Report) -> Drawn<Vec<Picture>> {
    let mut all = Vec::new();
    for run in &report.runs {
        match run.name {
            "capacity" => {
                for cases in alike(run, Measure::Capacity, |case| (case.direction, case.frame, case.train)) {
                    all.extend(capacity(&cases)?);
                    all.extend(cost(&cases)?);
                }
            }
            "latency" => {
                for case in run.measured(Measure::Latency) {
                    all.extend(latency(case)?);
                }
            }
            "streams" => {
                for cases in alike(run, Measure::Window, |case| (case.direction, case.setup.flows)) {
                    all.extend(streams(&cases)?);
                }
            }
            _ => {}
        }
    }
    Ok(all)
}

/// The cases of a measure that one picture shows: those that are alike in this.
fn alike<K: PartialEq>(run: &RunResult, measure: Measure, of: impl Fn(&Case) -> K) -> Vec<Vec<&CaseResult>> {
    let mut groups: Vec<Vec<&CaseResult>> = Vec::new();
    for case in run.measured(measure) {
        match groups.iter_mut().find(|group| of(&group[0].case) == of(&case.case)) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups
}

/// The subjects of these cases, the floor first, each with its colour.
fn subjects<'a>(cases: &[&'a CaseResult]) -> Vec<(&'a Subject, RGBColor)> {
    let mut subjects: Vec<&Subject> = Vec::new();
    for result in cases.iter().flat_map(|case| &case.results) {
        if !subjects.contains(&&result.subject) {
            subjects.push(&result.subject);
        }
    }
    subjects.sort_by_key(|subject| subject.role);
    let mut coturns = 0;
    let coloured = |subject: &'a Subject| {
        let nth = if subject.role == Role::Coturn { coturns } else { 0 };
        coturns += usize::from(subject.role == Role::Coturn);
        (subject, colour(subject.role, nth))
    };
    subjects.into_iter().map(coloured).collect()
}

/// Okabe and Ito's colours, which the colour-blind can tell apart; each role keeps its own in all pictures.
fn colour(role: Role, nth: usize) -> RGBColor {
    // Debian's, and the four sets of options of a newer one; two are not theirs.
    const COTURNS: [RGBColor; 5] = [
        RGBColor(213, 94, 0),
        RGBColor(230, 159, 0),
        RGBColor(204, 121, 167),
        RGBColor(240, 228, 66),
        RGBColor(120, 60, 20),
    ];
    match role {
        Role::Floor => RGBColor(150, 150, 150),
        Role::AfXdp => RGBColor(0, 0, 0),
        Role::Forwarding => RGBColor(70, 70, 70),
        Role::Driver => RGBColor(0, 114, 178),
        Role::Generic => RGBColor(86, 180, 233),
        Role::Userspace => RGBColor(0, 158, 115),
        Role::Coturn => COTURNS[nth % COTURNS.len()],
        Role::External => RGBColor(150, 120, 0),
    }
}

/// What a subject did at its best lossless rate in a case.
fn lossless<'a>(case: &'a CaseResult, subject: &Subject) -> Option<&'a Point> {
    case.results.iter().find(|result| result.subject == *subject)?.point(Label::Lossless)
}

fn file_name(what: &str, case: &CaseResult) -> String {
    let load = direction_name(case.case.direction).to_owned() + &case.case.in_trains();
    format!("{what}-{}", load.replace(", ", "-").replace(' ', "-"))
}

fn capacity(cases: &[&CaseResult]) -> Drawn<Option<Picture>> {
    let bar = |case: &CaseResult, subject: &Subject| {
        let point = lossless(case, subject)?;
        let rate = point.rate?;
        let at_least = if point.at_least { "at least " } else { "" };
        let flows = grouped(case.case.setup.flows.into());
        Some((rate, format!("{at_least}{}, {flows} flows", si(rate.median))))
    };
    let case = &cases[0].case;
    let direction = direction_name(case.direction);
    let title = format!("Packets a second with under 0.1 % loss, {direction}{}", case.in_trains());
    bars(file_name("capacity", cases[0]), title, cases, bar)
}

fn streams(cases: &[&CaseResult]) -> Drawn<Option<Picture>> {
    let bar = |case: &CaseResult, subject: &Subject| {
        let result = case.results.iter().find(|result| result.subject == *subject)?;
        let per_cpu = result.point(Label::Window)?.packets_per_cpu_second?;
        Some((per_cpu, format!("{}, {}", si(per_cpu.median), case.case.setup.transport)))
    };
    let Case { direction, setup, .. } = cases[0].case;
    let clients = grouped(setup.flows.into());
    let title =
        format!("Packets per CPU-second, {clients} clients over streams, {}", direction_name(direction));
    bars(format!("{}-{}", file_name("streams", cases[0]), setup.flows), title, cases, bar)
}

/// A bar for each case of each subject: `bar` says of what, and what stands at its end.
fn bars(
    name: String,
    title: String,
    cases: &[&CaseResult],
    bar: impl Fn(&CaseResult, &Subject) -> Option<(Spread, String)>,
) -> Drawn<Option<Picture>> {
    let group = |(subject, colour): (&Subject, RGBColor)| {
        let bars = cases.iter().filter_map(|case| {
            let (Spread { median: value, low, high, .. }, text) = bar(case, subject)?;
            Some(Bar { value, low, high, text })
        });
        Group { name: subject.name.clone(), colour, bars: bars.collect() }
    };
    let groups: Vec<Group> =
        subjects(cases).into_iter().map(group).filter(|group| !group.bars.is_empty()).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let frame = cases[0].case.frame;
    let under = format!("frames of {frame} bytes; the thin line is the middle half of the rounds");
    Ok(Some(Picture { name, svg: bars::draw(&title, &under, &groups)?, title }))
}

fn cost(cases: &[&CaseResult]) -> Drawn<Option<Picture>> {
    let line = |(subject, colour): (&Subject, RGBColor)| {
        let point = |case: &&CaseResult| {
            let per_cpu = lossless(case, subject)?.packets_per_cpu_second?;
            Some((f64::from(case.case.setup.flows), 1e9 / per_cpu.median))
        };
        Line {
            name: subject.name.clone(),
            colour,
            points: cases.iter().filter_map(point).collect(),
            thin: vec![],
        }
    };
    let lines: Vec<Line> = subjects(cases).into_iter().map(line).collect();
    let case = &cases[0].case;
    let chart = Chart {
        title: format!("CPU time a packet by flows, {}{}", direction_name(case.direction), case.in_trains()),
        x: "flows, at random",
        y: "nanoseconds a packet",
        x_ticks: |flows| grouped(flows.round() as u64),
        y_ticks: |nanos| grouped(nanos.round() as u64),
        x_marks: cases.iter().map(|case| f64::from(case.case.setup.flows)).collect(),
    };
    picture(file_name("cost", cases[0]), &chart, &lines)
}

fn latency(case: &CaseResult) -> Drawn<Option<Picture>> {
    let line = |(subject, colour): (&Subject, RGBColor)| {
        let result = case.results.iter().find(|result| result.subject == *subject);
        let points = |late: fn(&Point) -> Option<f64>| {
            let points = result.into_iter().flat_map(|result| &result.points);
            points.filter_map(|point| Some((point.rate?.median, late(point)? / 1e3))).collect()
        };
        Line {
            name: subject.name.clone(),
            colour,
            points: points(|point| point.p99.map(|p99| p99.median)),
            thin: points(|point| point.p50.map(|p50| p50.median)),
        }
    };
    let lines: Vec<Line> = subjects(&[case]).into_iter().map(line).collect();
    let flows = case.case.setup.flows;
    let chart = Chart {
        title: format!(
            "Latency against load, {}, {} flows (thick: p99, thin: p50)",
            direction_name(case.case.direction),
            grouped(flows.into())
        ),
        x: "packets a second",
        y: "microseconds",
        x_ticks: short,
        y_ticks: |micros| if micros < 1.0 { digits(micros) } else { grouped(micros.round() as u64) },
        x_marks: vec![],
    };
    picture(format!("{}-{flows}", file_name("latency", case)), &chart, &lines)
}

/// A round number, without digits that say nothing.
fn short(value: f64) -> String {
    si(value).replace(".00", "").replace(".0", "")
}

/// A chart, unless there is nothing in it.
fn picture(name: String, chart: &Chart, lines: &[Line]) -> Drawn<Option<Picture>> {
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(None);
    }
    Ok(Some(Picture { name, title: chart.title.clone(), svg: lines::draw(chart, lines)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{report, runs};
    use crate::runs::fake::{FakeBench, Relay};

    #[test]
    fn each_run_with_pictures_has_them_for_each_direction() {
        let pictures = pictures(&report(&["capacity", "latency", "streams"])).expect("pictures");
        let names: Vec<&str> = pictures.iter().map(|picture| &picture.name[..]).collect();
        assert_eq!(
            names,
            [
                "capacity-to-the-peer",
                "cost-to-the-peer",
                "capacity-to-the-client",
                "cost-to-the-client",
                "capacity-to-the-peer-trains-of-8",
                "cost-to-the-peer-trains-of-8",
                "capacity-to-the-client-trains-of-8",
                "cost-to-the-client-trains-of-8",
                "latency-to-the-peer-64",
                "latency-to-the-client-64",
                "latency-to-the-peer-4096",
                "latency-to-the-client-4096",
                "streams-to-the-peer-64",
                "streams-to-the-client-64",
                "streams-to-the-peer-1024",
                "streams-to-the-client-1024",
            ]
        );
        for Picture { name, svg, .. } in &pictures {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
            for subject in ["floor", "turnpike xdp", "coturn 4.17.1"] {
                assert!(svg.contains(subject), "{name} has no {subject}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        }
    }

    #[test]
    fn streams_have_a_bar_for_each_transport() {
        let pictures = pictures(&report(&["streams"])).expect("pictures");
        for Picture { name, title, svg } in &pictures {
            let clients = if name.ends_with("1024") { "1,024 clients" } else { "64 clients" };
            assert!(title.contains(clients) && svg.contains(title.as_str()), "{title}");
            for transport in ["TCP", "TLS", "WebSocket"] {
                let ends = svg.lines().filter(|line| line.trim_end().ends_with(&format!(", {transport}")));
                assert_eq!(ends.count(), 8, "{name}: each of the subjects over {transport}");
            }
        }
    }

    #[test]
    fn a_subject_without_a_lossless_rate_is_left_out() {
        let leaky = Relay { away: Some((1, 0.1)), ..Relay::default() };
        let mut bench = FakeBench::of_all_roles().with("leaky", Role::External, leaky);
        let mut report = report(&["scale"]);
        report.runs = runs(&["capacity"], &mut bench);
        let pictures = pictures(&report).expect("pictures");
        assert!(!pictures[0].svg.contains("leaky"));
    }

    #[test]
    fn no_two_subjects_look_alike() {
        let more = ["batched", "multiplexed", "both"];
        let mut bench = more
            .into_iter()
            .fold(FakeBench::of_all_roles(), |bench, name| bench.with(name, Role::Coturn, Relay::default()));
        let runs = runs(&["nics"], &mut bench);
        let mut colours: Vec<_> =
            subjects(&[&runs[0].cases[0]]).iter().map(|(_, RGBColor(r, g, b))| (*r, *g, *b)).collect();
        let count = colours.len();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!((count, colours.len()), (11, 11));
    }

    /// Pictures to look at: `TURNPIKE_PLOTS=DIR cargo test -p turnpike-bench --lib pictures_can_be_looked_at`.
    #[test]
    fn pictures_can_be_looked_at() {
        let directory = std::env::var_os("TURNPIKE_PLOTS").map(PathBuf::from);
        let directory =
            directory.unwrap_or_else(|| std::env::temp_dir().join(format!("plots-{}", std::process::id())));
        let written = plots(&report(&["capacity", "latency", "streams"]), &directory).expect("pictures");
        assert!(written.iter().all(|(_, path)| path.is_file()));
        if std::env::var_os("TURNPIKE_PLOTS").is_none() {
            fs::remove_dir_all(directory).expect("it was just made");
        }
    }
}
