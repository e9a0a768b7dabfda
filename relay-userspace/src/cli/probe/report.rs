//! What happened, step by step.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

/// The step after which a call could begin.
pub(super) const ALLOCATE: &str = "Allocate";

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
    pub(super) async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(T, String), String>>,
    ) -> Result<T, Failed> {
        let start = Instant::now();
        let outcome = work.await;
        let time = start.elapsed();
        let (value, outcome) = match outcome {
            Ok((value, detail)) => (Ok(value), Ok(detail)),
            Err(why) => (Err(Failed), Err(why)),
        };
        self.taken(name, time, outcome);
        value
    }

    /// A step that was taken: a detail to report, or why it failed.
    pub(super) fn taken(&mut self, name: &'static str, time: Duration, outcome: Result<String, String>) {
        let ok = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|why| why);
        let step = Step { name, ok, milliseconds: milliseconds(time), detail };
        (self.show)(&step);
        self.steps.push(step);
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
    pub(super) fn json(&self) -> Value {
        json!({ "url": self.url, "ok": self.is_ok(), "steps": self.steps })
    }

    /// A row of a table of several: the URL, what came of it, the milliseconds until there was an allocation, the proxy or the
    /// reason.
    pub(super) fn row(&self) -> [String; 4] {
        let allocated = self.steps.iter().position(|step| step.name == ALLOCATE && step.ok);
        let time = allocated.map(|n| self.steps[..=n].iter().map(|step| step.milliseconds).sum::<f64>());
        let (outcome, detail) = match self.steps.iter().find(|step| !step.ok) {
            None => ("works", String::new()),
            Some(failed) => ("FAILED", format!("{}: {}", failed.name, failed.detail)),
        };
        let time = time.map(|time| format!("{time:.0} ms")).unwrap_or_default();
        [self.url.clone(), outcome.into(), time, detail]
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

    #[tokio::test]
    async fn the_report_names_the_step_that_failed() {
        let mut shown = Vec::new();
        let mut report =
            Report::new("turn:192.0.2.1:3478".into(), |step: &Step| shown.push(step.to_string()));
        let binding = async { Ok((7, "you are 192.0.2.9:1".into())) };
        assert_eq!(report.step("Binding", binding).await.unwrap(), 7);
        assert!(report.is_ok());
        report.taken("Allocate", Duration::from_millis(12), Err("401".into()));
        assert!(!report.is_ok());
        assert_eq!(report.verdict(), "turn:192.0.2.1:3478 failed at: Allocate");
        assert_eq!(report.row(), ["turn:192.0.2.1:3478", "FAILED", "", "Allocate: 401"]);
        let json = report.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["steps"][0]["detail"], "you are 192.0.2.9:1");
        assert_eq!(json["steps"][1]["ok"], false);
        assert_eq!(json["steps"][1]["milliseconds"], 12.0);
        assert!(
            shown[0].starts_with("Binding                 ok") && shown[1].contains("FAILED"),
            "{shown:?}"
        );
    }

    #[test]
    fn a_row_has_the_time_until_a_call_could_begin() {
        let mut report = Report::new("turns:a:443".into(), |_: &Step| {});
        report.taken("TLS", Duration::from_millis(30), Ok(String::new()));
        report.taken("Allocate", Duration::from_millis(10), Ok(String::new()));
        report.taken("ChannelBind", Duration::from_millis(50), Ok(String::new()));
        assert_eq!(report.row(), ["turns:a:443", "works", "40 ms", ""]);
    }
}
