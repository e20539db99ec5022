//! Numbers for people: times in the unit that fits, rates with thousands, ticks of axes.

/// `412 ns`, `38.2 µs`, `1.25 ms`, `3.4 s` from microseconds.
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1.0 => (us * 1e3, "ns"),
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    format!("{} {unit}", significant(value))
}

/// Three significant digits, without zeros at the end of a fraction being lost: `38.2`, `1.25`, `412`.
pub fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if 99.95 <= magnitude || magnitude == 0.0 {
        format!("{value:.0}")
    } else if 9.995 <= magnitude {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if 0 < at && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate: grouped, or with a fraction if it is small.
pub fn rate(per_s: f64) -> String {
    if per_s < 100.0 { significant(per_s) } else { grouped(per_s.round() as u64) }
}

/// `850`, `12k`, `1.5M`: a number on an axis.
pub fn short(value: f64) -> String {
    let trim = |value: f64, unit: &str| {
        let text = format!("{value:.2}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value.abs() {
        magnitude if magnitude < 1e3 => trim(value, ""),
        magnitude if magnitude < 1e6 => trim(value / 1e3, "k"),
        magnitude if magnitude < 1e9 => trim(value / 1e6, "M"),
        _ => trim(value / 1e9, "G"),
    }
}

/// `50`, `99`, `99.9`, `99.999`.
pub fn percentile(percentile: f64) -> String {
    let text = format!("{percentile:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Round numbers from 0, or from below `low`, to above `high`: about `count` of them.
pub fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = (high - low).max(f64::MIN_POSITIVE);
    let raw = span / count.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| raw <= step * 1.000_001);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step).floor() as i64;
    let last = (high / step - 1e-9).ceil() as i64;
    (first..=last).map(|at| at as f64 * step).collect()
}

/// 1, 2 and 5 times powers of ten (or only the powers, over many of them), that hold `low` and `high` between them.
pub fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let factors: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    for power in first..=last {
        ticks.extend(factors.iter().map(|factor| factor * 10f64.powi(power)));
    }
    let begin = ticks.iter().rposition(|tick| *tick <= low * 1.000_001).unwrap_or(0);
    let end = ticks.iter().position(|tick| high <= *tick * 1.000_001).unwrap_or(ticks.len() - 1);
    ticks[begin..=end.max(begin)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.4125, 38.21, 999.9, 1_250.0, 3.4e6].map(time),
            ["412 ns", "38.2 µs", "1000 µs", "1.25 ms", "3.40 s"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([850.0, 12_000.0, 1_500_000.0, 0.25].map(short), ["850", "12k", "1.5M", "0.25"]);
        assert_eq!([50.0, 99.9, 99.999].map(percentile), ["50", "99.9", "99.999"]);
        assert_eq!([5.0, 99.96, 123_456.7].map(rate), ["5.00", "100", "123,457"]);
    }

    #[test]
    fn ticks_hold_their_values() {
        assert_eq!(linear_ticks(0.0, 9.3, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(0.0, 100_000.0, 4), [0.0, 25_000.0, 50_000.0, 75_000.0, 100_000.0]);
        assert_eq!(log_ticks(30.0, 900.0), [20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
        assert_eq!(log_ticks(30.0, 90_000.0), [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        for (low, high) in [(0.1, 0.1), (1.0, 1e9), (99.0, 101.0), (1.0, 1.0)] {
            let ticks = log_ticks(low, high);
            assert!(ticks[0] <= low * 1.001 && high <= ticks.last().unwrap() * 1.001, "{low} {high}: {ticks:?}");
        }
    }
}
