//! The consequences of a failed request to an authorization server.

use super::{
    failure::{Failure, Fault},
    kind::{Blame, ErrorKind},
    refusal::VerifyError,
};

impl VerifyError {
    /// Returns the failure of the request to the authorization server, or `None` if the server
    /// decided about the token or was not at fault.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.marked_failure().or_else(|| match self.kind() {
            ErrorKind::BadResponse => Some(Failure::Broken),
            ErrorKind::CredentialsRejected => Some(Failure::RejectsCredentials),
            kind if kind.blame() == Blame::AuthorizationServer => Some(Failure::Unreachable),
            _ => None,
        })
    }

    /// Returns true if stale facts may be served in place of this error.
    pub(crate) fn allows_stale(&self) -> bool {
        match self.fault() {
            Some(Fault::Token) => false,
            Some(Fault::NotToken { allows_stale, .. }) => allows_stale,
            None => self.kind() == ErrorKind::Unavailable,
        }
    }

    /// Returns true if repeating the token would make the server fail again, as far as is known.
    ///
    /// A client can repeat such a token as often as it likes, so the peer is charged for it.
    pub(crate) fn charges_peer(&self) -> bool {
        match self.fault() {
            Some(Fault::Token) => true,
            Some(Fault::NotToken { charges_peer, .. }) => charges_peer,
            None => {
                self.blame() == Blame::Client
                    || self.kind() == ErrorKind::BadResponse
                    || self.marked_failure() == Some(Failure::Broken)
            }
        }
    }
}
