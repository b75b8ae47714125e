//! A refused request and the reason.

use super::challenge::Challenge;
use crate::{
    credentials::{head::RequestHead, token::Scheme},
    error::refusal::VerifyError,
};

/// A request that is refused, and the reason.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    pub(super) error: &'a VerifyError,
    pub(super) head: RequestHead<'a>,
    pub(super) challenge: &'a Challenge,
    scheme: Option<Scheme>,
}

impl<'a> Refusal<'a> {
    /// Creates the refusal of the request with this head.
    #[must_use]
    pub const fn new(
        error: &'a VerifyError,
        head: RequestHead<'a>,
        challenge: &'a Challenge,
    ) -> Self {
        Self { error, head, challenge, scheme: None }
    }

    /// Sets the scheme under which the token was presented.
    ///
    /// Without it, the scheme is read from the `Authorization` field. That fails if the field was
    /// removed, or if the token was found elsewhere.
    #[must_use]
    pub const fn presented_under(self, scheme: Scheme) -> Self {
        self.presented(Some(scheme))
    }

    /// Sets the scheme under which the token was presented, if it is known.
    pub(crate) const fn presented(mut self, scheme: Option<Scheme>) -> Self {
        self.scheme = scheme;
        self
    }

    /// Returns the reason for the refusal.
    #[must_use]
    pub const fn error(&self) -> &'a VerifyError {
        self.error
    }

    /// Returns the head of the refused request.
    #[must_use]
    pub const fn head(&self) -> RequestHead<'a> {
        self.head
    }

    /// Returns the challenge that the client gets.
    #[must_use]
    pub const fn challenge(&self) -> &'a Challenge {
        self.challenge
    }

    /// Returns the scheme that the client used, if it used a single known one.
    ///
    /// The challenge of this scheme carries the error (RFC 9449 §7.2).
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme.or_else(|| Scheme::used_in(self.head.headers()))
    }
}
