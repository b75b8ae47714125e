//! The middleware: admission, refusals, and the readiness of the inner service.

use std::{
    convert::Infallible,
    future::{Pending, pending},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn,
    util::BoxCloneSyncService,
};
use tower_introspect::{
    ErrorKind, Identity, RequireScope, VerifiedToken, VerifyError,
    credentials::Extractor,
    verify::{BoxVerifier, Freshness, Outcome, Verifier, VerifyRequest, Verifying, verify_fn},
};

use crate::support::{
    Alive, ImmediateVerifier, ask, challenge, layer, policy, refusal, request, whoami,
    with_authorization, with_token,
};

#[tokio::test]
async fn a_verified_token_reaches_the_handler() {
    let response = ask(&layer(ImmediateVerifier::alice()), with_token()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body(), "alice");
}

#[tokio::test]
async fn token_verified_asynchronously_reaches_the_handler() {
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    });
    assert_eq!(ask(&layer(slow), with_token()).await.body(), "alice");
}

#[tokio::test]
async fn a_stack_with_the_layer_boxes_into_one_that_threads_share() {
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    });
    let service = ServiceBuilder::new()
        .boxed_clone_sync()
        .layer(layer(slow))
        .layer(RequireScope::all([]))
        .service_fn(whoami);
    let service: BoxCloneSyncService<_, _, Infallible> = service;
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), "alice");
}

#[tokio::test]
async fn a_response_future_is_sync_if_its_parts_are() {
    fn assert_sync(_: impl Sync) {}
    let verifier = BoxVerifier::new(verify_fn(async |_| ImmediateVerifier::alice().0));
    let layers = ServiceBuilder::new().layer(layer(verifier)).layer(RequireScope::all([]));
    assert_sync(layers.service_fn(whoami).call(with_token()));
}

#[tokio::test]
async fn rfc6750_3_1_no_credentials_no_error_code() {
    let layer = layer(ImmediateVerifier::alice());
    for fields in
        [&[][..], &[("authorization", "Basic dTpw")], &[("proxy-authorization", "Bearer abc")]]
    {
        let response = ask(&layer, request(fields)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(challenge(response.headers()), Some("Bearer realm=\"https://api.example.com\""));
    }
}

#[tokio::test]
async fn rfc6750_3_1_malformed_request_is_400() {
    let layer = layer(ImmediateVerifier::alice());
    let twice = request(&[("authorization", "Bearer abc"), ("authorization", "Bearer abc")]);
    let joined = request(&[("authorization", "Bearer abc, Bearer abc")]);
    let schemes = request(&[("authorization", "Bearer abc"), ("authorization", "DPoP abc")]);
    for request in [twice, joined, schemes, request(&[("authorization", "Bearer")])] {
        let response = ask(&layer, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let challenge = challenge(response.headers()).expect("a challenge");
        assert!(challenge.ends_with("error=\"invalid_request\""), "{challenge}");
    }
}

#[tokio::test]
async fn rfc6750_3_1_bad_token_is_invalid_token() {
    for kind in
        [ErrorKind::Expired, ErrorKind::BadSignature, ErrorKind::Inactive, ErrorKind::UnknownIssuer]
    {
        let response = ask(&layer(ImmediateVerifier::refusing(kind)), with_token()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(
            challenge(response.headers())
                .is_some_and(|text| text.contains("error=\"invalid_token\""))
        );
        assert_eq!(refusal(&response), Some(kind));
    }
}

#[tokio::test]
async fn policy_is_applied_to_every_verified_token() {
    let elsewhere =
        ImmediateVerifier::claims(r#"{"sub":"alice","aud":"https://other.example.com"}"#);
    let response = ask(&layer(elsewhere), with_token()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::WrongAudience));
}

#[tokio::test]
async fn errors_of_the_authorization_server_are_5xx_without_a_challenge() {
    for (kind, status) in [
        (ErrorKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::BadResponse, StatusCode::BAD_GATEWAY),
        (ErrorKind::CredentialsRejected, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let response = ask(&layer(ImmediateVerifier::refusing(kind)), with_token()).await;
        assert_eq!(response.status(), status);
        assert_eq!(challenge(response.headers()), None);
        let retry = response.headers().contains_key(header::RETRY_AFTER);
        assert_eq!(retry, kind == ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn rfc9110_9_3_2_head_and_options_are_protected_like_get() {
    for method in [Method::HEAD, Method::OPTIONS, Method::POST] {
        let mut request = request(&[]);
        *request.method_mut() = method;
        assert_eq!(
            ask(&layer(ImmediateVerifier::alice()), request).await.status(),
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn identity_in_the_request_extensions_is_removed() {
    // A verified token in the extensions, for example of a layer that trusts another authorization
    // server.
    let foreign = policy().admit(
        ImmediateVerifier::alice().0.unwrap(),
        tower_introspect::credentials::Scheme::Bearer,
    );
    let forged = |mut request: Request<Bytes>| {
        request.extensions_mut().insert(foreign.clone().unwrap());
        request
    };
    let optional = layer(ImmediateVerifier::refusing(ErrorKind::Inactive)).optional();
    assert_eq!(ask(&optional, forged(request(&[]))).await.body(), "nobody");
    let exempt = layer(ImmediateVerifier::refusing(ErrorKind::Inactive)).exempt(|_| true);
    assert_eq!(ask(&exempt, forged(with_token())).await.body(), "nobody");
    let required =
        layer(ImmediateVerifier::claims(r#"{"sub":"bob","aud":"https://api.example.com"}"#));
    assert_eq!(ask(&required, forged(with_token())).await.body(), "bob");
}

#[tokio::test]
async fn optional_layer_admits_requests_without_credentials_only() {
    let optional = layer(ImmediateVerifier::alice()).optional();
    assert_eq!(ask(&optional, request(&[])).await.body(), "nobody");
    assert_eq!(ask(&optional, with_token()).await.body(), "alice");
    let bad = layer(ImmediateVerifier::refusing(ErrorKind::Expired)).optional();
    assert_eq!(ask(&bad, with_token()).await.status(), StatusCode::UNAUTHORIZED);
    for value in ["Basic dTpw", "Bearer", "Bearer a b", ","] {
        let response = ask(&optional, request(&[("authorization", value)])).await;
        assert!(response.status().is_client_error(), "{value}");
    }
}

#[tokio::test]
async fn empty_authorization_field_counts_as_no_credentials_for_an_optional_layer() {
    let optional = layer(ImmediateVerifier::alice()).optional();
    for value in ["", " "] {
        let response = ask(&optional, request(&[("authorization", value)])).await;
        assert_eq!(response.body(), "nobody", "{value:?}");
        let required = layer(ImmediateVerifier::alice());
        let response = ask(&required, request(&[("authorization", value)])).await;
        assert_eq!(refusal(&response), Some(ErrorKind::MalformedCredentials), "{value:?}");
    }
    for fields in [["", ""], ["", "Bearer abc"], ["Bearer abc", ""]] {
        let both = fields.map(|value| ("authorization", value));
        let response = ask(&optional, request(&both)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{fields:?}");
    }
}

#[tokio::test]
async fn optional_layer_marks_anonymous_requests() {
    let seen = |request: Request<Bytes>| async move {
        let identity = match Identity::of(request.extensions()) {
            Some(Identity::Anonymous) => "anonymous",
            Some(Identity::Token(_)) => "token",
            _ => "none",
        };
        Ok::<_, Infallible>(Response::new(Bytes::from(identity)))
    };
    let service = layer(ImmediateVerifier::alice()).optional().layer(service_fn(seen));
    assert_eq!(service.clone().oneshot(request(&[])).await.unwrap().body(), "anonymous");
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), "token");
    assert_eq!(seen(request(&[])).await.unwrap().body(), "none");
}

#[tokio::test]
async fn exempt_requests_are_not_verified() {
    let layer = layer(ImmediateVerifier::refusing(ErrorKind::Inactive))
        .exempt(|head| head.uri().path() == "/health");
    let mut health = with_token();
    *health.uri_mut() = "/health".parse().unwrap();
    assert_eq!(ask(&layer, health).await.status(), StatusCode::OK);
    assert_eq!(ask(&layer, with_token()).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn authorization_header_is_marked_sensitive_and_can_be_removed() {
    let sensitive = |request: Request<Bytes>| async move {
        let value = request.headers().get(header::AUTHORIZATION).map(HeaderValue::is_sensitive);
        Ok::<_, Infallible>(Response::new(value))
    };
    let service = layer(ImmediateVerifier::alice()).layer(service_fn(sensitive));
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), &Some(true));
    let exempt = layer(ImmediateVerifier::alice()).exempt(|_| true);
    let service = exempt.clone().layer(service_fn(sensitive));
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), &Some(true));
    let service = exempt.remove_credentials().layer(service_fn(sensitive));
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), &None);
    let service =
        layer(ImmediateVerifier::alice()).remove_credentials().layer(service_fn(sensitive));
    assert_eq!(service.oneshot(with_token()).await.unwrap().body(), &None);
}

/// An exempt request may carry any number of credentials.
#[tokio::test]
async fn all_credentials_of_an_exempt_request_are_sensitive() {
    let exempt = layer(ImmediateVerifier::alice()).exempt(|_| true);
    let service = exempt.layer(service_fn(async |request: Request<Bytes>| {
        let shown = request.headers().iter().filter(|(_, value)| !value.is_sensitive());
        let names: Vec<_> = shown.map(|(name, _)| name.to_string()).collect();
        Ok::<_, Infallible>(Response::new(names))
    }));
    let request = Request::get("/")
        .header("authorization", "Bearer abc")
        .header("authorization", "Bearer abd")
        .header("dpop", "a.b.c")
        .header("dpop", "a.b.d")
        .header("x-other", "shown")
        .body(Bytes::new())
        .unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().body(), &["x-other"]);
}

#[tokio::test]
async fn rfc6750_2_3_response_to_a_query_token_is_private() {
    let by_query = layer(ImmediateVerifier::alice())
        .extractor(Extractor::new().danger_query_parameter("access_token"));
    let mut query = request(&[]);
    *query.uri_mut() = "/?access_token=abc".parse().unwrap();
    let response = ask(&by_query, query).await;
    assert_eq!(response.body(), "alice");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "private");
    let response = ask(&by_query, with_token()).await;
    assert!(!response.headers().contains_key(header::CACHE_CONTROL));
}

#[tokio::test]
async fn freshness_is_chosen_for_each_request() {
    let echo = verify_fn(async |request: VerifyRequest| match request.freshness() {
        Freshness::Live => ImmediateVerifier::alice().0,
        _ => Err(VerifyError::new(ErrorKind::Inactive)),
    });
    let layer = layer(echo).freshness_fn(|head| match *head.method() {
        Method::GET => Freshness::Cached,
        _ => Freshness::Live,
    });
    assert_eq!(ask(&layer, with_token()).await.status(), StatusCode::UNAUTHORIZED);
    let mut post = with_token();
    *post.method_mut() = Method::POST;
    assert_eq!(ask(&layer, post).await.body(), "alice");
}

#[tokio::test]
async fn custom_responder_is_used_and_the_reason_kept() {
    let teapot = |refusal: &tower_introspect::respond::Refusal<'_>| -> Response<Bytes> {
        let mut response = refusal.http();
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let response = ask(&layer(ImmediateVerifier::alice()).responder(teapot), request(&[])).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(refusal(&response), Some(ErrorKind::MissingCredentials));
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_handler() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = service_fn(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        whoami(request)
    });
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        Err(VerifyError::new(ErrorKind::Expired))
    });
    let service = layer(slow).layer(handler);
    for request in [request(&[]), with_token(), request(&[("authorization", "Bearer a b")])] {
        assert!(service.clone().oneshot(request).await.unwrap().status().is_client_error());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn layer_works_with_option_layer_and_service_builder() {
    fn is_service<S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + Sync>(
        _: &S,
    ) {
    }
    let stack = ServiceBuilder::new()
        .option_layer(Some(layer(ImmediateVerifier::alice())))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(whoami));
    is_service(&stack);
}

// ===== the readiness of the inner service =====

/// A verifier whose outcomes the test sends one by one.
#[derive(Clone, Default)]
struct ManualVerifier(Arc<std::sync::Mutex<Vec<oneshot::Receiver<Outcome>>>>);

impl ManualVerifier {
    fn next(&self) -> oneshot::Sender<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap().push(receiver);
        sender
    }
}

impl Verifier for ManualVerifier {
    type Future = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn verify(&self, _: VerifyRequest) -> Verifying<Self::Future> {
        let receiver = self.0.lock().unwrap().remove(0);
        Verifying::pending(Box::pin(async { receiver.await.expect("no outcome") }))
    }
}

#[tokio::test]
async fn slow_verification_holds_no_downstream_permit() {
    let verifier = ManualVerifier::default();
    let (first, second) = (verifier.next(), verifier.next());
    let service = layer(verifier).layer(ConcurrencyLimitLayer::new(1).layer(service_fn(whoami)));

    let mut stuck = service.clone();
    assert_ready_ok!(task::spawn(stuck.ready()).poll());
    let mut waiting = task::spawn(stuck.call(with_token()));
    assert_pending!(waiting.poll());

    // The only permit is free for another request.
    let mut other = service.clone();
    assert_ready_ok!(task::spawn(other.ready()).poll());
    let mut passing = task::spawn(other.call(with_token()));
    assert_pending!(passing.poll());
    second.send(ImmediateVerifier::alice().0).unwrap();
    assert_eq!(assert_ready_ok!(passing.poll()).body(), "alice");
    drop(passing);

    first.send(ImmediateVerifier::alice().0).unwrap();
    assert_eq!(assert_ready_ok!(waiting.poll()).body(), "alice");
}

#[tokio::test]
async fn slow_verification_does_not_deadlock_a_single_permit() {
    let verifier = ManualVerifier::default();
    let answer = verifier.next();
    let mut service =
        layer(verifier).layer(ConcurrencyLimitLayer::new(1).layer(service_fn(whoami)));
    assert_ready_ok!(task::spawn(service.ready()).poll());
    // The service that made the call stays alive, as in a server with one connection.
    let mut call = task::spawn(service.call(with_token()));
    assert_pending!(call.poll());
    answer.send(ImmediateVerifier::alice().0).unwrap();
    assert_eq!(assert_ready_ok!(call.poll()).body(), "alice");
    drop(call);
    assert_ready_ok!(task::spawn(service.ready()).poll());
}

#[tokio::test]
async fn a_refusal_holds_no_downstream_permit() {
    let mut service = layer(ImmediateVerifier::alice())
        .layer(ConcurrencyLimitLayer::new(1).layer(service_fn(whoami)));
    let mut other = service.clone();
    service.ready().await.unwrap();
    assert_eq!(service.call(request(&[])).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // The refused connection stays open, and the permit is free.
    assert_ready_ok!(task::spawn(other.ready()).poll());
    assert_eq!(other.call(with_token()).await.unwrap().body(), "alice");
}

#[tokio::test]
async fn service_is_called_only_when_ready() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<Bytes>, Response<Bytes>>();
    handle.allow(0);
    let verifier = ManualVerifier::default();
    let answer = verifier.next();
    let mut service = layer(verifier).layer(mock);
    handle.allow(1);
    service.ready().await.unwrap();
    handle.allow(0);
    let mut call = task::spawn(service.call(with_token()));
    assert_pending!(call.poll());
    answer.send(ImmediateVerifier::alice().0).unwrap();
    // Verified, and waiting for the inner service.
    assert_pending!(call.poll());
    handle.allow(1);
    assert_pending!(call.poll());
    let (_, respond) = handle.next_request().await.expect("the call");
    respond.send_response(Response::new(Bytes::from_static(b"done")));
    assert_eq!(call.await.unwrap().body(), "done");
}

#[tokio::test]
async fn errors_of_the_inner_service_pass_unchanged() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<Bytes>, Response<Bytes>>();
    let verifier = ManualVerifier::default();
    let answer = verifier.next();
    let mut service = layer(verifier).layer(mock);
    service.ready().await.unwrap();
    let mut call = task::spawn(service.call(with_token()));
    assert_pending!(call.poll());
    handle.send_error("out of order");
    answer.send(ImmediateVerifier::alice().0).unwrap();
    let error = assert_ready!(call.poll()).unwrap_err();
    assert!(error.to_string().contains("out of order"), "{error}");
}

#[tokio::test]
async fn dropped_response_future_drops_the_verification() {
    let alive = Alive::default();
    let held = alive.clone();
    let never = verify_fn(move |_| {
        let held = held.clone();
        async move {
            let _held = held;
            pending::<Outcome>().await
        }
    });
    let mut service = layer(never).layer(service_fn(whoami));
    let before = alive.count();
    let mut call = task::spawn(service.ready().await.unwrap().call(with_token()));
    assert_pending!(call.poll());
    assert_eq!(alive.count(), before + 1);
    drop(call);
    assert_eq!(alive.count(), before);
}

/// A service that counts its clones.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(clones: &Arc<AtomicUsize>) -> Self {
        Self(Arc::clone(clones))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl Service<Request<Bytes>> for Counted {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(Bytes::new())))
    }
}

#[tokio::test]
async fn a_token_verified_at_once_clones_no_service() {
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = layer(ImmediateVerifier::alice()).layer(Counted::new(&clones));
    for _ in 0..3 {
        service.ready().await.unwrap().call(with_token()).await.unwrap();
    }
    assert_eq!(clones.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nested_layers_apply_both_policies() {
    let outer = layer(ImmediateVerifier::alice());
    let inner = layer(ImmediateVerifier::refusing(ErrorKind::Revoked));
    let stack = ServiceBuilder::new().layer(outer).layer(inner).service(service_fn(whoami));
    let response = stack.oneshot(with_token()).await.unwrap();
    assert_eq!(refusal(&response), Some(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn timeout_in_the_stack_of_the_verifier_is_503() {
    let stack = ServiceBuilder::new()
        .layer_fn(tower_introspect::verify::FromService::new)
        .timeout(Duration::from_secs(3))
        .service(service_fn(|_: VerifyRequest| -> Pending<Result<_, VerifyError>> { pending() }));
    let response = ask(&layer(stack), with_token()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&response), Some(ErrorKind::Unavailable));
}

#[tokio::test]
async fn oversized_token_is_refused_without_verification() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let verifier = verify_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(ImmediateVerifier::alice().0)
    });
    let value = format!("Bearer {}", "a".repeat(1 << 20));
    let response = ask(&layer(verifier), request(&[("authorization", &value)])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::TokenTooLong));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

proptest! {
    #[test]
    fn no_header_value_causes_a_panic_a_5xx_or_an_admission(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let Some(request) = with_authorization(&value) else { return Ok(()) };
        let layer = layer(ImmediateVerifier::refusing(ErrorKind::MalformedToken));
        let response = tokio_test::block_on(ask(&layer, request));
        prop_assert!(response.status().is_client_error());
        prop_assert!(challenge(response.headers()).is_some());
    }

    #[test]
    fn other_schemes_are_not_accepted(value in "[ -~]{0,24}") {
        let ours = |text: &str| {
            let text = text.trim_start().to_ascii_lowercase();
            text.starts_with("bearer ") || text.starts_with("dpop ")
        };
        let Some(request) = with_authorization(value.as_bytes()) else { return Ok(()) };
        let admitted = tokio_test::block_on(ask(&layer(ImmediateVerifier::alice()), request)).status().is_success();
        prop_assert!(!admitted || ours(&value));
    }
}

/// The types that a user may store and clone.
#[test]
fn verified_token_is_send_sync_and_small() {
    fn size_if_shareable<T: Clone + Send + Sync + 'static>() -> usize {
        size_of::<T>()
    }
    assert!(size_if_shareable::<VerifiedToken>() <= 7 * size_of::<usize>());
}
