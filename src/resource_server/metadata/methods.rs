//! The methods of a resource server that serve its metadata.

use std::sync::Arc;

use bytes::Bytes;

use super::{layer::MetadataLayer, location, service::MetadataService};
use crate::resource_server::server::ResourceServer;

/// The metadata of this service (RFC 9728).
///
/// See [`metadata`](super) for examples. Without
/// [`metadata`](crate::resource_server::ResourceServerBuilder::metadata) there is no document: the service responds
/// with 404, and the layer passes every request on.
impl<R> ResourceServer<R> {
    /// Returns the path of the document, for use with a router.
    ///
    /// The router must compare the path as it is, and must see the path that the client requested.
    #[must_use]
    pub fn metadata_path(&self) -> &str {
        self.0.metadata.as_ref().map_or(location::WELL_KNOWN, |document| document.location.path())
    }

    /// Returns the URL of the document as it appears in challenges, or `None` without metadata.
    #[must_use]
    pub fn metadata_url(&self) -> Option<&str> {
        self.0.metadata.as_ref().map(|document| document.url())
    }

    /// Returns the document, a JSON object, or `None` without metadata.
    #[must_use]
    pub fn metadata_document(&self) -> Option<&str> {
        let document = self.0.metadata.as_ref()?;
        Some(std::str::from_utf8(&document.json).expect("it was made from text"))
    }

    /// Returns a service that serves the document.
    ///
    /// It must not be covered by [`layer`](Self::layer).
    #[must_use]
    pub fn metadata_service<B: From<Bytes>>(&self) -> MetadataService<B> {
        self.metadata_service_with(B::from)
    }

    /// Returns the same service, with a function that builds the body instead of `From`.
    #[must_use]
    pub fn metadata_service_with<B>(&self, body: fn(Bytes) -> B) -> MetadataService<B> {
        MetadataService::new(self.0.metadata.as_ref().map(Arc::clone), body)
    }

    /// Returns a layer that serves the document and passes all other requests on.
    ///
    /// It belongs outside of [`layer`](Self::layer).
    #[must_use]
    pub fn metadata_layer<B: From<Bytes>>(&self) -> MetadataLayer<B> {
        self.metadata_layer_with(B::from)
    }

    /// Returns the same layer, with a function that builds the body instead of `From`.
    ///
    /// For tonic:
    ///
    /// ```
    /// use http_body_util::Full;
    /// use tonic::{body::Body, transport::Server};
    /// use tower_introspect::ResourceServer;
    ///
    /// # fn run(api: ResourceServer) {
    /// let server = Server::builder()
    ///     // Clients that fetch metadata rarely start with HTTP/2.
    ///     .accept_http1(true)
    ///     .layer(api.metadata_layer_with(|document| Body::new(Full::new(document))))
    ///     .layer(api.layer());
    /// # let _ = server; }
    /// ```
    #[must_use]
    pub fn metadata_layer_with<B>(&self, body: fn(Bytes) -> B) -> MetadataLayer<B> {
        MetadataLayer::new(self.0.metadata.as_ref().map(Arc::clone), body)
    }
}
