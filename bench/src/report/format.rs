//! Numbers for people.

use crate::runs::statistics::Spread;

/// Three digits and a prefix: 1.81 M.
pub(super) fn si(value: f64) -> String {
    let (value, prefix) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, " M"),
        size if size >= 999.5 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    format!("{}{prefix}", digits(value))
}

/// Three digits, or all of those before the point.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// The median, and between what half of the rounds were.
pub(super) fn spread(spread: Option<&Spread>, number: impl Fn(f64) -> String) -> String {
    let Some(Spread { median, low, high, rounds }) = spread else { return "-".into() };
    if *rounds == 1 {
        return number(*median);
    }
    format!("{} ({} to {})", number(*median), number(*low), number(*high))
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", digits(100.0 * share))
}

/// Nanoseconds as microseconds.
pub(super) fn micros(nanos: f64) -> String {
    digits(nanos / 1e3)
}

/// A point in time as a date of UTC.
pub(super) fn date(seconds: u64) -> String {
    // Days since 1 March of the year 0, from which leap days come last: Howard Hinnant's civil_from_days.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [(1_812_345.0, "1.81 M"), (999_700.0, "1.00 M"), (214_400.0, "214 k"), (999.7, "1.00 k")];
        for (value, text) in cases.into_iter().chain([(95.04, "95.0"), (0.5, "0.50"), (0.0, "0")]) {
            assert_eq!(si(value), text);
        }
        assert_eq!(percent(0.000_05), "5.0e-3 %");
        assert_eq!(micros(12_345.0), "12.3");
    }

    #[test]
    fn a_spread_of_one_round_is_a_number() {
        let one = Spread::of([2.0]);
        assert_eq!(spread(one.as_ref(), digits), "2.00");
        assert_eq!(spread(Spread::of([1.0, 2.0, 3.0]).as_ref(), digits), "2.00 (1.50 to 2.50)");
        assert_eq!(spread(None, digits), "-");
    }

    #[test]
    fn dates_know_leap_years() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_767_225_599, "2025-12-31"),
            (1_767_225_600, "2026-01-01"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
