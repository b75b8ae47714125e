//! The axum integration: extractors, routes and nested routers.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::Response,
    routing::get,
};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_introspect::{
    ErrorKind, Identity, RequireScope, VerifiedToken,
    axum::Claims,
    policy::Requirement,
    require::{Paths, RequireLayer},
};

use crate::support::{ImmediateVerifier, challenge, layer, refusal};

#[derive(serde::Deserialize)]
struct Tenant {
    tenant: u64,
}

async fn subject(token: VerifiedToken) -> String {
    token.subject().unwrap_or_default().to_owned()
}

async fn maybe(token: Option<VerifiedToken>) -> String {
    token.as_ref().and_then(VerifiedToken::subject).unwrap_or("nobody").to_owned()
}

async fn tenant(Claims(claims): Claims<Tenant>) -> String {
    claims.tenant.to_string()
}

async fn identity(identity: Identity) -> &'static str {
    match identity {
        Identity::Token(_) => "token",
        _ => "anonymous",
    }
}

fn routes() -> Router {
    Router::new()
        .route("/subject", get(subject))
        .route("/maybe", get(maybe))
        .route("/tenant", get(tenant))
        .route("/identity", get(identity))
        .route("/write", get(subject).route_layer(RequireScope::all(["write"])))
}

async fn fetch(app: &Router, path: &str, token: Option<&str>) -> Response {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn extractors_return_the_verified_token() {
    let app = routes().layer(layer(ImmediateVerifier::alice()));
    for (path, expected) in
        [("/subject", "alice"), ("/maybe", "alice"), ("/tenant", "7"), ("/identity", "token")]
    {
        assert_eq!(text(fetch(&app, path, Some("abc")).await).await, expected, "{path}");
    }
}

#[tokio::test]
async fn extractors_without_a_layer_are_500() {
    for path in ["/subject", "/maybe", "/tenant", "/identity", "/write"] {
        let response = fetch(&routes(), path, Some("abc")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured), "{path}");
    }
}

#[tokio::test]
async fn optional_token_is_none_only_without_credentials() {
    let app = routes().layer(layer(ImmediateVerifier::alice()).optional());
    assert_eq!(text(fetch(&app, "/maybe", None).await).await, "nobody");
    assert_eq!(text(fetch(&app, "/identity", None).await).await, "anonymous");
    let mandatory = fetch(&app, "/subject", None).await;
    assert_eq!(mandatory.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(mandatory.headers()), Some("Bearer realm=\"https://api.example.com\""));
    let expired = routes().layer(layer(ImmediateVerifier::refusing(ErrorKind::Expired)).optional());
    assert_eq!(fetch(&expired, "/maybe", Some("abc")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn claims_of_another_type_are_denied() {
    let app = routes().layer(layer(ImmediateVerifier::claims(
        r#"{"aud":"https://api.example.com","tenant":"x"}"#,
    )));
    let response = fetch(&app, "/tenant", Some("abc")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn route_layers_require_scope() {
    let app = routes().layer(layer(ImmediateVerifier::alice()));
    let response = fetch(&app, "/write", Some("abc")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        challenge(response.headers()),
        Some(
            "Bearer realm=\"https://api.example.com\", error=\"insufficient_scope\", scope=\"write\""
        )
    );
}

#[tokio::test]
async fn unknown_path_outside_of_a_route_layer_is_404() {
    let app = routes().route_layer(layer(ImmediateVerifier::alice()));
    assert_eq!(fetch(&app, "/elsewhere", None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(fetch(&app, "/subject", None).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn layer_covers_nested_and_merged_routers() {
    let inner = Router::new().nest("/api", routes());
    let app = inner
        .merge(Router::new().route("/top", get(subject)))
        .layer(layer(ImmediateVerifier::alice()));
    assert_eq!(fetch(&app, "/api/subject", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(fetch(&app, "/api/subject", Some("abc")).await).await, "alice");
    assert_eq!(fetch(&app, "/top", None).await.status(), StatusCode::UNAUTHORIZED);
}

async fn status(app: &Router, method: &str, path: &str, token: bool) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    if token {
        request = request.header("authorization", "Bearer abc");
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn rfc9110_9_3_other_methods_of_a_route_need_a_token_before_they_are_405() {
    let covered = routes().route_layer(layer(ImmediateVerifier::alice()));
    let whole = routes().layer(layer(ImmediateVerifier::alice()));
    for app in [covered, whole] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE", "BREW"] {
            let refused = status(&app, method, "/subject", false).await;
            assert_eq!(refused, StatusCode::UNAUTHORIZED, "{method}");
        }
        // axum handles HEAD with the handler of GET, and sends no body.
        assert_eq!(status(&app, "HEAD", "/subject", true).await, StatusCode::OK);
        assert_eq!(status(&app, "HEAD", "/write", true).await, StatusCode::FORBIDDEN);
        for method in ["OPTIONS", "POST", "TRACE"] {
            let unknown = status(&app, method, "/subject", true).await;
            assert_eq!(unknown, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    }
}

#[tokio::test]
async fn method_router_layer_covers_only_methods_added_before_it() {
    let read = get(subject).route_layer(RequireScope::all(["write"])).post(subject);
    let app = Router::new()
        .route("/scoped", read)
        // Also with the verifying layer: `post` is added after it.
        .route(
            "/verified",
            get(subject).route_layer(layer(ImmediateVerifier::alice())).post(subject).put(open),
        );
    let app_in_layer = app.clone().layer(layer(ImmediateVerifier::alice()));
    assert_eq!(status(&app_in_layer, "GET", "/scoped", true).await, StatusCode::FORBIDDEN);
    assert_eq!(status(&app_in_layer, "POST", "/scoped", true).await, StatusCode::OK);
    assert_eq!(status(&app, "GET", "/verified", false).await, StatusCode::UNAUTHORIZED);
    // Without the layer, a handler that extracts the token refuses, and any other is open.
    let uncovered = status(&app, "POST", "/verified", true).await;
    assert_eq!(uncovered, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(status(&app, "PUT", "/verified", false).await, StatusCode::OK);
}

async fn open() {}

/// A nested router removes its prefix from the path, so that rules for full paths match nothing in
/// it.
#[tokio::test]
async fn rules_for_full_paths_inside_of_a_nest_refuse_all_requests() {
    let paths = || {
        let nothing = Requirement::all_scopes([]);
        RequireLayer::paths(Paths::deny_by_default().require("/api/list", nothing).public("/api"))
    };
    let bank = || Router::new().route("/list", get(open)).route("/", get(open));
    let inside = Router::new().nest("/api", bank().layer(paths()));
    let inside = inside.layer(layer(ImmediateVerifier::alice()).optional());
    for path in ["/api/list", "/api", "/api/"] {
        assert_ne!(status(&inside, "GET", path, true).await, StatusCode::OK, "{path}");
        assert_ne!(status(&inside, "GET", path, false).await, StatusCode::OK, "{path}");
    }
    assert_eq!(status(&inside, "GET", "/api/list", true).await, StatusCode::FORBIDDEN);

    // Outside of the nest they match.
    let outside = Router::new().nest("/api", bank()).layer(paths());
    let outside = outside.layer(layer(ImmediateVerifier::alice()).optional());
    assert_eq!(status(&outside, "GET", "/api/list", true).await, StatusCode::OK);
    assert_eq!(status(&outside, "GET", "/api/list", false).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&outside, "GET", "/api", false).await, StatusCode::OK);
}

/// The router may normalize paths. A path that is not named byte by byte does not reach it.
#[tokio::test]
async fn other_spellings_of_a_path_do_not_reach_the_router() {
    let paths = Paths::deny_by_default()
        .public("/health")
        .require("/list", Requirement::all_scopes(["read"]));
    let app = Router::new()
        .route("/{*anything}", get(async || "reached"))
        .layer(RequireLayer::paths(paths))
        .layer(layer(ImmediateVerifier::alice()).optional());
    for path in [
        "//health",
        "/health/",
        "/Health",
        "/%68ealth",
        "/health%2F",
        "/health%00",
        "/health;a",
        "/./health",
        "/list/../health",
        "/list%2f..%2fhealth",
        "/health%3F",
        "/health%23",
        "/%2568ealth",
        "/he%61lth?x",
        "/healt%c3%a9",
    ] {
        assert_eq!(status(&app, "GET", path, false).await, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(status(&app, "GET", path, true).await, StatusCode::FORBIDDEN, "{path}");
    }
    // The query is not part of the path, and neither is the authority of a request to a proxy.
    for path in ["/health", "/health?", "/health?/list", "http://api.example.com/health"] {
        assert_eq!(status(&app, "GET", path, false).await, StatusCode::OK, "{path}");
    }
    assert_eq!(status(&app, "GET", "/list?/health", false).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_body_reaches_the_handler_unread() {
    async fn echo(_: VerifiedToken, body: String) -> String {
        body
    }
    let app = Router::new()
        .route("/", axum::routing::post(echo))
        .layer(layer(ImmediateVerifier::alice()));
    let form = "access_token=abc";
    let post = |token: bool| {
        let mut request =
            Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        if token {
            request = request.header("authorization", "Bearer abc");
        }
        app.clone().oneshot(request.body(Body::from(form)).unwrap())
    };
    assert_eq!(text(post(true).await.unwrap()).await, form);
    // RFC 6750 §2.2: a token in the body is ignored.
    assert_eq!(post(false).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
