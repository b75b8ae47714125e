//! The span of a decision that takes time.

use http::Extensions;

use crate::{
    error::refusal::VerifyError, policy::verified_token::VerifiedToken,
    respond::hook::LoggedSubject, telemetry,
};

/// The span of a request that waits for its decision. Ends with the decision.
pub(super) struct DecisionSpan(telemetry::span::PendingSpan);

impl DecisionSpan {
    pub(super) fn begin() -> Self {
        Self(telemetry::span::PendingSpan::begin())
    }

    /// Enters the span, so that events meanwhile belong to it.
    pub(super) fn enter(&self) -> telemetry::span::Entered<'_> {
        self.0.enter()
    }

    /// Ends the span with the decision on a request with these extensions.
    pub(super) fn end(
        self,
        decision: Result<&VerifiedToken, &VerifyError>,
        extensions: &Extensions,
    ) {
        let subject = LoggedSubject::of(extensions);
        match decision {
            Ok(token) => self.0.admitted(token.issuer(), token.method().as_str(), subject),
            Err(error) => self.0.refused(error, subject),
        }
    }
}
