//! `jwt-authorizer`: a layer for axum 0.7, keys loaded with the first token. No memory of tokens.

use jwt_authorizer::{IntoLayer as _, JwtAuthorizer, RegisteredClaims, Validation};
use tower_introspect::jose::Algorithm;

use super::{Built, Contender, plain_07, reason};
use crate::authority::{AUDIENCE, Authority};

pub const NAME: &str = "jwt-authorizer";

pub async fn build(authority: &Authority, algorithm: Algorithm) -> Built {
    // Its default is whatever algorithm the key is for, which is one here.
    let _ = algorithm;
    let validation = Validation::new().iss(&[authority.issuer()]).aud(&[AUDIENCE]).nbf(true);
    let authorizer = JwtAuthorizer::<RegisteredClaims>::from_oidc(authority.issuer());
    let layer = authorizer.validation(validation).build().await.map_err(reason)?.into_layer();
    Ok(Contender::old_router(NAME, plain_07().layer(layer)))
}
