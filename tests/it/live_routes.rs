//! A route that requires live facts costs one call of the authorization server, not two.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, Policy,
    cache::CacheLayer,
    credentials::Extractor,
    layer::Introspect,
    revocation::Cutoff,
    test_util::{Endpoint, Fault},
    verify::{BoxVerifier, Freshness, Method},
};

use crate::{
    scripted::Scripted,
    support::{AUDIENCE, FixedClock, ISSUER, WhoAmI, refusal, request, whoami_service},
    world::{World, auth, bearer, remote},
};

const SEC: Duration = Duration::from_secs(1);

/// The time that the server takes.
const SLOW: Duration = Duration::from_millis(200);

fn slow(issuer: Issuer) -> World {
    let world = World::new(issuer);
    world.server.inject(Endpoint::Introspection, Fault::delay(SLOW));
    world
}

/// Returns the status of a request that passes the outer layer and then the inner one.
async fn send(
    outer: IntrospectLayer<BoxVerifier>,
    inner: IntrospectLayer<BoxVerifier>,
    request: Request<Bytes>,
) -> u16 {
    let service = ServiceBuilder::new().layer(outer).layer(inner).service(whoami_service());
    service.oneshot(request).await.unwrap().status().as_u16()
}

fn extractor() -> Extractor {
    Extractor::new()
        .danger_cookie("at")
        .danger_query_parameter("access_token")
        .websocket_protocol("bearer.")
}

fn ways(token: &str) -> [Request<Bytes>; 4] {
    let mut query = request(&[]);
    *query.uri_mut() = format!("/?access_token={token}").parse().unwrap();
    [
        bearer(token),
        request(&[("cookie", &format!("at={token}"))]),
        request(&[("sec-websocket-protocol", &format!("bearer.{token}"))]),
        query,
    ]
}

#[tokio::test(start_paused = true)]
async fn live_route_asks_once_about_a_token_that_is_not_cached() {
    let world = slow(remote());
    for way in 0..4 {
        let [header, cookie, protocol, query] = ways(&world.opaque());
        let request = match way {
            0 => header,
            1 => cookie,
            2 => protocol,
            _ => query,
        };
        let (outer, live) = (world.api.layer(), world.api.live_layer().unwrap());
        let (outer, live) = (outer.extractor(extractor()), live.extractor(extractor()));
        let before = world.asked();
        assert_eq!(send(outer, live, request).await, 200);
        assert_eq!(world.asked(), before + 1, "way {way}");
    }
}

#[tokio::test(start_paused = true)]
async fn live_route_asks_once_in_every_mode() {
    let confirmed = Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10);
    for (issuer, is_jwt) in [
        (remote(), false),
        (remote(), true),
        (Issuer::hybrid(ISSUER, auth()), false),
        (Issuer::hybrid(ISSUER, auth()), true),
        (confirmed, true),
    ] {
        let case = format!("{issuer:?} {is_jwt}");
        let world = slow(issuer);
        let token = if is_jwt { world.jwt() } else { world.opaque() };
        let live = || world.api.live_layer().unwrap();
        assert_eq!(send(world.api.layer(), live(), bearer(&token)).await, 200, "{case}");
        assert_eq!(world.asked(), 1, "{case}");
        // Facts of an earlier request are not live, however recent they are.
        assert_eq!(send(world.api.layer(), live(), bearer(&token)).await, 200, "{case}");
        assert_eq!(world.asked(), 2, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_route_asks_once_however_long_the_server_takes() {
    for age in [Duration::ZERO, SLOW / 2, SLOW, SLOW * 2] {
        let world = slow(remote());
        let token = world.opaque();
        assert_eq!(send(world.api.layer(), world.api.fresh_layer(age), bearer(&token)).await, 200);
        assert_eq!(world.asked(), 1, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_layers_ask_once() {
    let world = slow(remote());
    let live = || world.api.live_layer().unwrap();
    let service = ServiceBuilder::new()
        .layer(world.api.layer())
        .layer(live())
        .layer(live())
        .service(whoami_service());
    assert_eq!(service.oneshot(bearer(&world.opaque())).await.unwrap().status(), 200);
    assert_eq!(world.asked(), 1);
}

/// The verification must have started after the request arrived.
#[tokio::test(start_paused = true)]
async fn verification_that_another_request_started_earlier_is_not_live() {
    let world = slow(remote());
    let token = world.opaque();
    let earlier = tokio::spawn(world.api.layer().layer(whoami_service()).call(bearer(&token)));
    world.server.wait_for_calls(Endpoint::Introspection, 1).await;
    advance(SLOW / 2).await;
    // The outer layer joins that verification. The token is revoked before the inner one asks.
    let (server, revoked) = (world.server.clone(), token.clone());
    let service = ServiceBuilder::new()
        .layer(world.api.layer())
        .map_request(move |request| {
            server.revoke(&revoked);
            request
        })
        .layer(world.api.live_layer().unwrap())
        .service(whoami_service());
    let response = service.oneshot(bearer(&token)).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::Inactive));
    assert_eq!(world.asked(), 2);
    assert_eq!(earlier.await.unwrap().unwrap().status(), StatusCode::OK);
}

/// A request may wait between the layers.
#[tokio::test(start_paused = true)]
async fn verification_is_live_for_a_second() {
    for (wait, asked) in [(SEC, 1), (SEC + Duration::from_millis(1), 2)] {
        let world = slow(remote());
        let service = ServiceBuilder::new()
            .layer(world.api.layer())
            .layer_fn(|inner: WhoAmILive| {
                service_fn(move |request| {
                    let mut inner = inner.clone();
                    async move {
                        advance(wait).await;
                        inner.call(request).await
                    }
                })
            })
            .layer(world.api.live_layer().unwrap())
            .service(whoami_service());
        assert_eq!(service.oneshot(bearer(&world.opaque())).await.unwrap().status(), 200);
        assert_eq!(world.asked(), asked, "{wait:?}");
    }
}

type WhoAmILive = Introspect<WhoAmI, BoxVerifier>;

/// Only facts that the inner layer's own verifier established count.
#[tokio::test(start_paused = true)]
async fn verification_by_another_resource_server_is_not_live() {
    let (outer, inner) = (slow(remote()), slow(remote()));
    let token = outer.opaque();
    let copy = inner.server.opaque().subject("alice").audience(AUDIENCE).text(&token).mint();
    assert_eq!(token, copy);
    let live = || inner.api.live_layer().unwrap();
    assert_eq!(send(outer.api.layer(), live(), bearer(&token)).await, 200);
    assert_eq!((outer.asked(), inner.asked()), (1, 1));
    // The other server has the facts in its cache now, and they are older than the request.
    assert_eq!(send(outer.api.layer(), live(), bearer(&token)).await, 200);
    assert_eq!((outer.asked(), inner.asked()), (1, 2));
}

/// A cutoff that comes between the layers still counts.
#[tokio::test(start_paused = true)]
async fn verification_from_before_a_cutoff_is_not_live() {
    let world = slow(remote());
    let token = world.opaque();
    let (revocations, server) = (world.api.revocations().clone(), world.server.clone());
    let revoked = token.clone();
    let service = ServiceBuilder::new()
        .layer(world.api.layer())
        .map_request(move |request| {
            server.revoke(&revoked);
            revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
            request
        })
        .layer(world.api.live_layer().unwrap())
        .service(whoami_service());
    let response = service.oneshot(bearer(&token)).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::Inactive));
    assert_eq!(world.asked(), 2);
}

/// A signature says nothing about the present.
#[tokio::test(start_paused = true)]
async fn local_verification_is_not_live() {
    let (local, server) = (Scripted::new().takes(SLOW).by(Method::Jwt), Scripted::new());
    let cache = |verifier: &Scripted| {
        let layer = CacheLayer::new().clock(verifier.clock.clone());
        BoxVerifier::new(layer.layer(verifier.clone()))
    };
    let layer = |verifier| IntrospectLayer::new(verifier, Policy::new(AUDIENCE).clock(FixedClock));
    let shared = cache(&local);
    let live = layer(shared.clone()).freshness(Freshness::Live);
    assert_eq!(send(layer(shared), live, bearer("abc")).await, 200);
    assert_eq!(local.calls(), 2);
    let shared = cache(&server.clone().takes(SLOW));
    let live = layer(shared.clone()).freshness(Freshness::Live);
    assert_eq!(send(layer(shared), live, bearer("abc")).await, 200);
    assert_eq!(server.calls(), 1);
}
