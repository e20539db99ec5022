//! Times as people write and read them.

use jiff::Timestamp;

/// Unix seconds of what was written: digits, or RFC 3339 (`2026-11-21T20:00:00Z`). `None`: it is neither.
pub fn parse(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}

/// Unix seconds for people.
pub fn text(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or(format!("{seconds}"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        assert_eq!(parse("1234"), Some(1234));
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse("2026-11-21T20:00:00Z").map(text), Some("2026-11-21T20:00:00Z".into()));
        for bad in
            ["", "-5", "yesterday", "2026-11-21", "2026-11-21T20:00:00", "1969-12-31T23:59:59Z", "99999999999999999999"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
    }
}
