//! The span of a decision that takes time.

use http::Extensions;

use crate::{
    error::refusal::VerifyError, policy::verified_token::VerifiedToken,
    respond::hook::LoggedSubject, telemetry,
};

/// The span of a request that waits for its decision. Ends with the verdict.
pub(super) struct DecisionSpan(telemetry::events::PendingSpan);

impl DecisionSpan {
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
