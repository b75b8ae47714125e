//! Reads what is left of the body of a refused request, so that the refusal reaches the client.
//!
//! Over HTTP/1.1 a client or a proxy may send the whole body of a request before it reads the
//! response. A server that refuses such a request without reading its body closes the connection
//! while the sender still writes, and the refusal is lost: a proxy then tells its client 502 instead
//! of 401. [`ReadRefusedLayer`] around an [`IntrospectLayer`](crate::IntrospectLayer) or a
//! [`RequireLayer`](crate::require::RequireLayer) reads the body first, discards it, and responds
//! then.
//!
//! ```
//! use axum::{Router, routing::post};
//! use tower_introspect::{Issuer, ResourceServer, respond::refused_body::ReadRefusedLayer};
//!
//! # #[cfg(feature = "jwt")] {
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt("https://as.example.com"))
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/uploads", post(|| async {}))
//!     .layer(ReadRefusedLayer::new(api.layer()));
//! # let _ = app;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is read
//!
//! | limit | default | set by |
//! |---|---|---|
//! | bytes of one body | 8 MiB | [`max_bytes`](ReadRefusedLayer::max_bytes) |
//! | time for one body | 5 s | [`max_time`](ReadRefusedLayer::max_time) |
//! | bodies at the same time | 128 | [`max_concurrent`](ReadRefusedLayer::max_concurrent) |
//!
//! Beyond a limit the client is answered at once, as without the layer. So it is where reading would
//! not help: over HTTP/2 and later, where the response does not wait for the request; where the
//! client asks first (`Expect: 100-continue`), as reading would invite it to send the body; and where
//! the body is announced to be longer than the limit.
//!
//! The layer does nothing to a request that is admitted.

pub mod future;
pub(crate) mod layer;
mod limits;
mod reading;
pub(crate) mod refusing;
pub(crate) mod service;

#[doc(hidden)]
pub use self::refusing::{Judged, Refused};
pub use self::{layer::ReadRefusedLayer, refusing::Refusing, service::ReadRefused};
