//! `aliri_tower`: a layer, keys loaded at the start and every hour. No memory of tokens.

use std::time::Duration;

use aliri::{
    jwa,
    jwt::{Audience, CoreValidator, Issuer},
};
use aliri_oauth2::Authority as Keys;
use aliri_tower::Oauth2Authorizer;
use axum::body::Body;
use tower_introspect::jose::Algorithm;

use super::{Built, Contender, plain, reason};
use crate::authority::{AUDIENCE, Authority};

pub const NAME: &str = "aliri_tower";

pub async fn build(authority: &Authority, algorithm: Algorithm) -> Built {
    let accepted = match algorithm {
        Algorithm::RS256 => jwa::Algorithm::RS256,
        Algorithm::ES256 => jwa::Algorithm::ES256,
        _ => return Err(format!("it has no {}", algorithm.as_str())),
    };
    // It can be told to insist on `nbf`, which these tokens don't have.
    let validator = CoreValidator::default()
        .add_approved_algorithm(accepted)
        .add_allowed_audience(Audience::from_static(AUDIENCE))
        .require_issuer(Issuer::from(authority.issuer()))
        .check_expiration();
    let keys = Keys::new_from_url(authority.jwks_url(), validator).await.map_err(reason)?;
    keys.spawn_refresh(Duration::from_secs(3600));
    let authorizer = Oauth2Authorizer::new().with_terse_error_handler::<Body>();
    let layer = authorizer.jwt_layer::<Body>(keys);
    Ok(Contender::router(NAME, plain().layer(layer)))
}
