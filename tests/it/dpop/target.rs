//! `htu`: the URL that a proof is for, also behind proxies and nested routers.

use axum::{Router, extract::OriginalUri, routing::any};
use tower::{Layer as _, ServiceExt as _};
use tower_introspect::ErrorKind;

use super::*;

/// Returns the outcome of a request for `uri` with a proof for `htu`.
async fn outcome_at(
    world: &World,
    htu: &str,
    uri: &str,
    more: &[(&str, &str)],
) -> Result<(), ErrorKind> {
    let proof = world.prover.proof("GET", htu).for_token(&world.token).mint();
    let authorization = format!("DPoP {}", world.token);
    let fields = [&[("authorization", &*authorization), ("dpop", &*proof)], more].concat();
    refusal(&world.send(get(uri, &fields)).await).map_or(Ok(()), Err)
}

const BAD: Result<(), ErrorKind> = Err(ErrorKind::InvalidProof);

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_query_and_fragment_are_ignored_on_both_sides() {
    let world = World::new();
    for (htu, uri) in [
        ("https://api.example.com/r?a=b#f", "/r"),
        ("https://api.example.com/r", "/r?a=b"),
        ("https://api.example.com/r?x=y", "/r?a=b"),
        ("https://api.example.com/r#f", "/r?a=/other"),
        ("https://api.example.com", "/?a"),
    ] {
        assert_eq!(outcome_at(&world, htu, uri, &[]).await, Ok(()), "{htu} {uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_urls_are_compared_after_normalization() {
    let world = World::new();
    for (htu, uri) in [
        ("HTTPS://API.EXAMPLE.COM:443/a/../r", "/r"),
        ("https://API.example.com/r", "/r"),
        ("https://api.example.com:443/r", "/r"),
        ("https://api.example.com/%72", "/r"),
        ("https://api.example.com/r", "/%72"),
        ("https://api.example.com/a%2fb", "/a%2Fb"),
    ] {
        assert_eq!(outcome_at(&world, htu, uri, &[]).await, Ok(()), "{htu} {uri}");
    }
}

/// Some proxies resolve the dot segments of a request, and others pass them on.
#[tokio::test(start_paused = true)]
async fn path_with_dot_segments_is_compared_as_it_was_sent() {
    let world = World::new();
    for path in ["/a/../r", "/./r", "/r/.", "/a/%2e%2e/r", "/a/.%2E/r", "/../r"] {
        let sent = format!("https://api.example.com{path}");
        assert_eq!(outcome_at(&world, &sent, path, &[]).await, Ok(()), "{path}");
        for htu in ["https://api.example.com/r", "https://api.example.com/r/"] {
            assert_eq!(outcome_at(&world, htu, path, &[]).await, BAD, "{htu} {path}");
        }
    }
    let other_spelling = "https://api.example.com/a/../r";
    assert_eq!(outcome_at(&world, other_spelling, "/a/%2e%2e/r", &[]).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_proof_for_another_url_is_refused() {
    let world = World::new();
    for (htu, uri) in [
        ("https://api.example.com/other", "/r"),
        ("https://api.example.com/R", "/r"),
        ("https://api.example.com/r/", "/r"),
        ("https://api.example.com/r", "/r/"),
        ("https://api.example.com/a/b", "/a%2Fb"),
        ("https://api.example.com/a%2Fb", "/a/b"),
        ("https://other.example.com/r", "/r"),
        ("https://api.example.com.evil.example/r", "/r"),
        ("https://api.example.com:8443/r", "/r"),
        ("http://api.example.com/r", "/r"),
        ("https://u@api.example.com/r", "/r"),
        ("//api.example.com/r", "/r"),
        ("/r", "/r"),
        ("https://api.example.com/r/../s", "/r"),
        ("https://api.example.com\\r", "/r"),
    ] {
        assert_eq!(outcome_at(&world, htu, uri, &[]).await, BAD, "{htu} {uri}");
    }
}

/// auth0 1.9.1: the proof was compared with the `Host` field of the client.
#[tokio::test(start_paused = true)]
async fn origin_in_fields_of_the_client_is_ignored() {
    let world = World::new();
    let forged = [
        ("host", "evil.example.com"),
        ("x-forwarded-host", "evil.example.com"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8080"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-uri", "/evil"),
        ("x-forwarded-uri", "/evil"),
        ("forwarded", "host=evil.example.com;proto=http"),
    ];
    for htu in [
        "https://evil.example.com/r",
        "http://evil.example.com/r",
        "http://evil.example.com:8080/r",
        "https://api.example.com/evil",
        "https://api.example.com/evil/r",
        "http://api.example.com/r",
    ] {
        assert_eq!(outcome_at(&world, htu, "/r", &forged).await, BAD, "{htu}");
    }
    assert_eq!(outcome_at(&world, URL, "/r", &forged).await, Ok(()));
}

/// HTTP/2 and proxies send the full URI. The expected origin is taken from the configuration.
#[tokio::test(start_paused = true)]
async fn authority_of_the_request_is_ignored() {
    let world = World::new();
    for uri in ["https://evil.example.com/r", "http://evil.example.com:8080/r?a=b"] {
        assert_eq!(outcome_at(&world, URL, uri, &[]).await, Ok(()), "{uri}");
        assert_eq!(outcome_at(&world, uri, uri, &[]).await, BAD, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn service_may_have_several_base_urls() {
    let world = World::with(dpop().or_url("http://10.0.0.7:8080/internal").unwrap());
    assert_eq!(outcome_at(&world, URL, "/r", &[]).await, Ok(()));
    assert_eq!(outcome_at(&world, "http://10.0.0.7:8080/internal/r", "/r", &[]).await, Ok(()));
    for htu in [
        "http://10.0.0.7:8080/r",
        "https://api.example.com/internal/r",
        "http://10.0.0.7/internal/r",
    ] {
        assert_eq!(outcome_at(&world, htu, "/r", &[]).await, BAD, "{htu}");
    }
}

#[tokio::test(start_paused = true)]
async fn prefix_removed_by_a_proxy_can_be_configured() {
    let world = World::with(Dpop::new("https://gateway.example.com/api/").unwrap());
    assert_eq!(outcome_at(&world, "https://gateway.example.com/api/r", "/r", &[]).await, Ok(()));
    assert_eq!(outcome_at(&world, "https://gateway.example.com/r", "/r", &[]).await, BAD);
    assert_eq!(outcome_at(&world, "https://gateway.example.com/api/api/r", "/r", &[]).await, BAD);
}

async fn ok() -> &'static str {
    "ok"
}

/// Returns the status of a router for `GET uri` with a proof for it.
async fn routed(world: &World, app: &Router, uri: &str) -> StatusCode {
    let url = format!("https://api.example.com{uri}");
    let proof = world.prover.proof("GET", &url).for_token(&world.token).mint();
    let request = Request::get(uri)
        .header("authorization", format!("DPoP {}", world.token))
        .header("dpop", proof)
        .body(axum::body::Body::empty())
        .unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn axum_layer_outside_of_a_nest_sees_the_full_path() {
    let world = World::new();
    let app =
        Router::new().nest("/v1", Router::new().route("/r", any(ok))).layer(world.api.layer());
    assert_eq!(routed(&world, &app, "/v1/r").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn axum_layer_inside_of_a_nest_reads_the_original_uri() {
    let original =
        dpop().request_uri(|head| head.extension::<OriginalUri>().map(|OriginalUri(uri)| uri));
    let world = World::with(original);
    let inner = Router::new().route("/r", any(ok)).layer(world.api.layer());
    let app = Router::new().nest("/v1", Router::new().nest("/deep", inner.clone())).merge(inner);
    assert_eq!(routed(&world, &app, "/v1/deep/r").await, StatusCode::OK);
    assert_eq!(routed(&world, &app, "/r").await, StatusCode::OK, "outside of a nest");

    // Without that function it refuses.
    let world = World::new();
    let inner = Router::new().route("/r", any(ok)).layer(world.api.layer());
    let app = Router::new().nest("/v1", inner);
    assert_eq!(routed(&world, &app, "/v1/r").await, StatusCode::UNAUTHORIZED);
}

/// A real HTTP/2 connection, in which the URI has scheme and authority.
#[tokio::test]
async fn http2_over_a_real_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let bound = crate::support::ImmediateVerifier::claims(&format!(
        "{{\"sub\":\"alice\",\"aud\":\"{AUDIENCE}\",\"cnf\":{{\"jkt\":\"{}\"}}}}",
        prover("client").thumbprint()
    ));
    let policy = policy().dpop(Dpop::new(&base).unwrap());
    let layer = tower_introspect::IntrospectLayer::new(bound, policy);
    let app = Router::new().nest("/v1", Router::new().route("/r", any(ok))).layer(layer);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let http = |http2: bool| {
        let builder = reqwest::Client::builder().no_proxy();
        if http2 { builder.http2_prior_knowledge() } else { builder }.build().unwrap()
    };
    for http2 in [false, true] {
        let send = |htu: String| {
            let proof = prover("client").proof("GET", &htu).for_token("abc").mint();
            let request = http(http2).get(format!("{base}/v1/r?a=b"));
            request.header("authorization", "DPoP abc").header("dpop", proof).send()
        };
        assert_eq!(send(format!("{base}/v1/r")).await.unwrap().status().as_u16(), 200);
        assert_eq!(send(format!("{base}/v1/r/")).await.unwrap().status().as_u16(), 401);
    }
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn proof_for_options_star_is_refused() {
    let world = World::new();
    let proof = world.prover.proof("OPTIONS", "https://api.example.com/").for_token(&world.token);
    let authorization = format!("DPoP {}", world.token);
    let fields = [("authorization", &*authorization), ("dpop", &*proof.mint())];
    let service = world.api.layer().layer(crate::support::whoami_service());
    let response = service.oneshot(request(Method::OPTIONS, "*", &fields)).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::InvalidProof));
}
