//! Progress bars on a terminal. Elsewhere, nothing.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use turnpike_bench::runs::engine::Progress;

/// A bar for the run that is going on.
pub(crate) struct Bar(RefCell<ProgressBar>);

impl Bar {
    /// One that is not seen yet.
    pub(crate) fn new() -> Self {
        Self(RefCell::new(ProgressBar::hidden()))
    }

    /// Leaves the line of the last run as it is.
    pub(crate) fn finish(&self) {
        self.0.borrow().finish_with_message("done");
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
        *self.0.borrow_mut() = bar;
    }

    fn now(&self, what: &str) {
        self.0.borrow().set_message(what.to_owned());
    }

    fn over(&self) {
        self.0.borrow().inc(1);
    }
}
