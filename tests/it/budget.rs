//! What peers may cost that send bad tokens.

use std::{convert::Infallible, time::Duration};

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
    support::{AUDIENCE, AtOnce, FixedClock, ISSUER, request},
};

const SEC: Duration = Duration::from_secs(1);

fn inactive() -> Scripted {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::Inactive));
    server
}

fn of(peer: &str, text: &str) -> VerifyRequest {
    token(text).with_peer(PeerKey::new(peer))
}

/// What comes of this many different tokens of one peer.
fn spray<V: Verifier>(verifier: &MissBudget<V>, peer: &str, tokens: usize) -> (usize, usize) {
    let outcome = |n| kind(&at_once(verifier, of(peer, &format!("guess-{n}"))));
    let all: Vec<_> = (0..tokens).map(outcome).collect();
    let count = |wanted| all.iter().filter(|kind| **kind == Some(wanted)).count();
    (count(ErrorKind::Inactive), count(ErrorKind::TooManyRequests))
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_use_up_the_budget_of_their_peer_and_of_no_other() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(20, SEC).layer(server.clone());
    assert_eq!(spray(&verifier, "mallory", 1_000), (20, 980));
    assert_eq!((server.calls(), verifier.stats().over_budget), (20, 980));
    assert_eq!(spray(&verifier, "alice", 20), (20, 0));
    advance(SEC * 3).await;
    assert_eq!(spray(&verifier, "mallory", 1_000), (3, 997));
    advance(SEC * 1_000_000).await;
    assert_eq!(spray(&verifier, "mallory", 1_000), (20, 980), "it is never more than full");
}

#[tokio::test(start_paused = true)]
async fn the_refusal_says_when_to_come_back_and_then_it_is_true() {
    let verifier = MissBudgetLayer::new(2, SEC * 10).layer(inactive());
    assert_eq!(spray(&verifier, "mallory", 2), (2, 0));
    advance(SEC * 4).await;
    let refused = at_once(&verifier, of("mallory", "guess")).unwrap_err();
    assert_eq!(refused.retry_after(), Some(SEC * 6));
    advance(SEC * 6).await;
    assert_eq!(spray(&verifier, "mallory", 2), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn good_tokens_and_the_faults_of_others_cost_nothing() {
    let server = Scripted::new();
    let verifier = MissBudgetLayer::new(1, SEC).layer(server.clone());
    for act in [
        Act::alice(),
        Act::refuse(ErrorKind::Unavailable),
        Act::refuse(ErrorKind::CredentialsRejected),
    ] {
        server.always(act);
        for n in 0..50 {
            let outcome = at_once(&verifier, of("alice", &format!("token-{n}")));
            assert_ne!(kind(&outcome), Some(ErrorKind::TooManyRequests));
        }
    }
    // The same, where the answer takes time.
    let slow = Scripted::new().takes(SEC);
    let verifier = MissBudgetLayer::new(1, SEC * 60).layer(slow);
    for n in 0..5 {
        assert!(verifier.verify(of("alice", &format!("token-{n}"))).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn questions_under_way_are_charged_and_going_away_is_not_free() {
    let slow = Scripted::new().takes(SEC);
    let verifier = MissBudgetLayer::new(3, SEC * 60).layer(slow.clone());
    for n in 0..10 {
        let mut asked = Box::pin(verifier.verify(of("mallory", &format!("guess-{n}"))));
        let refused = (&mut asked).now_or_never();
        assert_eq!(refused.is_some(), n >= 3, "{n}");
    }
    assert_eq!((slow.calls(), slow.under_way()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_is_not_limited_and_zero_lets_nothing_through() {
    let server = inactive();
    let verifier = MissBudgetLayer::new(1, SEC).layer(server.clone());
    for n in 0..10 {
        let outcome = at_once(&verifier, token(&format!("guess-{n}")));
        assert_eq!(kind(&outcome), Some(ErrorKind::Inactive));
    }
    let closed = MissBudgetLayer::new(0, SEC).layer(server);
    assert_eq!(spray(&closed, "mallory", 5), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_million_peers_take_no_more_room_than_ten() {
    let server = AtOnce::refusing(ErrorKind::Inactive);
    let verifier = MissBudgetLayer::new(1, SEC * 3_600).peers(10).layer(server);
    assert_eq!(spray(&verifier, "mallory", 2), (1, 1));
    let counted = allocation_counter::measure(|| {
        for n in 0..20_000 {
            let _ = at_once(&verifier, token("guess").with_peer(PeerKey::new(n)));
        }
    });
    assert!(counted.bytes_current < 64 << 10, "{} bytes", counted.bytes_current);
    // Those seen of late are known, whoever else there is.
    for n in 0..4 {
        assert_eq!(spray(&verifier, &format!("new-{n}"), 2), (1, 1));
    }
    assert_eq!(spray(&verifier, "new-0", 1), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_herd_with_one_token_is_one_question_and_one_charge() {
    let slow = Scripted::new().takes(SEC);
    slow.always(Act::refuse(ErrorKind::Inactive));
    let budget = MissBudgetLayer::new(2, SEC * 60).layer(slow.clone());
    let flights = CoalesceLayer::new().clock(slow.clock.clone()).layer(budget);
    let verifier = CacheLayer::new().clock(slow.clock.clone()).layer(flights);
    let herd = (0..200).map(|_| verifier.verify(of("office", "expired")));
    let outcomes = futures_util::future::join_all(herd).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == Some(ErrorKind::Inactive)));
    assert_eq!(slow.calls(), 1);
    // What is remembered is free.
    for _ in 0..50 {
        assert_eq!(kind(&at_once(&verifier, of("office", "expired"))), Some(ErrorKind::Inactive));
    }
    assert_eq!(kind(&verifier.verify(of("office", "other")).await), Some(ErrorKind::Inactive));
    assert_eq!(kind(&at_once(&verifier, of("office", "third"))), Some(ErrorKind::TooManyRequests));
    // That the peer was refused says nothing about the token.
    let alice = verifier.verify(of("alice", "third")).await;
    assert_eq!(kind(&alice), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_server_chokes_on_is_charged() {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::BadResponse));
    let verifier = MissBudgetLayer::new(3, SEC * 60).layer(server.clone());
    for n in 0..10 {
        let _ = at_once(&verifier, of("mallory", &format!("odd-{n}")));
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn in_turn_too_going_away_is_not_free_nor_is_an_outage_of_the_last() {
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
        // One goes away while the first is asked, the others wait for all.
        let mut gone = Box::pin(route.verify(of("mallory", "guess")));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        for n in 0..10 {
            let _ = route.verify(of("mallory", &format!("guess-{n}"))).await;
        }
        assert_eq!(first.calls(), 3);
    }
}

/// Two issuers that introspect, the second of which knows the token.
#[tokio::test(start_paused = true)]
async fn issuers_that_are_asked_in_turn_are_one_charge() {
    let (first, second) = (inactive(), Scripted::new());
    let budget = MissBudgetLayer::new(3, SEC * 60);
    let guarded = |server: &Scripted| BoxVerifier::new(budget.layer(server.clone()));
    let route = Route::new([
        IssuerRoute::new("https://one.example.com").introspection(guarded(&first)),
        IssuerRoute::new("https://two.example.com").introspection(guarded(&second)),
    ]);
    for n in 0..20 {
        let request = of("alice", &format!("good-{n}")).with_freshness(Freshness::Live);
        assert!(route.verify(request).await.is_ok(), "{n}");
    }
    second.always(Act::refuse(ErrorKind::Inactive));
    for n in 0..10 {
        let refused = route.verify(of("alice", &format!("guess-{n}"))).await;
        let wanted = if n < 3 { ErrorKind::Inactive } else { ErrorKind::TooManyRequests };
        assert_eq!(kind(&refused), Some(wanted), "{n}");
    }
    assert_eq!((first.calls(), second.calls()), (23, 23));
}

/// A request over HTTP, from a peer that a layer outside has told.
#[tokio::test(start_paused = true)]
async fn rfc6585_4_a_resource_server_answers_429_with_a_time_and_no_challenge() {
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
