//! Ends streams when their token does.
//!
//! A request is judged once, but its response may stay open for hours: a gRPC stream, server-sent
//! events, a WebSocket, a long download. A [`StreamLayer`] verifies tokens as an
//! [`IntrospectLayer`](crate::IntrospectLayer) does, and goes on to watch over them. A stream ends
//!
//! * when its token expires, or when the stream has reached its maximum life,
//! * at once when a [cutoff](crate::revocation) covers its token, or the key that signed it is retired,
//! * within `max_age` and one verification after the authorization server revoked it: the token is
//!   verified again before its facts grow too old, and judged by everything that the request had to
//!   meet,
//! * when the authorization server can't be asked for so long that a request would be refused too.
//!
//! ```no_run
//! use std::convert::Infallible;
//! use axum::{Router, body::Body, response::IntoResponse, routing::get};
//! use tower_introspect::ResourceServer;
//!
//! async fn rows() -> impl IntoResponse {
//!     Body::from_stream(futures_util::stream::repeat(Ok::<_, Infallible>("row\n")))
//! }
//!
//! # fn app(api: ResourceServer) -> Router {
//! Router::new()
//!     // The responses of this route may stay open.
//!     .route("/export", get(rows).route_layer(api.streams()))
//!     .route("/short", get(|| async { "done" }))
//!     .layer(api.layer())
//! # }
//! ```
//!
//! The layer verifies the token itself, so [`ResourceServer::streams`](crate::ResourceServer::streams)
//! may also stand in place of [`layer`](crate::ResourceServer::layer). Inside of it, it costs another
//! cache look-up. For tonic it stands around the server:
//! `Server::builder().layer(api.streams())`.
//!
//! Handlers take the [`Lease`] of their request: in axum as an extractor, in tonic from the extensions.
//! A handler of a WebSocket waits for [`Lease::ended`], and closes with
//! [`StreamEnd::close_code`]. A client may send another token within the stream
//! ([`Lease::renew`]).
//!
//! # Endings
//!
//! | response | end |
//! |---|---|
//! | gRPC | trailers with the status 16, 7 or 14, and the challenge as metadata |
//! | gRPC-Web | a frame with these trailers |
//! | server-sent events | a clean end after an event, for which it waits a second; else an error |
//! | any other | an error: HTTP/1.1 closes the connection, HTTP/2 resets the stream |
//!
//! The body of the handler is dropped at the same time, also while the peer does not read. What the
//! server has buffered already may still be sent.
//!
//! Compression must stand outside of the layer, and so must a layer that translates gRPC-Web. Inside,
//! the end of an event or a frame can't be seen.
//!
//! # Cost
//!
//! A request through this layer keeps a copy of its token, and takes a lease: some allocations more
//! than one through an `IntrospectLayer`. An open stream takes some hundred bytes. There is one timer
//! and one verification for each token, whatever the number of its streams.

mod requests;
pub(crate) mod service;
pub(crate) mod stream_layer;

pub use self::{
    requests::{Boxed, GuardRequest, Typed, Unguarded},
    service::{GuardResponses, LeaseRequests},
    stream_layer::StreamLayer,
};
pub use crate::lease::{
    body::GuardedBody,
    end::{EndCause, StreamEnd},
    lease::Lease,
    leases::Leases,
};

/// The futures and streams of this module.
pub mod future {
    pub use super::service::{GuardFuture, LeaseFuture};
    pub use crate::lease::guarded::{Guarded, TryGuarded};
}
