//! The span of a verification that takes time.

use http::Extensions;

use crate::{
    error::refusal::VerifyError, policy::admitted::VerifiedToken, respond::hook::LoggedSubject,
    telemetry,
};

/// The span of one verification, until there is a verdict.
pub(super) struct PendingSpan(telemetry::events::PendingSpan);

impl PendingSpan {
    pub(super) fn begin() -> Self {
        Self(telemetry::events::PendingSpan::begin())
    }

    /// Enters the span, so that events meanwhile belong to it.
    pub(super) fn enter(&self) -> telemetry::events::Entered<'_> {
        self.0.enter()
    }

    /// Ends the span with the verdict. An admitted request has its token in `extensions`.
    pub(super) fn end(self, refused: Option<&VerifyError>, extensions: &Extensions) {
        let subject = LoggedSubject::of(extensions);
        match (refused, extensions.get::<VerifiedToken>()) {
            (Some(error), _) => self.0.refused(error, subject),
            (None, Some(token)) => {
                self.0.admitted(token.issuer(), token.method().as_str(), subject);
            }
            (None, None) => {}
        }
    }
}
