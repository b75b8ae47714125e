//! What an operator is told.
//!
//! Events carry bounded names and numbers, never a token, a claim or anything else a client wrote.

use crate::error::{Blame, VerifyError};

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
            Blame::ResourceServer => {
                tracing::error!(reason, cause = %Chain(error), "resource server misconfigured");
            }
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (error, Blame::Client);
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
