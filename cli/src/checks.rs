//! Reports the recorded checks of a token.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind,
    checks::{self, Check, State, Trace},
    clock::UnixTime,
};

use crate::{
    report::{CheckLine, Report, Tone},
    when,
};

/// Reports every check that a token goes through.
///
/// The checks in `not_requested` pass only because the command line does not ask for them. They are
/// shown as skipped.
pub(crate) fn report_checks(
    report: &mut Report,
    trace: &Trace,
    not_requested: &[Check],
    now: UnixTime,
) {
    report.heading("Checks");
    let path = trace.path();
    let lines = path.iter().map(|(check, state, detail)| {
        let skipped = *state == State::Passed && not_requested.contains(check);
        let (tone, mark) = match state {
            _ if skipped => (Tone::Warning, "skip"),
            State::Passed => (Tone::Good, "pass"),
            State::Failed(_) => (Tone::Bad, "FAIL"),
            _ => (Tone::Faint, "-"),
        };
        let remark = match state {
            _ if skipped => Some("not requested"),
            State::NotReached => Some("not reached"),
            _ => None,
        };
        let detail = match state {
            _ if remark.is_some() => None,
            State::Failed(kind) => Some(match describe(*detail, now) {
                Some(description) => format!("{kind}: {description}"),
                None => kind.to_string(),
            }),
            _ => describe(*detail, now),
        };
        let (title, section) = (check.title(), check.section());
        CheckLine { tone, mark, title, section, remark, detail }
    });
    report.checks(lines.collect());
    report.set("checks", to_json(&path, not_requested));
}

/// Describes the value that a check found and the value that it expected.
fn describe(detail: Option<&checks::Detail>, now: UnixTime) -> Option<String> {
    let detail = detail?;
    let seen = match &detail.seen {
        Some(checks::Value::Text(text)) => Some(text.clone()),
        Some(checks::Value::Time(time)) => {
            Some(format!("{} ({})", when::date(*time), when::relative(*time, now)))
        }
        _ => None,
    };
    match (seen, &detail.wanted) {
        (Some(seen), Some(wanted)) => Some(format!("found {seen}; expected {wanted}")),
        (Some(seen), None) => Some(format!("found {seen}")),
        (None, Some(wanted)) => Some(format!("found none; expected {wanted}")),
        (None, None) => None,
    }
}

fn to_json(path: &[(Check, State, Option<&checks::Detail>)], not_requested: &[Check]) -> Value {
    let one = |(check, state, detail): &(Check, State, Option<&checks::Detail>)| {
        let state_name = match state {
            State::Passed if not_requested.contains(check) => "not_requested",
            State::Passed => "passed",
            State::Failed(_) => "failed",
            _ => "not_reached",
        };
        let seen = detail.and_then(|detail| match &detail.seen {
            Some(checks::Value::Text(text)) => Some(Value::from(text.as_str())),
            Some(checks::Value::Time(time)) => Some(time.as_secs().into()),
            _ => None,
        });
        json!({
            "check": check.name(),
            "title": check.title(),
            "section": check.section(),
            "state": state_name,
            "reason": match state {
                State::Failed(kind) => Some(kind.reason()),
                _ => None,
            },
            "seen": seen,
            "wanted": detail.and_then(|detail| detail.wanted.as_deref()),
        })
    };
    path.iter().map(one).collect()
}

/// Returns true if the recorded checks account for the outcome.
///
/// Otherwise something around the checks decided: a circuit breaker, a limit, or the cache.
pub(crate) fn explains(trace: &Trace, outcome: Option<ErrorKind>) -> bool {
    trace.failed().and_then(|step| step.outcome.err()) == outcome
}
