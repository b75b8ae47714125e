//! A verification that takes time, as traces show it.

use http::Extensions;

use crate::{
    error::refusal::VerifyError, policy::verified::VerifiedToken, respond::hook::Watch, telemetry,
};

pub(super) struct Slow(telemetry::events::Slow);

impl Slow {
    pub(super) fn begin() -> Self {
        Self(telemetry::events::Slow::begin())
    }

    /// What is logged meanwhile belongs to it.
    pub(super) fn enter(&self) -> telemetry::events::Entered<'_> {
        self.0.enter()
    }

    /// Ends it with the verdict, which is left with the request where it is let in.
    pub(super) fn end(self, refused: Option<&VerifyError>, extensions: &Extensions) {
        let subject = Watch::subject(extensions);
        match (refused, extensions.get::<VerifiedToken>()) {
            (Some(error), _) => self.0.refused(error, subject),
            (None, Some(token)) => {
                self.0.admitted(token.issuer(), token.method().as_str(), subject);
            }
            (None, None) => {}
        }
    }
}
