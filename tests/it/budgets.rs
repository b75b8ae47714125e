//! What a request may cost, in counts.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};
use tower_introspect::{
    Issuer,
    layer::{Introspect, future::ResponseFuture},
    policy::Requirement,
    require::RequireLayer,
    verify::{BoxVerifier, Verifier},
};

use crate::{
    layer::Counted,
    support::{AtOnce, FixedClock, ISSUER, layer, policy},
    world::{World, auth, bearer, remote},
};

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

#[tokio::test(start_paused = true)]
async fn a_remembered_token_costs_the_extension_and_nothing_else() {
    use tower_introspect::{
        cache::CacheLayer,
        revocation::{RevocationLayer, Revocations},
    };

    let revocations = Revocations::new().clock(FixedClock);
    let cache =
        CacheLayer::new().clock(FixedClock).revocations(revocations.clone()).layer(AtOnce::alice());
    let verifier = RevocationLayer::new(revocations).layer(cache.clone());
    let mut service = layer(BoxVerifier::new(verifier)).layer(Free);
    let request = || received(&[("authorization", "Bearer abc")]);
    assert!(allocations(&mut service, request()) > 1, "the first is verified and remembered");
    for _ in 0..3 {
        assert_eq!(allocations(&mut service, request()), 1);
    }
    assert_eq!((cache.stats().misses, cache.stats().hits), (1, 3));
}

/// How many allocations a remembered token costs in a resource server.
async fn hit(world: &World, token: &str) -> u64 {
    assert_eq!(world.status(token).await, 200);
    let mut service = world.api.layer().layer(Free);
    let authorization = format!("Bearer {token}");
    let known = world.api.stats();
    let counted = allocations(&mut service, received(&[("authorization", &authorization)]));
    assert!(world.api.stats().hits > known.hits && world.api.stats().misses == known.misses);
    counted
}

/// Where there is one issuer with one way to verify, nothing but the memory is asked.
#[tokio::test(start_paused = true)]
async fn in_a_resource_server_too() {
    let world = World::new(remote());
    assert_eq!(hit(&world, &world.opaque()).await, 1);
    assert_eq!(hit(&world, &world.jwt()).await, 1);
    let world = World::new(Issuer::jwt(ISSUER));
    assert_eq!(hit(&world, &world.jwt()).await, 1);
}

/// Elsewhere it is first seen whose token it is; for which a JWT is parsed once.
#[tokio::test(start_paused = true)]
async fn a_remembered_token_of_one_of_several_issuers_costs_no_more() {
    let other = Issuer::introspect("https://other.example.com", auth()).token_prefix("other_");
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).issuer(other));
    assert_eq!(hit(&world, &world.jwt()).await, 1);
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    assert_eq!(hit(&world, &world.opaque()).await, 1);
    assert_eq!(hit(&world, &world.jwt()).await, 1);
    // Two facts, each remembered, are put together for each request.
    let confirmed = Issuer::jwt_and_introspect(ISSUER, auth(), Duration::from_secs(10));
    let world = World::new(confirmed);
    assert!(hit(&world, &world.jwt()).await <= 18);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_clones_no_service() {
    for issuer in [remote(), Issuer::jwt(ISSUER), Issuer::hybrid(ISSUER, auth())] {
        let world = World::new(issuer);
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        let clones = Arc::new(AtomicUsize::new(0));
        let mut service = world.api.layer().layer(Counted::new(&clones));
        for _ in 0..3 {
            std::future::poll_fn(|cx| Service::<Request<Bytes>>::poll_ready(&mut service, cx))
                .await
                .unwrap();
            assert_eq!(service.call(bearer(&token)).await.unwrap().status(), 200);
        }
        assert_eq!(clones.load(Ordering::SeqCst), 0);
    }
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
fn a_proof_costs_a_bounded_number_of_allocations() {
    use tower_introspect::{IntrospectLayer, proof::Dpop, test_util::Prover};

    let prover = Prover::new("client").with_clock(FixedClock);
    let cnf = format!("\"cnf\":{{\"jkt\":\"{}\"}}", prover.thumbprint());
    let bound = AtOnce::claims(&format!("{{\"aud\":\"https://api.example.com\",{cnf}}}"));
    let policy = policy().dpop(Dpop::new("https://api.example.com").expect("a URL"));
    let mut service = IntrospectLayer::new(bound, policy).layer(Free);
    let request = || {
        let proof = prover.proof("GET", "https://api.example.com/").for_token("abc").mint();
        received(&[("authorization", "DPoP abc"), ("dpop", &proof)])
    };
    // The tables of the memory of used proofs grow at first.
    for _ in 0..8 {
        allocations(&mut service, request());
    }
    let counted = allocations(&mut service, request());
    assert!(counted <= 40, "{counted} allocations");
}

#[test]
fn a_hook_for_refusals_costs_one_more() {
    let mut service = layer(AtOnce::alice()).on_refusal(|_| {}).layer(Free);
    let request = received(&[("authorization", "Bearer abc")]);
    assert_eq!(allocations(&mut service, request), 2);
}

#[test]
fn a_refusal_costs_little() {
    let mut service = layer(AtOnce::alice()).layer(Free);
    let refused = allocations(&mut service, received(&[("accept", "*/*")]));
    assert!(refused <= 8, "{refused} allocations");
}

#[test]
fn the_future_of_the_middleware_stays_small() {
    type Future<V> = ResponseFuture<Free, V, tower_introspect::respond::Auto, Bytes>;
    let inner = size_of::<Ready<Result<Response<Bytes>, Infallible>>>();
    for size in [size_of::<Future<AtOnce>>(), size_of::<Future<BoxVerifier>>()] {
        assert!(size <= inner + 3 * size_of::<usize>(), "{size}");
    }
}
