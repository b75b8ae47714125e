//! In axum: extractors, routes, and what the router does around them.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::Response,
    routing::get,
};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_introspect::{ErrorKind, Identity, RequireScope, VerifiedToken, axum::Claims};

use crate::support::{AtOnce, challenge, layer, refusal};

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
async fn extractors_give_what_the_layer_verified() {
    let app = routes().layer(layer(AtOnce::alice()));
    for (path, expected) in
        [("/subject", "alice"), ("/maybe", "alice"), ("/tenant", "7"), ("/identity", "token")]
    {
        assert_eq!(text(fetch(&app, path, Some("abc")).await).await, expected, "{path}");
    }
}

#[tokio::test]
async fn extractors_without_a_layer_answer_500() {
    for path in ["/subject", "/maybe", "/tenant", "/identity", "/write"] {
        let response = fetch(&routes(), path, Some("abc")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured), "{path}");
    }
}

#[tokio::test]
async fn an_optional_token_is_none_only_for_who_sent_none() {
    let app = routes().layer(layer(AtOnce::alice()).optional());
    assert_eq!(text(fetch(&app, "/maybe", None).await).await, "nobody");
    assert_eq!(text(fetch(&app, "/identity", None).await).await, "anonymous");
    let mandatory = fetch(&app, "/subject", None).await;
    assert_eq!(mandatory.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(mandatory.headers()), Some("Bearer realm=\"https://api.example.com\""));
    let expired = routes().layer(layer(AtOnce::refusing(ErrorKind::Expired)).optional());
    assert_eq!(fetch(&expired, "/maybe", Some("abc")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn claims_of_another_type_are_denied() {
    let app =
        routes().layer(layer(AtOnce::claims(r#"{"aud":"https://api.example.com","tenant":"x"}"#)));
    let response = fetch(&app, "/tenant", Some("abc")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn route_layers_require_scope() {
    let app = routes().layer(layer(AtOnce::alice()));
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
async fn as_a_route_layer_an_unknown_path_is_404_without_a_token() {
    let app = routes().route_layer(layer(AtOnce::alice()));
    assert_eq!(fetch(&app, "/elsewhere", None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(fetch(&app, "/subject", None).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nested_routers_and_merged_ones_are_covered() {
    let inner = Router::new().nest("/api", routes());
    let app = inner.merge(Router::new().route("/top", get(subject))).layer(layer(AtOnce::alice()));
    assert_eq!(fetch(&app, "/api/subject", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(fetch(&app, "/api/subject", Some("abc")).await).await, "alice");
    assert_eq!(fetch(&app, "/top", None).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_body_reaches_the_handler_unread() {
    async fn echo(_: VerifiedToken, body: String) -> String {
        body
    }
    let app = Router::new().route("/", axum::routing::post(echo)).layer(layer(AtOnce::alice()));
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
    // RFC 6750 §2.2: a token in the body is not looked for.
    assert_eq!(post(false).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
