//! The same token before two judges: neither ever gets the decision of the other, whoever was asked
//! first, and whether the token was remembered.

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

/// A judge, and what it says of the token.
type Judge = (IntrospectLayer<BoxVerifier>, Option<ErrorKind>);

/// Asks both in turn, starting with either: four times each.
async fn in_turn(judges: &[Judge; 2], first: usize, token: &str) {
    for turn in 0..8 {
        let (layer, says) = &judges[(first + turn) % 2];
        let response = ask(layer, bearer(token)).await;
        assert_eq!(refusal(&response), *says, "turn {turn}, {first} first");
        assert_eq!(response.status() == 200, says.is_none());
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
async fn resource_servers_of_two_audiences() {
    for mode in modes() {
        for first in 0..2 {
            let world = World::new(mode());
            let other = ResourceServer::builder(OTHER)
                .issuer(mode())
                .transport(world.server.transport())
                .clock(world.clock.clone())
                .build()
                .unwrap();
            let judges =
                [(world.api.layer(), None), (other.layer(), Some(ErrorKind::WrongAudience))];
            in_turn(&judges, first, &world.jwt()).await;
            // What is remembered of a token is remembered by each for itself.
            for api in [&world.api, &other] {
                assert!(api.stats().misses > 0 && api.stats().hits > 0, "{:?}", api.stats());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn resource_servers_of_two_authorization_servers() {
    for first in 0..2 {
        let world = World::new(remote());
        let theirs = AuthorizationServer::new(ISSUER)
            .with_clock(world.clock.clone())
            .with_client(Client::new("api", "s3cret"));
        let other = ResourceServer::builder(AUDIENCE)
            .issuer(remote())
            .transport(theirs.transport())
            .clock(world.clock.clone())
            .build()
            .unwrap();
        let token = world.server.opaque().text("the-same").audience(AUDIENCE).mint();
        let judges = [(world.api.layer(), None), (other.layer(), Some(ErrorKind::Inactive))];
        in_turn(&judges, first, &token).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_verifier_under_two_policies() {
    let admin = || Policy::new(AUDIENCE).require(Requirement::all_scopes(["admin"]));
    for mode in modes() {
        for (policy, says) in [
            (Policy::new(AUDIENCE), None),
            (admin(), Some(ErrorKind::InsufficientScope)),
            (Policy::new(OTHER), Some(ErrorKind::WrongAudience)),
        ] {
            for first in 0..2 {
                let world = World::new(mode());
                let policy = policy.clone().clock(world.clock.clone());
                let judges = [
                    (world.api.layer(), None),
                    (IntrospectLayer::new(world.api.verifier(), policy), says),
                ];
                let token = world.jwt();
                // Once when it is new, once when it is remembered, once when it was forgotten.
                in_turn(&judges, first, &token).await;
                in_turn(&judges, 1 - first, &token).await;
                assert!(world.api.evict(&Token::bearer(&token).unwrap()));
                in_turn(&judges, first, &token).await;
                assert!(world.api.stats().hits > 0, "facts are shared, decisions are not");
            }
        }
    }
}

/// Time is judged by each policy, however the facts were come by.
#[tokio::test(start_paused = true)]
async fn one_verifier_under_policies_of_two_leeways() {
    for first in 0..2 {
        for remembered in [false, true] {
            let world = World::new(Issuer::jwt(ISSUER));
            let strict = Policy::new(AUDIENCE).leeway(Duration::ZERO).clock(world.clock.clone());
            let judges = [
                (world.api.layer(), None),
                (IntrospectLayer::new(world.api.verifier(), strict), Some(ErrorKind::Expired)),
            ];
            let token = world.server.jwt().audience(AUDIENCE).expires_in(SEC * 60).mint();
            if remembered {
                for (layer, _) in &judges {
                    assert_eq!(ask(layer, bearer(&token)).await.status(), 200);
                }
            }
            sleep(SEC * 70).await;
            in_turn(&judges, first, &token).await;
        }
    }
}

/// A clock is a part of the policy too.
#[tokio::test(start_paused = true)]
async fn one_verifier_under_policies_of_two_clocks() {
    for first in 0..2 {
        let world = World::new(remote());
        let late = TestClock::new(world.clock.now());
        late.step(SEC * 36_000);
        let policy = Policy::new(AUDIENCE).clock(late);
        let judges = [
            (world.api.layer(), None),
            (IntrospectLayer::new(world.api.verifier(), policy), Some(ErrorKind::Expired)),
        ];
        in_turn(&judges, first, &world.opaque()).await;
        assert_eq!(world.asked(), 1);
    }
}
