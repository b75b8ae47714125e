//! The refusal hook: it is called once for each refusal, and has no influence on it.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use tonic::service::Interceptor as _;
use tower::{Layer, ServiceExt};
use tower_introspect::{
    ErrorKind, RequireScope, VerifyError,
    axum::{ScopeSet, Scoped},
    policy::{Observer, Requirement},
    respond::Refusal,
    tonic::{RequestExt as _, RequireInterceptor},
};

use crate::{
    support::{ImmediateVerifier, ask, layer, refusal, request, whoami_service, with_token},
    world::{World, bearer, remote},
};

/// Records the calls of a hook.
#[derive(Clone, Default)]
struct HookCalls(Arc<Mutex<Vec<(ErrorKind, String)>>>);

impl HookCalls {
    fn hook(&self) -> impl Fn(&Refusal<'_>) + Send + Sync + 'static {
        let calls = self.clone();
        move |refusal| {
            let path = refusal.head().uri().path().to_owned();
            calls.0.lock().unwrap().push((refusal.error().kind(), path));
        }
    }

    fn take(&self) -> Vec<(ErrorKind, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn kinds(&self) -> Vec<ErrorKind> {
        self.take().into_iter().map(|(kind, _)| kind).collect()
    }
}

struct Admin;

impl ScopeSet for Admin {
    const SCOPES: &'static [&'static str] = &["admin"];
}

#[tokio::test]
async fn hook_is_called_once_for_a_refusal_of_the_layer() {
    let calls = HookCalls::default();
    let mut get = request(&[]);
    *get.uri_mut() = "/payments?secret=1".parse().unwrap();
    ask(&layer(ImmediateVerifier::alice()).on_refusal(calls.hook()), get).await;
    assert_eq!(calls.take(), [(ErrorKind::MissingCredentials, "/payments".to_owned())]);
    ask(
        &layer(ImmediateVerifier::refusing(ErrorKind::Inactive)).on_refusal(calls.hook()),
        with_token(),
    )
    .await;
    assert_eq!(calls.kinds(), [ErrorKind::Inactive]);
    ask(&layer(ImmediateVerifier::alice()).on_refusal(calls.hook()), with_token()).await;
    assert_eq!(calls.kinds(), [], "admitted");
}

#[tokio::test(start_paused = true)]
async fn hook_is_called_for_an_asynchronous_refusal() {
    let calls = HookCalls::default();
    let world = World::with(|api| api.issuer(remote()).on_refusal(calls.hook()));
    assert_eq!(world.status("unknown").await, 401);
    assert_eq!(calls.kinds(), [ErrorKind::Inactive]);
    let live = world.api.live_layer().unwrap();
    ask(&live, bearer("unknown")).await;
    assert_eq!(calls.kinds(), [ErrorKind::Inactive], "by another layer with the same hook");
}

#[tokio::test]
async fn hook_is_called_for_a_refusal_of_an_inner_layer() {
    let calls = HookCalls::default();
    let app: Router = Router::new()
        .route("/layer", get(async || ()).route_layer(RequireScope::all(["admin"])))
        .route("/extractor", get(async |_: Scoped<Admin>| ()))
        .layer(layer(ImmediateVerifier::alice()).on_refusal(calls.hook()));
    for path in ["/layer", "/extractor"] {
        let request = Request::get(path).header("authorization", "Bearer abc");
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(calls.take(), [(ErrorKind::InsufficientScope, path.to_owned())]);
    }
}

#[tokio::test]
async fn hook_is_called_for_missing_credentials() {
    let calls = HookCalls::default();
    let inner = RequireScope::all(["admin"]).layer(whoami_service());
    let service =
        layer(ImmediateVerifier::alice()).optional().on_refusal(calls.hook()).layer(inner);
    service.oneshot(request(&[])).await.unwrap();
    assert_eq!(calls.kinds(), [ErrorKind::MissingCredentials]);
}

#[tokio::test]
async fn interceptors_call_the_hook_of_the_outer_layer() {
    let calls = HookCalls::default();
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let inner = tower::service_fn(move |request: Request<Bytes>| {
        *keep.lock().unwrap() = Some(request.into_parts().0.extensions);
        async { Ok::<_, std::convert::Infallible>(http::Response::new(Bytes::new())) }
    });
    let service = layer(ImmediateVerifier::alice()).on_refusal(calls.hook()).layer(inner);
    service.oneshot(with_token()).await.unwrap();
    let extensions = kept.lock().unwrap().take().unwrap();
    let call =
        || tonic::Request::from_parts(tonic::metadata::MetadataMap::new(), extensions.clone(), ());
    let requirement = Requirement::all_scopes(["admin"]);
    assert!(call().require(&requirement).is_err());
    assert_eq!(calls.kinds(), [ErrorKind::InsufficientScope]);
    assert!(RequireInterceptor::new(requirement).call(call()).is_err());
    assert_eq!(calls.kinds(), [ErrorKind::InsufficientScope]);
}

#[tokio::test]
async fn only_the_innermost_hook_is_called() {
    let (outer, inner) = (HookCalls::default(), HookCalls::default());
    let require = RequireScope::all(["admin"]).on_refusal(inner.hook());
    let service = layer(ImmediateVerifier::alice())
        .on_refusal(outer.hook())
        .layer(require.layer(whoami_service()));
    service.clone().oneshot(with_token()).await.unwrap();
    assert_eq!((outer.kinds(), inner.kinds()), (vec![], vec![ErrorKind::InsufficientScope]));
    service.oneshot(request(&[])).await.unwrap();
    assert_eq!((outer.kinds(), inner.kinds()), (vec![ErrorKind::MissingCredentials], vec![]));
}

#[tokio::test]
async fn observed_requirements_do_not_call_the_hook() {
    let calls = HookCalls::default();
    let observer = Observer::new("a trial");
    let require = RequireScope::all(["admin"]).observe(&observer);
    let service = layer(ImmediateVerifier::alice())
        .on_refusal(calls.hook())
        .layer(require.layer(whoami_service()));
    assert_eq!(service.oneshot(with_token()).await.unwrap().status(), StatusCode::OK);
    assert_eq!((calls.kinds(), observer.would_have_refused()), (vec![], 1));
}

/// Otherwise a client that makes the hook panic would get a closed connection instead of a
/// response, and a panic in one hook would hide the refusal from outer layers.
#[tokio::test]
async fn panicking_hook_does_not_change_the_response() {
    let plain = ask(&layer(ImmediateVerifier::alice()), request(&[])).await;
    let panicking =
        layer(ImmediateVerifier::alice()).on_refusal(|_| panic!("the audit trail is full"));
    let answer = ask(&panicking, request(&[])).await;
    assert_eq!(answer.status(), plain.status());
    assert_eq!(answer.headers(), plain.headers());
    assert_eq!(refusal(&answer), Some(ErrorKind::MissingCredentials));
    assert!(answer.extensions().get::<VerifyError>().is_some());
}

#[tokio::test]
async fn hook_adds_no_extension_to_requests() {
    let service = tower::service_fn(async |request: Request<Bytes>| {
        assert_eq!(request.extensions().len(), 1, "the token");
        Ok::<_, std::convert::Infallible>(http::Response::new(Bytes::new()))
    });
    let layer = layer(ImmediateVerifier::alice()).on_refusal(|_| {});
    layer.layer(service).oneshot(with_token()).await.unwrap();
}
