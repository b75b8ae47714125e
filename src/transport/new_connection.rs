//! The mark of requests that need a connection of their own.

/// A mark that asks for a new connection, as an extension of a request.
///
/// A transport that finds it sends the request over a connection that no request was sent over
/// before, and closes the connection after the response. `ReqwestTransport` does so. A request that
/// is [sent once more](super#retry) carries the mark, and so does every introspection request of a
/// verifier with a connection for each request.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use tower_introspect::transport::NewConnection;
///
/// let wants_new_connection =
///     |request: &Request<Bytes>| request.extensions().get::<NewConnection>().is_some();
/// assert!(!wants_new_connection(&Request::new(Bytes::new())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewConnection;
