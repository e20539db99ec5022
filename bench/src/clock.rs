//! The one clock of a run: nanoseconds since it was made. No other file reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since a moment that all threads of a run share.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[allow(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the clock began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("runs do not last for 584 years")
    }
}

/// Seconds since 1970, for the head of a report.
#[allow(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-21 16:40:00 UTC` from seconds since 1970, by the civil calendar.
pub fn date_of(unix_seconds: u64) -> String {
    let days = i64::try_from(unix_seconds / 86_400).expect("fits");
    // Days are counted from 1 March of year 0, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let second = unix_seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_of(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date_of(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date_of(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date_of(1_795_278_223), "2026-11-21 16:23:43 UTC");
    }
}
