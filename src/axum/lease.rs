//! The extractor of the lease of a stream.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::rejection::Rejection;
use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    lease::lease::Lease,
};

/// Extracts the lease of the request.
///
/// It is missing, and the request is refused with 500, unless a
/// [`StreamLayer`](crate::stream::StreamLayer) has admitted the request by a token.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for Lease {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let error = VerifyError::new(ErrorKind::Misconfigured).with_context(
                "the request has no lease: add `ResourceServer::streams` outside of it",
            );
            Rejection::by_extractor(error, parts)
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Lease {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}
