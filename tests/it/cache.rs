//! Tests of the cache: what it stores, for how long, and what it does not store.

use std::time::Duration;

use tokio::time::{advance, sleep};
use tower_introspect::{
    ErrorKind, Policy, VerifyError,
    cache::{Cache, CacheLayer},
    claims::Claims,
    clock::{Clock, Moment},
    credentials::{Scheme, Token},
    revocation::{Cutoff, RevocationCheck, RevocationLayer, Revocations},
    upstream::{Coalesce, CoalesceLayer},
    verify::{ActiveToken, Freshness, Method, Outcome, Verifier, VerifyRequest, Verifying},
};
use tower_layer::Layer;

use crate::{
    scripted::{Act, Scripted, at_once, kind, token},
    support::{self, AUDIENCE, FixedClock, ISSUER, refusal, with_token},
};

const SEC: Duration = Duration::from_secs(1);

fn layer(server: &Scripted) -> CacheLayer {
    CacheLayer::new().clock(server.clock.clone())
}

fn cache(server: &Scripted) -> Cache<Scripted> {
    layer(server).layer(server.clone())
}

/// Lets spawned tasks run.
async fn settle() {
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn token_is_verified_once_in_thirty_seconds() {
    let server = Scripted::new();
    let cache = layer(&server).without_refresh_ahead().layer(server.clone());
    for _ in 0..30 {
        assert!(at_once(&cache, token("abc")).is_ok());
        assert_eq!(server.calls(), 1);
        advance(SEC).await;
    }
    assert!(at_once(&cache, token("abc")).is_ok());
    assert_eq!(server.calls(), 2);
    assert_eq!((cache.stats().hits, cache.stats().misses), (29, 2));
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_start_of_the_verification() {
    let server = Scripted::new().takes(SEC * 10);
    let cache = layer(&server).without_refresh_ahead().layer(server.clone());
    assert!(cache.verify(token("abc")).await.is_ok());
    advance(SEC * 19).await;
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC).await;
    assert!(cache.verify(token("abc")).now_or_later().is_err(), "thirty seconds after the start");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_distinguished_by_their_full_text() {
    let server = Scripted::new();
    let cache = cache(&server);
    for text in ["abc", "abd", "ab", "abc=", "ABC"] {
        assert!(at_once(&cache, token(text)).is_ok());
    }
    assert_eq!(server.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn jwts_have_a_separate_max_age() {
    let server = Scripted::new().by(Method::Jwt);
    let cache = cache(&server);
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC * 299).await;
    assert!(at_once(&cache, token("abc")).is_ok());
    assert_eq!(server.calls(), 1);
    advance(SEC).await;
    assert!(at_once(&cache, token("abc")).is_ok());
    settle().await;
    assert_eq!((server.calls(), cache.stats().refreshes), (2, 0));
}

/// liboauth2 (CWE-613): a cached token was accepted after its `exp`.
#[tokio::test(start_paused = true)]
async fn rfc7662_4_nothing_is_cached_past_exp() {
    let server = Scripted::new();
    server.always(Act::Accept(r#"{"aud":"https://api.example.com","exp":1800000010}"#));
    let cache = layer(&server).stale_if_error(SEC * 600).layer(server.clone());
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC * 9).await;
    assert!(at_once(&cache, token("abc")).is_ok());
    assert_eq!(server.calls(), 1);
    advance(SEC).await;
    server.always(Act::refuse(ErrorKind::Unavailable));
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Unavailable));
    server.always(Act::refuse(ErrorKind::Inactive));
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn expired_token_reported_as_active_is_cached() {
    let server = Scripted::new();
    server.always(Act::Accept(r#"{"aud":"https://api.example.com","exp":1}"#));
    let cache = cache(&server);
    let policy = Policy::new(AUDIENCE).clock(server.clock.clone());
    for _ in 0..100 {
        let fact = at_once(&cache, token("abc")).unwrap();
        let refused = policy.admit(fact, Scheme::Bearer).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Expired);
    }
    assert_eq!(server.calls(), 1);
}

/// The policies share facts but no decisions, in either order.
#[tokio::test(start_paused = true)]
async fn policies_that_share_a_cache_share_no_decision() {
    for first in [0, 1] {
        let server = Scripted::new();
        let cache = cache(&server);
        let policies = [AUDIENCE, "https://other.example.com"]
            .map(|audience| Policy::new(audience).clock(server.clock.clone()));
        for turn in 0..4 {
            let which = (first + turn) % 2;
            let fact = at_once(&cache, token("abc")).unwrap();
            assert_eq!(policies[which].admit(fact, Scheme::Bearer).is_ok(), which == 0);
        }
        assert_eq!(server.calls(), 1);
    }
}

/// CVE-2026-33496 (Oathkeeper), Quarkus #56319: a response of one server was used for another.
#[tokio::test(start_paused = true)]
async fn each_verifier_has_its_own_cache() {
    let (one, other) = (Scripted::new(), Scripted::new());
    other.always(Act::refuse(ErrorKind::Inactive));
    let layer = layer(&one);
    let (first, second) = (layer.layer(one.clone()), layer.layer(other.clone()));
    for _ in 0..3 {
        assert!(at_once(&first, token("abc")).is_ok());
        assert_eq!(kind(&at_once(&second, token("abc"))), Some(ErrorKind::Inactive));
    }
    assert_eq!((one.calls(), other.calls()), (1, 1));
}

// ===== Freshness =====

#[tokio::test(start_paused = true)]
async fn freshness_is_checked_when_an_entry_is_read() {
    let server = Scripted::new();
    let cache = cache(&server);
    let within = |secs| token("abc").with_freshness(Freshness::Within(SEC * secs));
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC * 5).await;
    assert!(at_once(&cache, within(6)).is_ok());
    assert_eq!(server.calls(), 1);
    assert!(at_once(&cache, within(5)).is_ok());
    assert_eq!(server.calls(), 2, "heimdall #3445: the entry is shared, its age is checked");
    assert!(at_once(&cache, within(5)).is_ok());
    assert_eq!(server.calls(), 2);
    advance(SEC * 30).await;
    assert!(at_once(&cache, within(600)).is_ok());
    assert_eq!(server.calls(), 3, "a laxer freshness does not exceed max_age");
}

#[tokio::test(start_paused = true)]
async fn live_requests_are_always_verified_and_their_facts_cached_for_others() {
    let server = Scripted::new();
    let cache = cache(&server);
    let live = || token("abc").with_freshness(Freshness::Live);
    for calls in 1..=3 {
        assert!(at_once(&cache, live()).is_ok());
        assert_eq!(server.calls(), calls);
    }
    assert!(at_once(&cache, token("abc")).is_ok());
    assert_eq!(server.requested_freshness(), [Freshness::Live; 3]);
    server.always(Act::refuse(ErrorKind::Inactive));
    assert!(at_once(&cache, live()).is_err());
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
    server.always(Act::alice());
    assert!(at_once(&cache, live()).is_ok(), "a cached refusal is not live");
}

// ===== Clocks =====

#[tokio::test(start_paused = true)]
async fn step_of_the_wall_clock_makes_no_entry_younger() {
    for step in [3_600, 31_536_000].map(Duration::from_secs) {
        let server = Scripted::new();
        let cache = layer(&server).without_refresh_ahead().layer(server.clone());
        assert!(at_once(&cache, token("abc")).is_ok());
        // After a step back the monotonic clock counts.
        server.clock.step_back(step);
        assert!(at_once(&cache, token("abc")).is_ok());
        assert_eq!(server.calls(), 1);
        advance(SEC * 30).await;
        assert!(at_once(&cache, token("abc")).is_ok());
        assert_eq!(server.calls(), 2);
        // After a step forward, as after a suspend that the monotonic clock did not see, the wall
        // clock counts.
        server.clock.step(step);
        assert!(at_once(&cache, token("abc")).is_ok());
        assert_eq!(server.calls(), 3);
        assert!(at_once(&cache, token("abc")).is_ok());
        assert_eq!(server.calls(), 3);
    }
}

// ===== Refusals =====

#[tokio::test(start_paused = true)]
async fn inactive_token_is_introspected_once_in_five_seconds() {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::Inactive));
    let cache = cache(&server);
    for _ in 0..100 {
        assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
    }
    assert_eq!((server.calls(), cache.stats().negative_hits), (1, 99));
    advance(SEC * 5).await;
    server.always(Act::alice());
    assert!(at_once(&cache, token("abc")).is_ok());
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_do_not_depend_on_the_token_alone_are_not_cached() {
    for error in [
        ErrorKind::Unavailable,
        ErrorKind::BadResponse,
        ErrorKind::CredentialsRejected,
        ErrorKind::Misconfigured,
        ErrorKind::UnknownKey,
        ErrorKind::UnknownIssuer,
        ErrorKind::Revoked,
        ErrorKind::Expired,
        ErrorKind::NotYetValid,
        ErrorKind::WrongAudience,
        ErrorKind::InsufficientScope,
        ErrorKind::Denied,
    ] {
        let server = Scripted::new();
        server.once(Act::refuse(error));
        let cache = cache(&server);
        assert_eq!(kind(&at_once(&cache, token("abc"))), Some(error));
        assert!(at_once(&cache, token("abc")).is_ok(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn revocation_removes_the_cached_fact() {
    let server = Scripted::new();
    let cache = cache(&server);
    assert!(at_once(&cache, token("abc")).is_ok());
    server.always(Act::refuse(ErrorKind::Inactive));
    let recent = token("abc").with_freshness(Freshness::Within(Duration::ZERO));
    assert!(at_once(&cache, recent).is_err());
    advance(SEC * 6).await;
    // The cached refusal has expired. The fact from before must not come back.
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn late_response_does_not_replace_a_newer_one() {
    let server = Scripted::new().takes(SEC * 10);
    let cache = cache(&server);
    let slow = tokio::spawn(cache.verify(token("abc")));
    sleep(SEC).await;
    let server = server.takes(SEC);
    server.always(Act::refuse(ErrorKind::Inactive));
    assert!(cache.verify(token("abc")).await.is_err());
    sleep(SEC * 5).await;
    let again = cache.verify(token("abc").with_freshness(Freshness::Live));
    assert!(again.await.is_err());
    assert!(slow.await.unwrap().is_ok(), "the token was active at the start");
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
}

// ===== Bounds =====

#[tokio::test(start_paused = true)]
async fn random_tokens_evict_no_good_token_and_take_no_memory() {
    let server = Scripted::new();
    let cache = layer(&server).capacity(1_000, 1 << 20).layer(server.clone());
    for n in 0..100 {
        assert!(at_once(&cache, token(&format!("good-{n}"))).is_ok());
    }
    let good = cache.stats().bytes;
    server.always(Act::refuse(ErrorKind::Inactive));
    for n in 0..20_000 {
        assert!(at_once(&cache, token(&format!("junk-{n}"))).is_err());
    }
    let calls = server.calls();
    for n in 0..100 {
        assert!(at_once(&cache, token(&format!("good-{n}"))).is_ok());
    }
    assert_eq!(server.calls(), calls);
    let stats = cache.stats();
    assert!(stats.entries > 150 && stats.entries <= 100 + 100, "{stats:?}");
    let refusals = stats.bytes - good;
    assert!(refusals > 0 && refusals <= (1 << 20) / 10, "{refusals} bytes");
}

#[tokio::test(start_paused = true)]
async fn cache_is_bounded_in_entries_and_bytes() {
    let server = Scripted::new();
    for (entries, bytes) in [(100, 1 << 30), (1_000_000, 64 << 10)] {
        let cache = layer(&server).capacity(entries, bytes).layer(server.clone());
        for n in 0..5_000 {
            assert!(at_once(&cache, token(&format!("token-{n}"))).is_ok());
        }
        let stats = cache.stats();
        assert!(stats.entries <= entries as u64 && stats.bytes <= bytes, "{stats:?}");
        assert!(stats.entries > 10, "{stats:?}");
        cache.clear();
        assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    }
}

/// An introspection response of typical size, some 500 bytes, and the claims of a similar JWT.
const RESPONSE: &str = r#"{"active":true,"iss":"https://as.example.com","sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","username":"jane.doe@example.com","scope":"openid profile read:payments write:payments","token_type":"Bearer","exp":4102444800,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"acr":"urn:mace:incommon:iap:silver","sid":"08a5019c-17e1-4977-8f42-65a12843ea02","jti":"dbe39bf3a3ba4238a513f51d6e1691c4","tenant":"example-corporation"}"#;
const CLAIMS: &str = r#"{"iss":"https://as.example.com","aud":"https://api.example.com","exp":4102444800,"iat":1700000000,"sub":"248289761001","client_id":"s6BhdRkqt3","jti":"dbe39bf3a3ba4238a513f51d6e1691c4","scope":"openid profile read:payments write:payments"}"#;

/// A verifier that creates a new fact for each token.
struct NewFacts(&'static str);

impl Verifier for NewFacts {
    type Future = std::future::Ready<Outcome>;

    fn verify(&self, _: VerifyRequest) -> Verifying<Self::Future> {
        let claims = Claims::from_json(self.0.as_bytes()).unwrap();
        let start = Moment::now(&FixedClock);
        Verifying::done(Ok(ActiveToken::new(ISSUER, claims, Method::Introspection, start)))
    }
}

/// A number of tokens at which no shard of the table, of which there are a power of two, has just
/// doubled.
const SAMPLE_SIZE: i64 = 1_500;

/// The counted bytes are compared with those allocated for the token, including its share of the
/// table.
#[test]
fn bytes_of_an_entry_are_counted_in_full_and_at_most_a_quarter_over() {
    const CAPACITY: i64 = 10_000;
    for (claims, most) in [(RESPONSE, 900), (CLAIMS, 660)] {
        let mut cache = None;
        let table = allocation_counter::measure(|| {
            cache = Some(
                CacheLayer::new()
                    .clock(FixedClock)
                    .capacity(10_000, 1 << 30)
                    .layer(NewFacts(claims)),
            );
        });
        let cache = cache.unwrap();
        let own = allocation_counter::measure(|| {
            for n in 0..SAMPLE_SIZE {
                assert!(at_once(&cache, token(&format!("token-{n}"))).is_ok());
            }
        });
        let each = own.bytes_current / SAMPLE_SIZE + table.bytes_current / CAPACITY;
        let counted = i64::try_from(cache.stats().bytes / cache.stats().entries).unwrap();
        assert!(each <= counted, "{each} are taken, {counted} are counted");
        assert!(counted <= each * 5 / 4, "{each} are taken, {counted} are counted");
        assert!(counted <= most, "{counted}");
    }
}

/// A verifier that creates a new refusal for each token.
struct NewRefusals(fn() -> VerifyError);

impl Verifier for NewRefusals {
    type Future = std::future::Ready<Outcome>;

    fn verify(&self, _: VerifyRequest) -> Verifying<Self::Future> {
        Verifying::done(Err((self.0)()))
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_refusal_are_counted_in_full_and_few() {
    let plain = || VerifyError::new(ErrorKind::Inactive);
    let told = || VerifyError::new(ErrorKind::Inactive).with_context("introspection");
    let own = || VerifyError::new(ErrorKind::Inactive).with_context("told".repeat(25));
    for (refuse, most) in [(plain as fn() -> VerifyError, 160), (told, 160), (own, 450)] {
        let cache = CacheLayer::new()
            .clock(FixedClock)
            .capacity(100_000, 1 << 30)
            .layer(NewRefusals(refuse));
        let counted = allocation_counter::measure(|| {
            for n in 0..SAMPLE_SIZE {
                assert!(at_once(&cache, token(&format!("token-{n}"))).is_err());
            }
        });
        let (stats, taken) = (cache.stats(), u64::try_from(counted.bytes_current).unwrap());
        assert_eq!(stats.entries, 1_500);
        assert!(taken <= stats.bytes, "{taken} are taken, {} are counted", stats.bytes);
        assert!(stats.bytes <= 1_500 * most, "{} are counted", stats.bytes);
        let refused = at_once(&cache, token("token-7")).unwrap_err();
        assert_eq!(refused.context(), refuse().context(), "the same as without a cache");
        assert_eq!(cache.stats().negative_hits, 1);
        cache.clear();
        assert_eq!(cache.stats().bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_replaced_entry_are_subtracted() {
    let server = Scripted::new();
    let cache = cache(&server);
    assert!(at_once(&cache, token("abc")).is_ok());
    let facts = cache.stats().bytes;
    assert!(facts > 0);
    for _ in 0..3 {
        advance(SEC).await;
        let live = || token("abc").with_freshness(Freshness::Live);
        assert!(at_once(&cache, live()).is_ok());
        assert_eq!((cache.stats().entries, cache.stats().bytes), (1, facts));
        server.once(Act::refuse(ErrorKind::Inactive));
        advance(SEC).await;
        assert!(at_once(&cache, live()).is_err());
        assert_eq!(cache.stats().entries, 1);
        assert!(cache.stats().bytes < facts);
        advance(SEC).await;
        assert!(at_once(&cache, live()).is_ok());
    }
    assert!(cache.evict(&Token::bearer("abc").unwrap()));
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
}

// ===== Refresh ahead =====

#[tokio::test(start_paused = true)]
async fn token_in_use_is_refreshed_before_it_expires() {
    let server = Scripted::new().takes(SEC);
    let cache = cache(&server);
    assert!(cache.verify(token("abc")).await.is_ok());
    for _ in 0..600 {
        let fact = at_once(&cache, token("abc")).unwrap();
        assert!(Moment::now(&server.clock).since(fact.verified_at()) < SEC * 30);
        sleep(SEC / 2).await;
    }
    let calls = server.calls();
    assert!((9..=14).contains(&calls), "{calls} in five minutes");
    assert_eq!(cache.stats().misses, 1);
}

#[tokio::test(start_paused = true)]
async fn refresh_happens_once_and_only_for_tokens_in_use() {
    let server = Scripted::new().takes(SEC);
    let cache = cache(&server);
    assert!(cache.verify(token("abc")).await.is_ok());
    sleep(SEC * 24).await;
    for _ in 0..100 {
        assert!(at_once(&cache, token("abc")).is_ok());
    }
    settle().await;
    assert_eq!((server.calls(), cache.stats().refreshes), (2, 1));
    sleep(SEC * 600).await;
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn refresh_that_finds_a_revocation_removes_the_entry() {
    let server = Scripted::new().takes(SEC);
    let cache = cache(&server);
    assert!(cache.verify(token("abc")).await.is_ok());
    sleep(SEC * 24).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    assert!(at_once(&cache, token("abc")).is_ok());
    sleep(SEC * 2).await;
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn failed_refresh_keeps_the_entry_until_max_age() {
    let server = Scripted::new();
    let cache = cache(&server);
    assert!(at_once(&cache, token("abc")).is_ok());
    server.always(Act::refuse(ErrorKind::Unavailable));
    for _ in 0..30 {
        assert!(at_once(&cache, token("abc")).is_ok());
        settle().await;
        advance(SEC).await;
    }
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Unavailable));
    assert_eq!(server.calls(), 3, "one refresh, one request");
}

#[tokio::test(start_paused = true)]
async fn refresh_is_cancelled_with_the_cache() {
    let server = Scripted::new();
    let cache = cache(&server);
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC * 25).await;
    server.always(Act::Hang);
    assert!(at_once(&cache, token("abc")).is_ok());
    drop(cache);
    settle().await;
    assert_eq!(server.under_way(), 0, "the refresh was not dropped");
}

// ===== Stale =====

#[tokio::test(start_paused = true)]
async fn stale_facts_are_used_in_an_outage_only_if_configured_and_are_marked() {
    let server = Scripted::new();
    let cache = layer(&server).stale_if_error(SEC * 60).layer(server.clone());
    let plain = self::cache(&server);
    for cache in [&cache, &plain] {
        assert!(!at_once(cache, token("abc")).unwrap().is_stale());
    }
    server.always(Act::refuse(ErrorKind::Unavailable));
    advance(SEC * 30).await;
    assert_eq!(kind(&at_once(&plain, token("abc"))), Some(ErrorKind::Unavailable));
    let fact = at_once(&cache, token("abc")).unwrap();
    assert!(fact.is_stale());
    let policy = Policy::new(AUDIENCE).clock(server.clock.clone());
    let admitted = policy.admit(fact, Scheme::Bearer).unwrap();
    assert!(admitted.is_stale());
    assert_eq!(admitted.facts_age(), SEC * 30);
    for freshness in [Freshness::Within(SEC * 60), Freshness::Live] {
        let picky = token("abc").with_freshness(freshness);
        assert_eq!(kind(&at_once(&cache, picky)), Some(ErrorKind::Unavailable));
    }
    advance(SEC * 59).await;
    assert!(at_once(&cache, token("abc")).unwrap().is_stale());
    advance(SEC).await;
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Unavailable));
    assert_eq!(cache.stats().stale_served, 2);
}

#[tokio::test(start_paused = true)]
async fn stale_facts_are_used_only_in_an_outage() {
    for error in [
        ErrorKind::Inactive,
        ErrorKind::BadResponse,
        ErrorKind::CredentialsRejected,
        ErrorKind::UnknownKey,
        ErrorKind::Misconfigured,
    ] {
        let server = Scripted::new();
        let cache = layer(&server).stale_if_error(SEC * 60).layer(server.clone());
        assert!(at_once(&cache, token("abc")).is_ok());
        advance(SEC * 31).await;
        server.always(Act::refuse(error));
        assert_eq!(kind(&at_once(&cache, token("abc"))), Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn revoked_token_is_refused_in_an_outage() {
    let server = Scripted::new();
    let cache = layer(&server).stale_if_error(SEC * 600).layer(server.clone());
    assert!(at_once(&cache, token("abc")).is_ok());
    advance(SEC * 31).await;
    server.once(Act::refuse(ErrorKind::Inactive));
    server.always(Act::refuse(ErrorKind::Unavailable));
    assert_eq!(kind(&at_once(&cache, token("abc"))), Some(ErrorKind::Inactive));
    for _ in 0..10 {
        advance(SEC * 3).await;
        assert!(at_once(&cache, token("abc")).is_err());
    }
}

// ===== Cutoffs and eviction =====

type CoalescedCache = Cache<Coalesce<Scripted>>;

fn verifier_with_cutoffs(
    server: &Scripted,
    stale: Duration,
) -> (RevocationCheck<CoalescedCache>, CoalescedCache, Revocations) {
    let revocations = Revocations::new().clock(server.clock.clone());
    let flights = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
    let cache = layer(server).revocations(revocations.clone()).stale_if_error(stale).layer(flights);
    (RevocationLayer::new(revocations.clone()).layer(cache.clone()), cache, revocations)
}

#[tokio::test(start_paused = true)]
async fn cutoff_drops_only_matching_entries() {
    let server = Scripted::new();
    let (verifier, cache, revocations) = verifier_with_cutoffs(&server, Duration::ZERO);
    server.once(Act::alice());
    server.once(Act::Accept(r#"{"sub":"bob"}"#));
    assert!(at_once(&verifier, token("alice")).is_ok());
    assert!(at_once(&verifier, token("bob")).is_ok());
    advance(SEC).await;
    revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    server.always(Act::refuse(ErrorKind::Inactive));
    assert_eq!(kind(&at_once(&verifier, token("alice"))), Some(ErrorKind::Inactive));
    assert!(at_once(&verifier, token("bob")).is_ok());
    assert_eq!((server.calls(), cache.stats().evicted_by_cutoff), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn cutoff_prevents_stale_use_in_an_outage() {
    let server = Scripted::new();
    let (verifier, _, revocations) = verifier_with_cutoffs(&server, SEC * 600);
    assert!(at_once(&verifier, token("abc")).is_ok());
    advance(SEC).await;
    server.always(Act::refuse(ErrorKind::Unavailable));
    revocations.revoke(&Cutoff::session(ISSUER, "s"));
    for _ in 0..5 {
        assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(ErrorKind::Unavailable));
        advance(SEC * 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cutoff_prevents_stale_use_by_a_pending_request() {
    let server = Scripted::new();
    let (verifier, _, revocations) = verifier_with_cutoffs(&server, SEC * 600);
    assert!(at_once(&verifier, token("abc")).is_ok());
    advance(SEC * 31).await;
    let server = server.takes(SEC);
    server.always(Act::refuse(ErrorKind::Unavailable));
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    revocations.revoke(&Cutoff::token(ISSUER, "1"));
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn cached_jwt_is_revoked_by_its_iat() {
    let server = Scripted::new().by(Method::Jwt);
    server.always(Act::Accept(r#"{"sub":"alice","iat":1800000000}"#));
    let (verifier, _, revocations) = verifier_with_cutoffs(&server, Duration::ZERO);
    assert!(at_once(&verifier, token("abc")).is_ok());
    advance(SEC).await;
    revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(server.clock.now()));
    for _ in 0..3 {
        assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(ErrorKind::Revoked));
    }
    server.always(Act::Accept(r#"{"sub":"alice","iat":1800000002}"#));
    assert!(at_once(&verifier, token("new")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn evicted_token_is_verified_again() {
    let server = Scripted::new();
    let cache = cache(&server);
    let abc = Token::bearer("abc").unwrap();
    assert!(!cache.evict(&abc));
    assert!(at_once(&cache, token("abc")).is_ok());
    assert!(cache.evict(&abc));
    server.always(Act::refuse(ErrorKind::Inactive));
    assert!(at_once(&cache, token("abc")).is_err());
    assert!(cache.evict(&abc));
    server.always(Act::alice());
    assert!(at_once(&cache, token("abc")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn verification_started_before_an_eviction_is_not_cached() {
    let server = Scripted::new().takes(SEC);
    let cache = cache(&server);
    let waiting = tokio::spawn(cache.verify(token("abc")));
    sleep(SEC / 2).await;
    cache.evict(&Token::bearer("abc").unwrap());
    assert!(waiting.await.unwrap().is_ok());
    assert!(cache.verify(token("abc")).now_or_later().is_err(), "the token must be verified again");
}

#[tokio::test(start_paused = true)]
async fn verification_started_before_an_eviction_is_not_joined() {
    let server = Scripted::new().takes(SEC);
    let flights = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
    let cache = CacheLayer::new().clock(server.clock.clone()).layer(flights);
    let before = tokio::spawn(cache.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    cache.evict(&Token::bearer("abc").unwrap());
    let after = tokio::spawn(cache.verify(token("abc")));
    let next = tokio::spawn(cache.verify(token("abc")));
    assert!(before.await.unwrap().is_ok());
    assert_eq!(kind(&after.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(kind(&next.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(server.calls(), 2, "requests after the eviction share one call");
}

#[tokio::test(start_paused = true)]
async fn evicted_entry_is_not_used_stale() {
    let server = Scripted::new().takes(SEC);
    let cache = layer(&server).stale_if_error(SEC * 600).layer(server.clone());
    assert!(cache.verify(token("abc")).await.is_ok());
    advance(SEC * 40).await;
    server.always(Act::refuse(ErrorKind::Unavailable));
    let waiting = tokio::spawn(cache.verify(token("abc")));
    sleep(SEC / 2).await;
    cache.evict(&Token::bearer("abc").unwrap());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn cutoff_unknown_to_the_cache_causes_a_new_verification() {
    let server = Scripted::new();
    let cache = cache(&server);
    let told = Revocations::new().clock(server.clock.clone());
    let verifier = RevocationLayer::new(told.clone()).layer(cache.clone());
    assert!(at_once(&verifier, token("abc")).is_ok());
    advance(SEC).await;
    told.revoke(&Cutoff::subject(ISSUER, "alice"));
    assert!(at_once(&verifier, token("abc")).is_ok());
    assert_eq!((server.calls(), cache.stats().evicted_by_cutoff), (2, 1));
    assert!(at_once(&verifier, token("abc")).is_ok());
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropped_request_leaves_no_entry() {
    let server = Scripted::new();
    server.once(Act::Hang);
    let cache = cache(&server);
    drop(cache.verify(token("abc")));
    assert_eq!((server.under_way(), cache.stats().entries), (0, 0));
    assert!(at_once(&cache, token("abc")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_are_one_call_and_later_ones_use_the_cache() {
    let server = Scripted::new().takes(SEC);
    let (verifier, cache, _) = verifier_with_cutoffs(&server, Duration::ZERO);
    let herd = (0..200).map(|_| verifier.verify(token("abc")));
    assert!(futures_util::future::join_all(herd).await.iter().all(Result::is_ok));
    assert_eq!(server.calls(), 1);
    assert!(at_once(&verifier, token("abc")).is_ok());
    assert_eq!((cache.stats().misses, cache.stats().hits), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn debug_shows_neither_tokens_nor_claims() {
    let server = Scripted::new();
    let cache = cache(&server);
    let _ = at_once(&cache, token("t0psecret"));
    let error = VerifyError::new(ErrorKind::Inactive);
    let shown = format!("{cache:?} {:?} {error:?}", cache.stats());
    assert!(!shown.contains("t0psecret") && !shown.contains("alice"), "{shown}");
}

/// The bound on bytes includes all allocations, even if the number of entries would allow more.
#[test]
fn evicted_entries_free_their_memory() {
    const CAPACITY: u64 = 1 << 20;
    let cache =
        CacheLayer::new().clock(FixedClock).capacity(1_000_000, CAPACITY).layer(NewFacts(CLAIMS));
    let counted = allocation_counter::measure(|| {
        for n in 0..50_000 {
            assert!(at_once(&cache, token(&format!("token-{n}"))).is_ok());
        }
    });
    let held = u64::try_from(counted.bytes_current).unwrap();
    assert!(held <= CAPACITY * 5 / 4, "{held} bytes are held, {CAPACITY} were allowed");
}

/// The middleware reads the cache, through all layers, before it verifies.
#[tokio::test(start_paused = true)]
async fn cutoff_holds_in_the_cache_or_the_layer_around_it() {
    for holder in ["the cache", "the layer around it"] {
        let server = Scripted::new();
        let revocations = Revocations::new().clock(server.clock.clone());
        let (inside, outside) = match holder {
            "the cache" => (revocations.clone(), Revocations::new()),
            _ => (Revocations::new(), revocations.clone()),
        };
        let cache = layer(&server).revocations(inside).layer(server.clone());
        let api = support::layer(RevocationLayer::new(outside).layer(cache));
        for _ in 0..2 {
            assert_eq!(support::ask(&api, with_token()).await.status(), 200);
        }
        assert_eq!(server.calls(), 1);
        advance(SEC).await;
        server.always(Act::refuse(ErrorKind::Inactive));
        revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
        let refused = refusal(&support::ask(&api, with_token()).await);
        assert_eq!(refused, Some(ErrorKind::Inactive), "{holder}");
    }
}

/// The facts are in the cache before the requests that wait for them are woken.
#[tokio::test(start_paused = true)]
async fn request_that_comes_with_the_outcome_of_a_shared_verification_is_a_hit() {
    for answer in [Act::alice(), Act::refuse(ErrorKind::Inactive)] {
        let server = Scripted::new().takes(SEC);
        server.once(answer);
        let shared = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
        let cache = layer(&server).layer(shared);
        let first = cache.verify(token("abc"));
        settle().await;
        advance(SEC).await;
        settle().await;
        assert_eq!(server.under_way(), 0, "the server has answered");
        // The first request has not been polled since.
        let second = at_once(&cache, token("abc"));
        assert_eq!(first.await.is_ok(), second.is_ok());
        assert_eq!(server.calls(), 1);
    }
}
