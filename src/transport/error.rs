//! The errors of a transport.

use std::{error::Error, fmt};

use crate::error::{boxed::BoxError, failure::Failure, kind::ErrorKind, refusal::VerifyError};

/// The error of a request that got no usable response.
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    source: Option<BoxError>,
}

/// The reason for a [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The connection was closed before a response began.
    ///
    /// Servers close connections that were idle for too long, and all connections when they
    /// restart. Such a request is sent once more (see the [module docs](super)).
    Closed,
    /// No connection was made, so the server has received nothing of the request.
    Connect,
    /// The request failed for another reason.
    Other,
    /// No complete response arrived in time.
    Timeout,
    /// The response is longer than its [`BodyLimit`](super::BodyLimit).
    TooLarge,
}

impl TransportError {
    /// Creates an error of this kind.
    #[must_use]
    pub const fn new(kind: TransportErrorKind) -> Self {
        Self { kind, source: None }
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn with_kind(self, kind: TransportErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Adds the cause.
    ///
    /// # Security
    ///
    /// The cause must show neither the body nor the headers of the request.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the reason for the error.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    pub(super) fn from_box(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(foreign) => Self::new(TransportErrorKind::Other).with_source(foreign),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            TransportErrorKind::Closed => "the connection was closed before a response began",
            TransportErrorKind::Connect => "no connection could be made",
            TransportErrorKind::Other => "the request failed",
            TransportErrorKind::Timeout => "no response in time",
            TransportErrorKind::TooLarge => "the response is too long",
        })
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<TransportError> for VerifyError {
    /// Maps a response that is too long to `BadResponse`, and any other error to `Unavailable`.
    fn from(error: TransportError) -> Self {
        let (kind, failure) = match error.kind {
            TransportErrorKind::TooLarge => (ErrorKind::BadResponse, Failure::Broken),
            TransportErrorKind::Connect => (ErrorKind::Unavailable, Failure::NotSent),
            _ => (ErrorKind::Unavailable, Failure::Unreachable),
        };
        Self::new(kind).with_failure(failure).with_source(error)
    }
}
