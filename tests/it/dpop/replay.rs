//! A proof is accepted once (RFC 9449 §11.1), and a refused one marks nothing.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_introspect::{
    ErrorKind, IntrospectLayer,
    clock::Moment,
    policy::Requirement,
    proof::{Mark, Marked, Marking, MemoryReplay, ReplayStore},
};

use super::*;
use crate::support::{ImmediateVerifier, whoami_service};

const BAD: Result<(), ErrorKind> = Err(ErrorKind::InvalidProof);

#[tokio::test(start_paused = true)]
async fn rfc9449_11_1_proof_is_accepted_once() {
    let world = World::new();
    let proof = world.proof().mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    for _ in 0..3 {
        let again = world.with_proof(&proof).await;
        assert_eq!(refusal(&again), Some(ErrorKind::InvalidProof));
        assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    }
    // Its `jti` is not accepted in another proof of the key either.
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, Ok(()));
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn jti_used_by_another_client_is_accepted() {
    let world = World::new();
    let other = Prover::new("other").with_clock(world.clock.clone());
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&other).mint();
    let proof = other.proof("GET", URL).for_token(&token).claim("jti", "a").mint();
    let request = get("/r", &[("authorization", &format!("DPoP {token}")), ("dpop", &proof)]);
    assert_eq!(world.send(request).await.status(), StatusCode::OK);
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn mark_outlives_the_proof_at_both_edges_of_the_window() {
    let world = World::new();
    // An `iat` of thirty seconds ahead is valid for a minute.
    let proof = world.proof().claim("iat", NOW.as_secs() + 30).mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
        // Expired marks are removed when others are set.
        assert_eq!(world.outcome(world.proof()).await, Ok(()));
    }
    // The wall clock steps forward, marks are removed, and the clock is corrected.
    let proof = world.proof().mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    world.clock.step(Duration::from_secs(600));
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    world.clock.step_back(Duration::from_secs(600));
    assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
}

/// A captured proof sent to another URL marked the `jti` as used before the client's own request.
#[tokio::test(start_paused = true)]
async fn refused_proof_is_not_marked_as_used() {
    let world = World::under(|policy| {
        policy
            .dpop(dpop())
            .require(Requirement::any_acr(["mfa"]).or(Requirement::all_scopes(["read"])))
    });
    let proof = world.proof().mint();
    let other = world.server.jwt().audience(AUDIENCE).scope("read").bound_to(&world.prover).mint();
    let thief = Prover::new("thief").with_clock(world.clock.clone());
    let stolen = world.server.jwt().audience(AUDIENCE).bound_to(&thief).mint();
    let with = |uri: &str, token: &str| {
        get(uri, &[("authorization", &format!("DPoP {token}")), ("dpop", &proof)])
    };
    for elsewhere in [
        with("/other", &world.token),
        request(
            Method::POST,
            "/r",
            &[("authorization", &format!("DPoP {}", world.token)), ("dpop", &proof)],
        ),
        with("/r", &other),
        with("/r", &stolen),
        with("/r", "garbage"),
        get("/r", &[("authorization", &format!("Bearer {}", world.token)), ("dpop", &proof)]),
        get("/r", &[("dpop", &proof)]),
    ] {
        assert!(world.send(elsewhere).await.status().is_client_error());
    }
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn proof_is_not_marked_as_used_if_another_authentication_is_required() {
    let world = World::under(|policy| policy.dpop(dpop()).require(Requirement::any_acr(["mfa"])));
    let proof = world.proof().mint();
    for _ in 0..2 {
        let refused = refusal(&world.with_proof(&proof).await);
        assert_eq!(refused, Some(ErrorKind::InsufficientAuthentication));
    }
    // Nor if this service is misconfigured.
    let fresh = Requirement::fresh(Duration::from_secs(5));
    let world = World::under(|policy| policy.dpop(dpop()).require(fresh));
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    tokio::time::advance(Duration::from_secs(10)).await;
    let proof = world.proof().mint();
    for _ in 0..2 {
        assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::Misconfigured));
    }
}

#[tokio::test(start_paused = true)]
async fn inner_layers_accept_the_proof_marked_by_the_outer_one() {
    let world = World::new();
    let fresh = world.api.fresh_layer(Duration::from_secs(5));
    let service = world.api.layer().layer(fresh.layer(world.api.layer().layer(whoami_service())));
    let proof = world.proof().mint();
    let response = service.clone().oneshot(world.request(&proof)).await.unwrap();
    assert_eq!(response.body(), "alice");
    // In another request it counts as used.
    let response = service.oneshot(world.request(&proof)).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::InvalidProof));

    // An inner layer with another replay store marks the proof there.
    let other = World::new();
    let service = world.api.layer().layer(other.api.layer().layer(whoami_service()));
    let proof = world.proof().mint();
    assert_eq!(service.oneshot(world.request(&proof)).await.unwrap().status(), StatusCode::OK);
    let again = other.send(world.request(&proof)).await;
    assert_eq!(refusal(&again), Some(ErrorKind::InvalidProof));
    assert_eq!(other.send(world.request(&world.proof().mint())).await.status(), StatusCode::OK);
}

#[test]
fn one_of_a_hundred_threads_with_the_same_proof_is_admitted() {
    let jkt = prover("client").thumbprint().to_owned();
    let bound = ImmediateVerifier::claims(&format!(
        "{{\"aud\":\"{AUDIENCE}\",\"cnf\":{{\"jkt\":\"{jkt}\"}}}}"
    ));
    let layer = IntrospectLayer::new(bound, policy().dpop(dpop()));
    for _ in 0..5 {
        let proof = prover("client").proof("GET", URL).for_token("abc").mint();
        let (start, passed) = (Barrier::new(100), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..100 {
                threads.spawn(|| {
                    start.wait();
                    let request = get("/r", &[("authorization", "DPoP abc"), ("dpop", &proof)]);
                    let response = tokio_test::block_on(ask(&layer, request));
                    match refusal(&response) {
                        None => drop(passed.fetch_add(1, Ordering::SeqCst)),
                        Some(kind) => assert_eq!(kind, ErrorKind::InvalidProof),
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::SeqCst), 1);
    }
}

/// The number of proofs. `DPOP_PROOFS=1000000` for the full test.
fn proof_count() -> usize {
    let set = std::env::var("DPOP_PROOFS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(20_000)
}

/// Proofs by random keys, for tokens of others, are refused before a key is parsed or a signature
/// checked, and leave nothing in memory.
#[test]
fn proofs_by_random_keys_take_no_memory_and_mark_nothing() {
    let replay = Arc::new(MemoryReplay::new());
    let jkt = prover("client").thumbprint().to_owned();
    let bound = ImmediateVerifier::claims(&format!(
        "{{\"aud\":\"{AUDIENCE}\",\"cnf\":{{\"jkt\":\"{jkt}\"}}}}"
    ));
    let dpop = dpop().window(Duration::from_secs(300)).replay_store(Shared(Arc::clone(&replay)));
    let policy = policy().dpop(dpop);
    let service = IntrospectLayer::new(bound, policy).layer(whoami_service());
    // They share one signature. If it were checked, the refusal would be another.
    let template = prover("thief").proof("GET", URL).for_token("abc").mint();
    let [_, payload, signature] = template.split('.').collect::<Vec<_>>()[..] else { panic!() };
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    // The allocations of one thread are measured. Each thread sends a share of the proofs.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |first: usize| {
        let mut service = service.clone();
        let mut send = |n: usize| {
            let x = BASE64URL.encode([&[0; 24][..], &n.to_be_bytes()].concat());
            let header = format!(
                "{{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{x}\",\"y\":\"{x}\"}}}}"
            );
            let proof = format!("{}.{payload}.{signature}", BASE64URL.encode(header));
            let request = get("/r", &[("authorization", "DPoP abc"), ("dpop", &proof)]);
            let answer = service.call(request).now_or_never().expect("nothing is waited for");
            assert_eq!(refusal(&answer.unwrap()), Some(ErrorKind::UnprovenPossession));
        };
        send(first);
        let all = (first..proof_count()).step_by(threads);
        let held = allocation_counter::measure(|| all.for_each(&mut send));
        assert_eq!(held.bytes_current, 0, "memory is kept");
        assert!(held.bytes_max < 64 << 10, "{} bytes at a time", held.bytes_max);
    };
    std::thread::scope(|scope| {
        for first in 0..threads {
            let share = &share;
            scope.spawn(move || share(first));
        }
    });
    assert!(replay.is_empty());
}

/// A store that the test can inspect.
struct Shared(Arc<MemoryReplay>);

impl ReplayStore for Shared {
    fn mark(&self, mark: Mark) -> Marking {
        self.0.mark(mark)
    }
}

/// A million proofs of a million keys, as many clients with valid tokens could send them.
#[test]
fn replay_store_is_bounded_in_bytes() {
    const BOUND: usize = 4 << 20;
    let now = Moment::now(&FixedClock);
    let until = now.wall().saturating_add(Duration::from_secs(60));
    let held = allocation_counter::measure(|| {
        let store = MemoryReplay::new().max_bytes(BOUND);
        let mut refused = 0;
        for n in 0..proof_count() {
            let mark = Mark::new(&n.to_string(), "1", now, until);
            refused += usize::from(
                store
                    .mark(mark)
                    .now_or_later()
                    .unwrap_or_else(|_| panic!("the store is not ready"))
                    .is_err(),
            );
        }
        assert!(refused > 0 && store.len() > 10_000, "{refused} of {} were refused", proof_count());
    });
    assert!(held.bytes_max < BOUND as u64, "{} bytes at a time", held.bytes_max);
}

#[tokio::test(start_paused = true)]
async fn full_replay_store_is_503() {
    let world = World::with(dpop().replay_store(MemoryReplay::new().max_bytes(0)));
    let response = world.with_proof(&world.proof().mint()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&response), Some(ErrorKind::ReplayUnavailable));
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(challenges(&response).is_empty());
}

#[tokio::test(start_paused = true)]
async fn client_over_its_quota_does_not_affect_others() {
    let world = World::with(dpop().replay_store(MemoryReplay::new().max_proofs_of_a_key(2)));
    for expected in [Ok(()), Ok(()), Err(ErrorKind::ReplayUnavailable)] {
        assert_eq!(world.outcome(world.proof()).await, expected);
    }
    let other = Prover::new("other").with_clock(world.clock.clone());
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&other).mint();
    let proof = other.proof("GET", URL).for_token(&token).mint();
    let request = get("/r", &[("authorization", &format!("DPoP {token}")), ("dpop", &proof)]);
    assert_eq!(world.send(request).await.status(), StatusCode::OK);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
}

/// A remote store that responds when the test allows it.
#[derive(Clone, Default)]
struct Remote(Arc<Mutex<Vec<(Mark, Answer)>>>);

type Answer = tokio::sync::oneshot::Sender<Result<Marked, &'static str>>;

impl ReplayStore for Remote {
    fn mark(&self, mark: Mark) -> Marking {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.0.lock().unwrap().push((mark, sender));
        Marking::pending(async move { receiver.await?.map_err(Into::into) })
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_remote_store_holds_no_permit_of_the_handler() {
    use tokio_test::{assert_pending, assert_ready_ok, task};
    use tower::limit::ConcurrencyLimitLayer;

    let remote = Remote::default();
    let world = World::with(dpop().replay_store(remote.clone()));
    let service = world.api.layer().layer(ConcurrencyLimitLayer::new(1).layer(whoami_service()));
    // The first token must be verified, the second is cached. Both lead to waiting for the store.
    for (outcome, expected) in [
        (Ok(Marked::First), Ok("alice")),
        (Ok(Marked::First), Ok("alice")),
        (Ok(Marked::Replayed), Err(ErrorKind::InvalidProof)),
        (Err("the store is away"), Err(ErrorKind::ReplayUnavailable)),
    ] {
        let mut first = service.clone();
        first.ready().await.unwrap();
        let mut waiting = task::spawn(first.call(world.request(&world.proof().mint())));
        for _ in 0..100 {
            assert_pending!(waiting.poll());
            if !remote.0.lock().unwrap().is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The handler's permit is free meanwhile.
        let mut other = service.clone();
        assert_ready_ok!(task::spawn(other.ready()).poll());
        drop(other);
        let (mark, answer) = remote.0.lock().unwrap().pop().expect("no request to the store");
        // Until the first millisecond after the window.
        assert_eq!(mark.keep_for(), Duration::from_millis(30_001));
        answer.send(outcome).unwrap();
        let response = waiting.await.unwrap();
        assert_eq!(refusal(&response).map_or(Ok("alice"), Err), expected);
        if let Err(ErrorKind::ReplayUnavailable) = expected {
            let error = response.extensions().get::<tower_introspect::VerifyError>().unwrap();
            let source = std::error::Error::source(error).unwrap();
            assert_eq!(source.to_string(), "the store is away");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn store_is_not_called_for_an_invalid_proof() {
    let remote = Remote::default();
    let world = World::with(dpop().replay_store(remote.clone()));
    for proof in [
        world.proof().with_corrupt_signature(),
        world.proof().claim("htm", "POST"),
        world.proof().claim("ath", "x"),
        world.proof().claim("iat", 1),
    ] {
        // The store never responds, so that any call of it would wait.
        let outcome = tokio::time::timeout(Duration::from_secs(1), world.outcome(proof)).await;
        assert_eq!(outcome, Ok(BAD));
    }
    assert!(remote.0.lock().unwrap().is_empty());
}
