//! The requirements of the authorization chapter of the Model Context Protocol (2026-07-28) on
//! servers.

use axum::{Router, body::Body, routing::post};
use http::{Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;
use tower_introspect::{
    Issuer, RequireScope, ResourceServer, clock::UnixTime, resource_server::ResourceServerBuilder,
    test_util::AuthorizationServer,
};

use crate::support::{FixedClock, ISSUER, challenge};

const RESOURCE: &str = "https://mcp.example.com/mcp";
const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";

fn builder(server: &AuthorizationServer) -> ResourceServerBuilder {
    ResourceServer::builder(RESOURCE)
        .issuer(Issuer::jwt(ISSUER))
        .transport(server.transport())
        .clock(FixedClock)
        .metadata(|about| about.scopes_supported(["mcp:read", "mcp:write"]))
        .policy(|policy| policy.advertise_scope("mcp:read"))
}

/// The status, the challenge and the body of a response.
type Reply = (StatusCode, Option<String>, String);

async fn send(api: &ResourceServer, request: Request<Body>) -> Reply {
    // The credentials that the handler got.
    let echo = async |headers: http::HeaderMap| match headers.get(header::AUTHORIZATION) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => String::new(),
    };
    let app = Router::new()
        .route("/mcp", post(echo).get(echo).delete(echo))
        .layer(RequireScope::all(["mcp:read"]))
        .route("/write", post(echo).route_layer(RequireScope::all(["mcp:read", "mcp:write"])))
        .layer(api.layer().remove_credentials())
        .route_service(api.metadata_path(), api.metadata_service::<Body>());
    let response = app.oneshot(request).await.unwrap();
    let (status, told) = (response.status(), challenge(response.headers()).map(str::to_owned));
    let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
    (status, told, String::from_utf8(body.to_vec()).unwrap())
}

fn request(method: &str, uri: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

async fn post_with(api: &ResourceServer, path: &str, token: &str) -> Reply {
    send(api, request("POST", path, Some(token))).await
}

fn refused(error: &str, scope: &str) -> Option<String> {
    let error = if error.is_empty() { String::new() } else { format!("error=\"{error}\", ") };
    Some(format!(
        "Bearer realm=\"{RESOURCE}\", {error}scope=\"{scope}\", resource_metadata=\"{METADATA}\""
    ))
}

fn authority() -> AuthorizationServer {
    AuthorizationServer::new(ISSUER).with_clock(FixedClock)
}

#[tokio::test(start_paused = true)]
async fn mcp_c1_c2_challenge_leads_to_the_authorization_server() {
    let api = builder(&authority()).build().unwrap();
    let (status, told, _) = send(&api, request("POST", "/mcp", None)).await;
    assert_eq!((status, told), (StatusCode::UNAUTHORIZED, refused("", "mcp:read")));
    let path = METADATA.strip_prefix("https://mcp.example.com").unwrap();
    let (status, told, body) = send(&api, request("GET", path, None)).await;
    assert_eq!((status, told), (StatusCode::OK, None));
    let about: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(about["authorization_servers"], serde_json::json!([ISSUER]));
}

/// RFC 9728 §3.3: a client that followed the challenge compares the two.
#[tokio::test(start_paused = true)]
async fn mcp_rfc9728_3_3_resource_is_the_url_that_the_client_called() {
    let api = builder(&authority()).build().unwrap();
    let about: Value = serde_json::from_str(api.metadata_document().unwrap()).unwrap();
    let called: http::Uri = about["resource"].as_str().unwrap().parse().unwrap();
    let (status, ..) = send(&api, request("POST", called.path(), None)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "no resource at this URL");
}

#[tokio::test(start_paused = true)]
async fn mcp_c3_c9_invalid_and_expired_tokens_are_401() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    let jwt = || server.jwt().audience(RESOURCE).scope("mcp:read");
    assert_eq!(post_with(&api, "/mcp", &jwt().mint()).await.0, StatusCode::OK);
    let expired = jwt().expires_at(UnixTime::from_secs(1)).mint();
    for token in [&*expired, "x.y.z", "opaque", &jwt().with_corrupt_signature().mint()] {
        let (status, told, _) = post_with(&api, "/mcp", token).await;
        let expected = refused("invalid_token", "mcp:read");
        assert_eq!((status, told), (StatusCode::UNAUTHORIZED, expected), "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn mcp_c4_tokens_for_other_resources_are_401() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    for audience in [
        "https://mcp.example.com",
        "https://mcp.example.com/mcp/",
        "https://mcp.example.com/other",
        ISSUER,
    ] {
        let token = server.jwt().audience(audience).scope("mcp:read").mint();
        assert_eq!(post_with(&api, "/mcp", &token).await.0, StatusCode::UNAUTHORIZED, "{audience}");
    }
    let none = server.jwt().scope("mcp:read").mint();
    assert_eq!(post_with(&api, "/mcp", &none).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn mcp_c5_token_is_not_passed_to_the_handler() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    let token = server.jwt().audience(RESOURCE).scope("mcp:read").mint();
    assert_eq!(post_with(&api, "/mcp", &token).await, (StatusCode::OK, None, String::new()));
}

#[tokio::test(start_paused = true)]
async fn mcp_c6_c9_403_lists_all_required_scopes() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    for scope in ["", "mcp:read", "mcp:write", "other"] {
        let token = server.jwt().audience(RESOURCE).scope(scope).mint();
        let (status, told, _) = post_with(&api, "/write", &token).await;
        let expected = refused("insufficient_scope", "mcp:read mcp:write");
        assert_eq!((status, told), (StatusCode::FORBIDDEN, expected), "{scope:?}");
    }
    let token = server.jwt().audience(RESOURCE).scope("mcp:write mcp:read").mint();
    assert_eq!(post_with(&api, "/write", &token).await.0, StatusCode::OK);
}

#[test]
fn mcp_c7_offline_access_is_not_advertised() {
    let server = authority();
    let told = |builder: ResourceServerBuilder| {
        let error = builder.build().expect_err("refused");
        error.problems().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let supported = builder(&server).metadata(|it| it.scopes_supported(["a", "offline_access"]));
    assert_eq!(told(supported), ["metadata.scopes_supported"]);
    let advertised = builder(&server).policy(|it| it.advertise_scope("a offline_access"));
    assert_eq!(told(advertised), ["metadata.scopes_supported"]);
    let similar = builder(&server).policy(|it| it.advertise_scope("offline_access:x"));
    assert!(similar.build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn mcp_c9_malformed_requests_are_400() {
    let api = builder(&authority()).build().unwrap();
    let (status, told, _) = post_with(&api, "/mcp", "two words").await;
    let expected = refused("invalid_request", "mcp:read");
    assert_eq!((status, told), (StatusCode::BAD_REQUEST, expected));
}

#[tokio::test(start_paused = true)]
async fn mcp_c10_other_spelling_of_the_resource_is_accepted_if_configured() {
    let server = authority();
    let api = |spellings: &[&str]| {
        let add = |policy: tower_introspect::Policy| {
            spellings.iter().fold(policy, |policy, name| policy.or_audience(name))
        };
        builder(&server).policy(add).build().unwrap()
    };
    for spelling in ["HTTPS://MCP.example.com/mcp", "https://mcp.example.com/mcp/"] {
        let token = server.jwt().audience(spelling).scope("mcp:read").mint();
        assert_eq!(post_with(&api(&[]), "/mcp", &token).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(post_with(&api(&[spelling]), "/mcp", &token).await.0, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn mcp_c11_token_in_the_query_is_ignored() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    let token = server.jwt().audience(RESOURCE).scope("mcp:read").mint();
    let uri = format!("/mcp?access_token={token}");
    let (status, told, _) = send(&api, request("POST", &uri, None)).await;
    assert_eq!((status, told), (StatusCode::UNAUTHORIZED, refused("", "mcp:read")));
}

#[tokio::test(start_paused = true)]
async fn mcp_c12_session_id_does_not_authorize() {
    let server = authority();
    let api = builder(&server).build().unwrap();
    let token = server.jwt().audience(RESOURCE).scope("mcp:read").mint();
    for (token, status) in [
        (Some(&*token), StatusCode::OK),
        (None, StatusCode::UNAUTHORIZED),
        (Some("x.y.z"), StatusCode::UNAUTHORIZED),
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let mut request = request(method, "/mcp", token);
            request.headers_mut().insert("mcp-session-id", "1868a90c".parse().unwrap());
            assert_eq!(send(&api, request).await.0, status, "{method} {token:?}");
        }
    }
}
