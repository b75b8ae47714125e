//! The checks of a token on the screen.

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

/// Tells of every check that a token goes through. What passed only because it was not asked for is
/// among `unasked`.
pub(crate) fn tell(report: &mut Report, trace: &Trace, unasked: &[Check], now: UnixTime) {
    report.heading("Checks");
    let path = trace.path();
    let lines = path.iter().map(|(check, state, detail)| {
        let skipped = *state == State::Passed && unasked.contains(check);
        let (tone, mark) = match state {
            _ if skipped => (Tone::Warning, "skip"),
            State::Passed => (Tone::Good, "pass"),
            State::Failed(_) => (Tone::Bad, "FAIL"),
            _ => (Tone::Faint, "-"),
        };
        let remark = match state {
            _ if skipped => Some("not asked for"),
            State::NotReached => Some("not reached"),
            _ => None,
        };
        let detail = match state {
            _ if remark.is_some() => None,
            State::Failed(kind) => Some(match words(*detail, now) {
                Some(words) => format!("{kind}: {words}"),
                None => kind.to_string(),
            }),
            _ => words(*detail, now),
        };
        let (title, section) = (check.title(), check.section());
        CheckLine { tone, mark, title, section, remark, detail }
    });
    report.checks(lines.collect());
    report.set("checks", to_json(&path, unasked));
}

/// The check that failed, with what was seen and wanted, in a line.
pub(crate) fn words(detail: Option<&checks::Detail>, now: UnixTime) -> Option<String> {
    let detail = detail?;
    let seen = match &detail.seen {
        Some(checks::Value::Text(text)) => Some(text.clone()),
        Some(checks::Value::Time(time)) => {
            Some(format!("{} ({})", when::date(*time), when::relative(*time, now)))
        }
        _ => None,
    };
    match (seen, &detail.wanted) {
        (Some(seen), Some(wanted)) => Some(format!("seen {seen}; wanted {wanted}")),
        (Some(seen), None) => Some(format!("seen {seen}")),
        (None, Some(wanted)) => Some(format!("seen none; wanted {wanted}")),
        (None, None) => None,
    }
}

fn to_json(path: &[(Check, State, Option<&checks::Detail>)], unasked: &[Check]) -> Value {
    let one = |(check, state, detail): &(Check, State, Option<&checks::Detail>)| {
        let state_name = match state {
            State::Passed if unasked.contains(check) => "not_asked",
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

/// Whether what the checks say is what came out. If not, something around them refused: a breaker, a
/// limit, an answer that was remembered.
pub(crate) fn explains(trace: &Trace, outcome: Option<ErrorKind>) -> bool {
    trace.failed().and_then(|step| step.outcome.err()) == outcome
}
