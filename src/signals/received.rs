//! The outcome of receiving a security event token.

use std::{future::Future, pin::Pin, time::Duration};

/// The outcome of receiving a security event token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// It is in force, or was before, or has no effect here.
    Applied,
    Refused(Refusal),
    /// It can't be judged just now. It is not acknowledged, so that it comes again.
    NotNow {
        retry_after: Option<Duration>,
    },
}

/// The reason why a security event token is refused, in the form that its transmitter gets (RFC 8935 §2.3,
/// RFC 8936 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// An error code of RFC 8935 §2.4.
    pub(super) err: &'static str,
    /// A text that quotes nothing of the token.
    pub(super) description: &'static str,
}

/// Receives security event tokens that were fetched.
///
/// A future that is dropped early has applied its token, keeps it to verify it later, or has no effect.
pub(super) trait ReceiveSet: Send + Sync + 'static {
    /// Receives one token.
    fn receive<'a>(&'a self, set: &'a str) -> Pin<Box<dyn Future<Output = Received> + Send + 'a>>;
}
