use http::{Request, request::Parts};

use super::rejection::Rejection;
use crate::{
    error::refusal::VerifyError,
    policy::{
        identity::{token_of, token_that_meets},
        verified_token::{Requirement, VerifiedToken},
    },
};

/// Adds to requests what a handler needs to check a requirement and to refuse.
///
/// It is for `http::Request` and for `http::request::Parts`, either of which may be an argument of an
/// axum handler.
///
/// ```
/// use axum::{Router, extract::Path, http::request::Parts, routing::get};
/// use tower_introspect::{
///     ErrorKind,
///     axum::{Rejection, RequestExt as _},
///     policy::Requirement,
/// };
///
/// async fn account(Path(account): Path<String>, request: Parts) -> Result<String, Rejection> {
///     let token = request.require(&Requirement::claim_contains("accounts", &account))?;
///     if token.is_stale() {
///         return Err(request.refuse(ErrorKind::Unavailable));
///     }
///     Ok(format!("the account of {:?}", token.subject()))
/// }
/// # let _: Router = Router::new().route("/accounts/{account}", get(account));
/// ```
pub trait RequestExt: sealed::Sealed {
    /// Returns the token that the request was admitted with.
    ///
    /// # Errors
    ///
    /// Returns a refusal with 401 if the request was admitted without credentials, and with 500 if no
    /// layer has seen it.
    fn verified_token(&self) -> Result<&VerifiedToken, Rejection>;

    /// Returns the token if it meets a requirement that depends on the request.
    ///
    /// There are [others for routes](crate::docs::layers#which-requirement-to-write). A requirement that
    /// is not met is reported as a refusal. To find out without refusing, use [`Requirement::check`].
    ///
    /// A text from the request may be compared with a claim, as by [`Requirement::claim_is`]. Do not
    /// make it a scope or `acr` value: those constructors panic on an invalid value.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`verified_token`](Self::verified_token), and a refusal with 403 or 401 if
    /// the requirement is not met.
    fn require(&self, requirement: &Requirement) -> Result<&VerifiedToken, Rejection>;

    /// Makes the refusal of this request for this reason.
    ///
    /// It is reported at once: return it from the handler. The hook and the responder see the head of
    /// the request, which they do not where a handler returns a [`VerifyError`].
    fn refuse(&self, error: impl Into<VerifyError>) -> Rejection;
}

impl RequestExt for Parts {
    fn verified_token(&self) -> Result<&VerifiedToken, Rejection> {
        token_of(&self.extensions).map_err(|error| self.refuse(error))
    }

    fn require(&self, requirement: &Requirement) -> Result<&VerifiedToken, Rejection> {
        token_that_meets(&self.extensions, requirement).map_err(|error| self.refuse(error))
    }

    fn refuse(&self, error: impl Into<VerifyError>) -> Rejection {
        Rejection::by_handler(error.into(), self.clone())
    }
}

impl<B> RequestExt for Request<B> {
    fn verified_token(&self) -> Result<&VerifiedToken, Rejection> {
        token_of(self.extensions()).map_err(|error| self.refuse(error))
    }

    fn require(&self, requirement: &Requirement) -> Result<&VerifiedToken, Rejection> {
        token_that_meets(self.extensions(), requirement).map_err(|error| self.refuse(error))
    }

    fn refuse(&self, error: impl Into<VerifyError>) -> Rejection {
        let mut head = Request::new(());
        *head.method_mut() = self.method().clone();
        *head.uri_mut() = self.uri().clone();
        *head.version_mut() = self.version();
        *head.headers_mut() = self.headers().clone();
        *head.extensions_mut() = self.extensions().clone();
        Rejection::by_handler(error.into(), head.into_parts().0)
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}

    impl Sealed for http::request::Parts {}

    impl<B> Sealed for http::Request<B> {}
}
