//! What an operator is told.
//!
//! Events carry bounded names and numbers, never a token, a claim or anything else a client wrote.

use crate::error::{Blame, ErrorKind, VerifyError};

/// Reports a refusal, at a level that depends on whose fault it is: anyone can cause the client's
/// faults at will, so they must not fill the log of a service at its usual level.
pub(crate) fn refused(error: &VerifyError) {
    #[cfg(feature = "tracing")]
    {
        let reason = error.kind().reason();
        match error.blame() {
            Blame::Client => tracing::debug!(reason, "request refused"),
            Blame::AuthorizationServer => {
                tracing::warn!(reason, cause = %Chain(error), "token could not be verified");
            }
            // Nothing that is set wrongly, and it goes by.
            Blame::ResourceServer if error.kind() == ErrorKind::ReplayUnavailable => {
                tracing::warn!(reason, cause = %Chain(error), "proof could not be recorded");
            }
            Blame::ResourceServer => {
                tracing::error!(reason, cause = %Chain(error), "resource server misconfigured");
            }
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (error, Blame::Client, ErrorKind::ReplayUnavailable);
}

/// Reports what a requirement that is only observed would have refused.
pub(crate) fn would_have_refused(observer: &str, error: &VerifyError) {
    #[cfg(feature = "tracing")]
    tracing::debug!(observer, reason = error.kind().reason(), "request would be refused");
    #[cfg(not(feature = "tracing"))]
    let _ = (observer, error);
}

/// Reports that the keys of an issuer were fetched.
#[cfg(all(feature = "jwt", feature = "_crypto"))]
pub(crate) fn keys_fetched(issuer: &str, keys: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(issuer, keys, "keys fetched");
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, keys);
}

/// Reports that they were not. Requests may not notice for as long as the last ones serve.
#[cfg(all(feature = "jwt", feature = "_crypto"))]
pub(crate) fn keys_not_fetched(issuer: &str, error: &VerifyError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(issuer, cause = %Chain(error), "keys could not be fetched");
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, error);
}

/// An error with its causes, on one line.
#[cfg(feature = "tracing")]
struct Chain<'a>(&'a VerifyError);

#[cfg(feature = "tracing")]
impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        // Bounded: an error may name itself as its source.
        for _ in 0..16 {
            let Some(error) = cause else { break };
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
