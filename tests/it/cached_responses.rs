//! The middleware looks into the cache before it keeps anything of a request. The outcome is that
//! of the verifier.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use http::Request;
use tokio::time::advance;
use tower_introspect::{
    ErrorKind,
    cache::{Cache, CacheLayer},
    credentials::Extractor,
    route::{IssuerRoute, Route},
    verify::{BoxVerifier, Freshness},
};
use tower_layer::Layer;

use crate::{
    scripted::{Act, Scripted},
    support::{ask, layer, refusal, request, with_token},
};

const SEC: Duration = Duration::from_secs(1);

fn cache(server: &Scripted) -> Cache<Scripted> {
    CacheLayer::new().clock(server.clock.clone()).layer(server.clone())
}

/// The middleware reads the cache first, and the verifier again if needed. The refusal is counted
/// once.
#[tokio::test(start_paused = true)]
async fn cached_refusal_is_counted_once_for_a_request() {
    for issuers in 1..=2 {
        let server = Scripted::new();
        server.always(Act::refuse(ErrorKind::Inactive));
        let caches: Vec<_> = (0..issuers).map(|_| cache(&server)).collect();
        let routes = caches.iter().enumerate().map(|(at, cache)| {
            let issuer = IssuerRoute::new(&format!("https://as{at}.example.com"));
            issuer.introspection(BoxVerifier::new(cache.clone()))
        });
        let api = layer(Route::new(routes));
        for _ in 0..3 {
            let refused = refusal(&ask(&api, with_token()).await);
            assert_eq!(refused, Some(ErrorKind::Inactive));
        }
        assert_eq!(server.calls(), issuers);
        for cache in caches {
            assert_eq!((cache.stats().negative_hits, cache.stats().misses), (2, 1));
        }
    }
}

/// The source of the token belongs to the request and is not cached.
#[tokio::test(start_paused = true)]
async fn rfc6750_2_3_response_to_a_cached_query_token_is_private() {
    let server = Scripted::new();
    let extractor = Extractor::new().danger_query_parameter("access_token");
    let api = layer(cache(&server)).extractor(extractor);
    for _ in 0..2 {
        let mut query = request(&[]);
        *query.uri_mut() = "/?access_token=abc".parse().unwrap();
        let response = ask(&api, query).await;
        assert_eq!((response.status().as_u16(), server.calls()), (200, 1));
        assert_eq!(response.headers()["cache-control"], "private");
        let response = ask(&api, with_token()).await;
        assert_eq!((response.status().as_u16(), server.calls()), (200, 1));
        assert!(!response.headers().contains_key("cache-control"));
    }
}

/// A request that requires fresher facts gets no older cached refusal.
#[tokio::test(start_paused = true)]
async fn cached_refusal_must_meet_the_freshness_of_the_request() {
    let server = Scripted::new();
    server.always(Act::refuse(ErrorKind::Inactive));
    let shared = cache(&server);
    let api = |freshness| layer(shared.clone()).freshness(freshness);
    let (any, recent) = (api(Freshness::Cached), api(Freshness::Within(SEC)));
    let live = api(Freshness::Live);
    for (api, calls) in [(&any, 1), (&any, 1), (&recent, 1), (&live, 2), (&live, 3), (&any, 3)] {
        assert_eq!(ask(api, with_token()).await.status(), 401);
        assert_eq!(server.calls(), calls);
    }
    advance(SEC).await;
    for (api, calls) in [(&any, 3), (&recent, 4), (&recent, 4), (&any, 4)] {
        assert_eq!(ask(api, with_token()).await.status(), 401);
        assert_eq!(server.calls(), calls);
    }
    server.always(Act::alice());
    assert_eq!(ask(&live, with_token()).await.status(), 200);
    assert_eq!(ask(&any, with_token()).await.status(), 200, "the refusal is replaced");
}

/// A JWT is verified by its signature unless the request requires a live response. The
/// introspection response to such a request is not used for others.
#[tokio::test(start_paused = true)]
async fn cached_introspection_of_a_jwt_is_not_used_in_place_of_its_signature() {
    let (local, remote) = (Scripted::new(), Scripted::new());
    remote.always(Act::refuse(ErrorKind::Inactive));
    let issuer = IssuerRoute::new("https://as.example.com")
        .jwt(BoxVerifier::new(cache(&local)))
        .introspection(BoxVerifier::new(cache(&remote)));
    let route = Route::new([issuer]);
    let token = format!(
        "{}.{}.c2ln",
        BASE64.encode(r#"{"alg":"RS256"}"#),
        BASE64.encode(r#"{"iss":"https://as.example.com"}"#)
    );
    let bearer = || request(&[("authorization", &format!("Bearer {token}"))]);
    let (any, live) = (layer(route.clone()), layer(route).freshness(Freshness::Live));
    for calls in 1..=2 {
        assert_eq!(refusal(&ask(&live, bearer()).await), Some(ErrorKind::Inactive));
        assert_eq!(ask(&any, bearer()).await.status(), 200);
        assert_eq!((remote.calls(), local.calls()), (calls, 1));
    }
}

/// Malformed credentials are refused as malformed, and cause no introspection.
#[tokio::test(start_paused = true)]
async fn malformed_credentials_are_refused_before_the_cache_is_read() {
    let server = Scripted::new();
    let api = layer(cache(&server));
    assert_eq!(ask(&api, with_token()).await.status(), 200);
    let of = |value: &[u8]| -> Request<Bytes> {
        let mut request = request(&[]);
        request
            .headers_mut()
            .insert("authorization", http::HeaderValue::from_bytes(value).unwrap());
        request
    };
    for value in
        [&b"Bearer abc,"[..], b"Bearer \"abc\"", b"Bearer abc\xff", b"DPoP abc abc", b"Bearer"]
    {
        for _ in 0..2 {
            let response = ask(&api, of(value)).await;
            assert_eq!(refusal(&response), Some(ErrorKind::MalformedCredentials));
            assert_eq!(response.status(), 400);
        }
    }
    assert_eq!(server.calls(), 1);
}

#[cfg(feature = "checks")]
#[tokio::test(start_paused = true)]
async fn trace_of_a_cached_token_equals_that_of_a_new_one() {
    use tower_introspect::checks::{Check, Recording, State};

    for scheme in ["Bearer", "DPoP"] {
        let server = Scripted::new();
        let api = layer(cache(&server));
        let mut traces = Vec::new();
        for _ in 0..2 {
            let recording = Recording::start();
            ask(&api, request(&[("authorization", &format!("{scheme} abc"))])).await;
            traces.push(recording.finish());
        }
        assert_eq!(server.calls(), 1);
        let has_check = |check| traces[1].path().iter().any(|one| (one.0, one.1) == check);
        assert!(has_check((Check::Credentials, State::Passed)), "{scheme}");
        assert_eq!(traces[0], traces[1], "{scheme}");
    }
}
