//! The same token under two policies or resource servers: neither gets the decision of the other,
//! in any order and with a cached or a new token.

use std::time::Duration;

use tokio::time::sleep;
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, Policy, ResourceServer,
    clock::Clock,
    credentials::Token,
    policy::Requirement,
    test_util::{AuthorizationServer, Client, TestClock},
    verify::BoxVerifier,
};

use crate::{
    support::{AUDIENCE, ISSUER, ask, refusal},
    world::{World, auth, bearer, remote},
};

const OTHER: &str = "https://other.example.com";
const SEC: Duration = Duration::from_secs(1);

/// A layer, and the refusal that it must give.
type ExpectedRefusal = (IntrospectLayer<BoxVerifier>, Option<ErrorKind>);

/// Sends the token to both layers in turn, four times each, beginning with `first`.
async fn expect_in_turn(layers: &[ExpectedRefusal; 2], first: usize, token: &str) {
    for turn in 0..8 {
        let (layer, expected) = &layers[(first + turn) % 2];
        let response = ask(layer, bearer(token)).await;
        assert_eq!(refusal(&response), *expected, "turn {turn}, {first} first");
        assert_eq!(response.status() == 200, expected.is_none());
    }
}

fn modes() -> [fn() -> Issuer; 4] {
    [
        remote,
        || Issuer::jwt(ISSUER),
        || Issuer::hybrid(ISSUER, auth()),
        || Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10),
    ]
}

#[tokio::test(start_paused = true)]
async fn resource_servers_with_different_audiences_share_no_decision() {
    for mode in modes() {
        for first in 0..2 {
            let world = World::new(mode());
            let other = ResourceServer::builder(OTHER)
                .issuer(mode())
                .transport(world.server.transport())
                .clock(world.clock.clone())
                .build()
                .unwrap();
            let layers =
                [(world.api.layer(), None), (other.layer(), Some(ErrorKind::WrongAudience))];
            expect_in_turn(&layers, first, &world.jwt()).await;
            // Each resource server has its own cache.
            for api in [&world.api, &other] {
                assert!(api.stats().misses > 0 && api.stats().hits > 0, "{:?}", api.stats());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn resource_servers_with_different_authorization_servers_share_no_decision() {
    for first in 0..2 {
        let world = World::new(remote());
        let other_server = AuthorizationServer::new(ISSUER)
            .with_clock(world.clock.clone())
            .with_client(Client::new("api", "s3cret"));
        let other = ResourceServer::builder(AUDIENCE)
            .issuer(remote())
            .transport(other_server.transport())
            .clock(world.clock.clone())
            .build()
            .unwrap();
        let token = world.server.opaque().text("the-same").audience(AUDIENCE).mint();
        let layers = [(world.api.layer(), None), (other.layer(), Some(ErrorKind::Inactive))];
        expect_in_turn(&layers, first, &token).await;
    }
}

#[tokio::test(start_paused = true)]
async fn policies_that_share_a_verifier_share_no_decision() {
    let admin = || Policy::new(AUDIENCE).require(Requirement::all_scopes(["admin"]));
    for mode in modes() {
        for (policy, expected) in [
            (Policy::new(AUDIENCE), None),
            (admin(), Some(ErrorKind::InsufficientScope)),
            (Policy::new(OTHER), Some(ErrorKind::WrongAudience)),
        ] {
            for first in 0..2 {
                let world = World::new(mode());
                let policy = policy.clone().clock(world.clock.clone());
                let layers = [
                    (world.api.layer(), None),
                    (IntrospectLayer::new(world.api.verifier(), policy), expected),
                ];
                let token = world.jwt();
                // When the token is new, when it is cached and after its eviction.
                expect_in_turn(&layers, first, &token).await;
                expect_in_turn(&layers, 1 - first, &token).await;
                assert!(world.api.evict(&Token::bearer(&token).unwrap()));
                expect_in_turn(&layers, first, &token).await;
                assert!(world.api.stats().hits > 0, "the policies share the cache");
            }
        }
    }
}

/// Each policy compares times with its own leeway, for cached tokens too.
#[tokio::test(start_paused = true)]
async fn leeway_is_applied_by_each_policy_to_cached_tokens_too() {
    for first in 0..2 {
        for cached in [false, true] {
            let world = World::new(Issuer::jwt(ISSUER));
            let strict = Policy::new(AUDIENCE).leeway(Duration::ZERO).clock(world.clock.clone());
            let layers = [
                (world.api.layer(), None),
                (IntrospectLayer::new(world.api.verifier(), strict), Some(ErrorKind::Expired)),
            ];
            let token = world.server.jwt().audience(AUDIENCE).expires_in(SEC * 60).mint();
            if cached {
                for (layer, _) in &layers {
                    assert_eq!(ask(layer, bearer(&token)).await.status(), 200);
                }
            }
            sleep(SEC * 70).await;
            expect_in_turn(&layers, first, &token).await;
        }
    }
}

/// Each policy has its own clock.
#[tokio::test(start_paused = true)]
async fn clock_of_each_policy_is_used_for_cached_tokens_too() {
    for first in 0..2 {
        let world = World::new(remote());
        let late = TestClock::new(world.clock.now());
        late.step(SEC * 36_000);
        let policy = Policy::new(AUDIENCE).clock(late);
        let layers = [
            (world.api.layer(), None),
            (IntrospectLayer::new(world.api.verifier(), policy), Some(ErrorKind::Expired)),
        ];
        expect_in_turn(&layers, first, &world.opaque()).await;
        assert_eq!(world.asked(), 1);
    }
}
