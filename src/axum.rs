//! Extractors for axum handlers.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_introspect::{Identity, VerifiedToken, axum::Claims};
//!
//! #[derive(serde::Deserialize)]
//! struct Tenant {
//!     tenant: u64,
//! }
//!
//! async fn me(token: VerifiedToken) -> String {
//!     format!("{:?} of {}", token.subject(), token.issuer())
//! }
//!
//! async fn tenant(Claims(tenant): Claims<Tenant>) -> String {
//!     tenant.tenant.to_string()
//! }
//!
//! async fn hello(token: Option<VerifiedToken>) -> &'static str {
//!     if token.is_some() { "hello again" } else { "hello" }
//! }
//!
//! let app: Router = Router::new()
//!     .route("/me", get(me))
//!     .route("/tenant", get(tenant))
//!     .route("/", get(hello));
//! # let _ = app;
//! ```
//!
//! These extractors need an [`IntrospectLayer`](crate::IntrospectLayer) outside, and refuse with
//! 500 without one. `Option<VerifiedToken>` is `None` only if that layer admitted the request
//! without credentials.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{
    claims::scope::assert_scopes,
    credentials::head::RequestHead,
    error::refusal::VerifyError,
    policy::{
        identity::{Identity, if_presented, refuse_inside, token_of},
        verified_token::VerifiedToken,
    },
    respond::{
        self,
        responder::{Auto, Respond},
    },
};

/// An extractor of the claims of the verified token, deserialized into `T`.
///
/// The value is parsed once per cached token and shared by all requests with that token: see
/// [`VerifiedToken::claims_as`]. It is behind an `Arc` for this reason, and can't be moved out of
/// it.
///
/// A token whose claims do not deserialize into `T` is refused with 403: it is valid, but lacks
/// information that this handler needs. `Option<Claims<T>>` is `None` only if the request was
/// admitted without credentials.
#[expect(clippy::exhaustive_structs, reason = "it is taken apart in handlers' arguments")]
pub struct Claims<T>(pub Arc<T>);

impl<T> Clone for Claims<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Claims<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Claims<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claims").finish_non_exhaustive()
    }
}

/// The scope that a handler requires, as a type.
///
/// A value that is not a scope-token (RFC 6749 §3.3) is a compile error where the type is used.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which scope is required",
    label = "not a `ScopeSet`",
    note = "implement `axum::ScopeSet` for it: `const SCOPES: &'static [&'static str] = &[\"read:payments\"];`"
)]
pub trait ScopeSet {
    /// The required values. A token must have all of them.
    const SCOPES: &'static [&'static str];
}

/// An extractor of the verified token that requires the scope `S`.
///
/// Use it for handlers that must not be reachable without that scope, wherever they are routed.
/// There are [other ways to require scope](crate::docs::layers#which-requirement-to-write).
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_introspect::axum::{ScopeSet, Scoped};
///
/// struct ReadPayments;
///
/// impl ScopeSet for ReadPayments {
///     const SCOPES: &'static [&'static str] = &["read:payments"];
/// }
///
/// async fn list(token: Scoped<ReadPayments>) -> String {
///     format!("payments of {:?}", token.subject())
/// }
///
/// let app: Router = Router::new().route("/payments", get(list));
/// # let _ = app;
/// ```
///
/// A value that is not a scope-token does not compile:
///
/// ```compile_fail
/// use axum::{Router, routing::get};
/// use tower_introspect::axum::{ScopeSet, Scoped};
///
/// struct Typo;
///
/// impl ScopeSet for Typo {
///     const SCOPES: &'static [&'static str] = &["read payments"];
/// }
///
/// async fn list(_: Scoped<Typo>) {}
///
/// let app: Router = Router::new().route("/payments", get(list));
/// ```
pub struct Scoped<S> {
    token: VerifiedToken,
    scope: PhantomData<fn() -> S>,
}

impl<S> Scoped<S> {
    /// Returns the token.
    #[must_use]
    pub fn into_token(self) -> VerifiedToken {
        self.token
    }
}

impl<S> Deref for Scoped<S> {
    type Target = VerifiedToken;

    fn deref(&self) -> &VerifiedToken {
        &self.token
    }
}

impl<S> Clone for Scoped<S> {
    fn clone(&self) -> Self {
        Self { token: self.token.clone(), scope: PhantomData }
    }
}

impl<S> fmt::Debug for Scoped<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scoped").field(&self.token).finish()
    }
}

/// An extension of requests that sets the responder for refusals by extractors.
///
/// The default is [`Auto`], whatever the responders of the layers are. Layers render their refusals
/// by their own `responder`. A service that does not serve gRPC sets
/// [`HttpOnly`](crate::respond::HttpOnly) for both.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use tower_introspect::{VerifiedToken, axum::RejectWith, respond::ProblemJson};
///
/// async fn me(token: VerifiedToken) -> String {
///     format!("{:?}", token.subject())
/// }
///
/// let app: Router = Router::new()
///     .route("/me", get(me))
///     .layer(Extension(RejectWith::new(ProblemJson::new())));
/// # let _ = app;
/// ```
#[derive(Clone)]
pub struct RejectWith(Arc<dyn Respond<Bytes> + Send + Sync>);

impl RejectWith {
    /// Creates the extension. `responder` renders the refusals.
    #[must_use]
    pub fn new(responder: impl Respond<Bytes> + Send + Sync + 'static) -> Self {
        Self(Arc::new(responder))
    }
}

impl fmt::Debug for RejectWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectWith").finish_non_exhaustive()
    }
}

/// The refusal of a request by an extractor.
///
/// ```
/// use tower_introspect::{VerifiedToken, axum::Rejection};
///
/// async fn me(token: Result<VerifiedToken, Rejection>) -> Result<String, Rejection> {
///     let token = token.inspect_err(|refusal| eprintln!("{}", refusal.error().kind().reason()))?;
///     Ok(format!("{:?}", token.subject()))
/// }
/// # let _: axum::Router = axum::Router::new().route("/me", axum::routing::get(me));
/// ```
pub struct Rejection {
    error: VerifyError,
    response: Box<http::Response<Bytes>>,
}

impl Rejection {
    fn new(error: VerifyError, parts: &Parts) -> Self {
        let head = RequestHead::new(&parts.method, &parts.uri, &parts.headers)
            .with_version(parts.version)
            .with_extensions(&parts.extensions);
        refuse_inside(error, head, |refusal| {
            let response = match parts.extensions.get::<RejectWith>() {
                Some(RejectWith(responder)) => respond::responder::refuse(&**responder, refusal),
                None => respond::responder::refuse(&Auto::new(), refusal),
            };
            Self { error: refusal.error().clone(), response: Box::new(response) }
        })
    }

    /// Returns the reason for the refusal.
    #[must_use]
    pub const fn error(&self) -> &VerifyError {
        &self.error
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.response.map(Body::from)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rejection").field(&self.error).finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<S: Sync> FromRequestParts<S> for VerifiedToken {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        token_of(&parts.extensions).cloned().map_err(|error| Rejection::new(error, parts))
    }
}

impl<S: Sync, T: ScopeSet> FromRequestParts<S> for Scoped<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        const { assert_scopes(T::SCOPES) };
        let token = match token_of(&parts.extensions) {
            Ok(token) => token,
            Err(error) => return Err(Rejection::new(error, parts)),
        };
        if T::SCOPES.iter().all(|scope| token.has_scope(scope)) {
            return Ok(Self { token: token.clone(), scope: PhantomData });
        }
        let error = VerifyError::insufficient_scope(&T::SCOPES.join(" "));
        Err(Rejection::new(error, parts))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedToken {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let token = if_presented(token_of(&parts.extensions).cloned());
        token.map_err(|error| Rejection::new(error, parts))
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let token =
            <VerifiedToken as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
                .await?;
        Ok(token.map_or(Self::Anonymous, Self::Token))
    }
}

impl<S, T> FromRequestParts<S> for Claims<T>
where
    S: Sync,
    T: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let claims = token_of(&parts.extensions).and_then(VerifiedToken::claims_as);
        claims.map(Self).map_err(|error| Rejection::new(error, parts))
    }
}

impl<S, T> OptionalFromRequestParts<S> for Claims<T>
where
    S: Sync,
    T: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let claims = token_of(&parts.extensions).and_then(VerifiedToken::claims_as);
        if_presented(claims.map(Self)).map_err(|error| Rejection::new(error, parts))
    }
}
