//! Helpers that several test modules share.

use std::{convert::Infallible, future::Ready, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
pub(crate) use testing::{clock::FixedClock, host::PATIENCE};
use tower::{ServiceExt, service_fn};
use tower_introspect::{
    ErrorKind, IntrospectLayer, Policy, VerifiedToken, VerifyError,
    claims::Claims,
    clock::Moment,
    verify::{ActiveToken, Method, Outcome, Verifier, VerifyRequest, Verifying},
};
use tower_layer::Layer;
use tower_service::Service;

pub(crate) const AUDIENCE: &str = "https://api.example.com";
pub(crate) const ISSUER: &str = "https://as.example.com";

/// A token of `ISSUER` with these claims, verified just now.
pub(crate) fn active(claims: &str) -> ActiveToken {
    let claims = Claims::from_json(claims.as_bytes()).expect("strict claims");
    ActiveToken::new(ISSUER, claims, Method::Custom, Moment::now(&FixedClock))
}

/// A verifier that gives the same outcome at once for every token.
#[derive(Clone, Debug)]
pub(crate) struct ImmediateVerifier(pub(crate) Outcome);

impl ImmediateVerifier {
    pub(crate) fn claims(claims: &str) -> Self {
        Self(Ok(active(claims)))
    }

    /// A token of alice for `AUDIENCE` with the scope `read`.
    pub(crate) fn alice() -> Self {
        Self::claims(r#"{"sub":"alice","aud":"https://api.example.com","scope":"read","tenant":7}"#)
    }

    pub(crate) fn refusing(kind: ErrorKind) -> Self {
        Self(Err(VerifyError::new(kind)))
    }
}

impl Verifier for ImmediateVerifier {
    type Future = Ready<Outcome>;

    fn verify(&self, _: VerifyRequest) -> Verifying<Self::Future> {
        Verifying::done(self.0.clone())
    }
}

/// A policy with [`FixedClock`].
pub(crate) fn policy() -> Policy {
    Policy::new(AUDIENCE).clock(FixedClock)
}

pub(crate) fn layer<V>(verifier: V) -> IntrospectLayer<V> {
    IntrospectLayer::new(verifier, policy())
}

/// A GET request with these fields.
pub(crate) fn request(fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().expect("a field name");
        request.headers_mut().append(name, value.parse().expect("a field value"));
    }
    request
}

/// A GET request with a token.
pub(crate) fn with_token() -> Request<Bytes> {
    request(&[("authorization", "Bearer abc")])
}

/// A handler that responds with the subject of the token.
pub(crate) async fn whoami(request: Request<Bytes>) -> Result<Response<Bytes>, Infallible> {
    let token = request.extensions().get::<VerifiedToken>();
    let subject = token.and_then(VerifiedToken::subject).unwrap_or("nobody").to_owned();
    Ok(Response::new(subject.into()))
}

/// Returns the response of [`whoami`] behind `layer`.
pub(crate) async fn ask<L>(layer: &L, request: Request<Bytes>) -> Response<Bytes>
where
    L: Layer<WhoAmI>,
    L::Service: Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible>,
{
    let Ok(response) = layer.layer(whoami_service()).oneshot(request).await;
    response
}

pub(crate) type WhoAmI =
    tower::util::BoxCloneSyncService<Request<Bytes>, Response<Bytes>, Infallible>;

pub(crate) fn whoami_service() -> WhoAmI {
    tower::util::BoxCloneSyncService::new(service_fn(whoami))
}

/// The challenge of a response.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("www-authenticate").into_iter();
    let first = values.next()?;
    assert!(values.next().is_none(), "several challenges");
    Some(first.to_str().expect("visible ASCII"))
}

/// The kind of refusal that a response carries for outer layers.
pub(crate) fn refusal<B>(response: &Response<B>) -> Option<ErrorKind> {
    response.extensions().get::<VerifyError>().map(VerifyError::kind)
}

/// A request with these bytes in `Authorization`, unless a field cannot hold them.
pub(crate) fn with_authorization(value: &[u8]) -> Option<Request<Bytes>> {
    let mut request = Request::new(Bytes::new());
    request.headers_mut().insert(AUTHORIZATION, http::HeaderValue::from_bytes(value).ok()?);
    Some(request)
}

/// A value whose live clones are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alive(Arc<()>);

impl Alive {
    pub(crate) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A file that is removed on drop.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let name = format!("tower-introspect-{name}-{}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.put(text);
        file
    }

    /// Writes a text of another length, so that the precision of file times does not matter.
    pub(crate) fn put(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
