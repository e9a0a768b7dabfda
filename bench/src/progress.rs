//! Progress bars on a terminal. Elsewhere, a line now and then.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use turnpike_bench::runs::engine::Progress;

/// From one line to the next where no bar is drawn.
const SOMETIMES: Duration = Duration::from_secs(20);

/// A bar for the run that is going on.
pub(crate) struct Bar {
    bar: RefCell<ProgressBar>,
    /// When the last line was written; `None` on a terminal.
    told: Option<Cell<Instant>>,
}

impl Bar {
    /// One that is not seen yet.
    pub(crate) fn new() -> Self {
        let told = (!stderr().is_terminal()).then(|| Cell::new(Instant::now()));
        Self { bar: RefCell::new(ProgressBar::hidden()), told }
    }

    /// Leaves the line of the last run as it is.
    pub(crate) fn finish(&self) {
        self.bar.borrow().finish_with_message("done");
    }
}

impl Progress for Bar {
    fn begin(&self, run: &str, steps: u64) {
        self.finish();
        // Not drawn where standard error is no terminal.
        let bar = ProgressBar::new(steps).with_prefix(run.to_owned());
        let style = ProgressStyle::with_template(
            "{prefix:10} [{bar:30}] {pos}/{len} {elapsed}, {eta} left  {wide_msg}",
        );
        bar.set_style(style.expect("the template is right").progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_secs(1));
        *self.bar.borrow_mut() = bar;
    }

    fn now(&self, what: &str) {
        self.bar.borrow().set_message(what.to_owned());
    }

    fn over(&self) {
        let bar = self.bar.borrow();
        bar.inc(1);
        let Some(told) = &self.told else { return };
        if told.get().elapsed() >= SOMETIMES {
            told.set(Instant::now());
            eprintln!("{}: {} of {} steps", bar.prefix(), bar.position(), bar.length().unwrap_or_default());
        }
    }
}
