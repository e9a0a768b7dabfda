//! What is told of the runs: Markdown tables, JSON, SVG plots, with the machine that they are of and the aims that they are held
//! against.

pub mod aims;
mod format;
pub mod machine;
pub mod markdown;
pub mod plots;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::runs::engine::Options;
use crate::runs::results::RunResult;
use aims::Aim;
use machine::Machine;

/// The name of the JSON's shape. What is in it stays; more may come.
pub const FORMAT: &str = "turnpike-bench/2";

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The command that made it.
    pub command: String,
    /// When it was begun, in seconds since 1970.
    pub started: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// How it was measured.
    pub method: Method,
    /// What it was measured on.
    pub machine: Machine,
    /// The figures to be reached, and what they are here.
    pub aims: Vec<Aim>,
    /// What the runs came to.
    pub runs: Vec<RunResult>,
}

/// How it was measured.
#[derive(Debug, Serialize)]
pub struct Method {
    /// Rounds that count.
    pub rounds: u32,
    /// Whether cases and time were saved.
    pub quick: bool,
    /// Seconds of a slice.
    pub slice: f64,
    /// Slices at a rate, at most.
    pub slices: u32,
    /// A slice passes with a smaller loss than this.
    pub loss: f64,
    /// The rate that failed is at most this many times the one that passed.
    pub precision: f64,
}

impl Report {
    /// Of runs that began then and are over now.
    pub fn new(
        command: String,
        started: SystemTime,
        options: &Options,
        machine: Machine,
        runs: Vec<RunResult>,
    ) -> Self {
        Self {
            format: FORMAT,
            command,
            started: started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            seconds: started.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64()),
            method: Method {
                rounds: options.rounds,
                quick: options.quick,
                slice: options.pace.slice.as_secs_f64(),
                slices: options.pace.search.slices,
                loss: options.pace.search.loss,
                precision: options.pace.search.precision,
            },
            machine,
            aims: aims::of(&runs),
            runs,
        }
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// None that are known of: every field can be written.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::runs::engine::{Progress, run};
    use crate::runs::fake::FakeBench;
    use crate::runs::measure::Pace;
    use crate::runs::plan::named;

    struct Silent;

    impl Progress for Silent {
        fn begin(&self, _: &str, _: u64) {}
        fn now(&self, _: &str) {}
        fn over(&self) {}
    }

    /// The runs of these names with subjects that are not there.
    pub(crate) fn runs(names: &[&str], bench: &mut FakeBench) -> Vec<RunResult> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let options = options();
        let runs = named(&names).expect("they are there");
        runs.iter().map(|named| run(named, bench, &options, &Silent).expect("a result")).collect()
    }

    pub(crate) fn options() -> Options {
        Options { rounds: 3, quick: false, pace: Pace::thorough() }
    }

    pub(crate) fn report(names: &[&str]) -> Report {
        let runs = runs(names, &mut FakeBench::of_all_roles());
        let command = "cargo xtask bench run capacity".to_owned();
        Report::new(command, SystemTime::now(), &options(), Machine::default(), runs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_json_has_the_shape_that_is_written_down() {
        let report = sample::report(&["capacity", "latency", "scale"]);
        let json: Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(json["format"], "turnpike-bench/2");
        assert_eq!(json["method"]["rounds"], 3);
        let case = &json["runs"][0]["cases"][0];
        assert_eq!(case["setup"]["flows"], 64);
        assert_eq!(case["setup"]["client"], "v4");
        assert_eq!(case["direction"], "to-peer");
        assert_eq!(case["measure"], "capacity");
        assert_eq!((&case["train"], &json["runs"][0]["cases"][2]["train"]), (&1.into(), &8.into()));
        let result = &case["results"][3];
        assert_eq!(result["subject"]["role"], "driver");
        let point = &result["points"][0];
        assert_eq!(point["label"], "lossless");
        assert!(point["rate"]["median"].as_f64().is_some_and(|rate| rate > 1e6));
        assert_eq!(point["rounds"].as_array().map(Vec::len), Some(3));
        assert!(point["rounds"][0]["cpu_seconds"].is_f64());
        assert_eq!(json["runs"][1]["cases"][0]["results"][0]["points"][2]["label"], "50 %");
        assert_eq!(json["runs"][2]["figures"][0]["id"], "allocations-a-second");
        assert!(json["aims"].as_array().is_some_and(|aims| aims.iter().any(|aim| aim["reached"] == true)));
    }
}
