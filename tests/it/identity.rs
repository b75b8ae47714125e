//! The claims and the identity that a handler gets, in each integration.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{json, value::RawValue};
use tonic::{Code, service::Interceptor as _};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ErrorKind, Identity, Issuer, ResourceServer, VerifiedToken,
    axum::Claims,
    cache::CacheLayer,
    credentials::Scheme,
    route::Confirm,
    test_util::{AuthorizationServer, Client},
    tonic::{RequestExt as _, VerifyInterceptor},
    verify::{BoxVerifier, Verifier, verify_fn},
};

use crate::support::{
    AUDIENCE, FixedClock, ISSUER, ImmediateVerifier, active, ask, layer, policy, refusal, request,
    with_token,
};

/// Returns the verified token with these claims.
fn token(claims: &str) -> VerifiedToken {
    policy().admit(active(claims), Scheme::Bearer).unwrap()
}

/// Returns a verified token with this JSON text as claim `n`.
fn with_n(value: &str) -> VerifiedToken {
    token(&format!(r#"{{"aud":"{AUDIENCE}","n":{value}}}"#))
}

#[derive(Deserialize)]
struct N<T> {
    n: T,
}

fn n<T: DeserializeOwned + Send + Sync + 'static>(value: &str) -> Result<Arc<N<T>>, ErrorKind> {
    with_n(value).claims_as().map_err(|error| error.kind())
}

// ===== Typed claims =====

/// Defines a type that counts its parses.
macro_rules! counted {
    ($name:ident, $count:ident) => {
        static $count: AtomicUsize = AtomicUsize::new(0);

        struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $count.fetch_add(1, Ordering::SeqCst);
                #[derive(Deserialize)]
                struct Subject {
                    #[serde(rename = "sub")]
                    _sub: String,
                }
                Subject::deserialize(deserializer).map(|_| Self)
            }
        }
    };
}

/// Returns true if three requests with one token share one parsed value.
async fn shares<T: DeserializeOwned + Send + Sync + 'static>(verifier: impl Verifier) -> bool {
    let mut first: Option<Arc<T>> = None;
    let mut shared = true;
    let seen = Arc::new(Mutex::new(None));
    let at = Arc::clone(&seen);
    let service = layer(verifier).layer(service_fn(move |request: Request<Bytes>| {
        *at.lock().unwrap() = request.extensions().get::<VerifiedToken>().cloned();
        async { Ok::<_, Infallible>(Response::new(Bytes::new())) }
    }));
    for _ in 0..3 {
        service.clone().oneshot(with_token()).await.unwrap();
        let token = seen.lock().unwrap().take().unwrap();
        let mut value = None;
        let cost = allocation_counter::measure(|| value = token.claims_as::<T>().ok());
        let value = value.unwrap();
        match &first {
            Some(first) => shared &= Arc::ptr_eq(first, &value) && cost.count_total == 0,
            None => first = Some(value),
        }
    }
    shared
}

#[tokio::test(start_paused = true)]
async fn u4_claims_of_a_cached_token_are_parsed_once() {
    counted!(Remembered, REMEMBERED);
    let inner = verify_fn(async |_| ImmediateVerifier::alice().0);
    assert!(shares::<Remembered>(CacheLayer::new().clock(FixedClock).layer(inner)).await);
    assert_eq!(REMEMBERED.load(Ordering::SeqCst), 1);

    counted!(Forgotten, UNCACHED);
    let inner = verify_fn(async |_| ImmediateVerifier::alice().0);
    assert!(!shares::<Forgotten>(inner).await);
    assert_eq!(UNCACHED.load(Ordering::SeqCst), 3, "uncached claims are parsed each time");
}

#[tokio::test]
async fn claims_confirmed_on_every_request_are_parsed_once() {
    counted!(Confirmed, CONFIRMED);
    let verifiers = || {
        (BoxVerifier::new(ImmediateVerifier::alice()), BoxVerifier::new(ImmediateVerifier::alice()))
    };
    let (local, remote) = verifiers();
    assert!(shares::<Confirmed>(Confirm::new(local, remote, Duration::from_secs(30))).await);
    assert_eq!(CONFIRMED.load(Ordering::SeqCst), 1);
}

#[test]
fn claims_of_another_type_are_denied_and_not_parsed_again() {
    counted!(Named, NAMED);
    let token = with_n("7");
    for _ in 0..3 {
        let error = token.claims_as::<Named>().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(std::error::Error::source(&error).is_none(), "the parser quotes claims");
    }
    assert_eq!(NAMED.load(Ordering::SeqCst), 1);
    assert_eq!(token.claims_as::<N<u8>>().unwrap().n, 7);
}

#[test]
fn types_with_the_same_name_are_distinguished() {
    mod other {
        #[derive(serde::Deserialize)]
        pub(super) struct Tenant {
            #[serde(rename = "owner")]
            pub(super) id: u64,
        }
    }
    #[derive(Deserialize)]
    struct Tenant {
        id: u64,
    }
    let token = token(r#"{"aud":"https://api.example.com","id":1,"owner":2}"#);
    for _ in 0..2 {
        assert_eq!(token.claims_as::<Tenant>().unwrap().id, 1);
        assert_eq!(token.claims_as::<other::Tenant>().unwrap().id, 2);
    }
}

#[test]
fn panic_while_parsing_does_not_affect_later_requests() {
    static PANIC: AtomicUsize = AtomicUsize::new(1);
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            assert_eq!(PANIC.fetch_sub(1, Ordering::SeqCst), 0, "the scripted panic");
            IgnoredAny::deserialize(deserializer).map(|_| Self)
        }
    }
    let token = with_n("7");
    let ask = || catch_unwind(AssertUnwindSafe(|| token.clone().claims_as::<Panics>().is_ok()));
    assert!(ask().is_err());
    assert_eq!(token.claims_as::<N<u8>>().unwrap().n, 7);
    assert!(matches!(ask(), Ok(true)), "it is parsed again");
}

#[test]
fn concurrent_parses_return_one_value() {
    counted!(Raced, RACED);
    let token = token(r#"{"aud":"https://api.example.com","sub":"alice","n":7}"#);
    let start = Barrier::new(8);
    let values: Vec<Arc<Raced>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|at| {
                let (token, start) = (token.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    if at % 2 == 0 {
                        assert_eq!(token.claims_as::<N<u8>>().unwrap().n, 7);
                    }
                    token.claims_as().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
    let after = RACED.load(Ordering::SeqCst);
    assert!((1..=8).contains(&after));
    assert!(Arc::ptr_eq(&token.claims_as().unwrap(), &values[0]));
    assert_eq!(RACED.load(Ordering::SeqCst), after);
}

#[tokio::test]
async fn confirmed_claims_grant_only_what_token_and_response_grant() {
    type All = BTreeMap<String, serde_json::Value>;
    let said = r#"{"aud":"https://api.example.com","scope":"read write admin","exp":4000000000,"n":18446744073709551615}"#;
    let confirmed =
        r#"{"aud":"https://api.example.com","scope":"admins read","exp":3000000000,"nbf":5}"#;
    let [local, remote] =
        [said, confirmed].map(|claims| BoxVerifier::new(ImmediateVerifier::claims(claims)));
    let confirm = Confirm::new(local, remote, Duration::from_secs(30));
    let handler = service_fn(async |request: Request<Bytes>| {
        let token = request.extensions().get::<VerifiedToken>().unwrap();
        assert_eq!(token.scope().as_str(), "read");
        assert_eq!(token.claims().raw("scope"), Some("\"read\""));
        assert_eq!(token.claims().raw("exp"), Some("3000000000"));
        let all = token.claims_as::<All>().unwrap();
        assert_eq!(all["scope"], "read");
        assert_eq!((&all["exp"], &all["nbf"]), (&json!(3_000_000_000_u64), &json!(5)));
        assert_eq!(all["n"], u64::MAX);
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    });
    let response = layer(confirm).layer(handler).oneshot(with_token()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

// ===== Numbers =====

#[test]
fn u4_integers_are_exact_or_refused() {
    assert_eq!(n::<u64>("9007199254740993").unwrap().n, (1 << 53) + 1);
    assert_eq!(n::<i64>("-9007199254740993").unwrap().n, -(1 << 53) - 1);
    assert_eq!(n::<u64>("18446744073709551615").unwrap().n, u64::MAX);
    assert_eq!(n::<i64>("-9223372036854775808").unwrap().n, i64::MIN);
    assert_eq!(n::<u128>("18446744073709551616").unwrap().n, 1 << 64);
    assert_eq!(n::<i128>("-170141183460469231731687303715884105728").unwrap().n, i128::MIN);
    let too_large = "340282366920938463463374607431768211456";
    for refused in [
        n::<u64>("18446744073709551616").err(),
        n::<i64>("9223372036854775808").err(),
        n::<u128>(too_large).err(),
        n::<u64>("7.0").err(),
        n::<u64>("7e0").err(),
        n::<u64>("\"7\"").err(),
        n::<f64>("1e400").err(),
    ] {
        assert_eq!(refused, Some(ErrorKind::Denied));
    }
    for exact in [too_large, "1e400", "0.1000000000000000055511151231257827", "-0", "7E+2"] {
        assert_eq!(n::<Box<RawValue>>(exact).unwrap().n.get(), exact);
        assert_eq!(with_n(exact).claims().raw("n"), Some(exact));
    }
}

#[test]
fn u4_flattened_integers_are_exact_and_denied_unknown_fields_refused() {
    #[derive(Deserialize)]
    struct Inner {
        n: u64,
    }
    #[derive(Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(rename = "n")]
        _n: u64,
    }
    let flat = with_n("18446744073709551615").claims_as::<Flat>().unwrap();
    assert_eq!(flat.inner.n, u64::MAX);
    assert_eq!(flat.rest.keys().collect::<Vec<_>>(), ["aud"]);
    // Refused instead of rounded.
    assert!(with_n("18446744073709551616").claims_as::<Flat>().is_err());
    assert!(with_n("7").claims_as::<Strict>().is_err(), "`aud` is not known");
}

/// `serde_json` reads these members as numbers and texts, other parsers as objects.
#[tokio::test]
async fn claims_that_parsers_read_differently_are_refused() {
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let api = |issuer| {
        let builder = ResourceServer::builder(AUDIENCE).clock(FixedClock).issuer(issuer);
        builder.transport(server.transport()).build().unwrap()
    };
    let local = api(Issuer::jwt(ISSUER));
    let remote = api(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")));
    for (name, value) in [("RawValue", "{\"scope\":\"admin\"}"), ("Number", "99")] {
        let private = json!({ format!("$serde_json::private::{name}"): value });
        for nested in [private.clone(), json!([{ "x": private }])] {
            let jwt = server.jwt().audience(AUDIENCE).claim("n", nested.clone()).mint();
            let opaque = server.opaque().audience(AUDIENCE).claim("n", nested).mint();
            for (api, token, kinds) in [
                (&local, jwt, [ErrorKind::MalformedToken; 2]),
                // The second once a random token was answered.
                (&remote, opaque, [ErrorKind::BadResponse, ErrorKind::FailsOnToken]),
            ] {
                let bearer = format!("Bearer {token}");
                let response = ask(&api.layer(), request(&[("authorization", &bearer)])).await;
                let kind = refusal(&response).unwrap();
                assert!(kinds.contains(&kind), "{name}: {kind:?}");
            }
        }
    }
}

// ===== Hosts =====

#[derive(Deserialize)]
struct Tenant {
    tenant: u64,
}

#[tokio::test]
async fn axum_optional_claims_are_none_only_without_credentials() {
    let app = |verifier: ImmediateVerifier| {
        let handler = async |claims: Option<Claims<Tenant>>| {
            claims.map_or("nobody".to_owned(), |claims| {
                assert!(!format!("{claims:?}").contains('7'), "claims are not shown");
                claims.tenant.to_string()
            })
        };
        Router::new().route("/", get(handler)).layer(layer(verifier).optional())
    };
    let fetch = async |app: Router, token: bool| {
        let mut request = Request::get("/");
        if token {
            request = request.header("authorization", "Bearer abc");
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(fetch(app(ImmediateVerifier::alice()), true).await, (StatusCode::OK, "7".into()));
    assert_eq!(
        fetch(app(ImmediateVerifier::alice()), false).await,
        (StatusCode::OK, "nobody".into())
    );
    let other = ImmediateVerifier::claims(r#"{"aud":"https://api.example.com","tenant":"seven"}"#);
    assert_eq!(fetch(app(other), true).await, (StatusCode::FORBIDDEN, String::new()));
    let expired = ImmediateVerifier::refusing(ErrorKind::Expired);
    assert_eq!(fetch(app(expired), true).await.0, StatusCode::UNAUTHORIZED);
    let handler = async |_: Option<Claims<Tenant>>| "open";
    let bare = Router::new().route("/", get(handler));
    assert_eq!(fetch(bare, false).await, (StatusCode::INTERNAL_SERVER_ERROR, String::new()));
}

fn call() -> tonic::Request<()> {
    let mut request = tonic::Request::new(());
    request.metadata_mut().insert("authorization", "Bearer abc".parse().unwrap());
    request
}

#[tokio::test]
async fn tonic_requests_give_claims_and_identity() {
    let mut interceptor = VerifyInterceptor::new(ImmediateVerifier::alice(), policy());
    let request = interceptor.call(call()).unwrap();
    assert_eq!(request.claims::<Tenant>().unwrap().tenant, 7);
    assert!(matches!(request.identity().unwrap(), Identity::Token(_)));
    let refused = request.claims::<N<u64>>().err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(!format!("{refused:?}").contains("missing field"), "the parser quotes claims");

    let bare = tonic::Request::new(());
    assert_eq!(bare.claims::<Tenant>().err().unwrap().code(), Code::Internal);
    assert_eq!(bare.identity().unwrap_err().code(), Code::Internal);

    // A tonic method finds the extensions that `IntrospectLayer` inserts.
    let method = service_fn(async |request: Request<Bytes>| {
        let (parts, ()) = request.map(drop).into_parts();
        let request = tonic::Request::from_parts(Default::default(), parts.extensions, ());
        assert!(matches!(request.identity().unwrap(), Identity::Anonymous));
        assert_eq!(request.claims::<Tenant>().err().unwrap().code(), Code::Unauthenticated);
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    });
    let service = layer(ImmediateVerifier::alice()).optional().layer(method);
    service.oneshot(crate::support::request(&[])).await.unwrap();
}

/// A request with an identity in its extensions, as code before our layers may leave it.
fn forged<B>(mut request: Request<B>) -> Request<B> {
    let mallory = r#"{"aud":"https://api.example.com","sub":"mallory","tenant":666}"#;
    request.extensions_mut().insert(token(mallory));
    request
}

#[tokio::test]
async fn u1_identity_in_the_request_is_removed_in_every_integration() {
    // Plain tower: with and without a token, exempt, and verified asynchronously.
    let slow = verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    });
    assert_eq!(ask(&layer(slow), forged(with_token())).await.body(), "alice");
    let optional = layer(ImmediateVerifier::alice()).optional();
    assert_eq!(ask(&optional, forged(request(&[]))).await.body(), "nobody");
    let exempt = layer(ImmediateVerifier::alice()).exempt(|_| true);
    assert_eq!(ask(&exempt, forged(with_token())).await.body(), "nobody");
    let refused =
        ask(&layer(ImmediateVerifier::refusing(ErrorKind::Expired)), forged(with_token())).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    // Axum: the extractors find the identity of the layer.
    let handler = async |claims: Option<Claims<Tenant>>| {
        claims.map_or("nobody".to_owned(), |claims| claims.tenant.to_string())
    };
    let app = Router::new().route("/", get(handler)).layer(optional);
    for (token, expected) in [(Some("Bearer abc"), "7"), (None, "nobody")] {
        let mut request = Request::get("/");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let request = forged(request.body(Body::empty()).unwrap());
        let response = app.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body, expected);
    }

    // Tonic: an interceptor replaces the identity, or refuses.
    let from = |mut request: tonic::Request<()>| {
        *request.extensions_mut() = forged(Request::new(())).into_parts().0.extensions;
        request
    };
    let mut interceptor = VerifyInterceptor::new(ImmediateVerifier::alice(), policy());
    let request = interceptor.call(from(call())).unwrap();
    assert_eq!(request.verified_token().unwrap().subject(), Some("alice"));
    assert_eq!(
        interceptor.call(from(tonic::Request::new(()))).unwrap_err().code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn u1_route_that_requires_fresh_facts_replaces_the_identity() {
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let issuer = Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret"));
    let builder = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(issuer)
        .transport(server.transport());
    let api = builder.build().unwrap();
    let bearer = format!("Bearer {}", server.opaque().audience(AUDIENCE).subject("alice").mint());
    let fresh = api.live_layer().unwrap();
    let response = ask(&fresh, forged(request(&[("authorization", &bearer)]))).await;
    assert_eq!(response.body(), "alice");
}
