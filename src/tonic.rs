//! Integration with tonic: `Status`, interceptors, and the token of a request.
//!
//! [`IntrospectLayer`](crate::IntrospectLayer) works with `Server::layer` as it is: it refuses with
//! gRPC statuses, and stores the token in `tonic::Request::extensions()`. A service wrapped in it
//! keeps its name, so it can also be added to a router by itself.
//!
//! ```
//! use tonic::{Request, Response, Status};
//! use tower_introspect::tonic::RequestExt as _;
//!
//! async fn list(request: Request<()>) -> Result<Response<String>, Status> {
//!     let token = request.verified_token()?;
//!     Ok(Response::new(format!("{:?}", token.subject())))
//! }
//!
//! # tokio_test::block_on(async {
//! // No layer has seen this request.
//! assert_eq!(list(Request::new(())).await.unwrap_err().code(), tonic::Code::Internal);
//! # });
//! ```
//!
//! Interceptors can't wait. [`RequireInterceptor`] checks a token that a layer has verified.
//! [`VerifyInterceptor`] verifies tokens itself, if that takes no waiting:
//!
//! ```
//! use tower_introspect::{policy::Requirement, tonic::RequireInterceptor};
//!
//! let interceptor = RequireInterceptor::new(Requirement::all_scopes(["read:payments"]));
//! // GreeterServer::with_interceptor(greeter, interceptor)
//! # let _ = interceptor;
//! ```

use std::{fmt, sync::Arc};

use http::{
    Extensions, Method, Uri, Version,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use tonic::{Request, Status, metadata::MetadataMap, server::NamedService, service::Interceptor};

use crate::{
    credentials::{extract::Extractor, head::RequestHead, hide::mark_sensitive, token::Scheme},
    error::{kind::ErrorKind, refusal::VerifyError},
    layer::service::Introspect,
    policy::{
        identity::{
            Identity, hook_of, if_presented, record_met, refuse_inside, strip_identity, token_of,
            token_that_meets,
        },
        settings::Policy,
        verified_token::{Requirement, VerifiedToken},
    },
    proof::presented::DPOP,
    require::service::Require,
    respond::{challenge::Challenge, hook::report, refusal::Refusal},
    telemetry::{self, refused_by::RefusedBy},
    verify::{request::VerifyRequest, verifier::Verifier},
};

#[cfg(feature = "_crypto")]
use crate::{
    lease::end::StreamEnd,
    stream::service::{GuardResponses, LeaseRequests},
};

impl<S: NamedService, V, R> NamedService for Introspect<S, V, R> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService, R> NamedService for Require<S, R> {
    const NAME: &'static str = S::NAME;
}

#[cfg(feature = "_crypto")]
impl<S: NamedService> NamedService for GuardResponses<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(feature = "_crypto")]
impl<S: NamedService, Q> NamedService for LeaseRequests<S, Q> {
    const NAME: &'static str = S::NAME;
}

/// The status of a stream that ends with its lease: `Unauthenticated`, `PermissionDenied` or
/// `Unavailable`.
///
/// It carries no challenge. A [`StreamLayer`](crate::stream::StreamLayer) adds that.
#[cfg(feature = "_crypto")]
impl From<StreamEnd> for Status {
    fn from(end: StreamEnd) -> Self {
        let (error, challenge) = (end.to_refusal(), Challenge::new(""));
        let (method, uri, headers) = (Method::POST, Uri::default(), http::HeaderMap::new());
        let head = RequestHead::new(&method, &uri, &headers).with_version(Version::HTTP_2);
        let mut status = status(&Refusal::new(&error, head, &challenge));
        status.metadata_mut().remove("www-authenticate");
        status.set_source(Arc::new(end));
        status
    }
}

/// Adds accessors for the verified token and its claims to `tonic::Request`.
///
/// ```
/// use tonic::{Request, Response, Status};
/// use tower_introspect::{Identity, tonic::RequestExt as _};
///
/// #[derive(serde::Deserialize)]
/// struct Tenant {
///     tenant: u64,
/// }
///
/// async fn list(request: Request<()>) -> Result<Response<u64>, Status> {
///     Ok(Response::new(request.claims::<Tenant>()?.tenant))
/// }
///
/// async fn hello(request: Request<()>) -> Result<Response<&'static str>, Status> {
///     Ok(Response::new(match request.identity()? {
///         Identity::Token(_) => "hello again",
///         _ => "hello",
///     }))
/// }
///
/// # tokio_test::block_on(async {
/// // No layer has seen these requests.
/// assert_eq!(list(Request::new(())).await.unwrap_err().code(), tonic::Code::Internal);
/// assert_eq!(hello(Request::new(())).await.unwrap_err().code(), tonic::Code::Internal);
/// # });
/// ```
pub trait RequestExt: sealed::Sealed {
    /// Returns the token that the request was admitted with.
    ///
    /// # Errors
    ///
    /// Returns `Unauthenticated` if the request was admitted without credentials, and `Internal` if
    /// no layer has seen it.
    fn verified_token(&self) -> Result<&VerifiedToken, Status>;

    /// Returns the token if it meets a requirement that depends on the message of the call.
    ///
    /// There are [others for methods and
    /// services](crate::docs::layers#which-requirement-to-write).
    ///
    /// A text from the message may be compared with a claim by [`Requirement::claim_is`]. Do not
    /// make it a scope or `acr` value: those constructors panic on an invalid value.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`verified_token`](Self::verified_token), and `PermissionDenied` or
    /// `Unauthenticated` if the requirement is not met.
    fn require(&self, requirement: &Requirement) -> Result<&VerifiedToken, Status>;

    /// Returns the claims of the token, deserialized into `C`. See [`VerifiedToken::claims_as`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`verified_token`](Self::verified_token), and `PermissionDenied` if
    /// the claims do not deserialize into `C`.
    fn claims<C>(&self) -> Result<Arc<C>, Status>
    where
        C: DeserializeOwned + Send + Sync + 'static;

    /// Returns the token of the request, or [`Identity::Anonymous`] if it has no credentials.
    ///
    /// # Errors
    ///
    /// Returns `Internal` if no layer has seen the request.
    fn identity(&self) -> Result<Identity, Status>;
}

impl<T> RequestExt for Request<T> {
    fn require(&self, requirement: &Requirement) -> Result<&VerifiedToken, Status> {
        token_that_meets(self.extensions(), requirement)
            .map_err(|error| refuse(error, RefusedBy::Handler, self.extensions()))
    }

    fn verified_token(&self) -> Result<&VerifiedToken, Status> {
        token_of(self.extensions())
            .map_err(|error| refuse(error, RefusedBy::Handler, self.extensions()))
    }

    fn claims<C>(&self) -> Result<Arc<C>, Status>
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        let claims = token_of(self.extensions()).and_then(VerifiedToken::claims_as);
        claims.map_err(|error| refuse(error, RefusedBy::Handler, self.extensions()))
    }

    fn identity(&self) -> Result<Identity, Status> {
        match if_presented(token_of(self.extensions())) {
            Ok(token) => Ok(token.cloned().map_or(Identity::Anonymous, Identity::Token)),
            Err(error) => Err(refuse(error, RefusedBy::Handler, self.extensions())),
        }
    }
}

/// An interceptor that checks a requirement on a token that a layer has verified.
///
/// It refuses with `Internal` if no layer has seen the request. See the [module docs](self) for an
/// example.
#[derive(Clone, Debug)]
pub struct RequireInterceptor(Requirement);

impl RequireInterceptor {
    /// Creates an interceptor that applies `requirement` to every request.
    #[must_use]
    pub const fn new(requirement: Requirement) -> Self {
        Self(requirement)
    }
}

impl Interceptor for RequireInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let extensions = request.extensions_mut();
        let outcome = token_of(extensions).and_then(|token| self.0.check(token));
        match outcome.and_then(|()| record_met(extensions, &self.0)) {
            Ok(()) => Ok(request),
            Err(error) => Err(refuse(error, RefusedBy::Interceptor, extensions)),
        }
    }
}

/// An interceptor that verifies tokens, if that takes no waiting.
///
/// A JWT whose key is loaded takes no waiting. If the verifier would have to wait, the interceptor
/// refuses with `Unavailable`. Put an [`IntrospectLayer`](crate::IntrospectLayer) around the server
/// instead, or load the keys before serving and refresh them in the background.
///
/// An interceptor sees neither the method nor the address of a call, so it can't compare a proof
/// with them. It refuses all tokens that are bound to a key, whatever the policy.
pub struct VerifyInterceptor<V> {
    verifier: Arc<V>,
    policy: Arc<Policy>,
}

impl<V: Verifier> VerifyInterceptor<V> {
    /// Creates an interceptor that admits tokens that `verifier` verifies and `policy` admits.
    ///
    /// ```
    /// use tonic::{Code, Request, service::Interceptor};
    /// use tower_introspect::{Policy, VerifyError, ErrorKind, tonic::VerifyInterceptor, verify::verify_fn};
    ///
    /// let closed = verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive)));
    /// let mut interceptor = VerifyInterceptor::new(closed, Policy::new("https://api.example.com"));
    /// assert_eq!(interceptor.call(Request::new(())).unwrap_err().code(), Code::Unauthenticated);
    /// ```
    #[must_use]
    pub fn new(verifier: V, policy: Policy) -> Self {
        Self { verifier: Arc::new(verifier), policy: Arc::new(policy) }
    }

    fn verify(&self, request: &Request<()>) -> Result<VerifiedToken, VerifyError> {
        let headers = request.metadata().as_ref();
        let token = Extractor::new().extract(headers, &Uri::default())?;
        let scheme = token.scheme();
        match self.verifier.verify(VerifyRequest::new(token)).now_or_later() {
            Ok(outcome) => self.policy.admit(outcome?, scheme),
            Err(_) => Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("an interceptor can't wait for the verification")),
        }
    }
}

impl<V: Verifier> Interceptor for VerifyInterceptor<V> {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let verdict = self.verify(&request);
        let extensions = request.extensions_mut();
        // The hook of an outer layer, which is found by what is removed here.
        let outer_hook = of_call(extensions, |head| hook_of(head).cloned());
        strip_identity(extensions);
        match verdict {
            Ok(token) => {
                telemetry::report::request_admitted(token.method().as_str(), token.facts_age());
                extensions.insert(token);
                let mut fields = std::mem::take(request.metadata_mut()).into_headers();
                self.policy.proofs().strip_all(&mut fields);
                mark_sensitive(&mut fields, |name| [AUTHORIZATION, DPOP].contains(name));
                *request.metadata_mut() = MetadataMap::from_headers(fields);
                Ok(request)
            }
            Err(error) => {
                telemetry::report::request_refused();
                let scheme = Scheme::used_in(request.metadata().as_ref());
                Err(of_call(request.extensions(), |head| {
                    let refusal = Refusal::new(&error, head, self.policy.challenges());
                    let refusal = refusal.presented(scheme);
                    report(&refusal, RefusedBy::Interceptor, outer_hook.as_ref());
                    status(&refusal)
                }))
            }
        }
    }
}

impl<V> Clone for VerifyInterceptor<V> {
    fn clone(&self) -> Self {
        Self { verifier: Arc::clone(&self.verifier), policy: Arc::clone(&self.policy) }
    }
}

impl<V> fmt::Debug for VerifyInterceptor<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyInterceptor").field("policy", &self.policy).finish_non_exhaustive()
    }
}

fn refuse(error: VerifyError, by: RefusedBy, extensions: &Extensions) -> Status {
    of_call(extensions, |head| refuse_inside(error, head, by, None, status))
}

/// Calls `f` with the head of a call, of which only the extensions are known.
fn of_call<T>(extensions: &Extensions, f: impl FnOnce(RequestHead<'_>) -> T) -> T {
    let (method, uri, headers) = (Method::POST, Uri::default(), http::HeaderMap::new());
    let head = RequestHead::new(&method, &uri, &headers).with_version(Version::HTTP_2);
    f(head.with_extensions(extensions))
}

/// Returns the status of the gRPC rendering of a refusal.
fn status(refusal: &Refusal<'_>) -> Status {
    let rendered: http::Response<()> = refusal.grpc();
    // These two are not metadata. tonic itself separates the others.
    let mut fields = rendered.into_parts().0.headers;
    fields.remove(CONTENT_TYPE);
    fields.remove(CACHE_CONTROL);
    let mut status =
        Status::from_header_map(&fields).unwrap_or_else(|| Status::internal("internal error"));
    status.set_source(Arc::new(refusal.error().clone()));
    status
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}

    impl<T> Sealed for tonic::Request<T> {}
}
