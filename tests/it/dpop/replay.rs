//! A proof is used once (RFC 9449 §11.1), and a captured one spoils nothing.

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
async fn rfc9449_11_1_the_same_proof_is_good_once() {
    let world = World::new();
    let proof = world.proof().mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    for _ in 0..3 {
        let again = world.with_proof(&proof).await;
        assert_eq!(refusal(&again), Some(ErrorKind::InvalidProof));
        assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    }
    // Nor is its name good for another proof of the key.
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, Ok(()));
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_client_has_used_is_good() {
    let world = World::new();
    let other = Prover::new("other").with_clock(world.clock.clone());
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&other).mint();
    let proof = other.proof("GET", URL).for_token(&token).claim("jti", "a").mint();
    let request = get("/r", &[("authorization", &format!("DPoP {token}")), ("dpop", &proof)]);
    assert_eq!(world.send(request).await.status(), StatusCode::OK);
    assert_eq!(world.outcome(world.proof().claim("jti", "a")).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_mark_outlives_the_proof_on_both_sides_of_the_window() {
    let world = World::new();
    // From thirty seconds ahead: good for a minute.
    let proof = world.proof().claim("iat", NOW.as_secs() + 30).mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
        // Marks are swept when others are set.
        assert_eq!(world.outcome(world.proof()).await, Ok(()));
    }
    // The wall clock jumps ahead, marks are swept, and it is set right again.
    let proof = world.proof().mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    world.clock.step(Duration::from_secs(600));
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    world.clock.step_back(Duration::from_secs(600));
    assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
}

/// A proof that was captured and sent elsewhere used up the name of the one that was still to come.
#[tokio::test(start_paused = true)]
async fn a_refused_proof_uses_nothing_up() {
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
async fn a_proof_is_not_used_up_where_the_client_is_to_authenticate_otherwise() {
    let world = World::under(|policy| policy.dpop(dpop()).require(Requirement::any_acr(["mfa"])));
    let proof = world.proof().mint();
    for _ in 0..2 {
        let refused = refusal(&world.with_proof(&proof).await);
        assert_eq!(refused, Some(ErrorKind::InsufficientAuthentication));
    }
    // Nor where it is this service that can't do what it was set to do.
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
async fn layers_within_do_not_take_the_proof_of_a_request_for_used() {
    let world = World::new();
    let fresh = world.api.fresh_layer(Duration::from_secs(5));
    let service = world.api.layer().layer(fresh.layer(world.api.layer().layer(whoami_service())));
    let proof = world.proof().mint();
    let response = service.clone().oneshot(world.request(&proof)).await.unwrap();
    assert_eq!(response.body(), "alice");
    // For another request it is.
    let response = service.oneshot(world.request(&proof)).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::InvalidProof));

    // A layer with a memory of its own has not seen it, and marks it there.
    let other = World::new();
    let service = world.api.layer().layer(other.api.layer().layer(whoami_service()));
    let proof = world.proof().mint();
    assert_eq!(service.oneshot(world.request(&proof)).await.unwrap().status(), StatusCode::OK);
    let again = other.send(world.request(&proof)).await;
    assert_eq!(refusal(&again), Some(ErrorKind::InvalidProof));
    assert_eq!(other.send(world.request(&world.proof().mint())).await.status(), StatusCode::OK);
}

#[test]
fn of_a_hundred_threads_with_one_proof_exactly_one_passes() {
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

/// How many there are. `DPOP_PROOFS=1000000` for the whole of it.
fn many() -> usize {
    let set = std::env::var("DPOP_PROOFS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(20_000)
}

/// Whoever sends proofs by keys of their own, for tokens they do not have, gets no key parsed and no
/// signature checked, and leaves nothing behind.
#[test]
fn proofs_by_random_keys_cost_no_memory_and_mark_nothing() {
    let replay = Arc::new(MemoryReplay::new());
    let jkt = prover("client").thumbprint().to_owned();
    let bound = ImmediateVerifier::claims(&format!(
        "{{\"aud\":\"{AUDIENCE}\",\"cnf\":{{\"jkt\":\"{jkt}\"}}}}"
    ));
    let dpop = dpop().window(Duration::from_secs(300)).replay_store(Shared(Arc::clone(&replay)));
    let policy = policy().dpop(dpop);
    let service = IntrospectLayer::new(bound, policy).layer(whoami_service());
    // One signature for all of them: if it were checked, it would be found wrong, with another answer.
    let template = prover("thief").proof("GET", URL).for_token("abc").mint();
    let [_, payload, signature] = template.split('.').collect::<Vec<_>>()[..] else { panic!() };
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    // What is measured are the allocations of one thread. Each has its share of the proofs.
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
        let all = (first..many()).step_by(threads);
        let held = allocation_counter::measure(|| all.for_each(&mut send));
        assert_eq!(held.bytes_current, 0, "nothing is kept");
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

/// A store that is looked at from outside.
struct Shared(Arc<MemoryReplay>);

impl ReplayStore for Shared {
    fn mark(&self, mark: Mark) -> Marking {
        self.0.mark(mark)
    }
}

/// A million proofs of a million keys, as many clients with good tokens could make.
#[test]
fn the_memory_of_used_proofs_is_bounded_in_bytes() {
    const BOUND: usize = 4 << 20;
    let now = Moment::now(&FixedClock);
    let until = now.wall().saturating_add(Duration::from_secs(60));
    let held = allocation_counter::measure(|| {
        let store = MemoryReplay::new().max_bytes(BOUND);
        let mut refused = 0;
        for n in 0..many() {
            let mark = Mark::new(&n.to_string(), "1", now, until);
            refused += usize::from(
                store.mark(mark).now_or_later().unwrap_or_else(|_| panic!("at once")).is_err(),
            );
        }
        assert!(refused > 0 && store.len() > 10_000, "{refused} of {} were refused", many());
    });
    assert!(held.bytes_max < BOUND as u64, "{} bytes at a time", held.bytes_max);
}

#[tokio::test(start_paused = true)]
async fn a_full_memory_is_503_and_never_the_fault_of_a_client() {
    let world = World::with(dpop().replay_store(MemoryReplay::new().max_bytes(0)));
    let response = world.with_proof(&world.proof().mint()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&response), Some(ErrorKind::ReplayUnavailable));
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(challenges(&response).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_uses_up_its_share_is_alone_in_that() {
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

/// A store elsewhere, which answers when it is let to.
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
async fn a_shared_store_is_waited_for_and_holds_no_permit_of_the_handler() {
    use tokio_test::{assert_pending, assert_ready_ok, task};
    use tower::limit::ConcurrencyLimitLayer;

    let remote = Remote::default();
    let world = World::with(dpop().replay_store(remote.clone()));
    let service = world.api.layer().layer(ConcurrencyLimitLayer::new(1).layer(whoami_service()));
    // The first token is still to be verified, the second is remembered: both ways into the wait.
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
        // The permit of the handler is free meanwhile.
        let mut other = service.clone();
        assert_ready_ok!(task::spawn(other.ready()).poll());
        drop(other);
        let (mark, answer) = remote.0.lock().unwrap().pop().expect("the store is asked");
        assert_eq!(mark.keep_for(), Duration::from_secs(30));
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
async fn a_store_is_told_nothing_of_a_proof_that_is_no_good() {
    let remote = Remote::default();
    let world = World::with(dpop().replay_store(remote.clone()));
    for proof in [
        world.proof().with_corrupt_signature(),
        world.proof().claim("htm", "POST"),
        world.proof().claim("ath", "x"),
        world.proof().claim("iat", 1),
    ] {
        // The store never answers: whoever asked it would wait.
        let outcome = tokio::time::timeout(Duration::from_secs(1), world.outcome(proof)).await;
        assert_eq!(outcome, Ok(BAD));
    }
    assert!(remote.0.lock().unwrap().is_empty());
}
