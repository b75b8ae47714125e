//! Limits of the allocations and clones that a request causes.

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
    support::{FixedClock, ISSUER, ImmediateVerifier, layer, policy},
    world::{World, auth, bearer, remote},
};

/// A handler that does not allocate.
#[derive(Clone)]
struct NoopService;

impl Service<Request<Bytes>> for NoopService {
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

/// A request whose field values share one buffer, as an HTTP server creates them.
fn request_from_server(fields: &[(&'static str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    for (name, value) in fields {
        let buffer = Bytes::from(value.as_bytes().to_vec());
        // A second handle makes the buffer shared, so that further clones do not allocate.
        let shared = buffer.clone();
        let value = http::HeaderValue::from_maybe_shared(shared).expect("a field value");
        request.headers_mut().insert(*name, value);
        request.extensions_mut().insert(buffer);
    }
    request
}

fn allocations<V: Verifier>(
    service: &mut Introspect<NoopService, V>,
    request: Request<Bytes>,
) -> u64 {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut request = Some(request);
    let counted = allocation_counter::measure(|| {
        let future = service.call(request.take().expect("called once"));
        assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
    });
    counted.count_total
}

#[test]
fn token_verified_at_once_allocates_only_the_extension() {
    let mut service = layer(ImmediateVerifier::alice()).layer(NoopService);
    // A server or router has already created the extensions.
    let request = request_from_server(&[("authorization", "Bearer abc")]);
    assert_eq!(allocations(&mut service, request), 1);
}

#[tokio::test(start_paused = true)]
async fn cached_token_allocates_only_the_extension() {
    use tower_introspect::{
        cache::CacheLayer,
        revocation::{RevocationLayer, Revocations},
    };

    let revocations = Revocations::new().clock(FixedClock);
    let cache = CacheLayer::new()
        .clock(FixedClock)
        .revocations(revocations.clone())
        .layer(ImmediateVerifier::alice());
    let verifier = RevocationLayer::new(revocations).layer(cache.clone());
    let mut service = layer(BoxVerifier::new(verifier)).layer(NoopService);
    let request = || request_from_server(&[("authorization", "Bearer abc")]);
    assert!(allocations(&mut service, request()) > 1, "the first request is verified");
    for _ in 0..3 {
        assert_eq!(allocations(&mut service, request()), 1);
    }
    assert_eq!((cache.stats().misses, cache.stats().hits), (1, 3));
}

#[test]
fn cutoff_takes_less_than_600_bytes_however_long_its_names_are() {
    use tower_introspect::revocation::{Cutoff, Revocations};

    const CUTOFFS: u32 = 1_000;
    for name in ["s".to_owned(), "s".repeat(255), "s".repeat(100_000)] {
        let mut kept = None;
        let counted = allocation_counter::measure(|| {
            let revocations = Revocations::new();
            for n in 0..CUTOFFS {
                let cutoff = Cutoff::session(&name, format!("{n}{name}"));
                revocations.revoke(&cutoff.of_subject(format!("{n}{name}")));
            }
            kept = Some(revocations);
        });
        let each = counted.bytes_current / i64::from(CUTOFFS);
        assert!(each < 600, "{each} bytes each");
        assert_eq!(kept.map(|revocations| revocations.len()), Some(1_000));
    }
}

/// Returns the number of allocations for a cached token in a resource server.
async fn allocations_of_hit(world: &World, token: &str) -> u64 {
    assert_eq!(world.status(token).await, 200);
    let mut service = world.api.layer().layer(NoopService);
    let authorization = format!("Bearer {token}");
    let known = world.api.stats();
    let counted =
        allocations(&mut service, request_from_server(&[("authorization", &authorization)]));
    assert!(world.api.stats().hits > known.hits && world.api.stats().misses == known.misses);
    counted
}

/// With one issuer and one way to verify, only the cache is read.
#[tokio::test(start_paused = true)]
async fn cached_token_of_the_only_issuer_allocates_only_the_extension() {
    let world = World::new(remote());
    assert_eq!(allocations_of_hit(&world, &world.opaque()).await, 1);
    assert_eq!(allocations_of_hit(&world, &world.jwt()).await, 1);
    let world = World::new(Issuer::jwt(ISSUER));
    assert_eq!(allocations_of_hit(&world, &world.jwt()).await, 1);
}

/// With several issuers or ways to verify, the token is first routed to one of them. A JWT is
/// parsed once for that.
#[tokio::test(start_paused = true)]
async fn cached_token_of_one_of_several_issuers_allocates_only_the_extension() {
    let other = Issuer::introspect("https://other.example.com", auth()).token_prefix("other_");
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).issuer(other));
    assert_eq!(allocations_of_hit(&world, &world.jwt()).await, 1);
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    assert_eq!(allocations_of_hit(&world, &world.opaque()).await, 1);
    assert_eq!(allocations_of_hit(&world, &world.jwt()).await, 1);
    // Two cached facts are combined for each request.
    let confirmed = Issuer::jwt_and_introspect(ISSUER, auth(), Duration::from_secs(10));
    let world = World::new(confirmed);
    assert!(allocations_of_hit(&world, &world.jwt()).await <= 18);
}

#[tokio::test(start_paused = true)]
async fn cached_token_clones_no_service() {
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
fn satisfied_requirement_allocates_nothing() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let step_up = Requirement::any_acr(["mfa"]).or(Requirement::all_scopes(["read"]));
    let mut service =
        layer(ImmediateVerifier::alice()).layer(RequireLayer::new(step_up).layer(NoopService));
    let mut request = Some(request_from_server(&[("authorization", "Bearer abc")]));
    let counted = allocation_counter::measure(|| {
        let future = service.call(request.take().expect("called once"));
        assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
    });
    assert_eq!(counted.count_total, 1, "the extension");
}

#[test]
fn identity_headers_cause_few_allocations() {
    use tower_introspect::layer::ForwardHeaders;

    let headers = ForwardHeaders::new()
        .issuer("x-auth-issuer")
        .and_then(|more| more.subject("x-auth-subject"))
        .and_then(|more| more.scope("x-auth-scope"))
        .and_then(|more| more.claim("tenant", "x-auth-tenant"))
        .expect("names of headers");
    let mut service = layer(ImmediateVerifier::alice()).forward(headers).layer(NoopService);
    let request_from_server =
        request_from_server(&[("authorization", "Bearer abc"), ("accept", "*/*")]);
    let counted = allocations(&mut service, request_from_server);
    // The extension, four values, the list of values, and the header map as it grows.
    assert!(counted <= 10, "{counted} allocations");
}

#[test]
fn dpop_proof_causes_a_bounded_number_of_allocations() {
    use tower_introspect::{IntrospectLayer, proof::Dpop, test_util::Prover};

    let prover = Prover::new("client").with_clock(FixedClock);
    let cnf = format!("\"cnf\":{{\"jkt\":\"{}\"}}", prover.thumbprint());
    let bound =
        ImmediateVerifier::claims(&format!("{{\"aud\":\"https://api.example.com\",{cnf}}}"));
    let policy = policy().dpop(Dpop::new("https://api.example.com").expect("a URL"));
    let mut service = IntrospectLayer::new(bound, policy).layer(NoopService);
    let request = || {
        let proof = prover.proof("GET", "https://api.example.com/").for_token("abc").mint();
        request_from_server(&[("authorization", "DPoP abc"), ("dpop", &proof)])
    };
    // The tables of the replay store grow at first.
    for _ in 0..8 {
        allocations(&mut service, request());
    }
    let counted = allocations(&mut service, request());
    assert!(counted <= 40, "{counted} allocations");
}

#[test]
fn refusal_hook_adds_one_allocation() {
    let mut service = layer(ImmediateVerifier::alice()).on_refusal(|_| {}).layer(NoopService);
    let request = request_from_server(&[("authorization", "Bearer abc")]);
    assert_eq!(allocations(&mut service, request), 2);
}

#[test]
fn refusal_causes_few_allocations() {
    let mut service = layer(ImmediateVerifier::alice()).layer(NoopService);
    let refused = allocations(&mut service, request_from_server(&[("accept", "*/*")]));
    assert!(refused <= 8, "{refused} allocations");
}

#[test]
fn response_future_is_small() {
    type Future<V> = ResponseFuture<NoopService, V, tower_introspect::respond::Auto, Bytes>;
    let inner = size_of::<Ready<Result<Response<Bytes>, Infallible>>>();
    for size in [size_of::<Future<ImmediateVerifier>>(), size_of::<Future<BoxVerifier>>()] {
        assert!(size <= inner + 3 * size_of::<usize>(), "{size}");
    }
}
