//! What a request may cost, in counts.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};
use tower_introspect::{
    layer::{Introspect, future::ResponseFuture},
    policy::Requirement,
    require::RequireLayer,
    verify::{BoxVerifier, Verifier},
};

use crate::support::{AtOnce, layer};

/// A handler that costs nothing.
#[derive(Clone)]
struct Free;

impl Service<Request<Bytes>> for Free {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Bytes::new())))
    }
}

/// A request whose field values share one buffer, as a server makes them.
fn received(fields: &[(&'static str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    for (name, value) in fields {
        let buffer = Bytes::from(value.as_bytes().to_vec());
        // With a second handle, the buffer is counted already: further ones are free.
        let shared = buffer.clone();
        let value = http::HeaderValue::from_maybe_shared(shared).expect("a field value");
        request.headers_mut().insert(*name, value);
        request.extensions_mut().insert(buffer);
    }
    request
}

fn allocations<V: Verifier>(service: &mut Introspect<Free, V>, request: Request<Bytes>) -> u64 {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut request = Some(request);
    let counted = allocation_counter::measure(|| {
        let future = service.call(request.take().expect("called once"));
        assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
    });
    counted.count_total
}

#[test]
fn a_token_verified_at_once_costs_the_extension_and_nothing_else() {
    let mut service = layer(AtOnce::alice()).layer(Free);
    // A server or a router has put something into the extensions before.
    let request = received(&[("authorization", "Bearer abc")]);
    assert_eq!(allocations(&mut service, request), 1);
}

#[test]
fn a_remembered_token_costs_the_extension_and_nothing_else() {
    use tower_introspect::verify::{CacheLayer, RevocationLayer, Revocations};

    let revocations = Revocations::new();
    let cache = CacheLayer::new().revocations(revocations.clone()).layer(AtOnce::alice());
    let verifier = RevocationLayer::new(revocations).layer(cache.clone());
    let mut service = layer(BoxVerifier::new(verifier)).layer(Free);
    let request = || received(&[("authorization", "Bearer abc")]);
    assert!(allocations(&mut service, request()) > 1, "the first is verified and remembered");
    for _ in 0..3 {
        assert_eq!(allocations(&mut service, request()), 1);
    }
    assert_eq!((cache.stats().misses, cache.stats().hits), (1, 3));
}

#[test]
fn a_requirement_that_is_met_costs_nothing_more() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let step_up = Requirement::any_acr(["mfa"]).or(Requirement::all_scopes(["read"]));
    let mut service = layer(AtOnce::alice()).layer(RequireLayer::new(step_up).layer(Free));
    let mut request = Some(received(&[("authorization", "Bearer abc")]));
    let counted = allocation_counter::measure(|| {
        let future = service.call(request.take().expect("called once"));
        assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
    });
    assert_eq!(counted.count_total, 1, "the extension");
}

#[test]
fn an_identity_in_headers_costs_little() {
    use tower_introspect::layer::ForwardHeaders;

    let headers = ForwardHeaders::new()
        .issuer("x-auth-issuer")
        .and_then(|more| more.subject("x-auth-subject"))
        .and_then(|more| more.scope("x-auth-scope"))
        .and_then(|more| more.claim("tenant", "x-auth-tenant"))
        .expect("names of headers");
    let mut service = layer(AtOnce::alice()).forward(headers).layer(Free);
    let received = received(&[("authorization", "Bearer abc"), ("accept", "*/*")]);
    let counted = allocations(&mut service, received);
    // The extension, four values, the list of them, and the table of headers as it grows.
    assert!(counted <= 10, "{counted} allocations");
}

#[test]
fn a_refusal_costs_little() {
    let mut service = layer(AtOnce::alice()).layer(Free);
    let refused = allocations(&mut service, received(&[("accept", "*/*")]));
    assert!(refused <= 8, "{refused} allocations");
}

#[test]
fn the_future_of_the_middleware_stays_small() {
    type Future = ResponseFuture<Free, AtOnce, tower_introspect::respond::Auto, Bytes>;
    let inner = size_of::<Ready<Result<Response<Bytes>, Infallible>>>();
    assert!(size_of::<Future>() <= inner + 3 * size_of::<usize>(), "{}", size_of::<Future>());
}
