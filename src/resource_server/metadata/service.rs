//! The service that serves the metadata document.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{document::Document, response::not_found};

/// A service that serves the metadata document to everyone.
///
/// It responds at any path where it is mounted. [`ResourceServer::metadata_path`] is the path where
/// clients look. GET and HEAD get the document, conditional requests included. OPTIONS gets the
/// response to a CORS preflight, and other methods get 405. If the resource identifier has a query,
/// a request with another query gets 404. If the resource server has no metadata, every request
/// gets 404.
///
/// [`ResourceServer::metadata_path`]: crate::ResourceServer::metadata_path
///
/// # Clone
///
/// Clones share the document.
pub struct MetadataService<B> {
    document: Option<Arc<Document>>,
    body: fn(Bytes) -> B,
}

impl<B> MetadataService<B> {
    pub(super) const fn new(document: Option<Arc<Document>>, body: fn(Bytes) -> B) -> Self {
        Self { document, body }
    }

    fn respond<R>(&self, request: &Request<R>) -> Response<B> {
        let is_for_resource =
            |document: &&Arc<Document>| document.location.matches_query(request.uri());
        let response = match self.document.as_ref().filter(is_for_resource) {
            Some(document) => document.respond(request.method(), request.headers()),
            None => not_found(),
        };
        response.map(self.body)
    }
}

impl<R, B> Service<Request<R>> for MetadataService<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ready(Ok(self.respond(&request)))
    }
}

impl<B> Clone for MetadataService<B> {
    fn clone(&self) -> Self {
        Self { document: self.document.clone(), body: self.body }
    }
}

impl<B> fmt::Debug for MetadataService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.document.as_ref().map(|document| document.url());
        f.debug_struct("MetadataService").field("url", &url).finish_non_exhaustive()
    }
}
