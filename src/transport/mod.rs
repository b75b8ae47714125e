//! Sends HTTP requests to authorization servers.
//!
//! [`HttpTransport`] wraps any [`tower::Service`] of an `http::Request<Bytes>`. The feature
//! `reqwest` provides one. A request carries a [`BodyLimit`] in its extensions, at which a
//! transport stops reading. A longer response is refused in any case.
//!
//! # Retry
//!
//! A server may close a kept connection just as a request is sent over it. A request whose
//! connection was closed before a response began ([`TransportErrorKind::Closed`]) is therefore sent
//! once more, within the same timeout. This is safe, as repeating such a request changes nothing at
//! the server; the few requests for which it would, those that create or delete an event stream, are
//! sent once. The second request carries [`NewConnection`] in its extensions, so that it does not meet
//! another connection that is about to be closed. No other failure is retried.
//!
//! # Security
//!
//! A transport must not follow redirects, because the body of a request may hold a token.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::service_fn;
//! use tower_introspect::transport::HttpTransport;
//!
//! let transport = HttpTransport::new(service_fn(async |_: Request<Bytes>| {
//!     Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(b"{\"active\":false}")))
//! }));
//! # let _ = transport;
//! ```

pub(crate) mod body_limit;
#[cfg(feature = "reqwest")]
pub(crate) mod builder;
pub(crate) mod calls;
#[cfg(feature = "reqwest")]
mod closed;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub(crate) mod common;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub(crate) mod discovery;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod http_transport;
pub(crate) mod new_connection;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub(crate) mod renewed;
#[cfg(feature = "reqwest")]
pub(crate) mod reqwest;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub(crate) mod response;

#[cfg(any(feature = "introspection", feature = "jwt"))]
pub use self::renewed::RenewedTransport;
pub use self::{
    body_limit::BodyLimit,
    error::{TransportError, TransportErrorKind},
    http_transport::HttpTransport,
    new_connection::NewConnection,
};
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use self::{builder::TransportBuilder, reqwest::ReqwestTransport};
