//! Parses and formats times.

use jiff::Timestamp;
use tower_introspect::clock::UnixTime;

/// Parses the value of `--at`.
///
/// # Errors
///
/// If it is neither seconds since 1970 nor RFC 3339.
pub(crate) fn parse(text: &str) -> Result<UnixTime, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(UnixTime::from_secs(seconds));
    }
    let time: Result<Timestamp, _> = text.parse();
    time.map(|time| UnixTime::from_millis(time.as_millisecond()))
        .map_err(|_| "neither seconds since 1970 nor RFC 3339, such as 2026-01-31T03:00:00Z".into())
}

/// Formats a time as in RFC 3339.
pub(crate) fn date(time: UnixTime) -> String {
    match Timestamp::from_second(time.as_secs()) {
        Ok(time) => time.to_string(),
        Err(_) => "beyond the calendar".to_owned(),
    }
}

/// Formats a time relative to `now`: `4 min ago`, `in 2 h 10 min`, `now`.
pub(crate) fn relative(time: UnixTime, now: UnixTime) -> String {
    let seconds = i128::from(time.as_secs()) - i128::from(now.as_secs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", span(seconds.unsigned_abs())),
        _ => format!("{} ago", span(seconds.unsigned_abs())),
    }
}

/// Formats a time as in RFC 3339, and relative to `now`.
pub(crate) fn both(time: UnixTime, now: UnixTime) -> String {
    format!("{} ({})", date(time), relative(time, now))
}

/// Formats a number of seconds in its two largest units.
pub(crate) fn span(seconds: u128) -> String {
    const UNITS: [(u128, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    const YEAR: u128 = 365 * 86_400;
    if seconds >= 2 * YEAR {
        return format!("{} years", seconds / YEAR);
    }
    let at = UNITS.iter().position(|(length, _)| seconds >= *length).unwrap_or(UNITS.len() - 1);
    let (length, name) = UNITS[at];
    let mut text = format!("{} {name}", seconds / length);
    if let Some((smaller, name)) = UNITS.get(at + 1) {
        let rest = seconds % length / smaller;
        // Seconds are left out beside ten minutes and more.
        if rest > 0 && !(*smaller == 1 && seconds >= 600) {
            text.push_str(&format!(" {rest} {name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (241, "4 min 1 s"),
            (660, "11 min"),
            (661, "11 min"),
            (3600, "1 h"),
            (7800, "2 h 10 min"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d"),
            (86_400 * 365 * 3, "3 years"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn extreme_times_are_formatted() {
        let [first, last] = [UnixTime::from_millis(i64::MIN), UnixTime::from_millis(i64::MAX)];
        assert_eq!(date(first), "beyond the calendar");
        assert_eq!(date(last), "beyond the calendar");
        assert!(relative(first, last).ends_with(" years ago"));
        assert_eq!(relative(last, last), "now");
    }

    #[test]
    fn times_are_parsed_in_two_formats() {
        assert_eq!(parse("1893456000"), Ok(UnixTime::from_secs(1_893_456_000)));
        assert_eq!(parse("2030-01-01T00:00:00Z"), Ok(UnixTime::from_secs(1_893_456_000)));
        assert!(parse("tomorrow").is_err());
    }
}
