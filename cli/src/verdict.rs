//! Reports the outcome of a verification, and advice on a refusal.

use serde_json::json;
use tower_introspect::{Blame, VerifyError};

use crate::{
    advice, causes,
    report::{Exit, Report, Tone},
    token::Kind,
};

/// Returns the exit code for a refusal.
pub(crate) const fn exit(blame: Blame) -> Exit {
    match blame {
        Blame::AuthorizationServer => Exit::Unavailable,
        Blame::ResourceServer => Exit::Usage,
        _ => Exit::Refused,
    }
}

/// Reports the outcome. `complete` is true if no check of a service was skipped.
pub(crate) fn headline(report: &mut Report, error: Option<&VerifyError>, complete: bool) {
    report.set("complete", complete);
    let Some(error) = error else {
        if complete {
            report.line(Tone::Good, "ACCEPTED");
        } else {
            report.line(Tone::Warning, "ACCEPTED, but some checks were skipped");
        }
        return;
    };
    let kind = error.kind();
    report.exit = exit(error.blame());
    let word = match report.exit {
        Exit::Unavailable => "NOT KNOWN",
        Exit::Usage => "MISCONFIGURED",
        _ => "REFUSED",
    };
    report.line(Tone::Bad, format!("{word}: {kind} ({})", kind.reason()));
    report.set("reason", kind.reason());
    report.set("message", kind.to_string());
    report.set("blame", advice::responsible_party(error.blame()));
}

/// Reports advice, and the cause if the client is not to blame.
pub(crate) fn advise(report: &mut Report, error: &VerifyError, token: &Kind) {
    let lines = advice::for_error(error.kind(), token.code);
    report.heading("What to change");
    for line in lines {
        report.item(Tone::Plain, "-", *line);
    }
    let mut advice: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    // The checks show the mistakes of a client. The causes show more of those of others, and what
    // the kind of a refusal does not say.
    let causes = causes::chain(error);
    if error.blame() != Blame::Client || error.context().is_some() {
        report.heading("Cause");
        for cause in &causes {
            report.item(Tone::Plain, "-", cause);
        }
        for hint in causes::hints(&causes) {
            report.item(Tone::Warning, "!", &hint);
            advice.push(hint);
        }
    }
    report.set("advice", json!(advice));
    report.set("causes", json!(causes));
}
