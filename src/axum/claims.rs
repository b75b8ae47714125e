use std::{fmt, ops::Deref, sync::Arc};

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::{Serialize, Serializer, de::DeserializeOwned};

use super::rejection::Rejection;
use crate::policy::{
    identity::{if_presented, token_of},
    verified_token::VerifiedToken,
};

/// An extractor of the claims of the verified token, deserialized into `T`.
///
/// The value is parsed once per cached token and shared by all requests with that token: see
/// [`VerifiedToken::claims_as`]. It is behind an `Arc` for this reason, and can't be moved out of
/// it. It serializes as the value does, so a handler may respond with it:
///
/// ```
/// use axum::{Json, Router, routing::get};
/// use tower_introspect::axum::Claims;
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Me {
///     name: String,
/// }
///
/// async fn me(claims: Claims<Me>) -> Json<Claims<Me>> {
///     Json(claims)
/// }
/// # let _: Router = Router::new().route("/me", get(me));
/// ```
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

impl<T: Serialize> Serialize for Claims<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
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
        claims.map(Self).map_err(|error| Rejection::by_extractor(error, parts))
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
        if_presented(claims.map(Self)).map_err(|error| Rejection::by_extractor(error, parts))
    }
}
