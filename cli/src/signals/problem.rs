//! Explains why a transmitter does not do what is asked.

use tower_introspect::{
    inspect::TransmitterSettings,
    signals::{TransmitterError, TransmitterErrorKind},
};

use crate::{
    causes,
    diagnosis::{Place, Setting},
    finding::{Finding, Findings, Level},
    report::{Exit, Failure},
};

/// Returns the finding for an error, with what to change.
pub(crate) fn finding(
    error: &TransmitterError,
    settings: &TransmitterSettings,
    place: Place<'_>,
) -> Option<Finding> {
    let (level, code) = match error.kind() {
        TransmitterErrorKind::Unavailable => (Level::Unknown, "transmitter_unavailable"),
        TransmitterErrorKind::Unauthorized => (Level::Bad, "transmitter_credentials_rejected"),
        TransmitterErrorKind::NotFound => (Level::Bad, "stream_not_found"),
        TransmitterErrorKind::Unsupported => (Level::Bad, "transmitter_unsupported"),
        _ => (Level::Bad, "transmitter_out_of_protocol"),
    };
    let mut found = Findings::default();
    found.add(level, code, causes::chain(error).join(": "));
    match (error.kind(), &settings.access) {
        (TransmitterErrorKind::Unauthorized, Some(access)) => {
            let setting = if access.id.is_some() { Setting::CLIENT } else { Setting::ACCESS_TOKEN };
            let text = format!("of the transmitter; its secret is in {}", access.secret_location);
            found.change(place.with(setting, &text));
            found.change("at the transmitter: what this client may do, and in which scope");
        }
        (TransmitterErrorKind::NotFound, _) => {
            let text = "an identifier that `introspect signals status` lists without it";
            found.change(place.with(Setting::STREAM_ID, text));
            found.change("create the stream at the transmitter");
        }
        _ => {}
    }
    found.0.pop()
}

/// Returns the failure of a command that can do nothing else.
pub(super) fn failure(
    error: &TransmitterError,
    settings: &TransmitterSettings,
    place: Place<'_>,
) -> Failure {
    let exit = match error.kind() {
        TransmitterErrorKind::Unavailable => Exit::Unavailable,
        _ => Exit::Refused,
    };
    let chain = causes::chain(error);
    let mut failure = Failure::new(exit, format!("{}: {}", settings.issuer, chain.join(": ")));
    let changes = finding(error, settings, place).into_iter().flat_map(|found| found.details);
    for hint in changes.map(|change| change.into_text()).chain(causes::hint(&chain)) {
        failure = failure.hint(hint);
    }
    failure
}
