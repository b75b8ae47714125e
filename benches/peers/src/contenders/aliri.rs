//! `aliri_tower`: a layer, keys given. No memory of tokens.

use aliri::{
    Jwks, jwa,
    jwt::{Audience, CoreValidator, Issuer},
};
use aliri_oauth2::Authority as Keys;
use aliri_tower::Oauth2Authorizer;
use axum::body::Body;
use tower_introspect::jwt::Algorithm;

use super::{Built, Contender, plain, reason};
use crate::authority::{AUDIENCE, Authority};

pub const NAME: &str = "aliri_tower";

pub fn build(authority: &Authority, algorithm: Algorithm) -> Built {
    let accepted = match algorithm {
        Algorithm::RS256 => jwa::Algorithm::RS256,
        Algorithm::ES256 => jwa::Algorithm::ES256,
        _ => return Err(format!("it has no {algorithm:?}")),
    };
    let validator = CoreValidator::default()
        .add_approved_algorithm(accepted)
        .add_allowed_audience(Audience::from_static(AUDIENCE))
        .require_issuer(Issuer::from(authority.issuer()))
        .check_expiration();
    // A set with a key of a kind that it does not know is no set to it, so it gets what it knows.
    let jwks: Jwks = serde_json::from_value(authority.jwks_of(algorithm)).map_err(reason)?;
    let authorizer = Oauth2Authorizer::new().with_terse_error_handler::<Body>();
    let layer = authorizer.jwt_layer::<Body>(Keys::new(jwks, validator));
    Ok(Contender::router(NAME, plain().layer(layer)))
}
