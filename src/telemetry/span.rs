//! The span of a verification that takes time.

#[cfg(feature = "tracing")]
use super::events::{TARGET, truncate_name};
use crate::error::refusal::VerifyError;

/// The span of a verification that could not finish at once, until its verdict.
#[cfg(feature = "tracing")]
pub(crate) struct PendingSpan(tracing::Span);

/// A placeholder for the span, without the feature `tracing`.
#[cfg(not(feature = "tracing"))]
pub(crate) struct PendingSpan;

/// A guard of the span. Work done while it is held belongs to the verification.
#[cfg(feature = "tracing")]
pub(crate) type Entered<'a> = tracing::span::Entered<'a>;

#[cfg(not(feature = "tracing"))]
pub(crate) type Entered<'a> = std::marker::PhantomData<&'a ()>;

impl PendingSpan {
    pub(crate) fn begin() -> Self {
        #[cfg(feature = "tracing")]
        return Self(tracing::info_span!(
            target: TARGET,
            "verify_token",
            outcome = tracing::field::Empty,
            reason = tracing::field::Empty,
            issuer = tracing::field::Empty,
            method = tracing::field::Empty,
            subject = tracing::field::Empty,
        ));
        #[cfg(not(feature = "tracing"))]
        Self
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        #[cfg(feature = "tracing")]
        return self.0.enter();
        #[cfg(not(feature = "tracing"))]
        std::marker::PhantomData
    }

    /// Ends the span of a request that was let in by a token of `issuer`.
    pub(crate) fn admitted(self, issuer: &str, method: &'static str, subject: Option<&str>) {
        #[cfg(feature = "tracing")]
        {
            let Self(span) = self;
            span.record("outcome", "admitted").record("issuer", issuer).record("method", method);
            if let Some(subject) = subject {
                span.record("subject", truncate_name(subject));
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (issuer, method, subject);
    }

    /// Ends the span of a request that was refused.
    pub(crate) fn refused(self, error: &VerifyError, subject: Option<&str>) {
        #[cfg(feature = "tracing")]
        {
            let Self(span) = self;
            span.record("outcome", "refused").record("reason", error.kind().reason());
            if let Some(subject) = subject {
                span.record("subject", truncate_name(subject));
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (error, subject);
    }
}
