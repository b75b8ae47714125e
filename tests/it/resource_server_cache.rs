//! The cache, cutoffs and breaker of a resource server, with the authorization server of the test
//! kit.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, ResourceServer, VerifiedToken,
    credentials::Token,
    jose::{Algorithm, SigningKey},
    resource_server::IssuerResolver,
    revocation::Cutoff,
    test_util::{Endpoint, Fault},
    transport::HttpTransport,
    verify::{BoxVerifier, BreakerState, Freshness, Verifier as _, VerifyRequest},
};

use crate::{
    support::{AUDIENCE, FixedClock, ISSUER, refusal},
    world::{World, auth, bearer, remote},
};

const SEC: Duration = Duration::from_secs(1);

/// Returns the token that a handler behind these layers gets.
async fn token_in_handler(
    outer: IntrospectLayer<BoxVerifier>,
    inner: Option<IntrospectLayer<BoxVerifier>>,
    token: &str,
) -> Result<VerifiedToken, ErrorKind> {
    let handler = service_fn(async |request: Request<Bytes>| {
        let token = request.extensions().get::<VerifiedToken>().cloned();
        Ok::<_, Infallible>(Response::new(token))
    });
    let request = bearer(token);
    let Ok(response) = match inner {
        Some(inner) => outer.layer(inner.layer(handler)).oneshot(request).await,
        None => outer.layer(handler).oneshot(request).await,
    };
    let refused = refusal(&response);
    response.into_body().ok_or_else(|| refused.unwrap())
}

// ===== Age of a decision =====

#[tokio::test(start_paused = true)]
async fn revoked_token_is_refused_after_max_age_in_every_mode() {
    type Make = fn() -> Issuer;
    let modes: [(Make, bool, u64); 3] = [
        (remote, false, 30),
        (remote, true, 30),
        (|| Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10), true, 10),
    ];
    for (issuer, jwt, bound) in modes {
        let world = World::new(issuer());
        let token = if jwt { world.jwt() } else { world.opaque() };
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        world.server.revoke(&token);
        let revoked = Instant::now();
        while world.status(&token).await == 200 {
            sleep(SEC / 4).await;
        }
        let noticed = revoked.elapsed();
        assert!(noticed <= SEC * u32::try_from(bound).unwrap(), "{noticed:?} of {bound} s");
    }
}

#[tokio::test(start_paused = true)]
async fn age_of_a_decision_is_available_to_the_handler() {
    let world = World::new(remote());
    let token = world.opaque();
    for age in [0, 10, 20] {
        let admitted = token_in_handler(world.api.layer(), None, &token).await.unwrap();
        assert_eq!(admitted.facts_age(), SEC * age);
        assert!(!admitted.is_stale());
        sleep(SEC * 10).await;
    }
}

// ===== Memory =====

/// The server of JWTs that it calls active, with a few members of its own.
fn confirming_server(key: &SigningKey) -> HttpTransport {
    let jwks = json!({"keys": [key.public_jwk().unwrap()]});
    HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        let body = match request.uri().path() {
            "/jwks" => jwks.to_string(),
            _ => json!({"active": true, "username": "alice", "scope": "read"}).to_string(),
        };
        let response = Response::builder().header("content-type", "application/json");
        std::future::ready(Ok::<_, Infallible>(response.body(Bytes::from(body)).unwrap()))
    }))
}

/// The responses keep the claims that they were combined with, and the combination.
#[test]
fn combined_claims_of_confirmed_jwts_count_as_bytes_of_the_cache() {
    const TOKENS: u32 = 200;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let key = SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("keys/ed25519.pem")).unwrap();
    let key = key.with_kid("a");
    let issuer = Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10)
        .configure_jwt(|jwt| jwt.jwks_uri(format!("{ISSUER}/jwks")))
        .configure_introspection(|remote| remote.endpoint(format!("{ISSUER}/introspect")));
    let api = ResourceServer::builder(AUDIENCE).issuer(issuer).transport(confirming_server(&key));
    let api = api.clock(FixedClock).build().unwrap();
    let verify = |number: u32| {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": number.to_string(), "exp": 4_102_444_800_u64,
            "client_id": "web", "groups": "g".repeat(4_000),
        });
        let token = key.sign(&json!({"alg": "EdDSA", "kid": "a", "typ": "at+jwt"}), &claims);
        let request = VerifyRequest::new(Token::bearer(&token.unwrap()).unwrap());
        let active = runtime.block_on(async { api.verifier().verify(request).await });
        let active = active.unwrap();
        assert_eq!(active.claims().string("username").as_deref(), Some("alice"));
    };
    // The tables of the caches are not for the first token alone.
    verify(0);
    let before = api.stats().bytes;
    let taken = allocation_counter::measure(|| (1..=TOKENS).for_each(verify)).bytes_current;
    let counted = i64::try_from(api.stats().bytes - before).unwrap();
    assert!(taken <= counted, "{taken} are taken, {counted} are counted");
}

// ===== Upstream calls =====

#[tokio::test(start_paused = true)]
async fn concurrent_requests_with_one_token_cause_one_introspection() {
    let world = World::new(remote());
    world.api.warm().await.unwrap();
    world.server.inject(Endpoint::Introspection, Fault::delay(SEC));
    let token = world.opaque();
    let statuses = join_all((0..200).map(|_| world.status(&token))).await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(world.asked(), 1);
    let stats = world.api.stats();
    assert_eq!((stats.upstream_calls, stats.coalesced, stats.misses), (1, 199, 200));
}

#[tokio::test(start_paused = true)]
async fn inactive_token_is_introspected_once() {
    let world = World::new(remote());
    for _ in 0..100 {
        assert_eq!(world.status("unheard-of").await, 401);
    }
    assert_eq!(world.asked(), 1);
    assert_eq!(world.api.stats().negative_hits, 99);
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_causes_one_introspection() {
    let world = World::new(remote());
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::delay(SEC));
    sleep(SEC * 25).await;
    for _ in 0..10 {
        let statuses = join_all((0..10).map(|_| world.status(&token))).await;
        assert!(statuses.iter().all(|status| *status == 200));
        sleep(SEC / 5).await;
    }
    assert_eq!((world.asked(), world.api.stats().refreshes), (2, 1));
}

/// A confirmation, or a route, needs facts more recent than the cache does.
#[tokio::test(start_paused = true)]
async fn refresh_ahead_goes_by_the_age_that_is_in_force() {
    type Make = fn() -> Issuer;
    let confirmed = || Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10);
    let cases: [(Make, Freshness, u64); 4] = [
        (confirmed, Freshness::Cached, 8),
        (confirmed, Freshness::Within(Duration::from_secs(5)), 4),
        (remote, Freshness::Within(Duration::from_secs(5)), 4),
        (remote, Freshness::Within(Duration::from_secs(600)), 24),
    ];
    for (issuer, freshness, every) in cases {
        let world = World::new(issuer());
        world.api.warm().await.unwrap();
        let token = world.jwt();
        let layer = || world.api.layer().freshness(freshness);
        token_in_handler(layer(), None, &token).await.unwrap();
        world.server.inject(Endpoint::Introspection, Fault::delay(SEC / 2));
        let (start, before) = (Instant::now(), world.asked());
        for _ in 0..960 {
            let asked = Instant::now();
            token_in_handler(layer(), None, &token).await.unwrap();
            assert_eq!(
                asked.elapsed(),
                Duration::ZERO,
                "{freshness:?} after {:?}",
                start.elapsed()
            );
            sleep(SEC / 4).await;
        }
        let asked = (world.asked() - before) as u64;
        assert!((240 / (every + 1)..=240 / every).contains(&asked), "{freshness:?}: {asked}");
    }
}

/// RFC 7662 §2.2: the server reports a token as active although its `exp` has passed. That causes
/// one introspection each time the cache entry is refreshed, as for any token in use, and one more
/// at `exp`.
#[tokio::test(start_paused = true)]
async fn expired_token_reported_as_active_is_refused_and_causes_few_introspections() {
    let start = 1_800_000_000;
    for (exp, admitted) in [(start - 3_600, 0), (start + 10, 10 + 30)] {
        let world = World::new(remote());
        let answer = json!({"active": true, "sub": "alice", "aud": AUDIENCE, "exp": exp});
        let token = world.server.opaque().introspected_as(answer).mint();
        // The leeway of 30 s applies too.
        for second in 0..300 {
            let response = world.present(&token).await;
            let expected = (second >= admitted).then_some(ErrorKind::Expired);
            assert_eq!(refusal(&response), expected, "after {second} s");
            for _ in 0..3 {
                let _ = world.status(&token).await;
            }
            sleep(SEC).await;
        }
        // Refreshed at 80 % of 30 s.
        let budget = 300 / 24 + 1 + usize::from(admitted > 0);
        assert!(world.asked() <= budget, "{} introspections in five minutes", world.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn jwt_is_verified_once_and_then_cached() {
    let world = World::new(Issuer::jwt(ISSUER));
    let token = world.jwt();
    for _ in 0..100 {
        assert_eq!(world.status(&token).await, 200);
    }
    assert_eq!((world.api.stats().hits, world.api.stats().misses), (99, 1));
}

#[tokio::test(start_paused = true)]
async fn without_cache_every_request_is_introspected() {
    let world = World::with(|api| api.issuer(remote()).without_cache());
    let token = world.opaque();
    for asked in 1..=3 {
        assert_eq!(world.status(&token).await, 200);
        assert_eq!(world.asked(), asked);
    }
    assert_eq!((world.api.stats().entries, world.api.stats().bytes), (0, 0));
}

// ===== Outages =====

#[tokio::test(start_paused = true)]
async fn hanging_server_delays_new_tokens_by_seven_seconds_at_most_and_cached_ones_not_at_all() {
    let world = World::new(remote());
    let known = world.opaque();
    assert_eq!(world.status(&known).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::hang());
    for n in 0..7 {
        let started = Instant::now();
        assert_eq!(world.status(&world.opaque()).await, 503);
        let waited = started.elapsed();
        assert!(waited <= if n < 2 { SEC * 7 } else { Duration::ZERO }, "request {n}: {waited:?}");
        let started = Instant::now();
        assert_eq!(world.status(&known).await, 200);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
    assert_eq!(world.api.stats().breaker, BreakerState::Open);
    let response = world.present(&world.opaque()).await;
    assert!(response.headers().contains_key("retry-after"));
    world.server.clear(Endpoint::Introspection);
    sleep(SEC * 11).await;
    assert_eq!(world.status(&world.opaque()).await, 200);
    assert_eq!(world.api.stats().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn at_most_64_introspections_run_at_a_time_and_half_of_them_for_unknown_tokens() {
    let world = World::with(|api| api.issuer(remote()).without_cache());
    world.api.warm().await.unwrap();
    let tokens: Vec<_> = (0..100).map(|_| world.opaque()).collect();
    for (known, at_once) in [(false, 32), (true, 64)] {
        world.server.reset_calls();
        let shed = world.api.stats().shed;
        world.server.inject(Endpoint::Introspection, Fault::delay(SEC));
        let answers = join_all(tokens.iter().map(|token| world.status(token))).await;
        let refused = 100 - at_once;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), at_once, "{known}");
        assert_eq!(answers.iter().filter(|status| **status == 503).count(), refused, "{known}");
        assert_eq!(world.asked(), at_once);
        assert_eq!(world.api.stats().shed - shed, u64::try_from(refused).unwrap());
        assert_eq!(world.api.stats().breaker, BreakerState::Closed);
        // From now on they are known to be good.
        world.server.clear(Endpoint::Introspection);
        for token in &tokens {
            assert_eq!(world.status(token).await, 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stale_responses_are_used_if_configured_and_marked() {
    let world = World::with(|api| api.issuer(remote()).stale_if_error(SEC * 60));
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::unreachable());
    sleep(SEC * 40).await;
    let admitted = token_in_handler(world.api.layer(), None, &token).await.unwrap();
    assert!(admitted.is_stale() && admitted.facts_age() >= SEC * 40);
    let picky = world.api.layer().freshness(Freshness::Within(SEC * 80));
    assert_eq!(token_in_handler(picky, None, &token).await.unwrap_err(), ErrorKind::Unavailable);
    world.api.revocations().revoke(&Cutoff::issuer(ISSUER));
    assert_eq!(world.status(&token).await, 503, "a cutoff ends stale use");
    assert_eq!(world.api.stats().stale_served, 1);
}

// ===== Cutoffs =====

#[tokio::test(start_paused = true)]
async fn cutoff_is_effective_on_the_next_request() {
    for issuer in [Issuer::jwt(ISSUER), remote(), Issuer::hybrid(ISSUER, auth())] {
        let world = World::new(issuer);
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        world.server.revoke(&token);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        for _ in 0..3 {
            assert_eq!(world.status(&token).await, 401);
        }
        sleep(SEC).await;
        assert_eq!(world.status(&world.jwt()).await, 200, "a token issued after the cutoff");
    }
}

#[tokio::test(start_paused = true)]
async fn cutoff_applies_without_a_cache() {
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).without_cache());
    let token = world.jwt();
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(refusal(&world.present(&token).await), Some(ErrorKind::Revoked));
    assert_eq!(world.server.calls(Endpoint::Introspection), 0);
}

#[tokio::test(start_paused = true)]
async fn evicted_token_is_introspected_again() {
    let world = World::new(remote());
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    world.server.revoke(&token);
    assert_eq!(world.status(&token).await, 200);
    assert!(world.api.evict(&Token::bearer(&token).unwrap()));
    assert_eq!(world.status(&token).await, 401);
    assert!(!world.api.evict(&Token::bearer("unheard-of").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn token_of_a_withdrawn_key_is_dropped_from_the_cache() {
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).jwt_max_age(SEC * 36_000));
    let token = world.jwt();
    assert_eq!(world.status(&token).await, 200);
    world.server.rotate_keys();
    world.server.remove_old_keys();
    for _ in 0..11 {
        sleep(SEC * 60).await;
        let _ = world.status(&world.jwt()).await;
    }
    assert_eq!(world.status(&token).await, 401);
}

// ===== Freshness by route =====

#[tokio::test(start_paused = true)]
async fn route_can_require_fresher_facts() {
    let world = World::new(remote());
    let token = world.opaque();
    let outer = || world.api.layer();
    let within = || Some(world.api.fresh_layer(SEC * 5));
    assert!(token_in_handler(outer(), within(), &token).await.is_ok());
    assert_eq!(world.asked(), 1);
    advance(SEC * 4).await;
    assert_eq!(token_in_handler(outer(), within(), &token).await.unwrap().facts_age(), SEC * 4);
    advance(SEC * 4).await;
    assert_eq!(
        token_in_handler(outer(), within(), &token).await.unwrap().facts_age(),
        Duration::ZERO
    );
    assert_eq!(world.asked(), 2);

    world.server.revoke(&token);
    assert!(token_in_handler(outer(), None, &token).await.is_ok(), "elsewhere it is known");
    let live = world.api.live_layer().unwrap();
    let refused = token_in_handler(outer(), Some(live), &token).await.unwrap_err();
    assert_eq!(refused, ErrorKind::Inactive);
    assert!(
        token_in_handler(outer(), None, &token).await.is_err(),
        "the refusal replaces the cache entry"
    );
}

#[test]
fn live_freshness_without_introspection_is_reported() {
    let world = World::new(Issuer::jwt(ISSUER));
    let problems = world.api.live_layer().unwrap_err();
    assert!(
        problems.to_string().contains("can't be introspected, so `Freshness::Live` is impossible"),
        "{problems}"
    );
}

// ===== Several issuers =====

#[tokio::test(start_paused = true)]
async fn issuers_share_neither_cache_nor_breaker() {
    let other = "https://other.example.com";
    let world =
        World::with(|api| {
            let down = Issuer::introspect(other, auth()).token_prefix("other_");
            api.issuer(remote()).issuer(down.configure_introspection(move |remote| {
                remote.endpoint(format!("{other}/introspect"))
            }))
        });
    for n in 0..20 {
        assert!(world.status(&format!("other_{n}")).await >= 500);
    }
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.status(&token).await, 200);
    let [own, others] = [ISSUER, other].map(|name| world.api.issuer_stats(name).unwrap());
    assert_eq!((own.hits, own.entries, own.breaker), (1, 1, BreakerState::Closed));
    assert_eq!((others.hits, others.entries), (0, 0));
    assert_eq!(world.api.stats(), own.merge(others));
    assert_eq!(world.api.issuer_stats("https://unheard-of.example.com"), None);
}

#[tokio::test(start_paused = true)]
async fn resolved_issuers_use_the_cache_and_cutoffs() {
    let world = World::with(|api| {
        let resolve = async |issuer: String| Ok(Some(Issuer::jwt(issuer)));
        api.resolve_issuers(IssuerResolver::new(|issuer| issuer == ISSUER, resolve))
    });
    let token = world.jwt();
    for _ in 0..3 {
        assert_eq!(world.status(&token).await, 200);
    }
    assert_eq!(world.api.issuer_stats(ISSUER).unwrap().hits, 2);
    assert_eq!(world.api.stats().hits, 2);
    assert!(world.api.evict(&Token::bearer(&token).unwrap()));
    world.api.revocations().revoke(&Cutoff::issuer(ISSUER));
    assert_eq!(refusal(&world.present(&token).await), Some(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn cached_refusal_has_the_same_response_headers() {
    let world = World::new(remote());
    let first = world.present("unheard-of").await;
    let second = world.present("unheard-of").await;
    assert_eq!(first.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(first.headers(), second.headers());
}

/// A client with a token that makes the server fail must not affect other clients.
#[tokio::test(start_paused = true)]
async fn status_500_for_one_token_does_not_open_the_breaker() {
    let world = World::new(remote());
    let (odd, good) = (world.opaque(), world.opaque());
    world.server.inject(Endpoint::Introspection, Fault::status(StatusCode::INTERNAL_SERVER_ERROR));
    for _ in 0..20 {
        assert_eq!(world.status(&odd).await, 503);
    }
    assert_eq!(world.api.stats().breaker, BreakerState::Closed);
    world.server.clear(Endpoint::Introspection);
    assert_eq!(world.status(&good).await, 200);
}

#[tokio::test(start_paused = true)]
async fn maximum_max_age_does_not_overflow() {
    let world = World::with(|api| api.issuer(remote()).max_age(Duration::MAX));
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.asked(), 1);
}
