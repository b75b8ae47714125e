use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tower_layer::Layer;
use tower_service::Service;

use super::prover::Prover;
use crate::test_util::lock::lock;

/// A layer that sends requests as a client with a DPoP-bound token, created by [`Prover::client`].
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_introspect::{
///     Issuer, ResourceServer,
///     proof::Dpop,
///     test_util::{AuthorizationServer, Prover},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = AuthorizationServer::new("https://as.example.com");
/// let api = ResourceServer::builder("https://api.example.com")
///     .issuer(Issuer::jwt(server.issuer()))
///     .transport(server.transport())
///     .dpop(Dpop::new("https://api.example.com")?.require_nonce())
///     .build()?;
/// let service = api.layer().layer(service_fn(async |_: Request<String>| {
///     Ok::<_, Infallible>(Response::new(String::from("hello")))
/// }));
///
/// let laptop = Prover::new("laptop of alice");
/// let token = server.jwt().audience("https://api.example.com").bound_to(&laptop).mint();
/// let client = laptop.client("https://api.example.com", &token).layer(service);
/// let response = client.oneshot(Request::get("/").body(String::new())?).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
///
/// # Clone
///
/// Clones share the nonce, and so do all services made by them.
#[derive(Clone)]
pub struct DpopClientLayer(Arc<Shared>);

struct Shared {
    prover: Prover,
    base: String,
    token: String,
    nonce: Mutex<Option<HeaderValue>>,
}

impl Prover {
    /// Creates a client layer that sends requests with `token` and a new proof each.
    ///
    /// It repeats a request once if the service requires a nonce. `base` is the URL of the service,
    /// such as `https://api.example.com`.
    #[must_use]
    pub fn client(&self, base: &str, token: &str) -> DpopClientLayer {
        let base = base.trim_end_matches('/').to_owned();
        let (prover, token) = (self.clone(), token.to_owned());
        DpopClientLayer(Arc::new(Shared { prover, base, token, nonce: Mutex::new(None) }))
    }
}

impl DpopClientLayer {
    /// Returns the nonce for the next proof, if the service gave one.
    #[must_use]
    pub fn nonce(&self) -> Option<HeaderValue> {
        lock(&self.0.nonce).clone()
    }
}

impl<S> Layer<S> for DpopClientLayer {
    type Service = DpopClient<S>;

    fn layer(&self, inner: S) -> DpopClient<S> {
        DpopClient { inner, shared: Arc::clone(&self.0) }
    }
}

impl fmt::Debug for DpopClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopClientLayer").field("prover", &self.0.prover).finish_non_exhaustive()
    }
}

/// The service of a [`DpopClientLayer`].
#[derive(Clone)]
pub struct DpopClient<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for DpopClient<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Clone + Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    // Boxed, because a named future is not worth it in a test.
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let first = shared.signed(request.clone());
            let response = inner.call(first).await?;
            // Retries once: a service that keeps asking for a nonce is broken.
            if !(shared.store_nonce(&response) && wants_nonce(&response)) {
                return Ok(response);
            }
            std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
            let response = inner.call(shared.signed(request)).await?;
            shared.store_nonce(&response);
            Ok(response)
        })
    }
}

impl Shared {
    /// Adds the token and a new proof to a request.
    fn signed<B>(&self, mut request: Request<B>) -> Request<B> {
        let url = format!("{}{}", self.base, request.uri().path());
        let mut proof = self.prover.proof(request.method().as_str(), &url).for_token(&self.token);
        if let Some(nonce) = lock(&self.nonce).as_ref().and_then(|nonce| nonce.to_str().ok()) {
            proof = proof.nonce(nonce);
        }
        let field = |text: String| HeaderValue::try_from(text).expect("a token is visible ASCII");
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(header::AUTHORIZATION, field(format!("DPoP {}", self.token)));
        headers.insert("dpop", field(proof.mint()));
        request
    }

    /// Stores the nonce of a response. Returns true if there is one.
    fn store_nonce<R>(&self, response: &Response<R>) -> bool {
        let nonce = response.headers().get("dpop-nonce").cloned();
        let stored = nonce.is_some();
        if stored {
            *lock(&self.nonce) = nonce;
        }
        stored
    }
}

fn wants_nonce<R>(response: &Response<R>) -> bool {
    let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
    let asks = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.contains("error=\"use_dpop_nonce\""))
    };
    // In gRPC the status of a refusal is 200.
    let refused = response.status() == StatusCode::UNAUTHORIZED
        || response.headers().contains_key("grpc-status");
    refused && challenges.into_iter().any(asks)
}

impl<S: fmt::Debug> fmt::Debug for DpopClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopClient").field("inner", &self.inner).finish_non_exhaustive()
    }
}
