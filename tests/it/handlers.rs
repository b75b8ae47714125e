//! Refusals by handlers, extractors and requirements: the layer that verified the token renders them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{Request, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use metrics::set_default_local_recorder;
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, RequireScope, ResourceServer, VerifiedToken, VerifyError,
    axum::{Claims, Rejection, RequestExt as _, ScopeSet, Scoped},
    policy::Requirement,
    respond::{HttpOnly, ProblemJson, Refusal},
};

use crate::{
    recorder::MemoryRecorder,
    support::{ImmediateVerifier, challenge, layer, policy, refusal, whoami_service, with_token},
    world::{World, remote},
};

/// A text that no response may show.
const SECRET: &str = "hunter2";

fn told(kind: ErrorKind) -> VerifyError {
    VerifyError::new(kind).with_context(SECRET).with_source(SECRET)
}

struct Admin;

impl ScopeSet for Admin {
    const SCOPES: &'static [&'static str] = &["admin"];
}

async fn denied() -> Result<(), VerifyError> {
    Err(told(ErrorKind::Denied))
}

async fn expired() -> Result<(), VerifyError> {
    Err(told(ErrorKind::Expired))
}

async fn account(Path(account): Path<String>, request: Parts) -> Result<String, Rejection> {
    let token = request.require(&Requirement::claim_is("sub", &account))?;
    Ok(token.subject().unwrap_or_default().to_owned())
}

async fn whole(request: axum::extract::Request) -> Result<String, Rejection> {
    request.require(&Requirement::all_scopes(["admin"]))?;
    Ok("admin".into())
}

async fn checked(token: VerifiedToken) -> Result<(), Rejection> {
    Requirement::all_scopes(["admin"]).check(&token)?;
    Ok(())
}

/// An error type of the application.
enum AppError {
    Refused(VerifyError),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let Self::Refused(error) = self;
        ([("x-app", "1"), ("content-type", "text/html")], error).into_response()
    }
}

async fn app_error() -> Result<(), AppError> {
    Err(AppError::Refused(told(ErrorKind::Denied)))
}

fn routes() -> Router {
    Router::new()
        .route("/denied", get(denied))
        .route("/expired", get(expired))
        .route("/accounts/{account}", get(account))
        .route("/whole", post(whole))
        .route("/checked", get(checked))
        .route("/app", get(app_error))
        .route("/extractor", get(async |_: Scoped<Admin>| ()))
        .route("/requirement", get(async || ()).route_layer(RequireScope::all(["admin"])))
}

/// Each way to refuse inside of the layer, and the status.
const REFUSED: [(&str, &str, u16); 8] = [
    ("GET", "/denied", 403),
    ("GET", "/expired", 401),
    ("GET", "/accounts/bob", 403),
    ("POST", "/whole", 403),
    ("GET", "/checked", 403),
    ("GET", "/app", 403),
    ("GET", "/extractor", 403),
    ("GET", "/requirement", 403),
];

async fn send(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn fetch(app: &Router, method: &str, path: &str) -> Response {
    send(app, method, path, &[("authorization", "Bearer abc")]).await
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[derive(Clone, Default)]
struct HookCalls(Arc<Mutex<Vec<(ErrorKind, String, bool)>>>);

impl HookCalls {
    fn hook(&self) -> impl Fn(&Refusal<'_>) + Send + Sync + 'static {
        let calls = self.clone();
        move |refusal| {
            let head = refusal.head();
            let target = format!("{} {}", head.method(), head.uri());
            let has_headers = head.headers().contains_key("authorization");
            calls.0.lock().unwrap().push((refusal.error().kind(), target, has_headers));
        }
    }

    fn take(&self) -> Vec<(ErrorKind, String, bool)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn refusals_inside_of_a_layer_have_its_challenge_and_no_words_of_the_error() {
    let app = routes().layer(layer(ImmediateVerifier::alice()));
    let bearer = |rest: &str| format!("Bearer realm=\"https://api.example.com\"{rest}");
    let scope = bearer(", error=\"insufficient_scope\", scope=\"admin\"");
    let invalid = bearer(", error=\"invalid_token\"");
    for (method, path, status) in REFUSED {
        let response = fetch(&app, method, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        let expected = match path {
            "/denied" | "/accounts/bob" | "/app" => None,
            "/expired" => Some(&*invalid),
            _ => Some(&*scope),
        };
        assert_eq!(challenge(response.headers()), expected, "{path}");
        assert!(refusal(&response).is_some(), "{path}");
        assert!(!format!("{response:?}").contains(SECRET), "{path}");
        assert_eq!(text(response).await, "", "{path}");
    }
    assert_eq!(text(fetch(&app, "GET", "/accounts/alice").await).await, "alice");
}

#[tokio::test]
async fn refusals_inside_of_a_layer_are_rendered_by_its_responder() {
    let app = routes().layer(layer(ImmediateVerifier::alice()).responder(ProblemJson::new()));
    for (method, path, status) in REFUSED {
        let response = fetch(&app, method, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        assert!(refusal(&response).is_some(), "{path}");
        let body = text(response).await;
        assert!(body.contains(&format!("\"status\":{status}")), "{path}: {body}");
        assert!(!body.contains(SECRET), "{path}: {body}");
    }
}

#[tokio::test]
async fn responder_of_a_resource_server_is_set_once() {
    async fn checked_by_all<R>(api: &ResourceServer<R>, token: &str, layered: Router)
    where
        R: tower_introspect::respond::Respond<Body> + Send + Sync + 'static,
    {
        let authorization = format!("Bearer {token}");
        for (method, path, status) in REFUSED {
            let response = send(&layered, method, path, &[("authorization", &authorization)]).await;
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        }
        for path in ["/denied", "/live"] {
            let response = send(&layered, "GET", path, &[]).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        }
        assert!(format!("{:?}", api.clone()).contains("ResourceServer"));
    }

    let world = World::new(remote());
    let issuer = || Issuer::introspect(crate::support::ISSUER, crate::world::auth());
    let api = ResourceServer::builder(crate::support::AUDIENCE)
        .issuer(issuer())
        .transport(world.server.transport())
        .clock(world.clock.clone())
        .responder(ProblemJson::new())
        .build()
        .unwrap();
    let token = world.opaque();
    let live =
        Router::new().route("/live", get(async || ())).route_layer(api.live_layer().unwrap());
    let app = routes().layer(api.layer()).merge(live);
    checked_by_all(&api, &token, app).await;
}

#[tokio::test]
async fn requirement_with_a_responder_of_its_own_keeps_it() {
    let own = RequireScope::all(["admin"]).responder(HttpOnly::new());
    let app = Router::new()
        .route("/own", get(async || ()).route_layer(own))
        .layer(layer(ImmediateVerifier::alice()).responder(ProblemJson::new()));
    let response = fetch(&app, "GET", "/own").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!response.headers().contains_key("content-type"));
}

#[tokio::test]
async fn every_refusal_calls_the_hook_once_and_is_counted_once() {
    let (calls, seen) = (HookCalls::default(), MemoryRecorder::default());
    let _guard = set_default_local_recorder(&seen);
    let app = routes().layer(layer(ImmediateVerifier::alice()).on_refusal(calls.hook()));
    for (method, path, _) in REFUSED {
        let response = fetch(&app, method, path).await;
        let [(kind, target, has_headers)] = &calls.take()[..] else { panic!("{path}") };
        assert_eq!(Some(*kind), refusal(&response), "{path}");
        assert_eq!(*target, format!("{method} {path}"));
        // Of a refusal that was made without the request, the hook sees method and URI alone.
        let known = !["/denied", "/expired", "/checked", "/app"].contains(&path);
        assert_eq!(*has_headers, known, "{path}");
    }
    let counted = |reason: &str| {
        let labels = format!("blame=\"client\",reason=\"{reason}\"");
        seen.get(&format!("tower_introspect_refusals_total{{{labels}}}"))
    };
    assert_eq!(counted("denied"), Some(3.0));
    assert_eq!(counted("expired"), Some(1.0));
    assert_eq!(counted("insufficient_scope"), Some(4.0));
    // The layer has admitted the requests.
    let outcome = |outcome: &str| {
        seen.get(&format!("tower_introspect_requests_total{{outcome=\"{outcome}\"}}"))
    };
    assert_eq!((outcome("admitted"), outcome("refused")), (Some(8.0), None));
}

#[tokio::test]
async fn handlers_outside_of_any_layer_refuse_all_requests() {
    for (method, path) in [("GET", "/accounts/alice"), ("POST", "/whole"), ("GET", "/checked")] {
        let response = fetch(&routes(), method, path).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured), "{path}");
    }
    // These never looked for a token.
    let response = fetch(&routes(), "GET", "/expired").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let expected = "Bearer realm=\"protected\", error=\"invalid_token\"";
    assert_eq!(challenge(response.headers()), Some(expected));
    assert!(!format!("{response:?}").contains(SECRET));
}

#[tokio::test]
async fn fields_that_a_handler_adds_to_its_refusal_are_kept() {
    for body in ["application/problem+json", ""] {
        let app = match body {
            "" => routes().layer(layer(ImmediateVerifier::alice())),
            _ => routes().layer(layer(ImmediateVerifier::alice()).responder(ProblemJson::new())),
        };
        let response = fetch(&app, "GET", "/app").await;
        assert_eq!(response.headers()["x-app"], "1");
        // But not those about the body, which is the one of the responder.
        let media_type = response.headers().get("content-type").map(|it| it.to_str().unwrap());
        assert_eq!(media_type, (!body.is_empty()).then_some(body));
    }
}

/// Otherwise the client would come back with a token that lacks what it had.
#[tokio::test]
async fn refusal_by_a_handler_names_the_scope_of_requirements_met_before() {
    let policy = policy().require(Requirement::all_scopes(["read"]));
    let app = routes().layer(IntrospectLayer::new(ImmediateVerifier::alice(), policy));
    for (method, path) in [("POST", "/whole"), ("GET", "/checked"), ("GET", "/extractor")] {
        let response = fetch(&app, method, path).await;
        let challenge = challenge(response.headers()).unwrap();
        assert!(challenge.ends_with("scope=\"read admin\""), "{path}: {challenge}");
    }
}

#[tokio::test]
async fn rfc9449_7_2_refusal_by_a_handler_is_reported_under_the_scheme_of_the_token() {
    use tower_introspect::proof::Dpop;

    let policy = policy().dpop(Dpop::new("https://api.example.com").unwrap());
    let app = routes().layer(IntrospectLayer::new(ImmediateVerifier::alice(), policy));
    let response = fetch(&app, "GET", "/expired").await;
    let mut challenges = response.headers().get_all("www-authenticate").iter();
    let [first, second] = [challenges.next().unwrap(), challenges.next().unwrap()];
    assert!(first.to_str().unwrap().starts_with("Bearer "), "{first:?}");
    assert!(first.to_str().unwrap().contains("error=\"invalid_token\""), "{first:?}");
    assert!(second.to_str().unwrap().starts_with("DPoP "), "{second:?}");
    assert!(!second.to_str().unwrap().contains("error="), "{second:?}");
}

#[tokio::test]
async fn refusal_by_a_handler_of_an_anonymous_request_has_a_challenge() {
    let calls = HookCalls::default();
    let verifying = layer(ImmediateVerifier::alice()).optional().on_refusal(calls.hook());
    let app = Router::new()
        .route(
            "/",
            get(async || -> Result<(), VerifyError> { Err(told(ErrorKind::MissingCredentials)) }),
        )
        .layer(verifying.responder(ProblemJson::new()));
    let response = send(&app, "GET", "/", &[]).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(response.headers()), Some("Bearer realm=\"https://api.example.com\""));
    assert_eq!(calls.take(), [(ErrorKind::MissingCredentials, "GET /".into(), false)]);
}

/// Only the layer next to the handler renders, reports and calls its hook.
#[tokio::test]
async fn innermost_verifying_layer_renders_the_refusal() {
    let (outer, inner) = (HookCalls::default(), HookCalls::default());
    let app = routes().layer(layer(ImmediateVerifier::alice()).on_refusal(inner.hook())).layer(
        layer(ImmediateVerifier::alice()).on_refusal(outer.hook()).responder(ProblemJson::new()),
    );
    for path in ["/denied", "/extractor", "/requirement"] {
        let response = fetch(&app, "GET", path).await;
        assert!(!response.headers().contains_key("content-type"), "{path}");
        assert_eq!((outer.take().len(), inner.take().len()), (0, 1), "{path}");
    }
}

/// The marks on responses are types of this crate. The error that finished refusals carry is not one.
#[tokio::test]
async fn response_of_another_service_is_no_refusal() {
    let calls = HookCalls::default();
    let upstream = service_fn(async |_: Request<Bytes>| {
        let mut response = http::Response::new(Bytes::from_static(b"a page"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.headers_mut().insert("www-authenticate", "Basic".parse().unwrap());
        response.extensions_mut().insert(VerifyError::new(ErrorKind::Denied));
        Ok::<_, std::convert::Infallible>(response)
    });
    let service = layer(ImmediateVerifier::alice()).on_refusal(calls.hook()).layer(upstream);
    let response = service.oneshot(with_token()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], "Basic");
    assert_eq!(*response.body(), "a page");
    assert_eq!(calls.take(), []);
}

/// A refusal is rendered once: what a layer has rendered is not rendered again further out.
#[tokio::test]
async fn finished_refusal_is_not_rendered_again() {
    static RENDERED: AtomicUsize = AtomicUsize::new(0);
    let responder = |refusal: &Refusal<'_>| -> http::Response<Bytes> {
        RENDERED.fetch_add(1, Ordering::SeqCst);
        refusal.http()
    };
    let inner = RequireScope::all(["admin"]).layer(whoami_service());
    let service = layer(ImmediateVerifier::alice()).responder(responder).layer(inner);
    let service = layer(ImmediateVerifier::alice()).responder(responder).layer(service);
    let response = service.oneshot(with_token()).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(RENDERED.load(Ordering::SeqCst), 1);
}

/// The responder sees the request of a refused requirement, as for a refusal by the layer.
#[tokio::test]
async fn responder_of_the_layer_sees_the_request_that_a_requirement_refused() {
    let responder = |refusal: &Refusal<'_>| -> http::Response<Bytes> {
        let head = refusal.head();
        let asked = head.headers().get("accept").map(|it| it.to_str().unwrap()).unwrap_or("none");
        let told = format!("{} {} {asked}", head.method(), head.uri());
        refusal.http().map(|_: Bytes| told.into())
    };
    let inner = RequireScope::all(["admin"]).layer(whoami_service());
    let service = layer(ImmediateVerifier::alice()).responder(responder).layer(inner);
    let request = Request::put("/a?b").header("accept", "text/html");
    let request = request.header("authorization", "Bearer abc").body(Bytes::new()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().body(), "PUT /a?b text/html");
}

#[tokio::test]
async fn claims_of_a_token_are_a_response() {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Tenant {
        tenant: u64,
    }

    let app = Router::new()
        .route("/", get(async |claims: Claims<Tenant>| Json(claims)))
        .layer(layer(ImmediateVerifier::alice()));
    assert_eq!(text(fetch(&app, "GET", "/").await).await, r#"{"tenant":7}"#);
}
