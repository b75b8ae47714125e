use std::{fmt, marker::PhantomData, ops::Deref};

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::rejection::Rejection;
use crate::{
    claims::scope::assert_scopes,
    error::refusal::VerifyError,
    policy::{
        identity::{record_for_stream, token_of},
        verified_token::{Requirement, VerifiedToken},
    },
};

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

impl<S: Sync, T: ScopeSet> FromRequestParts<S> for Scoped<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        const { assert_scopes(T::SCOPES) };
        let token = match token_of(&parts.extensions) {
            Ok(token) => token,
            Err(error) => return Err(Rejection::by_extractor(error, parts)),
        };
        if T::SCOPES.iter().all(|scope| token.has_scope(scope)) {
            // The requirement is made only where it is needed: for a response that may stay open.
            record_for_stream(&parts.extensions, || {
                Requirement::all_scopes(T::SCOPES.iter().copied())
            })
            .map_err(|error| Rejection::by_extractor(error, parts))?;
            return Ok(Self { token: token.clone(), scope: PhantomData });
        }
        let scope = T::SCOPES.join(" ");
        let error = VerifyError::insufficient_scope(&scope);
        let error = error.with_unmet_requirement(format!("scope `{scope}`"));
        Err(Rejection::by_extractor(error, parts))
    }
}
