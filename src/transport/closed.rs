//! Tells from the errors of `reqwest` whether a connection was closed before a response began.

use std::{error::Error, io};

use crate::error::chain::causes;

/// Returns true if an error that occurred before there was a response, or one of its causes, is a
/// connection that was closed.
pub(super) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    std::iter::once(error).chain(causes(error)).any(|error| {
        error.downcast_ref().is_some_and(is_closed_http1)
            || error.downcast_ref().is_some_and(is_closed_http2)
            || error.downcast_ref().is_some_and(is_closed_stream)
    })
}

/// An incomplete message is a connection that ended before the response. A canceled one was never
/// sent, because the connection was closed meanwhile.
fn is_closed_http1(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled()
}

/// A server that shuts down says so by GOAWAY without an error, or refuses new streams (RFC 9113
/// §6.8, §8.7). With another code it asks for no further request: ENHANCE_YOUR_CALM is one.
fn is_closed_http2(error: &h2::Error) -> bool {
    if let Some(error) = error.get_io() {
        return is_closed_stream(error);
    }
    let reason = error.reason().filter(|_| error.is_remote());
    (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
        || (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
}

/// A peer that goes away without the end of TLS is an unexpected end of the stream.
fn is_closed_stream(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn io_errors_of_closed_connections_are_found_among_the_causes() {
        let is_closed = |kind: io::ErrorKind| is_closed(&Outer(kind.into()));
        for kind in [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert!(is_closed(kind), "{kind}");
        }
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut] {
            assert!(!is_closed(kind), "{kind}");
        }
    }

    #[test]
    fn rfc9113_7_only_codes_of_the_server_that_allow_another_request_are_closed_connections() {
        // An error that this side made up, or any with another code.
        for reason in [h2::Reason::NO_ERROR, h2::Reason::ENHANCE_YOUR_CALM] {
            assert!(!is_closed(&h2::Error::from(reason)));
        }
    }
}
