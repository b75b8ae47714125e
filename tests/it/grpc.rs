//! The tonic integration: statuses, interceptors and a real connection.

use std::net::SocketAddr;

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    server::NamedService,
    service::Interceptor,
    transport::{Channel, Server},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_client::HealthClient,
    health_server::HealthServer,
};
use tower::{Layer, ServiceBuilder, ServiceExt as _, service_fn};
use tower_introspect::{
    ErrorKind, VerifiedToken, VerifyError,
    policy::Requirement,
    require::{Paths, RequireLayer},
    tonic::{RequestExt as _, RequireInterceptor, VerifyInterceptor},
    verify::{Verifier, verify_fn},
};

use crate::support::{ImmediateVerifier, challenge, layer, policy, request, whoami};

/// Serves the health service behind the layer, and returns a client.
async fn serve<V>(verifier: V, paths: Paths) -> HealthClient<Channel>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    HealthClient::new(connect(verifier, paths).await)
}

async fn connect<V>(verifier: V, paths: Paths) -> Channel
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    let (_, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(layer(verifier).optional())
        .layer(RequireLayer::paths(paths))
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

const CHECK: &str = "/grpc.health.v1.Health/Check";

fn check(token: Option<&str>) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().append("authorization", value);
    }
    request
}

fn scope(scope: &str) -> Paths {
    Paths::deny_by_default().require(CHECK, Requirement::all_scopes([scope]))
}

#[tokio::test]
async fn grpc_status_codes_over_a_real_connection() {
    let mut client = serve(ImmediateVerifier::alice(), scope("read")).await;
    client.check(check(Some("abc"))).await.expect("a token with the scope");

    let status = client.check(check(None)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let challenge = status.metadata().get("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"https://api.example.com\"");

    let mut client = serve(ImmediateVerifier::alice(), scope("write")).await;
    let status = client.check(check(Some("abc"))).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status
            .metadata()
            .get("www-authenticate")
            .unwrap()
            .to_str()
            .unwrap()
            .contains("scope=\"write\"")
    );

    for (kind, code) in [
        (ErrorKind::Expired, Code::Unauthenticated),
        (ErrorKind::Unavailable, Code::Unavailable),
        (ErrorKind::BadResponse, Code::Unavailable),
        (ErrorKind::CredentialsRejected, Code::Internal),
    ] {
        let mut client = serve(ImmediateVerifier::refusing(kind), scope("read")).await;
        assert_eq!(client.check(check(Some("abc"))).await.unwrap_err().code(), code, "{kind:?}");
    }
}

#[tokio::test]
async fn grpc_several_authorization_entries_are_unauthenticated() {
    let mut client = serve(ImmediateVerifier::alice(), scope("read")).await;
    let mut request = check(Some("abc"));
    request.metadata_mut().append("authorization", "Bearer abc".parse().unwrap());
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn grpc_binary_metadata_is_not_read_as_a_token() {
    let mut client = serve(ImmediateVerifier::alice(), scope("read")).await;
    let mut request = check(None);
    request
        .metadata_mut()
        .insert_bin("authorization-bin", MetadataValue::from_bytes(b"Bearer abc"));
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn grpc_only_named_methods_are_public() {
    let mut client =
        serve(ImmediateVerifier::alice(), Paths::deny_by_default().public(CHECK)).await;
    client.check(check(None)).await.expect("a public method");
    let watch = client.watch(check(Some("abc"))).await;
    assert_eq!(watch.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn grpc_other_spellings_of_a_method_are_other_methods() {
    let channel = connect(ImmediateVerifier::alice(), Paths::deny_by_default().public(CHECK)).await;
    let call = async |path: &str, token: Option<&str>| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let outcome = client.unary(check(token), path.parse().unwrap(), codec).await;
        outcome.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    for path in [
        "//grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health//Check",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health/./Check",
        "/grpc.health.v1.Health/%43heck",
        "/grpc%2Ehealth.v1.Health/Check",
        "/grpc.health.v1.Health%2FCheck",
        "/grpc.health.v1.Health/Check%00",
        "/grpc.health.v1.Health/Check;x",
        "/grpc.health.v1.health/check",
        "/",
    ] {
        assert_eq!(call(path, None).await, Code::Unauthenticated, "{path}");
        assert_eq!(call(path, Some("abc")).await, Code::PermissionDenied, "{path}");
    }
    assert_eq!(call(CHECK, None).await, Code::Ok);
    // The query is not part of the path, neither here nor in tonic.
    assert_eq!(call("/grpc.health.v1.Health/Check?x", None).await, Code::Ok);
    assert_eq!(
        call("/grpc.health.v1.Health/Watch?/Check", Some("abc")).await,
        Code::PermissionDenied
    );
}

/// The refusal is in gRPC-Web, as no bridge below converts it.
#[tokio::test]
async fn grpc_web_is_refused_in_grpc_web() {
    let methods = || RequireLayer::paths(scope("write").require("/a.B/Read", read()));
    let stack =
        ServiceBuilder::new().layer(layer(ImmediateVerifier::alice()).optional()).layer(methods());
    let service = stack.service(service_fn(whoami));
    for (content_type, answered) in [
        ("application/grpc-web", "application/grpc-web"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
        ("application/grpc-web-text+proto", "application/grpc-web-text"),
    ] {
        for (path, token, status) in [
            ("/a.B/Read", false, "16"),
            (CHECK, false, "16"),
            (CHECK, true, "7"),
            ("/a.B/Unnamed", false, "16"),
            ("/a.B/Unnamed", true, "7"),
            ("/a.B/%52ead", true, "7"),
        ] {
            let mut request = request(&[("content-type", content_type), ("x-grpc-web", "1")]);
            *request.method_mut() = http::Method::POST;
            *request.uri_mut() = path.parse().unwrap();
            if token {
                let value = http::HeaderValue::from_static("Bearer abc");
                request.headers_mut().insert("authorization", value);
            }
            let response = service.clone().oneshot(request).await.unwrap();
            let case = format!("{content_type} {path} {token}");
            assert_eq!(response.status(), http::StatusCode::OK, "{case}");
            assert_eq!(response.headers()["grpc-status"], status, "{case}");
            assert_eq!(response.headers()["content-type"], answered, "{case}");
            assert!(response.body().is_empty(), "{case}");
            let lacks = (path, status) == (CHECK, "7");
            let named = challenge(response.headers()).is_some_and(|text| text.contains("write"));
            assert_eq!(named, lacks, "{case}");
        }
        // A preflight request of such a client is HTTP.
        let mut preflight = request(&[("origin", "https://app.example.com")]);
        *preflight.method_mut() = http::Method::OPTIONS;
        let response = service.clone().oneshot(preflight).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::UNAUTHORIZED);
    }
    let mut good =
        request(&[("content-type", "application/grpc-web"), ("authorization", "Bearer abc")]);
    *good.uri_mut() = "/a.B/Read".parse().unwrap();
    assert_eq!(service.oneshot(good).await.unwrap().body(), "alice");
}

/// Each place that refuses sees the method and the version of the request.
#[tokio::test]
async fn grpc_form_depends_on_method_and_version_wherever_the_request_is_refused() {
    use axum::{Router, body::Body, routing::get};
    use http::{Method, Version};

    let layer = || layer(ImmediateVerifier::alice());
    let scope = RequireLayer::new(Requirement::all_scopes(["write"]));
    let both = || get(async || ()).post(async || ());
    let extractor = get(async |_: VerifiedToken| ()).post(async |_: VerifiedToken| ());
    let app = Router::new()
        .route("/layer", both().route_layer(layer()))
        .route("/requirement", both().route_layer(scope).route_layer(layer().optional()))
        .route("/extractor", extractor.route_layer(layer().optional()));
    for path in ["/layer", "/requirement", "/extractor"] {
        for (method, version, content_type, in_grpc) in [
            (Method::POST, Version::HTTP_2, "application/grpc", true),
            (Method::POST, Version::HTTP_11, "application/grpc", false),
            (Method::POST, Version::HTTP_2, "application/grpc junk", false),
            (Method::GET, Version::HTTP_2, "application/grpc", false),
            (Method::POST, Version::HTTP_11, "application/grpc-web+proto", true),
            (Method::POST, Version::HTTP_10, "application/grpc-web+proto", false),
            (Method::GET, Version::HTTP_11, "application/grpc-web+proto", false),
        ] {
            let case = format!("{path} {method} {version:?} {content_type}");
            let request = http::Request::builder().uri(path).method(method).version(version);
            let request = request.header("content-type", content_type).body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), if in_grpc { 200 } else { 401 }, "{case}");
            assert_eq!(response.headers().contains_key("grpc-status"), in_grpc, "{case}");
        }
    }
}

fn read() -> Requirement {
    Requirement::all_scopes(["read"])
}

#[tokio::test]
async fn grpc_token_verified_asynchronously_is_admitted() {
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    });
    let mut client = serve(slow, scope("read")).await;
    client.check(check(Some("abc"))).await.expect("a token with the scope");
}

fn with_token() -> Request<()> {
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", "Bearer abc".parse().unwrap());
    request
}

#[test]
fn interceptor_marks_credentials_as_sensitive() {
    let mut interceptor = VerifyInterceptor::new(ImmediateVerifier::alice(), policy());
    let mut request = with_token();
    for proof in ["s3cret.a", "s3cret.b"] {
        request.metadata_mut().append("dpop", proof.parse().unwrap());
    }
    let headers = interceptor.call(request).unwrap().into_parts().0.into_headers();
    assert_eq!(headers.len(), 3);
    assert!(headers.values().all(http::HeaderValue::is_sensitive), "{headers:?}");
}

#[test]
fn interceptor_verifies_tokens_that_need_no_waiting() {
    let mut interceptor = VerifyInterceptor::new(ImmediateVerifier::alice(), policy());
    let request = interceptor.call(with_token()).unwrap();
    assert_eq!(request.verified_token().unwrap().subject(), Some("alice"));
    assert!(request.extensions().get::<VerifiedToken>().is_some());

    let status = interceptor.call(Request::new(())).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.metadata().get("www-authenticate").is_some());

    let slow = verify_fn(async |_| ImmediateVerifier::alice().0);
    let status = VerifyInterceptor::new(slow, policy()).call(with_token()).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[test]
fn interceptor_requires_scope_of_the_inserted_token() {
    let mut read = RequireInterceptor::new(Requirement::all_scopes(["read"]));
    let mut write = RequireInterceptor::new(Requirement::all_scopes(["write"]));
    let verified =
        || VerifyInterceptor::new(ImmediateVerifier::alice(), policy()).call(with_token()).unwrap();
    assert!(read.call(verified()).is_ok());
    assert_eq!(write.call(verified()).unwrap_err().code(), Code::PermissionDenied);
    let missing: Status = read.call(with_token()).unwrap_err();
    assert_eq!(missing.code(), Code::Internal);
}

#[test]
fn status_keeps_the_verify_error_as_source() {
    let refused = ImmediateVerifier::refusing(ErrorKind::Expired);
    let status = VerifyInterceptor::new(refused, policy()).call(with_token()).unwrap_err();
    let source =
        std::error::Error::source(&status).and_then(|source| source.downcast_ref::<VerifyError>());
    assert_eq!(source.map(VerifyError::kind), Some(ErrorKind::Expired));
    assert!(!status.message().contains("expired"));
}

#[test]
fn layered_services_keep_their_names() {
    fn name<S: NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let (_, health) = tonic_health::server::health_reporter();
    let health: HealthServer<_> = health;
    let required = RequireLayer::new(Requirement::all_scopes(["read"])).layer(health);
    assert_eq!(name(&layer(ImmediateVerifier::alice()).layer(required)), "grpc.health.v1.Health");
}
