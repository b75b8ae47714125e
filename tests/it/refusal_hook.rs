//! Refusals as the application sees them: once each, and without a say in them.

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

/// What a hook was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(ErrorKind, String)>>>);

impl Told {
    fn hook(&self) -> impl Fn(&Refusal<'_>) + Send + Sync + 'static {
        let told = self.clone();
        move |refusal| {
            let path = refusal.head().uri().path().to_owned();
            told.0.lock().unwrap().push((refusal.error().kind(), path));
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
async fn the_hook_is_told_once_of_what_the_layer_refuses() {
    let told = Told::default();
    let mut get = request(&[]);
    *get.uri_mut() = "/payments?secret=1".parse().unwrap();
    ask(&layer(ImmediateVerifier::alice()).on_refusal(told.hook()), get).await;
    assert_eq!(told.take(), [(ErrorKind::MissingCredentials, "/payments".to_owned())]);
    ask(
        &layer(ImmediateVerifier::refusing(ErrorKind::Inactive)).on_refusal(told.hook()),
        with_token(),
    )
    .await;
    assert_eq!(told.kinds(), [ErrorKind::Inactive]);
    ask(&layer(ImmediateVerifier::alice()).on_refusal(told.hook()), with_token()).await;
    assert_eq!(told.kinds(), [], "let in");
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_told_of_what_takes_time_too() {
    let told = Told::default();
    let world = World::with(|api| api.issuer(remote()).on_refusal(told.hook()));
    assert_eq!(world.status("unknown").await, 401);
    assert_eq!(told.kinds(), [ErrorKind::Inactive]);
    let live = world.api.live_layer().unwrap();
    ask(&live, bearer("unknown")).await;
    assert_eq!(told.kinds(), [ErrorKind::Inactive], "by another layer of the same");
}

#[tokio::test]
async fn the_hook_is_told_of_what_is_refused_further_in() {
    let told = Told::default();
    let app: Router = Router::new()
        .route("/layer", get(async || ()).route_layer(RequireScope::all(["admin"])))
        .route("/extractor", get(async |_: Scoped<Admin>| ()))
        .layer(layer(ImmediateVerifier::alice()).on_refusal(told.hook()));
    for path in ["/layer", "/extractor"] {
        let request = Request::get(path).header("authorization", "Bearer abc");
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(told.take(), [(ErrorKind::InsufficientScope, path.to_owned())]);
    }
}

#[tokio::test]
async fn a_request_without_credentials_is_told_of_too() {
    let told = Told::default();
    let inner = RequireScope::all(["admin"]).layer(whoami_service());
    let service = layer(ImmediateVerifier::alice()).optional().on_refusal(told.hook()).layer(inner);
    service.oneshot(request(&[])).await.unwrap();
    assert_eq!(told.kinds(), [ErrorKind::MissingCredentials]);
}

#[tokio::test]
async fn interceptors_tell_the_hook_of_the_layer_outside() {
    let told = Told::default();
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let inner = tower::service_fn(move |request: Request<Bytes>| {
        *keep.lock().unwrap() = Some(request.into_parts().0.extensions);
        async { Ok::<_, std::convert::Infallible>(http::Response::new(Bytes::new())) }
    });
    let service = layer(ImmediateVerifier::alice()).on_refusal(told.hook()).layer(inner);
    service.oneshot(with_token()).await.unwrap();
    let extensions = kept.lock().unwrap().take().unwrap();
    let call =
        || tonic::Request::from_parts(tonic::metadata::MetadataMap::new(), extensions.clone(), ());
    let requirement = Requirement::all_scopes(["admin"]);
    assert!(call().require(&requirement).is_err());
    assert_eq!(told.kinds(), [ErrorKind::InsufficientScope]);
    assert!(RequireInterceptor::new(requirement).call(call()).is_err());
    assert_eq!(told.kinds(), [ErrorKind::InsufficientScope]);
}

#[tokio::test]
async fn the_nearest_hook_is_told_and_no_other() {
    let (outer, inner) = (Told::default(), Told::default());
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
async fn what_is_only_observed_is_no_refusal() {
    let told = Told::default();
    let observer = Observer::new("a trial");
    let require = RequireScope::all(["admin"]).observe(&observer);
    let service = layer(ImmediateVerifier::alice())
        .on_refusal(told.hook())
        .layer(require.layer(whoami_service()));
    assert_eq!(service.oneshot(with_token()).await.unwrap().status(), StatusCode::OK);
    assert_eq!((told.kinds(), observer.would_have_refused()), (vec![], 1));
}

/// Else a client that finds out what makes the hook panic would have its connection cut, not an answer,
/// and a panic elsewhere in the hook would hide the refusal from layers outside.
#[tokio::test]
async fn a_hook_that_panics_changes_nothing() {
    let plain = ask(&layer(ImmediateVerifier::alice()), request(&[])).await;
    let panicking =
        layer(ImmediateVerifier::alice()).on_refusal(|_| panic!("the audit trail is full"));
    let answer = ask(&panicking, request(&[])).await;
    assert_eq!(answer.status(), plain.status());
    assert_eq!(answer.headers(), plain.headers());
    assert_eq!(refusal(&answer), Some(ErrorKind::MissingCredentials));
    assert!(answer.extensions().get::<VerifyError>().is_some());
}

/// An extension that only this crate can make.
#[tokio::test]
async fn no_hook_is_left_with_a_request_where_none_is_set() {
    let service = tower::service_fn(async |request: Request<Bytes>| {
        assert_eq!(request.extensions().len(), 1, "the token");
        Ok::<_, std::convert::Infallible>(http::Response::new(Bytes::new()))
    });
    layer(ImmediateVerifier::alice()).layer(service).oneshot(with_token()).await.unwrap();
}
