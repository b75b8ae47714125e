//! Requirements of routes and paths.

use bytes::Bytes;
use http::{Request, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, RequireScope,
    policy::Requirement,
    require::{Paths, RequireLayer},
};

use crate::support::{ImmediateVerifier, challenge, layer, refusal, request, whoami, with_token};

async fn ask(
    requirement: RequireLayer,
    verifier: ImmediateVerifier,
    request: Request<Bytes>,
) -> http::Response<Bytes> {
    let stack = ServiceBuilder::new().layer(layer(verifier).optional()).layer(requirement);
    stack.service(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn scoped(scope: &str) -> ImmediateVerifier {
    ImmediateVerifier::claims(&format!(
        r#"{{"sub":"alice","aud":"https://api.example.com","scope":"{scope}"}}"#
    ))
}

#[tokio::test]
async fn rfc6750_3_1_missing_scope_is_403_with_the_scope_needed() {
    let response = ask(RequireScope::all(["read", "write"]), scoped("read"), with_token()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        challenge(response.headers()),
        Some(
            "Bearer realm=\"https://api.example.com\", error=\"insufficient_scope\", scope=\"read write\""
        )
    );
}

#[tokio::test]
async fn rfc6749_3_3_scope_is_a_set_of_exact_values() {
    for (scope, status) in [
        ("read", StatusCode::OK),
        ("a read", StatusCode::OK),
        ("read a", StatusCode::OK),
        ("reader", StatusCode::FORBIDDEN),
        ("READ", StatusCode::FORBIDDEN),
        ("read,write", StatusCode::FORBIDDEN),
        ("x\\tread", StatusCode::FORBIDDEN),
        ("", StatusCode::FORBIDDEN),
    ] {
        let response = ask(RequireScope::all(["read"]), scoped(scope), with_token()).await;
        assert_eq!(response.status(), status, "{scope:?}");
    }
}

#[tokio::test]
async fn scope_of_the_wrong_type_grants_nothing() {
    for scope in ["[\"read\",7]", "[[\"read\"]]", "7", "null", "{}"] {
        let claims = format!(r#"{{"aud":"https://api.example.com","scope":{scope}}}"#);
        let response =
            ask(RequireScope::all(["read"]), ImmediateVerifier::claims(&claims), with_token())
                .await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{scope}");
    }
    let absent = ImmediateVerifier::claims(r#"{"aud":"https://api.example.com"}"#);
    let response = ask(RequireScope::all(["read"]), absent, with_token()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn scope_named_twice_counts_once() {
    let twice = || RequireScope::all(["read", "write", "read"]);
    assert_eq!(ask(twice(), scoped("read write"), with_token()).await.status(), StatusCode::OK);
    assert_eq!(
        ask(twice(), scoped("write write read read"), with_token()).await.status(),
        StatusCode::OK
    );
    let response = ask(twice(), scoped("read read"), with_token()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = challenge(response.headers()).unwrap();
    assert!(challenge.ends_with("scope=\"read write\""), "{challenge}");
}

#[tokio::test]
async fn any_scope_is_satisfied_by_one_and_the_challenge_has_the_first() {
    let any = || RequireLayer::any_scope(["read", "admin"]);
    assert_eq!(ask(any(), scoped("admin"), with_token()).await.status(), StatusCode::OK);
    let response = ask(any(), scoped("other"), with_token()).await;
    assert!(challenge(response.headers()).is_some_and(|text| text.contains("scope=\"read\"")));
}

#[tokio::test]
async fn empty_requirement_still_needs_a_token() {
    let all = || RequireScope::all([]);
    assert_eq!(ask(all(), scoped(""), with_token()).await.status(), StatusCode::OK);
    assert_eq!(ask(all(), scoped(""), request(&[])).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nested_requirements_must_all_be_satisfied() {
    let stack = |scope| {
        ServiceBuilder::new()
            .layer(layer(scoped(scope)))
            .layer(RequireScope::all(["a"]))
            .layer(RequireScope::all(["b"]))
            .service(service_fn(whoami))
    };
    assert_eq!(stack("a b").oneshot(with_token()).await.unwrap().status(), StatusCode::OK);
    for scope in ["a", "b"] {
        assert_eq!(
            stack(scope).oneshot(with_token()).await.unwrap().status(),
            StatusCode::FORBIDDEN
        );
    }
}

#[tokio::test]
async fn route_can_require_a_different_audience() {
    let audience = || RequireLayer::audience("https://ledger.example.com");
    let both = ImmediateVerifier::claims(
        r#"{"aud":["https://api.example.com","https://ledger.example.com"]}"#,
    );
    assert_eq!(ask(audience(), both, with_token()).await.status(), StatusCode::OK);
    let response = ask(audience(), scoped("read"), with_token()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::WrongAudience));
}

#[tokio::test]
async fn missing_outer_layer_is_500() {
    for layer in [
        RequireScope::all([]),
        RequireScope::all(["read"]),
        RequireLayer::paths(Paths::deny_by_default()),
        RequireLayer::paths(Paths::require_by_default(Requirement::all_scopes([]))),
    ] {
        let response = layer.layer(service_fn(whoami)).oneshot(with_token()).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured));
    }
}

#[tokio::test]
async fn layers_in_the_wrong_order_are_500() {
    let stack =
        ServiceBuilder::new().layer(RequireScope::all(["read"])).layer(layer(scoped("read")));
    let response = stack.service(service_fn(whoami)).oneshot(with_token()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn paths_are_compared_exactly_and_denied_by_default() {
    let paths = || {
        let paths = Paths::deny_by_default()
            .public("/grpc.health.v1.Health/Check")
            .require("/bank.Payments/List", Requirement::all_scopes(["read"]));
        RequireLayer::paths(paths)
    };
    for (path, token, status) in [
        ("/bank.Payments/List", true, StatusCode::OK),
        ("/bank.Payments/List", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/Check", false, StatusCode::OK),
        ("/grpc.health.v1.Health/Watch", true, StatusCode::FORBIDDEN),
        ("/bank.Payments/list", true, StatusCode::FORBIDDEN),
        ("/bank.Payments/List/", true, StatusCode::FORBIDDEN),
        ("//bank.Payments/List", true, StatusCode::FORBIDDEN),
        ("/bank%2EPayments/List", true, StatusCode::FORBIDDEN),
        ("/elsewhere", false, StatusCode::UNAUTHORIZED),
    ] {
        let mut request = if token { with_token() } else { request(&[]) };
        *request.uri_mut() = path.parse().unwrap();
        let response = ask(paths(), scoped("read"), request).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn rule_for_a_service_covers_methods_without_a_rule() {
    let paths = || {
        let paths = Paths::deny_by_default()
            .public_service("grpc.health.v1.Health")
            .require_service("bank.Payments", Requirement::all_scopes(["read"]))
            .require("/bank.Payments/Send", Requirement::all_scopes(["write"]))
            .public("/bank.Payments/Fees");
        RequireLayer::paths(paths)
    };
    for (path, token, status) in [
        ("/bank.Payments/List", true, StatusCode::OK),
        ("/bank.Payments/List", false, StatusCode::UNAUTHORIZED),
        ("/bank.Payments/Send", true, StatusCode::FORBIDDEN),
        ("/bank.Payments/Fees", false, StatusCode::OK),
        ("/grpc.health.v1.Health/Check", false, StatusCode::OK),
        ("/grpc.health.v1.Health/Watch", false, StatusCode::OK),
        ("/grpc.health.v1.HealthX/Watch", false, StatusCode::UNAUTHORIZED),
        ("/bank.PaymentsX/List", true, StatusCode::FORBIDDEN),
        ("/bank/List", true, StatusCode::FORBIDDEN),
        // A router behind might read these as another path.
        ("/grpc.health.v1.Health", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/..", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/..%2fadmin", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/a/../../admin", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health/Check;a", false, StatusCode::UNAUTHORIZED),
        ("/grpc.health.v1.Health//Check", false, StatusCode::UNAUTHORIZED),
        ("//grpc.health.v1.Health/Check", false, StatusCode::UNAUTHORIZED),
    ] {
        let mut request = if token { with_token() } else { request(&[]) };
        *request.uri_mut() = path.parse().unwrap();
        let response = ask(paths(), scoped("read"), request).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn rfc9470_3_challenge_requests_step_up() {
    let step_up = Requirement::check_fn(|token| match token.claims().string("acr").as_deref() {
        Some("mfa") => Ok(()),
        _ => Err(tower_introspect::VerifyError::insufficient_authentication(Some("mfa"), None)),
    });
    let response = ask(RequireLayer::new(step_up), scoped("read"), with_token()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenge = challenge(response.headers()).unwrap();
    assert!(
        challenge.contains("error=\"insufficient_user_authentication\", acr_values=\"mfa\""),
        "{challenge}"
    );
}
