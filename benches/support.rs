//! The parts that the benchmarks share: tokens of the usual size, a resource server that knows them, and a
//! handler that costs nothing.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::{Service, service_fn};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    credentials::Token,
    jose::SigningKey,
    jwt::KeySet,
    resource_server::ResourceServerBuilder,
    transport::HttpTransport,
    verify::{Outcome, Verifier, VerifyRequest},
};

pub(crate) const AUDIENCE: &str = "https://api.example.com";
pub(crate) const ISSUER: &str = "https://as.example.com";

pub(crate) const RSA: &[u8] = include_bytes!("../tests/it/keys/rsa.pem");
pub(crate) const P256: &[u8] = include_bytes!("../tests/it/keys/p256.pem");
pub(crate) const P256_OTHER: &[u8] = include_bytes!("../tests/it/keys/p256-other.pem");
pub(crate) const P384: &[u8] = include_bytes!("../tests/it/keys/p384.pem");
pub(crate) const ED25519: &[u8] = include_bytes!("../tests/it/keys/ed25519.pem");

// ===== Tokens =====

/// A JWT of the usual size: some 800 bytes, signed by RSA. `n` tells one from another.
pub(crate) fn jwt(key: &SigningKey, n: u64) -> String {
    let header = json!({"alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": key.kid()});
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": 4_102_444_800_u64,
        "iat": 1_700_000_000,
        "sub": format!("{n:012}"),
        "client_id": "s6BhdRkqt3",
        "jti": format!("{n:032x}"),
        "scope": "openid profile read:payments write:payments",
    });
    key.sign(&header, &claims).unwrap()
}

/// An opaque token of the usual size: 43 bytes.
pub(crate) fn opaque(n: u64) -> String {
    format!("2YotnFZFEjr1zCs-{n:027}")
}

/// A token that the authorization server calls inactive.
pub(crate) fn junk(n: u64) -> String {
    format!("junk-{n:038}")
}

/// An introspection response of the usual size: some 500 bytes.
pub(crate) fn answer(n: u64) -> String {
    format!(
        r#"{{"active":true,"iss":"{ISSUER}","sub":"{n:012}","aud":"{AUDIENCE}","client_id":"s6BhdRkqt3","username":"jane.doe@example.com","scope":"openid profile read:payments write:payments","token_type":"Bearer","exp":4102444800,"iat":1700000000,"nbf":1700000000,"auth_time":1699990000,"acr":"urn:mace:incommon:iap:silver","sid":"08a5019c-17e1-4977-8f42-65a12843ea02","jti":"{n:032x}","tenant":"example-corporation","roles":["customer","approver"]}}"#
    )
}

// ===== A resource server =====

/// An authorization server in this process, which answers at once.
fn transport() -> HttpTransport {
    let known = Arc::new(AtomicU64::new(0));
    HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        let inactive = request.body().windows(4).any(|text| text == b"junk");
        let body = if inactive {
            r#"{"active":false}"#.to_owned()
        } else {
            answer(known.fetch_add(1, Ordering::Relaxed))
        };
        let mut response = Response::new(Bytes::from(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        ready(Ok::<_, Infallible>(response))
    }))
}

/// An issuer whose tokens are introspected.
pub(crate) fn remote(issuer: &str) -> Issuer {
    let endpoint = format!("{issuer}/introspect");
    Issuer::introspect(issuer, ClientAuth::basic("api", "s3cret"))
        .configure_introspection(|remote| remote.endpoint(endpoint))
}

/// An issuer whose JWTs are verified with these keys.
pub(crate) fn local(issuer: &str, keys: KeySet) -> Issuer {
    Issuer::jwt(issuer).configure_jwt(|jwt| jwt.keys(keys))
}

/// The keys that verify what `key` signs.
pub(crate) fn public(key: &SigningKey) -> KeySet {
    let jwk = key.public_jwk().unwrap().to_string();
    KeySet::from_jwk(jwk.as_bytes()).unwrap()
}

/// Creates a resource server whose cache holds its entries for the whole benchmark.
pub(crate) fn api(
    change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
) -> ResourceServer {
    let hours = Duration::from_secs(24 * 3_600);
    let builder = ResourceServer::builder(AUDIENCE)
        .transport(transport())
        .max_age(hours)
        .jwt_max_age(hours)
        .negative_max_age(hours);
    change(builder).build().unwrap()
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// A question about a token.
pub(crate) fn question(token: &str) -> VerifyRequest {
    VerifyRequest::new(Token::bearer(token).unwrap())
}

/// Has a token verified, and so remembered.
pub(crate) fn learn(runtime: &Runtime, api: &ResourceServer, token: &str) -> Outcome {
    let verifier = api.verifier();
    runtime.block_on(async { verifier.verify(question(token)).await })
}

/// The outcome, which must be there at once.
pub(crate) fn at_once<V: Verifier>(verifier: &V, question: VerifyRequest) -> Outcome {
    let Ok(outcome) = verifier.verify(question).now_or_later() else { panic!("it takes time") };
    outcome
}

// ===== Requests =====

/// A handler that costs nothing.
#[derive(Clone)]
pub(crate) struct Free;

impl Service<Request<Bytes>> for Free {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Bytes::new())))
    }
}

/// A request as a server makes it: its field values share a buffer, and there are extensions.
pub(crate) fn received(authorization: Option<&str>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    let buffer = Bytes::from(authorization.unwrap_or("none").as_bytes().to_vec());
    if authorization.is_some() {
        let value = HeaderValue::from_maybe_shared(buffer.clone()).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request.extensions_mut().insert(buffer);
    request
}

/// The response, which must be there at once.
pub(crate) fn call<S>(service: &mut S, request: Request<Bytes>) -> Response<Bytes>
where
    S: Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let future = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { panic!("it takes time") };
    response
}
