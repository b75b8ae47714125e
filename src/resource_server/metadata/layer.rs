//! The layer that serves the metadata document.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::document::Document;
use crate::require::future::ResponseFuture;

/// A layer that serves the metadata document and passes all other requests on.
///
/// Use it for services without a router, outside of the [`IntrospectLayer`]. The path of a request
/// must equal that of the document exactly. If the resource server has no metadata, every request
/// is passed on. See the [module docs](super) for an example.
///
/// [`IntrospectLayer`]: crate::IntrospectLayer
///
/// # Clone
///
/// Clones share the document.
pub struct MetadataLayer<B> {
    document: Option<Arc<Document>>,
    body: fn(Bytes) -> B,
}

impl<B> MetadataLayer<B> {
    pub(super) const fn new(document: Option<Arc<Document>>, body: fn(Bytes) -> B) -> Self {
        Self { document, body }
    }
}

impl<S, B> Layer<S> for MetadataLayer<B> {
    type Service = WithMetadata<S, B>;

    fn layer(&self, inner: S) -> WithMetadata<S, B> {
        WithMetadata { inner, layer: self.clone() }
    }
}

impl<B> Clone for MetadataLayer<B> {
    fn clone(&self) -> Self {
        Self { document: self.document.clone(), body: self.body }
    }
}

impl<B> fmt::Debug for MetadataLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.document.as_ref().map(|document| document.url());
        f.debug_struct("MetadataLayer").field("url", &url).finish_non_exhaustive()
    }
}

/// The service that a [`MetadataLayer`] makes.
///
/// # Backpressure
///
/// The service is ready when the inner service is. A request for the document releases what the
/// inner service reserved for it.
#[derive(Clone, Debug)]
pub struct WithMetadata<S, B> {
    inner: S,
    layer: MetadataLayer<B>,
}

impl<S, B> WithMetadata<S, B> {
    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes the middleware and returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, B> Service<Request<R>> for WithMetadata<S, B>
where
    S: Service<Request<R>, Response = Response<B>> + Clone,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Response<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let MetadataLayer { document, body } = &self.layer;
        match document.as_ref().filter(|document| document.location.matches(request.uri())) {
            Some(document) => {
                let response = document.respond(request.method(), request.headers()).map(body);
                // A clone holds nothing of what `poll_ready` reserved, so replacing the original
                // releases it (see "Be careful when cloning inner services" in
                // `tower_service::Service`).
                self.inner = self.inner.clone();
                ResponseFuture::answered(response)
            }
            None => ResponseFuture::calling(self.inner.call(request)),
        }
    }
}
