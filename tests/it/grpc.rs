//! In tonic: statuses, interceptors, and a real connection.

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
    HealthCheckRequest, health_client::HealthClient, health_server::HealthServer,
};
use tower::Layer;
use tower_introspect::{
    ErrorKind, VerifiedToken, VerifyError,
    policy::Requirement,
    require::{Paths, RequireLayer},
    tonic::{RequestExt as _, RequireInterceptor, VerifyInterceptor},
    verify::{Verifier, verify_fn},
};

use crate::support::{AtOnce, layer, policy};

/// A real server with the health service behind the layer, and a client to it.
async fn serve<V>(verifier: V, paths: Paths) -> HealthClient<Channel>
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
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await;
    HealthClient::new(channel.unwrap())
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
    let mut client = serve(AtOnce::alice(), scope("read")).await;
    client.check(check(Some("abc"))).await.expect("a token with the scope");

    let status = client.check(check(None)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let challenge = status.metadata().get("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"https://api.example.com\"");

    let mut client = serve(AtOnce::alice(), scope("write")).await;
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
        let mut client = serve(AtOnce::refusing(kind), scope("read")).await;
        assert_eq!(client.check(check(Some("abc"))).await.unwrap_err().code(), code, "{kind:?}");
    }
}

#[tokio::test]
async fn grpc_several_authorization_entries_are_unauthenticated() {
    let mut client = serve(AtOnce::alice(), scope("read")).await;
    let mut request = check(Some("abc"));
    request.metadata_mut().append("authorization", "Bearer abc".parse().unwrap());
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn grpc_binary_metadata_is_no_credential() {
    let mut client = serve(AtOnce::alice(), scope("read")).await;
    let mut request = check(None);
    request
        .metadata_mut()
        .insert_bin("authorization-bin", MetadataValue::from_bytes(b"Bearer abc"));
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn grpc_public_methods_only_by_name() {
    let mut client = serve(AtOnce::alice(), Paths::deny_by_default().public(CHECK)).await;
    client.check(check(None)).await.expect("a public method");
    let watch = client.watch(check(Some("abc"))).await;
    assert_eq!(watch.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn grpc_a_token_that_takes_time() {
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        AtOnce::alice().0
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
fn an_interceptor_verifies_what_needs_no_waiting() {
    let mut interceptor = VerifyInterceptor::new(AtOnce::alice(), policy());
    let request = interceptor.call(with_token()).unwrap();
    assert_eq!(request.verified_token().unwrap().subject(), Some("alice"));
    assert!(request.extensions().get::<VerifiedToken>().is_some());

    let status = interceptor.call(Request::new(())).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.metadata().get("www-authenticate").is_some());

    let slow = verify_fn(async |_| AtOnce::alice().0);
    let status = VerifyInterceptor::new(slow, policy()).call(with_token()).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[test]
fn an_interceptor_enforces_on_the_inserted_token_alone() {
    let mut read = RequireInterceptor::new(Requirement::all_scopes(["read"]));
    let mut write = RequireInterceptor::new(Requirement::all_scopes(["write"]));
    let verified = || VerifyInterceptor::new(AtOnce::alice(), policy()).call(with_token()).unwrap();
    assert!(read.call(verified()).is_ok());
    assert_eq!(write.call(verified()).unwrap_err().code(), Code::PermissionDenied);
    let missing: Status = read.call(with_token()).unwrap_err();
    assert_eq!(missing.code(), Code::Internal);
}

#[test]
fn a_status_keeps_its_reason() {
    let refused = AtOnce::refusing(ErrorKind::Expired);
    let status = VerifyInterceptor::new(refused, policy()).call(with_token()).unwrap_err();
    let source =
        std::error::Error::source(&status).and_then(|source| source.downcast_ref::<VerifyError>());
    assert_eq!(source.map(VerifyError::kind), Some(ErrorKind::Expired));
    assert!(!status.message().contains("expired"));
}

#[test]
fn services_keep_their_names() {
    fn name<S: NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let (_, health) = tonic_health::server::health_reporter();
    let health: HealthServer<_> = health;
    let required = RequireLayer::new(Requirement::all_scopes(["read"])).layer(health);
    assert_eq!(name(&layer(AtOnce::alice()).layer(required)), "grpc.health.v1.Health");
}
