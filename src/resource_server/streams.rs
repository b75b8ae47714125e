//! Layers for responses that stay open.

use std::time::Duration;

use super::server::ResourceServer;
use crate::{lease::leases::Leases, stream::stream_layer::StreamLayer, verify::boxed::BoxVerifier};

/// Layers for responses that stay open, such as gRPC streams, server-sent events and WebSockets.
#[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
impl<R> ResourceServer<R> {
    /// Returns a layer that verifies tokens as [`layer`](Self::layer) does, and ends streams when their
    /// token does.
    ///
    /// It may stand in place of `layer`, or inside of it for some routes. See
    /// [`stream`](crate::stream) for an example.
    ///
    /// The tokens of open streams are verified again within
    /// [`max_age`](crate::resource_server::ResourceServerBuilder::max_age), or within a second if that is
    /// less, or nothing is cached.
    ///
    /// One of them is enough for a route. Inside of another one, a stream ends with the first of two
    /// leases, and a handler renews only the inner one.
    #[must_use]
    pub fn streams(&self) -> StreamLayer<BoxVerifier, R> {
        StreamLayer::new(self.layer(), self.0.leases.clone())
    }

    /// Returns the open leases of all [`streams`](Self::streams) of this resource server.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Refuses further streams, and ends those that are open after `grace`. Returns when none is open.
    ///
    /// Call it before a graceful shutdown of the server, which waits for the streams otherwise.
    ///
    /// # Cancellation
    ///
    /// As [`Leases::shut_down`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use tower_introspect::ResourceServer;
    ///
    /// # async fn run(api: ResourceServer, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    /// let app: Router = Router::new().route("/events", get(|| async {})).layer(api.streams());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         stop.await;
    ///         api.end_streams(Duration::from_secs(5)).await;
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn end_streams(&self, grace: Duration) {
        self.0.leases.shut_down(grace).await;
    }
}
