//! Medians and spread.

use serde::Serialize;

/// What several rounds say of a figure.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Half of the rounds lie below.
    pub median: f64,
    /// A quarter of them does.
    pub low: f64,
    /// Three quarters do.
    pub high: f64,
    /// Rounds that had a value.
    pub rounds: usize,
}

impl Spread {
    /// Of these values, those that are no numbers left out; `None` if there are no others.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| Self {
            median: quantile(&values, 0.5),
            low: quantile(&values, 0.25),
            high: quantile(&values, 0.75),
            rounds: values.len(),
        })
    }
}

/// The value below which this share of the sorted values lies, between two of them where it must.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values_where_they_must() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("values");
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        let one = Spread::of([7.0]).expect("a value");
        assert_eq!((one.low, one.median, one.high, one.rounds), (7.0, 7.0, 7.0, 1));
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Spread::of([f64::INFINITY, 1.0]).expect("a value").rounds, 1);
    }
}
