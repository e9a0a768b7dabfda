//! What happened, step by step.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

/// One step and what came of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    ok: bool,
    milliseconds: f64,
    detail: String,
}

/// A step failed; the report says which and why. Nothing after it makes sense.
#[derive(Debug)]
pub(super) struct Failed;

/// The steps so far.
pub(super) struct Report<F> {
    url: String,
    steps: Vec<Step>,
    show: F,
}

impl<F: FnMut(&Step)> Report<F> {
    /// Nothing yet; `show` sees each step when it is done.
    pub(super) fn new(url: String, show: F) -> Self {
        Self { url, steps: Vec::new(), show }
    }

    /// Does a step: what it returns, with a detail to report; or why it failed.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<(T, String), String>,
    ) -> Result<T, Failed> {
        let start = Instant::now();
        let outcome = work();
        let milliseconds = milliseconds(start.elapsed());
        let (value, ok, detail) = match outcome {
            Ok((value, detail)) => (Ok(value), true, detail),
            Err(why) => (Err(Failed), false, why),
        };
        let step = Step { name, ok, milliseconds, detail };
        (self.show)(&step);
        self.steps.push(step);
        value
    }

    /// Whether no step failed.
    pub(super) fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    /// One line to end with.
    pub(super) fn verdict(&self) -> String {
        match self.steps.iter().find(|step| !step.ok) {
            None => format!("{} works", self.url),
            Some(failed) => format!("{} failed at: {}", self.url, failed.name),
        }
    }

    /// Everything, for programs.
    pub(super) fn json(&self) -> String {
        json!({ "url": self.url, "ok": self.is_ok(), "steps": self.steps }).to_string()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.ok { "ok" } else { "FAILED" };
        write!(f, "{:<24}{outcome:<8}{:>9.2} ms   {}", self.name, self.milliseconds, self.detail)
    }
}

/// With two decimals, which is what a network deserves.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_the_step_that_failed() {
        let mut shown = Vec::new();
        let mut report =
            Report::new("turn:192.0.2.1:3478".into(), |step: &Step| shown.push(step.to_string()));
        assert_eq!(report.step("Binding", || Ok((7, "you are 192.0.2.9:1".into()))).unwrap(), 7);
        assert!(report.is_ok());
        report.step("Allocate", || Err::<((), _), _>("401".into())).unwrap_err();
        assert!(!report.is_ok());
        assert_eq!(report.verdict(), "turn:192.0.2.1:3478 failed at: Allocate");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["steps"][0]["detail"], "you are 192.0.2.9:1");
        assert_eq!(json["steps"][1]["ok"], false);
        assert!(
            shown[0].starts_with("Binding                 ok") && shown[1].contains("FAILED"),
            "{shown:?}"
        );
    }
}
