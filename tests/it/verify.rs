//! The `Verifier` trait: bridges to tower services, boxes, and routing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower::{ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn};
use tower_introspect::{
    Blame, BoxError, ErrorKind, VerifyError,
    credentials::Token,
    route::{IssuerRoute, Route},
    verify::{
        ActiveToken, BoxVerifier, Freshness, FromService, IntoService, Outcome, Verifier,
        VerifyRequest, verify_fn,
    },
};

use crate::support::{ImmediateVerifier, active};

fn request(token: &str) -> VerifyRequest {
    VerifyRequest::new(Token::bearer(token).expect("not a token"))
}

fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    outcome.as_ref().err().map(VerifyError::kind)
}

#[test]
fn boxed_verifier_keeps_the_synchronous_path() {
    let boxed = BoxVerifier::new(ImmediateVerifier::alice());
    let outcome = boxed.verify(request("abc")).now_or_later();
    assert!(outcome.is_ok_and(|outcome| outcome.is_ok()));
    let waiting = BoxVerifier::new(verify_fn(async |_| ImmediateVerifier::alice().0));
    assert!(waiting.verify(request("abc")).now_or_later().is_err());
}

#[tokio::test]
async fn verifiers_and_services_convert_into_each_other() {
    let service = IntoService::new(ImmediateVerifier::alice());
    assert_eq!(
        service.clone().oneshot(request("abc")).await.unwrap().claims().subject(),
        Some("alice")
    );
    let stack = ServiceBuilder::new()
        .layer_fn(FromService::new)
        .layer(GlobalConcurrencyLimitLayer::new(1))
        .service(service);
    assert!(stack.verify(request("abc")).await.is_ok());
    assert!(stack.verify(request("abc")).await.is_ok());
}

#[tokio::test]
async fn verify_errors_are_recovered_from_nested_boxes() {
    let own = || VerifyError::new(ErrorKind::Inactive);
    let direct = service_fn(move |_: VerifyRequest| async move { Err::<ActiveToken, _>(own()) });
    let buffered = ServiceBuilder::new()
        .layer_fn(FromService::new)
        .buffer(4)
        .timeout(Duration::from_secs(1))
        .service(direct);
    assert_eq!(kind(&buffered.verify(request("abc")).await), Some(ErrorKind::Inactive));
}

#[tokio::test]
async fn foreign_errors_are_blamed_on_the_authorization_server() {
    let foreign =
        service_fn(async |_: VerifyRequest| Err::<ActiveToken, BoxError>("out of order".into()));
    let outcome = FromService::new(foreign).verify(request("abc")).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Unavailable, Blame::AuthorizationServer));
}

#[tokio::test]
async fn an_overloaded_stack_is_unavailable() {
    let stack = ServiceBuilder::new()
        .layer_fn(FromService::new)
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(0))
        .service(IntoService::new(ImmediateVerifier::alice()));
    let error = stack.verify(request("abc")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("too many"), "{error}");
}

#[test]
fn fingerprints_distinguish_tokens_without_showing_them() {
    let one = request("abc").fingerprint();
    assert_eq!(one, request("abc").fingerprint());
    assert_ne!(one, request("abd").fingerprint());
    assert!(format!("{one:?}").starts_with("ba7816bf8f01cfea"));
    assert!(!format!("{:?}", request("s3cret")).contains("s3cret"));
}

/// Returns a verifier that counts its calls.
fn counted(outcome: Outcome) -> (BoxVerifier, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let verifier = verify_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(outcome.clone())
    });
    (BoxVerifier::new(verifier), calls)
}

fn refused(kind: ErrorKind) -> Outcome {
    Err(VerifyError::new(kind))
}

fn jwt(payload: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    format!("{}.{}.c2ln", BASE64.encode(r#"{"alg":"RS256"}"#), BASE64.encode(payload))
}

#[tokio::test]
async fn jwt_is_routed_to_its_issuer_only() {
    let (local_a, calls_a) = counted(Ok(active("{}")));
    let (local_b, calls_b) = counted(refused(ErrorKind::BadSignature));
    let (remote, calls_remote) = counted(Ok(active("{}")));
    let route = Route::new([
        IssuerRoute::new("https://a").jwt(local_a),
        IssuerRoute::new("https://b").jwt(local_b),
        IssuerRoute::new("https://c").introspection(remote),
    ]);
    assert!(route.verify(request(&jwt(r#"{"iss":"https://a"}"#))).await.is_ok());
    let outcome = route.verify(request(&jwt(r#"{"iss":"https://b"}"#))).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::BadSignature));
    assert!(route.verify(request(&jwt(r#"{"iss":"https://c"}"#))).await.is_ok());
    // The issuer is compared exactly, and tokens of unknown issuers are not introspected.
    for issuer in ["https://a/", "HTTPS://a", "https://evil", ""] {
        let token = jwt(&format!("{{\"iss\":\"{issuer}\"}}"));
        assert_eq!(kind(&route.verify(request(&token)).await), Some(ErrorKind::UnknownIssuer));
    }
    let calls = [calls_a, calls_b, calls_remote].map(|calls| calls.load(Ordering::SeqCst));
    assert_eq!(calls, [1, 1, 1]);
}

#[tokio::test]
async fn token_that_is_not_a_jwt_is_opaque() {
    let (local, local_calls) = counted(Ok(active("{}")));
    let (remote, remote_calls) = counted(Ok(active("{}")));
    let route = Route::new([IssuerRoute::new("https://a").jwt(local).introspection(remote)]);
    let tokens = [
        "opaque",
        "a.b.c",
        "v1.a.b.c.d.e",
        "e30.e30.e30",
        "a.b.c.d.e",
        "..",
        &jwt("{}"),
        &jwt("[]"),
    ];
    for token in tokens {
        assert!(route.verify(request(token)).await.is_ok(), "{token}");
    }
    assert_eq!(remote_calls.load(Ordering::SeqCst), tokens.len());
    assert_eq!(local_calls.load(Ordering::SeqCst), 0);
    assert!(route.verify(request(&jwt(r#"{"iss":"https://a"}"#))).await.is_ok());
    assert_eq!(local_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn live_request_with_a_jwt_is_introspected() {
    let (local, _) = counted(refused(ErrorKind::BadSignature));
    let (remote, calls) = counted(Ok(active("{}")));
    let route = Route::new([IssuerRoute::new("https://a").jwt(local).introspection(remote)]);
    let live = request(&jwt(r#"{"iss":"https://a"}"#)).with_freshness(Freshness::Live);
    assert!(route.verify(live).await.is_ok());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn token_prefix_selects_the_issuer() {
    let (short, short_calls) = counted(Ok(active("{}")));
    let (long, long_calls) = counted(Ok(active("{}")));
    let (plain, plain_calls) = counted(refused(ErrorKind::Inactive));
    let route = Route::new([
        IssuerRoute::new("https://a").introspection(short).prefix("at_"),
        IssuerRoute::new("https://b").introspection(long).prefix("at_x_"),
        IssuerRoute::new("https://c").introspection(plain),
    ]);
    assert!(route.verify(request("at_1")).await.is_ok());
    assert!(route.verify(request("at_x_1")).await.is_ok());
    assert_eq!(kind(&route.verify(request("other")).await), Some(ErrorKind::Inactive));
    let calls = [short_calls, long_calls, plain_calls].map(|calls| calls.load(Ordering::SeqCst));
    assert_eq!(calls, [1, 1, 1]);
}

#[tokio::test]
async fn at_most_four_issuers_introspect_in_order() {
    let inactive: Vec<_> = (0..6).map(|_| counted(refused(ErrorKind::Inactive))).collect();
    let routes = inactive.iter().enumerate().map(|(at, (verifier, _))| {
        IssuerRoute::new(&format!("https://{at}")).introspection(verifier.clone())
    });
    let outcome = Route::new(routes).verify(request("opaque")).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::Inactive));
    let asked: usize = inactive.iter().map(|(_, calls)| calls.load(Ordering::SeqCst)).sum();
    assert_eq!(asked, 4);
}

#[tokio::test]
async fn inactive_token_is_unavailable_if_an_issuer_did_not_respond() {
    let (down, _) = counted(refused(ErrorKind::Unavailable));
    let (knows_not, _) = counted(refused(ErrorKind::Inactive));
    let (knows, _) = counted(Ok(active("{}")));
    let route = |last: BoxVerifier| {
        Route::new([
            IssuerRoute::new("https://a").introspection(down.clone()),
            IssuerRoute::new("https://b").introspection(last),
        ])
    };
    assert_eq!(
        kind(&route(knows_not).verify(request("opaque")).await),
        Some(ErrorKind::Unavailable)
    );
    assert!(route(knows).verify(request("opaque")).await.is_ok());
}

#[tokio::test]
async fn tokens_that_no_issuer_verifies_are_refused_for_their_defect() {
    let (local, calls) = counted(Ok(active("{}")));
    let (other, _) = counted(Ok(active("{}")));
    let route = Route::new([
        IssuerRoute::new("https://a").jwt(local),
        IssuerRoute::new("https://b").jwt(other),
    ]);
    for (token, expected) in [
        ("opaque".to_owned(), ErrorKind::MalformedToken),
        ("a.b.c.d.e".to_owned(), ErrorKind::UnsupportedToken),
        (jwt("{}"), ErrorKind::MissingClaim("iss")),
        (jwt(r#"{"iss":["https://a"]}"#), ErrorKind::InvalidClaim("iss")),
        (jwt(r#"{"iss":"https://x","iss":"https://a"}"#), ErrorKind::MalformedToken),
    ] {
        assert_eq!(kind(&route.verify(request(&token)).await), Some(expected), "{token}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
