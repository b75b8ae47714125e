//! What came of a token, at the top of the screen, and what to do about it, at the end.

use serde_json::json;
use tower_introspect::{Blame, VerifyError};

use crate::{
    advice, network,
    report::{Exit, Report, Tone},
    token::Kind,
};

/// How a command ends whose token was refused for this.
pub(crate) const fn exit(blame: Blame) -> Exit {
    match blame {
        Blame::AuthorizationServer => Exit::Unavailable,
        Blame::ResourceServer => Exit::Usage,
        _ => Exit::Refused,
    }
}

/// Says what came of it.
///
/// `complete`: nothing that a service asks was left open.
pub(crate) fn headline(report: &mut Report, error: Option<&VerifyError>, complete: bool) {
    report.set("complete", complete);
    let Some(error) = error else {
        if complete {
            report.line(Tone::Good, "ACCEPTED");
        } else {
            report.line(Tone::Warning, "ACCEPTED, as far as was asked: see the checks");
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
    report.set("blame", advice::party(error.blame()));
}

/// Says what to change, and what else is known of the cause.
pub(crate) fn advise(report: &mut Report, error: &VerifyError, looks: &Kind) {
    let lines = advice::on(error.kind(), looks.code);
    report.heading("What to change");
    for line in lines {
        report.item(Tone::Plain, "-", *line);
    }
    let mut advice: Vec<&str> = lines.to_vec();
    // What the client did wrong is told by the checks; of what others did, the causes tell more.
    let causes = network::causes(error);
    if error.blame() != Blame::Client {
        report.heading("Cause");
        for cause in &causes {
            report.item(Tone::Plain, "-", cause);
        }
        for hint in network::hints(&causes) {
            report.item(Tone::Warning, "!", hint);
            advice.push(hint);
        }
    }
    report.set("advice", json!(advice));
    report.set("causes", json!(causes));
}
