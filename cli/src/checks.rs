//! Reports the recorded checks of a token.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind,
    checks::{self, Check, Stage, State, Trace},
    clock::UnixTime,
};

use crate::{
    diagnosis::found,
    report::{Block, CheckLine, Report, Tone},
};

/// The state of a check on the screen: its tone, its mark, and its name in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown(Tone, &'static str, &'static str);

impl Shown {
    const FAILED: Self = Self(Tone::Bad, "FAIL", "failed");
    /// An earlier check refused the token.
    const NOT_REACHED: Self = Self(Tone::Faint, "-", "not_reached");
    /// A later check refused the token without this one.
    const NOT_NEEDED: Self = Self(Tone::Faint, "-", "not_needed");
    const NOT_REQUESTED: Self = Self(Tone::Warning, "skip", "not_requested");
    const PASSED: Self = Self(Tone::Good, "pass", "passed");
    /// Passed, but on content that anyone could have written.
    const SEEN: Self = Self(Tone::Plain, "seen", "seen");
}

type Line<'a> = (Check, Shown, Option<ErrorKind>, Option<&'a checks::Detail>);

/// Returns the checks that a token goes through, with their states.
fn lines<'a>(trace: &'a Trace, not_requested: &[Check]) -> Vec<Line<'a>> {
    let verified = trace.is_verified();
    let failed = trace.failed().map(|step| step.check);
    let line = |(check, state, detail): (Check, State, _)| {
        let (shown, kind) = match state {
            State::Failed(kind) => (Shown::FAILED, Some(kind)),
            State::Passed if not_requested.contains(&check) => (Shown::NOT_REQUESTED, None),
            State::Passed if verified || !is_about_token(check) => (Shown::PASSED, None),
            State::Passed => (Shown::SEEN, None),
            _ if failed.is_some_and(|failed| check < failed) => (Shown::NOT_NEEDED, None),
            _ => (Shown::NOT_REACHED, None),
        };
        (check, shown, kind, detail)
    };
    trace.path().into_iter().map(line).collect()
}

/// Returns true if a check is about the text of the token, which anyone can write.
const fn is_about_token(check: Check) -> bool {
    match check {
        Check::Keys | Check::Endpoint | Check::Answer => false,
        _ => matches!(
            check.stage(),
            Stage::Request | Stage::Route | Stage::Jwt | Stage::Introspection
        ),
    }
}

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
    let lines = lines(trace, not_requested);
    let has = |wanted: Shown| lines.iter().any(|(_, shown, ..)| *shown == wanted);
    if has(Shown::SEEN) {
        let text = "  seen: in a token that is not verified. Anyone could have written it.";
        report.line(Tone::Warning, text);
    }
    if has(Shown::NOT_REACHED) || has(Shown::NOT_NEEDED) {
        report.line(Tone::Faint, "  -: not reached, because another check refused the token");
    }
    if has(Shown::NOT_REQUESTED) {
        report.line(Tone::Warning, "  skip: the command line does not ask for this check");
    }
    let on_screen = |(check, shown, kind, detail): &Line<'_>| {
        let Shown(tone, mark, _) = *shown;
        let detail = describe(*detail, now).filter(|_| *shown != Shown::NOT_REQUESTED);
        let parts: Vec<_> = kind.map(|kind| kind.to_string()).into_iter().chain(detail).collect();
        let detail = (!parts.is_empty()).then(|| parts.join(": "));
        CheckLine { tone, mark, title: check.title(), section: check.section(), detail }
    };
    report.blocks.push(Block::Checks(lines.iter().map(on_screen).collect()));
    report.set("checks", lines.iter().map(to_json).collect::<Vec<_>>());
}

/// Counts the checks by their state, in words.
pub(crate) fn counts(trace: &Trace, not_requested: &[Check]) -> String {
    let lines = lines(trace, not_requested);
    let counts = [
        (&[Shown::PASSED][..], "passed"),
        (&[Shown::SEEN], "seen unverified"),
        (&[Shown::NOT_REQUESTED], "skipped"),
        (&[Shown::NOT_REACHED, Shown::NOT_NEEDED], "not reached"),
    ];
    let counts = counts.into_iter().filter_map(|(wanted, words)| {
        let count = lines.iter().filter(|(_, shown, ..)| wanted.contains(shown)).count();
        (count > 0).then(|| format!("{count} {words}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// Describes the value that a check found and the value that it expected.
fn describe(detail: Option<&checks::Detail>, now: UnixTime) -> Option<String> {
    let detail = detail?;
    let found = format!("found {}", found(detail, now)?);
    Some(match &detail.wanted {
        Some(wanted) => format!("{found}; expected {wanted}"),
        None => found,
    })
}

fn to_json((check, shown, kind, detail): &Line<'_>) -> Value {
    let seen = detail.and_then(|detail| match detail.seen.as_ref()? {
        checks::Value::Text(text) => Some(json!(text)),
        checks::Value::Time(time) => Some(json!(time.as_secs())),
        _ => None,
    });
    json!({
        "check": check.name(),
        "title": check.title(),
        "section": check.section(),
        "state": shown.2,
        "reason": kind.map(|kind| kind.reason()),
        "seen": seen,
        "wanted": detail.and_then(|detail| detail.wanted.as_deref()),
    })
}

/// Returns true if the recorded checks account for the outcome.
///
/// Otherwise something around the checks decided: a circuit breaker, a limit, or the cache.
pub(crate) fn explains(trace: &Trace, outcome: Option<ErrorKind>) -> bool {
    trace.failed().and_then(|step| step.outcome.err()) == outcome
}
