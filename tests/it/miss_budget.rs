//! Limits of the upstream requests that a peer can cause with bad tokens.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, ResourceServer,
    cache::CacheLayer,
    route::{IssuerRoute, Route},
    test_util::{AuthorizationServer, Client},
    upstream::{CoalesceLayer, MissBudget, MissBudgetLayer},
    verify::{BoxVerifier, Freshness, PeerKey, Verifier, VerifyRequest},
};
use tower_layer::Layer;

use crate::{
    scripted::{Act, Scripted, at_once, kind, token},
    support::{AUDIENCE, FixedClock, ISSUER, ImmediateVerifier, request},
};

const SEC: Duration = Duration::from_secs(1);

fn inactive() -> Scripted {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::Inactive));
    server
}

fn request_from(peer: &str, text: &str) -> VerifyRequest {
    token(text).with_peer(PeerKey::new(peer))
}

/// Sends this number of different tokens from one peer. Returns how many were refused as inactive
/// and how many by the budget.
fn send_guesses<V: Verifier>(
    verifier: &MissBudget<V>,
    peer: &str,
    tokens: usize,
) -> (usize, usize) {
    let outcome = |n| kind(&at_once(verifier, request_from(peer, &format!("guess-{n}"))));
    let all: Vec<_> = (0..tokens).map(outcome).collect();
    let count = |wanted| all.iter().filter(|kind| **kind == Some(wanted)).count();
    (count(ErrorKind::Inactive), count(ErrorKind::TooManyRequests))
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_use_up_only_the_budget_of_their_peer() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(20, SEC).layer(server.clone());
    assert_eq!(send_guesses(&verifier, "mallory", 1_000), (20, 980));
    assert_eq!((server.calls(), verifier.stats().over_budget), (20, 980));
    assert_eq!(send_guesses(&verifier, "alice", 20), (20, 0));
    advance(SEC * 3).await;
    assert_eq!(send_guesses(&verifier, "mallory", 1_000), (3, 997));
    advance(SEC * 1_000_000).await;
    assert_eq!(
        send_guesses(&verifier, "mallory", 1_000),
        (20, 980),
        "the budget does not accumulate"
    );
}

#[tokio::test(start_paused = true)]
async fn refusal_has_the_time_after_which_a_request_is_allowed() {
    let verifier = MissBudgetLayer::new(2, SEC * 10).layer(inactive());
    assert_eq!(send_guesses(&verifier, "mallory", 2), (2, 0));
    advance(SEC * 4).await;
    let refused = at_once(&verifier, request_from("mallory", "guess")).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 6));
    advance(SEC * 6).await;
    assert_eq!(send_guesses(&verifier, "mallory", 2), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn good_tokens_and_server_errors_are_not_charged() {
    let server = Scripted::new();
    let verifier = MissBudgetLayer::new(1, SEC).layer(server.clone());
    for act in [
        Act::alice(),
        Act::refuse(ErrorKind::Unavailable),
        Act::refuse(ErrorKind::CredentialsRejected),
    ] {
        server.always(act);
        for n in 0..50 {
            let outcome = at_once(&verifier, request_from("alice", &format!("token-{n}")));
            assert_ne!(kind(&outcome), Some(ErrorKind::TooManyRequests));
        }
    }
    // Also with a slow response.
    let slow = Scripted::new().takes(SEC);
    let verifier = MissBudgetLayer::new(1, SEC * 60).layer(slow);
    for n in 0..5 {
        assert!(verifier.verify(request_from("alice", &format!("token-{n}"))).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn pending_and_dropped_requests_are_charged() {
    let slow = Scripted::new().takes(SEC);
    let verifier = MissBudgetLayer::new(3, SEC * 60).layer(slow.clone());
    for n in 0..10 {
        let mut asked = Box::pin(verifier.verify(request_from("mallory", &format!("guess-{n}"))));
        let refused = (&mut asked).now_or_never();
        assert_eq!(refused.is_some(), n >= 3, "{n}");
    }
    assert_eq!((slow.calls(), slow.under_way()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_peer_are_not_limited_and_zero_refuses_all() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(1, SEC).layer(server.clone());
    for n in 0..10 {
        let outcome = at_once(&verifier, token(&format!("guess-{n}")));
        assert_eq!(kind(&outcome), Some(ErrorKind::Inactive));
    }
    let closed = MissBudgetLayer::new(0, SEC).layer(server);
    assert_eq!(send_guesses(&closed, "mallory", 5), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_the_configured_number_of_peers() {
    let server = ImmediateVerifier::refusing(ErrorKind::Inactive);
    let verifier = MissBudgetLayer::new(1, SEC * 3_600).peers(10).layer(server);
    assert_eq!(send_guesses(&verifier, "mallory", 2), (1, 1));
    let counted = allocation_counter::measure(|| {
        for n in 0..20_000 {
            let _ = at_once(&verifier, token("guess").with_peer(PeerKey::new(n)));
        }
    });
    assert!(counted.bytes_current < 64 << 10, "{} bytes", counted.bytes_current);
    assert_eq!(send_guesses(&verifier, "mallory", 1), (0, 1), "the peer was forgotten");
}

/// Sends a token from each of these addresses. Returns how many were let through by the budget.
fn send_from<V: Verifier>(
    verifier: &MissBudget<V>,
    addresses: impl Iterator<Item = IpAddr>,
) -> usize {
    let ask = |address| at_once(verifier, token("guess").with_peer(PeerKey::address(address)));
    addresses.filter(|address| kind(&ask(*address)) != Some(ErrorKind::TooManyRequests)).count()
}

/// Returns an address of this /64, in a documentation prefix.
fn network(of_48: u16, of_64: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, of_48, of_64, 0, 0, 0, 1).into()
}

#[tokio::test(start_paused = true)]
async fn many_networks_of_one_48_have_sixteen_times_the_budget_of_one() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(5, SEC * 16).layer(server.clone());
    assert_eq!(send_from(&verifier, (0..12_000).map(|n| network(1, n))), 5 * 16);
    // It gets sixteen times the rate of one too.
    advance(SEC * 4).await;
    assert_eq!(send_from(&verifier, (0..12_000).map(|n| network(1, n))), 4);
    assert_eq!(send_from(&verifier, (0..10).map(|_| network(2, 0))), 5, "another /48");
    let refused = at_once(&verifier, token("guess").with_peer(PeerKey::address(network(1, 9_999))));
    assert_eq!(refused.unwrap_err().retry_after(), Some(SEC));
}

#[tokio::test(start_paused = true)]
async fn many_networks_of_one_56_have_four_times_the_budget_of_one() {
    let verifier = MissBudgetLayer::new(5, SEC * 16).layer(inactive());
    assert_eq!(send_from(&verifier, (0..256).map(|n| network(1, n))), 5 * 4);
    // A request that is refused for one network is not charged to the others.
    assert_eq!(send_from(&verifier, (256..512).map(|n| network(1, n))), 5 * 4);
    assert_eq!(send_from(&verifier, (512..768).map(|n| network(1, n))), 5 * 4);
    assert_eq!(send_from(&verifier, (768..1024).map(|n| network(1, n))), 5 * 4);
    assert_eq!(send_from(&verifier, (1024..1280).map(|n| network(1, n))), 0);
    let one = MissBudgetLayer::new(5, SEC * 16).layer(inactive());
    assert_eq!(send_from(&one, (0..100).map(|_| network(1, 1))), 5);
}

#[tokio::test(start_paused = true)]
async fn change_of_addresses_gives_no_new_budgets_for_ever() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(5, SEC * 3_600).peers(100).layer(server.clone());
    let addresses = |from: u32| (from..from + 10_000).map(|n| IpAddr::from(Ipv4Addr::from(n)));
    // Half of the places, and the budget of those without one.
    assert_eq!(send_from(&verifier, addresses(0)), 50 + 5 * 64);
    assert_eq!(send_from(&verifier, addresses(1 << 24)), 0);
    // A new place is there when a budget is full again.
    advance(SEC * 3_600).await;
    assert_eq!(send_from(&verifier, addresses(2 << 24)), 50 + 64);
    assert_eq!(server.calls(), 50 + 5 * 64 + 50 + 64);
}

#[tokio::test(start_paused = true)]
async fn peers_with_good_tokens_do_not_notice_the_change_of_addresses_of_others() {
    let server = Scripted::new();
    let verifier = MissBudgetLayer::new(5, SEC * 3_600).peers(100).layer(server.clone());
    let good = |n: usize| format!("good-{n}");
    for n in 0..50 {
        assert!(at_once(&verifier, request_from(&good(n), "a")).is_ok());
    }
    server.always(Act::refuse(ErrorKind::Inactive));
    let addresses = (0..10_000).map(|n| IpAddr::from(Ipv4Addr::from(n)));
    assert_eq!(send_from(&verifier, addresses), 50 + 5 * 64);
    let unknown = kind(&at_once(&verifier, request_from("new", "b")));
    assert_eq!(unknown, Some(ErrorKind::TooManyRequests));
    // Each has its whole budget, for ten minutes after its last good token.
    advance(SEC * 300).await;
    server.always(Act::alice());
    assert!(at_once(&verifier, request_from(&good(0), "b")).is_ok());
    advance(SEC * 299).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    for n in 1..50 {
        assert_eq!(send_guesses(&verifier, &good(n), 6), (5, 1), "{n}");
    }
    advance(SEC * 2).await;
    assert_eq!(send_guesses(&verifier, &good(0), 6), (5, 1));
}

/// The charge was made good long ago. The ones that the refund would undo are of other tokens.
#[tokio::test(start_paused = true)]
async fn late_refund_gives_no_charge_of_another_token_back() {
    let slow = Scripted::new().takes(SEC * 100);
    let verifier = MissBudgetLayer::new(3, SEC * 60).layer(slow.clone());
    let mut good = Box::pin(verifier.verify(request_from("mallory", "good")));
    assert!((&mut good).now_or_never().is_none());
    advance(SEC * 90).await;
    for n in 0..3 {
        let asked = verifier.verify(request_from("mallory", &format!("guess-{n}")));
        assert!(asked.now_or_never().is_none(), "{n}");
    }
    advance(SEC * 10).await;
    assert!(good.await.is_ok());
    let refused = kind(&at_once(&verifier, request_from("mallory", "guess-3")));
    assert_eq!(refused, Some(ErrorKind::TooManyRequests));
}

#[tokio::test(start_paused = true)]
async fn refund_by_a_second_verifier_goes_to_the_budget_that_was_charged() {
    let (first, second) = (inactive(), Scripted::new());
    let budgets = [MissBudgetLayer::new(2, SEC * 60), MissBudgetLayer::new(2, SEC * 60)];
    let route = Route::new([
        IssuerRoute::new("https://one.example.com")
            .introspection(BoxVerifier::new(budgets[0].layer(first.clone()))),
        IssuerRoute::new("https://two.example.com")
            .introspection(BoxVerifier::new(budgets[1].layer(second.clone()))),
    ]);
    for n in 0..20 {
        let request = request_from("alice", &format!("good-{n}")).with_freshness(Freshness::Live);
        assert!(route.verify(request).await.is_ok(), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_with_one_token_are_charged_once() {
    let slow = Scripted::new().takes(SEC);
    slow.always(Act::refuse(ErrorKind::Inactive));
    let budget = MissBudgetLayer::new(2, SEC * 60).layer(slow.clone());
    let flights = CoalesceLayer::new().clock(slow.clock.clone()).layer(budget);
    let verifier = CacheLayer::new().clock(slow.clock.clone()).layer(flights);
    let requests = (0..200).map(|_| verifier.verify(request_from("office", "expired")));
    let outcomes = futures_util::future::join_all(requests).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == Some(ErrorKind::Inactive)));
    assert_eq!(slow.calls(), 1);
    // Cached refusals are not charged.
    for _ in 0..50 {
        assert_eq!(
            kind(&at_once(&verifier, request_from("office", "expired"))),
            Some(ErrorKind::Inactive)
        );
    }
    assert_eq!(
        kind(&verifier.verify(request_from("office", "other")).await),
        Some(ErrorKind::Inactive)
    );
    assert_eq!(
        kind(&at_once(&verifier, request_from("office", "third"))),
        Some(ErrorKind::TooManyRequests)
    );
    // A refusal by the budget of a peer is not cached for the token.
    let alice = verifier.verify(request_from("alice", "third")).await;
    assert_eq!(kind(&alice), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn token_that_causes_a_bad_response_is_charged() {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::BadResponse));
    let verifier = MissBudgetLayer::new(3, SEC * 60).layer(server.clone());
    for n in 0..10 {
        let _ = at_once(&verifier, request_from("mallory", &format!("odd-{n}")));
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropped_requests_and_an_outage_of_the_last_issuer_are_charged() {
    for last in [Scripted::new().takes(SEC), Scripted::new()] {
        last.always(Act::refuse(ErrorKind::Unavailable));
        let first = Scripted::new().takes(SEC);
        first.always(Act::refuse(ErrorKind::Inactive));
        let budget = MissBudgetLayer::new(3, SEC * 600);
        let guarded = |server: &Scripted| BoxVerifier::new(budget.layer(server.clone()));
        let route = Route::new([
            IssuerRoute::new("https://one.example.com").introspection(guarded(&first)),
            IssuerRoute::new("https://two.example.com").introspection(guarded(&last)),
        ]);
        // One client disconnects during the first introspection. The others wait for all issuers.
        let mut gone = Box::pin(route.verify(request_from("mallory", "guess")));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        for n in 0..10 {
            let _ = route.verify(request_from("mallory", &format!("guess-{n}"))).await;
        }
        assert_eq!(first.calls(), 3);
    }
}

/// The second of two introspecting issuers knows the token.
#[tokio::test(start_paused = true)]
async fn introspection_at_several_issuers_is_charged_once() {
    let (first, second) = (inactive(), Scripted::new());
    let budget = MissBudgetLayer::new(3, SEC * 60);
    let guarded = |server: &Scripted| BoxVerifier::new(budget.layer(server.clone()));
    let route = Route::new([
        IssuerRoute::new("https://one.example.com").introspection(guarded(&first)),
        IssuerRoute::new("https://two.example.com").introspection(guarded(&second)),
    ]);
    for n in 0..20 {
        let request = request_from("alice", &format!("good-{n}")).with_freshness(Freshness::Live);
        assert!(route.verify(request).await.is_ok(), "{n}");
    }
    second.always(Act::refuse(ErrorKind::Inactive));
    for n in 0..10 {
        let refused = route.verify(request_from("alice", &format!("guess-{n}"))).await;
        let wanted = if n < 3 { ErrorKind::Inactive } else { ErrorKind::TooManyRequests };
        assert_eq!(kind(&refused), Some(wanted), "{n}");
    }
    assert_eq!((first.calls(), second.calls()), (23, 23));
}

/// The peer is read from an extension that an outer layer sets.
#[tokio::test(start_paused = true)]
async fn rfc6585_4_exhausted_budget_is_429_with_retry_after_and_no_challenge() {
    #[derive(Clone, Copy)]
    struct From(&'static str);

    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let api = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")))
        .transport(server.transport())
        .miss_budget(MissBudgetLayer::new(5, SEC * 10), |head| {
            head.extension::<From>().map(|from| PeerKey::new(from.0))
        })
        .build()
        .unwrap();
    let service = api.layer().layer(service_fn(async |_: Request<Bytes>| {
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    }));
    let ask = |from: &'static str, token: String| {
        let mut asked = request(&[("authorization", &format!("Bearer {token}"))]);
        asked.extensions_mut().insert(From(from));
        service.clone().oneshot(asked).map(|answer| answer.unwrap_or_else(|never| match never {}))
    };
    for n in 0..5 {
        let refused = ask("mallory", format!("guess-{n}")).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = ask("mallory", "guess-5".into()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "10");
    assert!(!refused.headers().contains_key("www-authenticate"));
    assert_eq!(api.stats().over_budget, 1);
    assert_eq!(ask("alice", "typo".into()).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.stats().upstream_calls, 6);
}
