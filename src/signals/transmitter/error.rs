//! The errors of requests to a transmitter.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use crate::{
    error::{boxed::BoxError, kind::ErrorKind, refusal::VerifyError},
    transport::error::{TransportError, TransportErrorKind},
};

/// The error of a request to a transmitter.
///
/// Neither its `Debug` nor its `Display` form shows an access token or the text of a response.
#[derive(Clone)]
pub struct TransmitterError {
    kind: TransmitterErrorKind,
    context: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    timed_out: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The reason for a [`TransmitterError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransmitterErrorKind {
    /// The response can't be understood.
    BadResponse,
    /// The transmitter has such a stream already, and allows no second one (status 409).
    Conflict,
    /// The transmitter has no such stream or subject (status 404).
    NotFound,
    /// The transmitter refuses the request for another reason (another 4xx status).
    Refused,
    /// The transmitter, or the server that issues the access token, rejects the credentials of this
    /// service (status 401 or 403).
    Unauthorized,
    /// The transmitter, or the server that issues the access token, could not be reached in time, or
    /// is overloaded.
    Unavailable,
    /// The metadata of the transmitter names no endpoint for the request, or not this delivery method.
    Unsupported,
}

impl TransmitterErrorKind {
    /// Returns a stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadResponse => "bad_response",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

impl TransmitterError {
    pub(super) const fn new(kind: TransmitterErrorKind) -> Self {
        Self { kind, context: None, retry_after: None, timed_out: false, source: None }
    }

    /// Returns the error of a response that can't be understood.
    pub(in crate::signals) fn bad(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(TransmitterErrorKind::BadResponse).with_context(context)
    }

    /// Adds the context. It must hold neither a secret nor unbounded text of the transmitter.
    pub(super) fn with_context(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        self.context = Some(context.into());
        self
    }

    pub(super) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns the reason for the error.
    #[must_use]
    pub const fn kind(&self) -> TransmitterErrorKind {
        self.kind
    }

    /// Returns the time to wait before the next attempt, if the transmitter named one. At most an
    /// hour.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns true if no complete response arrived in time.
    pub(super) const fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl From<VerifyError> for TransmitterError {
    fn from(error: VerifyError) -> Self {
        let kind = match error.kind() {
            ErrorKind::BadResponse => TransmitterErrorKind::BadResponse,
            ErrorKind::CredentialsRejected | ErrorKind::Misconfigured => {
                TransmitterErrorKind::Unauthorized
            }
            _ => TransmitterErrorKind::Unavailable,
        };
        let retry_after = error.retry_after();
        Self { retry_after, ..Self::new(kind).with_source(error) }
    }
}

impl From<TransportError> for TransmitterError {
    fn from(error: TransportError) -> Self {
        let kind = match error.kind() {
            TransportErrorKind::TooLarge => TransmitterErrorKind::BadResponse,
            _ => TransmitterErrorKind::Unavailable,
        };
        let timed_out = error.kind() == TransportErrorKind::Timeout;
        Self { timed_out, ..Self::new(kind).with_source(error) }
    }
}

impl fmt::Display for TransmitterErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadResponse => "the response of the transmitter can't be understood",
            Self::Conflict => "the transmitter allows no second stream",
            Self::NotFound => "the transmitter has no such stream or subject",
            Self::Refused => "the transmitter refuses the request",
            Self::Unauthorized => "the credentials of this service are rejected",
            Self::Unavailable => "the transmitter is not available",
            Self::Unsupported => "the transmitter does not support this",
        })
    }
}

impl fmt::Display for TransmitterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match &self.context {
            Some(context) => write!(f, ": {context}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for TransmitterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransmitterError")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("retry_after", &self.retry_after)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Error for TransmitterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
