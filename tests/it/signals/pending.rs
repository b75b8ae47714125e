//! Logout tokens whose keys can't be had just now.

use tower_introspect::{
    ResourceServer,
    test_util::{Endpoint, Fault},
    upstream::MissBudgetLayer,
    verify::PeerKey,
};

use super::*;

fn world() -> World {
    World::with(|api| {
        let budget = MissBudgetLayer::new(20, SEC);
        api.issuer(Issuer::jwt(ISSUER)).miss_budget(budget, |head| {
            head.headers().get("x-peer").map(|peer| PeerKey::new(peer.as_bytes()))
        })
    })
}

fn logout(world: &World, subject: &str) -> String {
    world.server.logout_token(CLIENT).subject(subject).mint()
}

fn from(peer: &str, token: &str) -> Request<Full<Bytes>> {
    let mut request = form(format!("logout_token={token}"));
    request.headers_mut().insert("x-peer", peer.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn token_without_keys_is_neither_acknowledged_nor_dropped_nor_believed() {
    let world = world();
    let service = receiver(&world);
    without_keys(&world);
    let response = send(&service, form(format!("logout_token={}", logout(&world, "alice")))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!((service.pending(), world.api.revocations().len()), (1, 0));
    pass(120).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (1, 0));
    with_keys(&world);
    pass(60).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 1));
}

/// oidc-provider gives up after 2.5 seconds, and a fetch of keys has three.
#[tokio::test(start_paused = true)]
async fn token_whose_sender_gives_up_while_keys_are_fetched_is_kept() {
    let world = world();
    let service = receiver(&world);
    world.server.inject(Endpoint::Jwks, Fault::hang());
    let token = logout(&world, "alice");
    let sending = tokio::time::timeout(5 * SEC / 2, deliver(&service, &token));
    assert!(sending.await.is_err(), "the sender gives up");
    assert_eq!((service.pending(), world.api.revocations().len()), (1, 0));
    with_keys(&world);
    pass(60).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn token_that_waits_has_the_time_of_its_own() {
    let world = world();
    let service = receiver(&world);
    let before = world.jwt();
    without_keys(&world);
    deliver(&service, &logout(&world, "alice")).await;
    world.clock.step(SEC);
    let after = world.jwt();
    pass(600).await;
    with_keys(&world);
    pass(60).await;
    assert_eq!((world.status(&before).await, world.status(&after).await), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn repeated_token_takes_one_place_and_is_applied_when_it_comes_again() {
    let world = world();
    let service = receiver(&world);
    without_keys(&world);
    let token = logout(&world, "alice");
    for _ in 0..5 {
        assert_eq!(deliver(&service, &token).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(service.pending(), 1);
    with_keys(&world);
    pass(6).await;
    assert_eq!(deliver(&service, &token).await.0, StatusCode::OK);
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn forged_token_that_waited_for_keys_has_no_effect() {
    let world = world();
    let service = receiver(&world);
    without_keys(&world);
    let forged = world.server.logout_token(CLIENT).subject("alice").with_corrupt_signature();
    deliver(&service, &forged.mint()).await;
    assert_eq!(service.pending(), 1);
    with_keys(&world);
    pass(60).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 0));
}

/// Whatever strangers send, the places of the peers that delivered before stay free.
#[tokio::test(start_paused = true)]
async fn strangers_cannot_fill_the_queue() {
    let world = world();
    let service = receiver(&world);
    let first = send(&service, from("as", &logout(&world, "zoe"))).await;
    assert_eq!(first.status(), StatusCode::OK);
    let junk = |n: usize| {
        let token = world.server.logout_token(CLIENT).subject(&n.to_string());
        token.kid(&format!("unknown-{n}")).mint()
    };
    world.server.remove_old_keys();
    without_keys(&world);
    // One stranger has one place.
    for n in 0..10 {
        send(&service, from("stranger", &junk(n))).await;
    }
    assert_eq!(service.pending(), 1);
    for n in 0..1_000 {
        send(&service, from(&format!("stranger-{n}"), &junk(100 + n))).await;
    }
    assert_eq!(service.pending(), 128);
    // The key of the logout is new.
    world.server.rotate_keys();
    let response = send(&service, from("as", &logout(&world, "alice"))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.pending(), 129);
    with_keys(&world);
    pass(90).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn signals_of_an_issuer_are_stale_after_one_was_lost() {
    use tower_introspect::verify::SignalState;
    let world = world();
    let service = receiver(&world);
    without_keys(&world);
    let state = |api: &ResourceServer| api.readiness()[0].signals();
    for n in 0..128 {
        send(&service, from(&format!("peer-{n}"), &logout(&world, &n.to_string()))).await;
    }
    assert_eq!(state(&world.api), None);
    send(&service, from("one-more", &logout(&world, "alice"))).await;
    assert_eq!(state(&world.api), Some(SignalState::Stale));
    pass(3600).await;
    assert_eq!(state(&world.api), None);
    assert_eq!(service.pending(), 128);
}
