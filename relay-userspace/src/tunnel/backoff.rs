//! How soon things are tried again, and how long silence is borne.

use std::time::Duration;

/// The times of a tunnel, shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two signs of life that are asked for. Proxies close what is silent for a minute.
    pub(super) ping: Duration,
    /// After so long without any sign the connection is given up.
    pub(super) dead: Duration,
    /// A TCP client that says nothing for so long is none.
    pub(super) first_message: Duration,
    /// A datagram that waited so long is not carried any more: its client has sent it again, or media has gone on.
    pub(super) stale: Duration,
    /// The wait after the first attempt that failed.
    pub(super) first_wait: Duration,
    /// The longest wait.
    pub(super) longest_wait: Duration,
    /// A connection that lasted so long did not fail at once: the next attempt need not wait.
    pub(super) lasting: Duration,
    /// An allocation was ended by its client: so long its connection stays open for another one.
    pub(super) linger: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            dead: Duration::from_secs(60),
            first_message: Duration::from_secs(30),
            stale: Duration::from_secs(3),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            lasting: Duration::from_secs(10),
            linger: Duration::from_secs(30),
        }
    }
}

/// Waits twice as long each time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure: a random time between half of the step and all of it, so that the clients of
    /// a server that was away do not come back all at once.
    pub(super) fn next(&mut self, pace: &Pace) -> Duration {
        let step = pace.first_wait.saturating_mul(1 << self.failures.min(16)).min(pace.longest_wait);
        self.failures += 1;
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let pace = Pace::default();
        let mut backoff = Backoff::default();
        for step in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map(Duration::from_millis) {
            let wait = backoff.next(&pace);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next(&pace) <= pace.longest_wait);
        }
        backoff.reset();
        assert!(backoff.next(&pace) <= pace.first_wait);
    }
}
