//! Extractors of the verified token and of the identity.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::rejection::Rejection;
use crate::policy::{
    identity::{Identity, if_presented, token_of},
    verified_token::VerifiedToken,
};

impl<S: Sync> FromRequestParts<S> for VerifiedToken {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        token_of(&parts.extensions).cloned().map_err(|error| Rejection::by_extractor(error, parts))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedToken {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let token = if_presented(token_of(&parts.extensions).cloned());
        token.map_err(|error| Rejection::by_extractor(error, parts))
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
