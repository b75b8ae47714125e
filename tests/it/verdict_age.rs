//! No request reaches the handler on a verdict that is older than a second.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use testing::clock::NOW;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, yield_now},
    time::advance,
};
use tower::{
    Layer, Service, ServiceExt,
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer},
    util::BoxCloneSyncService,
};
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, Policy, ResourceServer, VerifiedToken,
    cache::CacheLayer,
    credentials::Extractor,
    layer::ForwardHeaders,
    policy::{Observer, Requirement},
    proof::{Dpop, Mark, Marked, Marking, MemoryReplay, ReplayStore},
    revocation::{Cutoff, RevocationLayer, Revocations},
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Prover, TestClock},
    verify::{BoxVerifier, Freshness, Method},
};

use crate::{
    scripted::{Act, Scripted},
    support::{AUDIENCE, ISSUER, refusal, request, with_token},
    world::{World, auth, bearer},
};

const SEC: Duration = Duration::from_secs(1);

/// The time that a verification takes.
const SLOW: Duration = Duration::from_millis(200);

/// Lets other tasks run as far as they can.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// A handler that counts its calls, and shows whom it was called for. `gate` has it wait.
#[derive(Clone, Default)]
struct Handler {
    called: Arc<AtomicUsize>,
    gate: Option<Arc<Semaphore>>,
}

impl Handler {
    fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }

    fn service(&self) -> BoxCloneSyncService<Request<Bytes>, Response<Bytes>, Infallible> {
        let this = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Bytes>| {
            let this = this.clone();
            async move {
                this.called.fetch_add(1, Ordering::SeqCst);
                if let Some(gate) = &this.gate {
                    gate.acquire().await.unwrap().forget();
                }
                let token = request.extensions().get::<VerifiedToken>().unwrap();
                let forwarded = request.headers().get("x-subject");
                let forwarded = forwarded.map_or("-", |value| value.to_str().unwrap());
                let seen = format!("{} {forwarded}", token.subject().unwrap());
                Ok(Response::new(Bytes::from(seen)))
            }
        }))
    }
}

type Limited = ConcurrencyLimit<BoxCloneSyncService<Request<Bytes>, Response<Bytes>, Infallible>>;

/// A request that is verified and waits for the only permit, which the test holds.
struct Queued {
    busy: Limited,
    free: Limited,
    call: JoinHandle<Response<Bytes>>,
    handler: Handler,
}

impl Queued {
    async fn new(layer: &IntrospectLayer<BoxVerifier>, request: Request<Bytes>) -> Self {
        let handler = Handler::default();
        let free = ConcurrencyLimitLayer::new(1).layer(handler.service());
        let mut busy = free.clone();
        let mut service = layer.layer(free.clone());
        let call = service.ready().await.unwrap().call(request);
        let call = tokio::spawn(async move { call.await.unwrap() });
        busy.ready().await.expect("the permit is free while the request is verified");
        settle().await;
        advance(SLOW).await;
        settle().await;
        assert_eq!(handler.called(), 0);
        assert!(!call.is_finished());
        Self { busy, free, call, handler }
    }

    /// Gives the permit to the request, and waits for the response.
    async fn end(self) -> (Response<Bytes>, usize) {
        let Self { busy, free, call, handler } = self;
        drop(busy);
        let response = call.await.unwrap();
        let mut free = free;
        tokio::time::timeout(SEC, free.ready()).await.expect("the permit is given back").unwrap();
        (response, handler.called())
    }

    /// Takes the permit as soon as the request gives it up to be verified again.
    async fn take_permit_again(&mut self) {
        // The request is the first in the queue for the permit.
        self.busy = self.free.clone();
        settle().await;
        let permit = tokio::time::timeout(SLOW / 2, self.busy.ready()).await;
        permit.expect("the permit is free while the token is verified again").unwrap();
    }
}

/// A verifier that takes time, with a cache and cutoffs.
struct Stack {
    server: Scripted,
    revocations: Revocations,
    verifier: BoxVerifier,
}

impl Stack {
    fn new(method: Method, claims: &'static str) -> Self {
        let server = Scripted::new().takes(SLOW).by(method);
        server.always(Act::Accept(claims));
        let revocations = Revocations::new().clock(server.clock.clone());
        let cache = CacheLayer::new().clock(server.clock.clone());
        let cached = cache.revocations(revocations.clone()).layer(server.clone());
        let verifier = RevocationLayer::new(revocations.clone()).layer(cached);
        Self { server, revocations, verifier: BoxVerifier::new(verifier) }
    }

    fn layer(&self) -> IntrospectLayer<BoxVerifier> {
        let policy = Policy::new(AUDIENCE).clock(self.server.clock.clone()).leeway(Duration::ZERO);
        IntrospectLayer::new(self.verifier.clone(), policy).extractor(
            Extractor::new()
                .danger_cookie("at")
                .danger_query_parameter("access_token")
                .websocket_protocol("bearer."),
        )
    }
}

/// A token of alice that was issued at 1 800 000 000 and lives for a minute.
const SHORT: &str =
    r#"{"sub":"alice","aud":"https://api.example.com","iat":1800000000,"exp":1800000060}"#;

const LONG: &str =
    r#"{"sub":"alice","aud":"https://api.example.com","iat":1800000000,"exp":1800036000}"#;

fn ways() -> [Request<Bytes>; 4] {
    let mut query = request(&[]);
    *query.uri_mut() = "/?access_token=abc".parse().unwrap();
    [
        with_token(),
        request(&[("cookie", "at=abc")]),
        request(&[("sec-websocket-protocol", "chat, bearer.abc")]),
        query,
    ]
}

#[tokio::test(start_paused = true)]
async fn token_that_expired_while_it_waited_for_the_handler_is_refused() {
    for method in [Method::Introspection, Method::Jwt] {
        for removed in [false, true] {
            for request in ways() {
                let stack = Stack::new(method, SHORT);
                let layer = stack.layer();
                let layer = if removed { layer.remove_credentials() } else { layer };
                let queued = Queued::new(&layer, request).await;
                advance(SEC * 300).await;
                let (response, called) = queued.end().await;
                assert_eq!((refusal(&response), called), (Some(ErrorKind::Expired), 0));
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_was_cut_off_while_it_waited_for_the_handler_is_refused() {
    for (method, expected) in
        [(Method::Introspection, ErrorKind::Inactive), (Method::Jwt, ErrorKind::Revoked)]
    {
        for request in ways() {
            let stack = Stack::new(method, LONG);
            let queued = Queued::new(&stack.layer(), request).await;
            advance(SEC).await;
            if method == Method::Introspection {
                stack.server.always(Act::refuse(ErrorKind::Inactive));
            }
            stack.revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
            advance(SEC).await;
            let (response, called) = queued.end().await;
            assert_eq!((refusal(&response), called), (Some(expected), 0));
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
    }
}

/// The server has the last word on a token that it introspects.
#[tokio::test(start_paused = true)]
async fn token_that_is_still_active_after_a_cutoff_is_admitted() {
    let stack = Stack::new(Method::Introspection, LONG);
    let queued = Queued::new(&stack.layer(), with_token()).await;
    stack.revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    advance(SEC * 2).await;
    let (response, called) = queued.end().await;
    assert_eq!((response.status(), called, stack.server.calls()), (StatusCode::OK, 1, 2));
}

/// Two clients, a handler that takes five minutes, and one permit.
#[tokio::test(start_paused = true)]
async fn second_of_two_requests_is_judged_when_the_first_has_ended() {
    for cut_off in [false, true] {
        for second in ways() {
            let stack = Stack::new(Method::Introspection, if cut_off { LONG } else { SHORT });
            let gate = Arc::new(Semaphore::new(0));
            let handler = Handler { gate: Some(Arc::clone(&gate)), ..Handler::default() };
            let limited = ConcurrencyLimitLayer::new(1).layer(handler.service());
            let service = stack.layer().layer(limited);
            let mut calls = Vec::new();
            let first = request(&[("authorization", "Bearer abd")]);
            for request in [first, second] {
                let mut service = service.clone();
                let call = service.ready().await.unwrap().call(request);
                calls.push(tokio::spawn(async move { call.await.unwrap() }));
            }
            settle().await;
            advance(SLOW).await;
            settle().await;
            assert_eq!(handler.called(), 1);
            advance(SEC).await;
            if cut_off {
                stack.server.always(Act::refuse(ErrorKind::Inactive));
                stack.revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
            }
            advance(SEC * 300).await;
            gate.add_permits(2);
            let second = calls.pop().unwrap().await.unwrap();
            assert_eq!(second.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(calls.pop().unwrap().await.unwrap().status(), StatusCode::OK);
            assert_eq!(handler.called(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_whose_key_was_retired_while_it_waited_is_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let token = world.jwt();
    let layer = world.api.layer();
    // No keys are loaded yet, so the request waits for them.
    let queued = Queued::new(&layer, bearer(&token)).await;
    world.server.rotate_keys();
    world.server.remove_old_keys();
    advance(SEC * 60).await;
    // A token of the new key has the keys fetched again.
    assert_eq!(world.status(&world.jwt()).await, 200);
    let (response, called) = queued.end().await;
    assert_eq!((refusal(&response), called), (Some(ErrorKind::UnknownKey), 0));
}

#[tokio::test(start_paused = true)]
async fn whole_policy_is_judged_anew() {
    let is_open = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&is_open);
    let open = Requirement::check_fn(move |_| match asked.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(ErrorKind::Denied.into()),
    });
    let stack = Stack::new(Method::Introspection, LONG);
    let policy = Policy::new(AUDIENCE).clock(stack.server.clock.clone()).require(open);
    let layer = IntrospectLayer::new(stack.verifier.clone(), policy);
    let queued = Queued::new(&layer, with_token()).await;
    is_open.store(false, Ordering::SeqCst);
    advance(SEC * 2).await;
    let (response, called) = queued.end().await;
    assert_eq!((refusal(&response), called), (Some(ErrorKind::Denied), 0));
}

/// The wait counts by either clock: a suspended machine does not make a verdict last.
#[tokio::test(start_paused = true)]
async fn verdict_ages_while_the_machine_is_suspended() {
    let stack = Stack::new(Method::Introspection, SHORT);
    let queued = Queued::new(&stack.layer(), with_token()).await;
    stack.server.clock.step(SEC * 300);
    let (response, called) = queued.end().await;
    assert_eq!((refusal(&response), called), (Some(ErrorKind::Expired), 0));
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_for_a_second_at_most_is_verified_once() {
    for (wait, hits) in [(Duration::ZERO, 0), (SEC, 0), (SEC + Duration::from_millis(1), 1)] {
        let server = Scripted::new().takes(SLOW);
        let cache = CacheLayer::new().clock(server.clock.clone()).layer(server.clone());
        let policy = Policy::new(AUDIENCE).clock(server.clock.clone());
        let layer = IntrospectLayer::new(BoxVerifier::new(cache.clone()), policy);
        let queued = Queued::new(&layer, with_token()).await;
        advance(wait).await;
        let (response, called) = queued.end().await;
        assert_eq!((response.status(), called), (StatusCode::OK, 1));
        assert_eq!((server.calls(), cache.stats().hits), (1, hits), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn handler_gets_the_facts_of_the_last_verification() {
    let stack = Stack::new(Method::Introspection, LONG);
    let headers = ForwardHeaders::new().subject("x-subject").unwrap();
    let layer = stack.layer().forward(headers).remove_credentials();
    let queued = Queued::new(&layer, with_token()).await;
    stack.server.always(Act::Accept(r#"{"sub":"bob","aud":"https://api.example.com"}"#));
    // Beyond the age of cached facts.
    advance(SEC * 31).await;
    let (response, called) = queued.end().await;
    assert_eq!((response.body(), called), (&Bytes::from("bob bob"), 1));
    assert_eq!(stack.server.calls(), 2);
}

/// Without a cache each decision takes time, in which the permit is free for others.
#[tokio::test(start_paused = true)]
async fn service_that_is_never_ready_in_time_is_503() {
    for freshness in [Freshness::Cached, Freshness::Live] {
        let server = Scripted::new().takes(SLOW);
        let policy = Policy::new(AUDIENCE).clock(server.clock.clone());
        let verifier = match freshness {
            Freshness::Live => {
                let cache = CacheLayer::new().clock(server.clock.clone());
                BoxVerifier::new(cache.layer(server.clone()))
            }
            _ => BoxVerifier::new(server.clone()),
        };
        let layer = IntrospectLayer::new(verifier, policy).freshness(freshness);
        let mut queued = Queued::new(&layer, with_token()).await;
        for calls in 1..4 {
            assert_eq!(server.calls(), calls);
            advance(SEC * 2).await;
            queued.take_permit_again().await;
            advance(SLOW).await;
            settle().await;
        }
        assert_eq!(server.calls(), 4);
        advance(SEC * 2).await;
        let (response, called) = queued.end().await;
        assert_eq!((refusal(&response), called), (Some(ErrorKind::Unavailable), 0));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(server.calls(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn service_that_is_ready_in_time_after_another_verification_is_called() {
    let server = Scripted::new().takes(SLOW);
    let policy = Policy::new(AUDIENCE).clock(server.clock.clone());
    let layer = IntrospectLayer::new(BoxVerifier::new(server.clone()), policy);
    let queued = Queued::new(&layer, with_token()).await;
    advance(SEC * 2).await;
    let (response, called) = queued.end().await;
    assert_eq!((response.status(), called, server.calls()), (StatusCode::OK, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn observers_count_each_request_once() {
    let (stack, trial) = (Stack::new(Method::Introspection, LONG), Observer::new("trial"));
    let policy = Policy::new(AUDIENCE)
        .clock(stack.server.clock.clone())
        .observe(Requirement::any_acr(["mfa"]), &trial);
    let layer = IntrospectLayer::new(stack.verifier.clone(), policy);
    let queued = Queued::new(&layer, with_token()).await;
    advance(SEC * 2).await;
    assert_eq!(queued.end().await.1, 1);
    assert_eq!((trial.met(), trial.would_have_refused()), (0, 1));
}

// ===== Proofs =====

/// A store of used proofs that responds when the test allows it, and counts the marks.
#[derive(Clone)]
struct Remote {
    marks: Arc<Mutex<Vec<Mark>>>,
    open: Arc<Semaphore>,
}

impl Remote {
    fn new() -> Self {
        Self { marks: Arc::default(), open: Arc::new(Semaphore::new(0)) }
    }

    fn marked(&self) -> usize {
        self.marks.lock().unwrap().len()
    }
}

impl ReplayStore for Remote {
    fn mark(&self, mark: Mark) -> Marking {
        let mut marks = self.marks.lock().unwrap();
        let is_first = marks.iter().all(|before| before.key() != mark.key());
        marks.push(mark);
        let open = Arc::clone(&self.open);
        Marking::pending(async move {
            open.acquire().await?.forget();
            Ok(if is_first { Marked::First } else { Marked::Replayed })
        })
    }
}

struct BoundWorld {
    server: AuthorizationServer,
    api: ResourceServer,
    prover: Prover,
}

impl BoundWorld {
    fn new(dpop: Dpop) -> Self {
        let clock = TestClock::new(NOW);
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(clock.clone())
            .with_client(Client::new("api", "s3cret"));
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::introspect(ISSUER, auth()))
            .transport(server.transport())
            .clock(clock.clone())
            .policy(|policy| policy.dpop(dpop))
            .build()
            .unwrap();
        Self { server, api, prover: Prover::new("client").with_clock(clock) }
    }

    fn token(&self, lives: Duration) -> String {
        let token = self.server.opaque().subject("alice").audience(AUDIENCE).expires_in(lives);
        token.bound_to(&self.prover).mint()
    }

    fn request(&self, token: &str) -> Request<Bytes> {
        let proof = self.prover.proof("GET", "https://api.example.com/").for_token(token).mint();
        request(&[("authorization", &format!("DPoP {token}")), ("dpop", &proof)])
    }

    /// Sends a request that waits for the store, and returns it.
    fn send(&self, handler: &Handler, token: &str) -> JoinHandle<Response<Bytes>> {
        let mut service = self.api.layer().layer(handler.service());
        let call = service.call(self.request(token));
        tokio::spawn(async move { call.await.unwrap() })
    }
}

fn dpop() -> Dpop {
    Dpop::new("https://api.example.com").unwrap()
}

#[tokio::test(start_paused = true)]
async fn token_is_judged_anew_after_a_slow_store() {
    for is_cached in [false, true] {
        for (name, revoked, wait, expected) in [
            // The server calls an expired token inactive.
            ("expired", false, SEC * 300, Some(ErrorKind::Inactive)),
            ("cut off", true, SEC * 2, Some(ErrorKind::Inactive)),
            ("good", false, SEC * 20, None),
        ] {
            let store = Remote::new();
            let world = BoundWorld::new(dpop().replay_store(store.clone()));
            let token = world.token(SEC * 100);
            let handler = Handler::default();
            if is_cached {
                store.open.add_permits(1);
                let first = world.send(&handler, &token).await.unwrap();
                assert_eq!(first.status(), StatusCode::OK, "{name}");
            }
            let (called, marked) = (handler.called(), store.marked());
            let waiting = world.send(&handler, &token);
            settle().await;
            assert_eq!(store.marked(), marked + 1, "{name}");
            advance(SEC).await;
            if revoked {
                world.server.revoke(&token);
                world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
            }
            advance(wait).await;
            store.open.add_permits(10);
            let response = waiting.await.unwrap();
            assert_eq!(refusal(&response), expected, "{name}, cached: {is_cached}");
            assert_eq!(handler.called(), called + usize::from(expected.is_none()), "{name}");
            assert_eq!(store.marked(), marked + 1, "{name}: the proof is marked once");
        }
    }
}

/// A store that counts the marks.
struct Counting(MemoryReplay, Arc<AtomicUsize>);

impl ReplayStore for Counting {
    fn mark(&self, mark: Mark) -> Marking {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.mark(mark)
    }
}

/// The proof was in time when the request came, and the wait is not the client's fault.
#[tokio::test(start_paused = true)]
async fn proof_is_marked_once_and_outlives_its_window_while_the_request_waits() {
    for require_nonce in [false, true] {
        let marks = Arc::new(AtomicUsize::new(0));
        let dpop = dpop().replay_store(Counting(MemoryReplay::new(), Arc::clone(&marks)));
        let world = BoundWorld::new(if require_nonce { dpop.require_nonce() } else { dpop });
        let token = world.token(SEC * 36_000);
        let mut request = world.request(&token);
        if require_nonce {
            let refused = world.api.layer().layer(Handler::default().service());
            let refused = refused.oneshot(world.request(&token)).await.unwrap();
            let nonce = refused.headers()["dpop-nonce"].to_str().unwrap().to_owned();
            let proof = world.prover.proof("GET", "https://api.example.com/").for_token(&token);
            let proof = proof.nonce(&nonce).mint();
            request.headers_mut().insert("dpop", proof.parse().unwrap());
            // So that the token has to be verified again.
            advance(SEC).await;
            world.api.revocations().revoke(&Cutoff::issuer(ISSUER));
        }
        world.server.inject(Endpoint::Introspection, Fault::delay(SLOW));
        let queued = Queued::new(&world.api.layer(), request).await;
        advance(SEC * 600).await;
        let (response, called) = queued.end().await;
        assert_eq!((refusal(&response), called), (None, 1), "nonce: {require_nonce}");
        assert_eq!(marks.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn proof_that_waited_can_not_be_used_again() {
    let world = BoundWorld::new(dpop());
    let token = world.token(SEC * 36_000);
    let request = || world.request(&token);
    let captured = request();
    let copy = |from: &Request<Bytes>| {
        let mut copy = Request::new(Bytes::new());
        *copy.headers_mut() = from.headers().clone();
        copy
    };
    world.server.inject(Endpoint::Introspection, Fault::delay(SLOW));
    let queued = Queued::new(&world.api.layer(), copy(&captured)).await;
    advance(SEC * 5).await;
    assert_eq!(queued.end().await.1, 1);
    let again = world.api.layer().layer(Handler::default().service());
    let again = again.oneshot(copy(&captured)).await.unwrap();
    assert_eq!(refusal(&again), Some(ErrorKind::InvalidProof));
}
