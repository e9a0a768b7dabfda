//! The highest rate at which hardly anything is lost.
//!
//! A virtual CPU may be away for 32 ms, and what arrives in that time is lost though the relay could have carried it. So a rate is
//! judged by several short slices of time, of which the majority counts, and not by one lost packet.

use crate::figures::{Latency, Outcome};

/// How a search goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// A slice passes that lost a smaller share than this.
    pub loss: f64,
    /// It ends when the lowest rate that failed is at most this many times the highest that passed.
    pub precision: f64,
    /// Slices at a rate, at most; an odd number. More than half of them must pass.
    pub slices: u32,
    /// A loss that no absence of a CPU explains: the rate has failed at once.
    pub hopeless: f64,
    /// Packets a second below which it gives up.
    pub lowest: f64,
}

/// What a search came to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found {
    /// What came of as many packets as the generator makes.
    pub flood: Outcome,
    /// The slices that passed at the highest rate that did, taken together; `None` if none did.
    pub lossless: Option<Outcome>,
    /// The rate that was asked for then; `None` for as many as the generator makes.
    pub asked: Option<f64>,
    /// The generator made no more: the relay may be able to carry more.
    pub at_least: bool,
}

impl Default for Search {
    fn default() -> Self {
        Self { loss: 0.001, precision: 1.04, slices: 3, hopeless: 0.5, lowest: 500.0 }
    }
}

/// The share of what was asked for below which the generator is said to have made less.
const MADE: f64 = 0.8;

impl Search {
    /// Searches with `offer`, which offers so many packets a second (`None`: as many as can be made) for one slice of time.
    /// A guess, such as what was found last time, makes it shorter and is not trusted.
    ///
    /// # Errors
    /// The first of `offer`.
    pub fn highest<E>(
        &self,
        guess: Option<f64>,
        mut offer: impl FnMut(Option<f64>) -> Result<Outcome, E>,
    ) -> Result<Found, E> {
        let (flood, passed) = self.judge(None, &mut offer)?;
        if passed.is_some() {
            return Ok(Found { flood, lossless: passed, asked: None, at_least: true });
        }
        let mut found = Found { flood, lossless: None, asked: None, at_least: false };
        let mut failing = flood.sent as f64 / flood.seconds;
        let mut passing = None;
        // The further from the guess, the longer the strides.
        let mut stride = if guess.is_some() { self.precision } else { 1.2 };
        let mut rate = guess.unwrap_or(flood.arrived as f64 / flood.seconds);
        if rate >= failing || !rate.is_finite() {
            rate = failing / self.precision;
        }
        rate = rate.max(self.lowest);
        loop {
            let (last, passed) = self.judge(Some(rate), &mut offer)?;
            if passed.is_some() {
                passing = Some(rate);
                (found.lossless, found.asked) = (passed, Some(rate));
                // Asking for more would not make more.
                if made_less(&last, Some(rate)) {
                    found.at_least = true;
                    break;
                }
            } else {
                failing = rate;
            }
            rate = match passing {
                Some(passing) if failing <= passing * self.precision => break,
                Some(passing) => (passing * stride).min((passing * failing).sqrt()),
                None if failing <= self.lowest => break,
                None => (failing / stride).max(self.lowest),
            };
            stride *= stride;
        }
        Ok(found)
    }

    /// Offers a rate until more than half of the slices have passed, or have not. The last outcome, and the sum of those that
    /// passed if the rate did.
    fn judge<E>(
        &self,
        rate: Option<f64>,
        offer: &mut impl FnMut(Option<f64>) -> Result<Outcome, E>,
    ) -> Result<(Outcome, Option<Outcome>), E> {
        let needed = self.slices as usize / 2 + 1;
        let (mut passed, mut failed) = (Vec::new(), 0);
        let mut again = self.slices;
        loop {
            let outcome = offer(rate)?;
            // The generator's own CPU was away, and the slice says nothing about this rate; unless it is always like that.
            if again > 0 && made_less(&outcome, rate) {
                again -= 1;
                continue;
            }
            if outcome.sent > 0 && outcome.loss() < self.loss {
                passed.push(outcome);
            } else {
                failed += if outcome.loss() >= self.hopeless { needed } else { 1 };
            }
            if failed >= needed {
                return Ok((outcome, None));
            }
            if passed.len() == needed {
                return Ok((outcome, Some(together(&passed))));
            }
        }
    }
}

/// Whether the generator made clearly less than this rate.
fn made_less(outcome: &Outcome, rate: Option<f64>) -> bool {
    rate.is_some_and(|rate| (outcome.sent as f64) < MADE * rate * outcome.seconds)
}

/// Several outcomes as one; the latency is that of the slice with the median p99.
pub fn together(outcomes: &[Outcome]) -> Outcome {
    let mut latencies: Vec<Latency> = outcomes.iter().filter_map(|outcome| outcome.latency).collect();
    latencies.sort_by_key(|latency| latency.p99);
    let mut sum = Outcome { latency: latencies.get(latencies.len() / 2).copied(), ..Outcome::default() };
    for outcome in outcomes {
        sum.sent += outcome.sent;
        sum.arrived += outcome.arrived;
        sum.reordered += outcome.reordered;
        sum.corrupt += outcome.corrupt;
        sum.seconds += outcome.seconds;
        sum.cpu_seconds += outcome.cpu_seconds;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::runs::fake::Relay;

    /// The search against a relay, in slices of a quarter second, and how many it took.
    fn highest(search: &Search, guess: Option<f64>, relay: &mut Relay) -> (Found, u32) {
        let mut slices = 0;
        let found = search.highest(guess, |rate| {
            slices += 1;
            Ok::<_, Infallible>(relay.offer(rate, 0.25))
        });
        let Ok(found) = found;
        (found, slices)
    }

    fn rate(outcome: &Outcome) -> f64 {
        outcome.arrived as f64 / outcome.seconds
    }

    #[test]
    fn the_capacity_is_found_from_anywhere() {
        let search = Search::default();
        for capacity in [2_000.0, 250_000.0, 1_900_000.0, 4_900_000.0] {
            for guess in [None, Some(capacity), Some(capacity / 30.0), Some(capacity * 30.0), Some(f64::NAN)]
            {
                let mut relay = Relay { capacity, ..Relay::default() };
                let (found, slices) = highest(&search, guess, &mut relay);
                let lossless = rate(&found.lossless.expect("a rate that passes"));
                assert!(
                    lossless <= capacity && lossless > capacity / search.precision / 1.001,
                    "{lossless} of {capacity} with {guess:?}"
                );
                assert!(!found.at_least);
                assert!(slices <= 45, "{slices} slices for {capacity} with {guess:?}");
            }
        }
    }

    #[test]
    fn a_good_guess_saves_slices() {
        let mut relay = Relay { capacity: 400_000.0, ..Relay::default() };
        let (_, slices) = highest(&Search::default(), Some(395_000.0), &mut relay);
        assert!(slices <= 8, "{slices}");
    }

    #[test]
    fn a_relay_that_chokes_when_flooded_is_not_taken_for_a_slow_one() {
        let mut relay = Relay { capacity: 500_000.0, flooded: 0.02, ..Relay::default() };
        let (found, _) = highest(&Search::default(), None, &mut relay);
        assert!(rate(&found.flood) < 15_000.0);
        assert!(rate(&found.lossless.expect("a rate that passes")) > 480_000.0);
    }

    #[test]
    fn a_cpu_that_is_away_now_and_then_does_not_fail_a_rate() {
        // Every fourth slice loses a tenth.
        let mut relay = Relay { capacity: 1_000_000.0, away: Some((4, 0.1)), ..Relay::default() };
        let (found, _) = highest(&Search::default(), None, &mut relay);
        let lossless = found.lossless.expect("a rate that passes");
        assert!(rate(&lossless) > 950_000.0, "{}", rate(&lossless));
        assert!(lossless.loss() < 0.001, "what the figure is of must have passed");
    }

    #[test]
    fn half_a_percent_is_lost_too_much_at_any_rate() {
        let mut relay = Relay { capacity: 1_000_000.0, away: Some((1, 0.005)), ..Relay::default() };
        let (found, slices) = highest(&Search::default(), None, &mut relay);
        assert_eq!(found.lossless, None);
        assert!(slices < 30, "{slices} slices to give up");
    }

    #[test]
    fn a_relay_faster_than_the_generator_is_said_to_be_at_least_so_fast() {
        let mut relay = Relay { capacity: 9e6, made: 5e6, ..Relay::default() };
        let (found, slices) = highest(&Search::default(), None, &mut relay);
        assert!(found.at_least);
        assert_eq!(found.asked, None);
        assert!(rate(&found.lossless.expect("a flood that passes")) > 4.9e6);
        assert_eq!(slices, 2);
    }

    #[test]
    fn a_generator_that_is_slower_when_it_is_paced_ends_the_search() {
        // A flood of 5 M chokes the relay; paced, the generator makes 1 M.
        let mut relay = Relay { capacity: 3e6, made: 5e6, paced: 1e6, ..Relay::default() };
        let (found, slices) = highest(&Search::default(), None, &mut relay);
        assert!(found.at_least);
        assert!((0.9e6..1.1e6).contains(&rate(&found.lossless.expect("a rate that passes"))));
        assert!(slices < 9, "{slices}");
    }

    #[test]
    fn a_generator_whose_cpu_is_away_now_and_then_does_not_end_it() {
        let mut relay = Relay { capacity: 400_000.0, starved: Some(3), ..Relay::default() };
        let (found, _) = highest(&Search::default(), None, &mut relay);
        assert!(!found.at_least);
        assert!(rate(&found.lossless.expect("a rate that passes")) > 380_000.0);
    }

    #[test]
    fn a_relay_that_is_dead_has_no_rate() {
        let mut relay = Relay { capacity: 0.0, ..Relay::default() };
        let (found, slices) = highest(&Search::default(), Some(1e6), &mut relay);
        assert_eq!(found.lossless, None);
        assert!(slices < 20, "{slices}");
    }

    #[test]
    fn the_error_of_an_offer_ends_it() {
        let mut offered = 0;
        let result = Search::default().highest(None, |_| {
            offered += 1;
            Err("the server is gone")
        });
        assert_eq!((result, offered), (Err("the server is gone"), 1));
    }

    #[test]
    fn together_counts_all_and_takes_the_middle_latency() {
        let slice = |p99| Outcome {
            sent: 10,
            arrived: 9,
            seconds: 0.5,
            latency: Some(Latency { p50: 1, p99, p999: 100 }),
            ..Outcome::default()
        };
        let sum = together(&[slice(30), slice(9_000), slice(20)]);
        assert_eq!((sum.sent, sum.arrived, sum.seconds), (30, 27, 1.5));
        assert_eq!(sum.latency.map(|latency| latency.p99), Some(30));
    }
}
