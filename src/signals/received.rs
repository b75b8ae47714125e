//! What became of a security event token.

use std::{future::Future, pin::Pin, time::Duration};

/// What became of a security event token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It is in force, or was before, or has no effect here.
    Applied,
    /// It is refused, with an error of RFC 8935 §2.4 and its description.
    Refused { err: &'static str, description: &'static str },
    /// It can't be judged just now. It is not acknowledged, so that it comes again.
    NotNow { retry_after: Option<Duration> },
}

/// Receives security event tokens that were fetched.
///
/// A future that is dropped early has either applied its token or has no effect.
pub(crate) trait ReceiveSet: Send + Sync + 'static {
    fn receive<'a>(&'a self, set: &'a str) -> Pin<Box<dyn Future<Output = Received> + Send + 'a>>;
}
