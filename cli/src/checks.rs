//! Reports the recorded checks of a token.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind,
    checks::{self, Check, Stage, State, Trace},
    clock::UnixTime,
};

use crate::{
    diagnosis::found,
    report::{CheckLine, Report, Tone},
};

/// The state of a check on the screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Failed(ErrorKind),
    /// An earlier check refused the token.
    NotReached,
    /// A later check refused the token without this one.
    NotNeeded,
    NotRequested,
    Passed,
    /// Passed, but on content that anyone could have written.
    Seen,
}

impl Shown {
    /// Returns the tone, the mark and the name in JSON.
    const fn words(self) -> (Tone, &'static str, &'static str) {
        match self {
            Self::Failed(_) => (Tone::Bad, "FAIL", "failed"),
            Self::NotReached => (Tone::Faint, "-", "not_reached"),
            Self::NotNeeded => (Tone::Faint, "-", "not_needed"),
            Self::NotRequested => (Tone::Warning, "skip", "not_requested"),
            Self::Passed => (Tone::Good, "pass", "passed"),
            Self::Seen => (Tone::Plain, "seen", "seen"),
        }
    }

    /// Returns true if the check was made and counts.
    const fn is_made(self) -> bool {
        matches!(self, Self::Failed(_) | Self::Passed | Self::Seen)
    }
}

type Line<'a> = (Check, Shown, Option<&'a checks::Detail>);

/// Returns the checks that a token goes through, with their states.
fn lines<'a>(trace: &'a Trace, not_requested: &[Check]) -> Vec<Line<'a>> {
    let verified = trace.is_verified();
    let failed = trace.failed().map(|step| step.check);
    let shown = |(check, state, detail): (Check, State, _)| {
        let shown = match state {
            State::Failed(kind) => Shown::Failed(kind),
            State::Passed if not_requested.contains(&check) => Shown::NotRequested,
            State::Passed if verified || !is_about_token(check) => Shown::Passed,
            State::Passed => Shown::Seen,
            _ if failed.is_some_and(|failed| check < failed) => Shown::NotNeeded,
            _ => Shown::NotReached,
        };
        (check, shown, detail)
    };
    trace.path().into_iter().map(shown).collect()
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
    let has = |wanted: &[Shown]| lines.iter().any(|(_, shown, _)| wanted.contains(shown));
    if has(&[Shown::Seen]) {
        let text = "  seen: in a token that is not verified. Anyone could have written it.";
        report.line(Tone::Warning, text);
    }
    if has(&[Shown::NotReached, Shown::NotNeeded]) {
        report.line(Tone::Faint, "  -: not reached, because another check refused the token");
    }
    if has(&[Shown::NotRequested]) {
        report.line(Tone::Warning, "  skip: the command line does not ask for this check");
    }
    let on_screen = |(check, shown, detail): &Line<'_>| {
        let (tone, mark, _) = shown.words();
        let detail = describe(*detail, now).filter(|_| shown.is_made());
        let detail = match shown {
            Shown::Failed(kind) => Some(match detail {
                Some(detail) => format!("{kind}: {detail}"),
                None => kind.to_string(),
            }),
            _ => detail,
        };
        CheckLine { tone, mark, title: check.title(), section: check.section(), detail }
    };
    report.checks(lines.iter().map(on_screen).collect());
    report.set("checks", lines.iter().map(to_json).collect::<Vec<_>>());
}

/// Counts the checks by their state, in words.
pub(crate) fn counts(trace: &Trace, not_requested: &[Check]) -> String {
    let lines = lines(trace, not_requested);
    let count = |wanted: &[Shown], words: &str| {
        let count = lines.iter().filter(|(_, shown, _)| wanted.contains(shown)).count();
        (count > 0).then(|| format!("{count} {words}"))
    };
    let counts = [
        count(&[Shown::Passed], "passed"),
        count(&[Shown::Seen], "seen unverified"),
        count(&[Shown::NotRequested], "skipped"),
        count(&[Shown::NotReached, Shown::NotNeeded], "not reached"),
    ];
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Describes the value that a check found and the value that it expected.
fn describe(detail: Option<&checks::Detail>, now: UnixTime) -> Option<String> {
    let detail = detail?;
    match (found(detail, now), &detail.wanted) {
        (Some(found), Some(wanted)) => Some(format!("found {found}; expected {wanted}")),
        (Some(found), None) => Some(format!("found {found}")),
        _ => None,
    }
}

fn to_json((check, shown, detail): &Line<'_>) -> Value {
    let seen = detail.and_then(|detail| match &detail.seen {
        Some(checks::Value::Text(text)) => Some(Value::from(text.as_str())),
        Some(checks::Value::Time(time)) => Some(time.as_secs().into()),
        _ => None,
    });
    json!({
        "check": check.name(),
        "title": check.title(),
        "section": check.section(),
        "state": shown.words().2,
        "reason": match shown {
            Shown::Failed(kind) => Some(kind.reason()),
            _ => None,
        },
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
