//! Routers without any token verification, and the least that a memory of tokens takes.

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{Request, header::AUTHORIZATION};
use tower::{Layer, Service};

use super::{Contender, drive, plain, plain_07, served};

pub fn axum_08() -> Contender {
    Contender::router("bare axum 0.8", plain())
}

pub fn axum_07() -> Contender {
    Contender::old_router("bare axum 0.7", plain_07())
}

/// The floor, as a layer of the router.
pub fn floor() -> Contender {
    Contender::router("floor: SHA-256 and an Arc", plain().layer(Floor::default()))
}

/// The floor, around the router and not boxed by it.
pub fn floor_around() -> Contender {
    around("floor, around the router", Floor::default())
}

/// A layer around a router, not boxed by it.
pub fn around<L>(name: &'static str, layer: L) -> Contender
where
    L: Layer<axum::Router>,
    L::Service: Service<
            Request<axum::body::Body>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    Contender::new(name, drive::<_, axum::body::Body, _>(layer.layer(served(plain()))))
}

/// Takes the digest of the token, and lets the request carry an `Arc`: what no memory of tokens can
/// do without, if it does not keep the tokens themselves.
#[derive(Clone)]
struct Floor<S = ()> {
    inner: S,
    fact: Arc<Fact>,
}

#[derive(Default)]
struct Fact {
    _subject: String,
}

impl Default for Floor {
    fn default() -> Self {
        Self { inner: (), fact: Arc::default() }
    }
}

impl<S> Layer<S> for Floor {
    type Service = Floor<S>;

    fn layer(&self, inner: S) -> Floor<S> {
        Floor { inner, fact: Arc::clone(&self.fact) }
    }
}

impl<S, B> Service<Request<B>> for Floor<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let token = request.headers().get(AUTHORIZATION);
        if let Some(token) = token.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) {
            black_box(digest(&SHA256, token));
            request.extensions_mut().insert(Arc::clone(&self.fact));
        }
        self.inner.call(request)
    }
}
