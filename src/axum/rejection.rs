use std::fmt;

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, Uri, request::Parts};

use crate::{
    credentials::head::RequestHead,
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::identity::refuse_inside,
    respond::{
        challenge::Challenge,
        inner_refusal::{InnerRefusal, head_of},
        refusal::Refusal,
        responder::{Auto, HttpOnly, render},
    },
    telemetry::refused_by::RefusedBy,
};

/// The refusal of a request by an extractor or a handler.
///
/// The layer that verified the token renders it, with its responder. Handlers return it, or a
/// [`VerifyError`], which converts into it. See the [module docs](super#refusals-by-handlers).
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
    /// The response, if it was made with the request at hand.
    response: Option<Box<http::Response<()>>>,
}

impl Rejection {
    pub(super) fn by_extractor(error: VerifyError, request: &Parts) -> Self {
        Self::new(error, request.clone(), RefusedBy::Extractor)
    }

    pub(super) fn by_handler(error: VerifyError, request: Parts) -> Self {
        Self::new(error, request, RefusedBy::Handler)
    }

    /// Reports the refusal of this request and renders it, for the case that no layer renders it anew.
    fn new(error: VerifyError, request: Parts, by: RefusedBy) -> Self {
        let (error, mut response) = refuse_inside(error, head_of(&request), by, None, |refusal| {
            (refusal.error().clone(), Box::new(render(&Auto::new(), refusal)))
        });
        response.extensions_mut().insert(InnerRefusal::reported(error.clone(), request));
        Self { error, response: Some(response) }
    }

    /// Returns the reason for the refusal.
    #[must_use]
    pub const fn error(&self) -> &VerifyError {
        &self.error
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        match self.response {
            Some(response) => response.map(|()| Body::empty()),
            None => self.error.into_response(),
        }
    }
}

/// The refusal of a request by its handler.
///
/// The layer that verified the token renders it, with its challenge and responder, reports it and calls
/// the hook. Without such a layer, the response has the status of the error and a `Bearer` challenge
/// without more. In no case does it show the context of the error.
impl IntoResponse for VerifyError {
    fn into_response(self) -> Response {
        let (method, uri, headers) = (Method::GET, Uri::default(), HeaderMap::new());
        let head = RequestHead::new(&method, &uri, &headers);
        let challenge = Challenge::new("");
        let refusal = Refusal::new(&self, head, &challenge);
        let mut response: Response = render(&HttpOnly::new(), &refusal);
        response.extensions_mut().insert(InnerRefusal::unreported(self));
        response
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self { error, response: None }
    }
}

impl From<ErrorKind> for Rejection {
    fn from(kind: ErrorKind) -> Self {
        VerifyError::new(kind).into()
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
