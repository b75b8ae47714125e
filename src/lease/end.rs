//! The reason why a stream ends.

use std::{error::Error, fmt, sync::Arc};

use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// The end of a stream, with its cause.
///
/// It is the error that a guarded body or stream ends with, unless the protocol has a better way.
///
/// ```
/// use tower_introspect::stream::{EndCause, StreamEnd};
///
/// fn close_code(end: &StreamEnd) -> u16 {
///     match end.cause() {
///         // The client needs another token.
///         EndCause::Refused(_) => 3000,
///         _ => end.close_code(),
///     }
/// }
/// # let _ = close_code;
/// ```
#[derive(Clone, Debug)]
pub struct StreamEnd(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    cause: EndCause,
    close_code: u16,
}

/// The cause of the end of a stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndCause {
    /// The stream reached the maximum life of streams. Its token may still be good.
    MaxLife,
    /// The token is no longer good enough: it has expired or was revoked, or its claims no longer meet
    /// a requirement of the request.
    Refused(VerifyError),
    /// The service is shutting down.
    ShutDown,
    /// The token could not be verified again in time. The client is not at fault.
    Unverified(VerifyError),
}

/// The close code of a stream that another token would have kept open: the endpoint refuses for a
/// reason of policy (RFC 6455 §7.4.1).
pub(super) const POLICY_VIOLATION: u16 = 1008;

/// The close code of an endpoint that goes away (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;

/// The registered close code "Try Again Later".
const TRY_AGAIN_LATER: u16 = 1013;

impl StreamEnd {
    /// Creates the end with this cause. `refused` is the close code of an end that the token caused.
    pub(super) fn new(cause: EndCause, refused: u16) -> Self {
        let close_code = match cause {
            EndCause::Refused(_) => refused,
            EndCause::MaxLife | EndCause::ShutDown => GOING_AWAY,
            EndCause::Unverified(_) => TRY_AGAIN_LATER,
        };
        Self(Arc::new(Parts { cause, close_code }))
    }

    /// Returns the cause.
    #[must_use]
    pub fn cause(&self) -> &EndCause {
        &self.0.cause
    }

    /// Returns the close code for a WebSocket: 1008 if the token is refused (or the code that
    /// [`StreamLayer::close_code`](crate::stream::StreamLayer::close_code) sets), 1013 if it could not be
    /// verified, 1001 otherwise (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(&self) -> u16 {
        self.0.close_code
    }

    /// Returns a stable name of the cause for logs and metrics, from a fixed set.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.cause() {
            EndCause::MaxLife => "max_life",
            EndCause::Refused(error) => error.kind().reason(),
            EndCause::ShutDown => "shut_down",
            EndCause::Unverified(_) => "unverified",
        }
    }

    /// Returns the refusal that a request with this token would meet.
    pub(crate) fn to_refusal(&self) -> VerifyError {
        match self.cause() {
            EndCause::Refused(error) => error.clone(),
            EndCause::Unverified(error) if error.kind() == ErrorKind::Unavailable => error.clone(),
            _ => VerifyError::new(ErrorKind::Unavailable).with_context(self.to_string()),
        }
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            EndCause::MaxLife => f.write_str("the stream reached its maximum life"),
            EndCause::Refused(error) => write!(f, "the stream ended: {error}"),
            EndCause::ShutDown => f.write_str("the service is shutting down"),
            EndCause::Unverified(error) => {
                write!(f, "the token of the stream could not be verified again: {error}")
            }
        }
    }
}

impl Error for StreamEnd {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.cause() {
            EndCause::Refused(error) | EndCause::Unverified(error) => Some(error),
            EndCause::MaxLife | EndCause::ShutDown => None,
        }
    }
}
