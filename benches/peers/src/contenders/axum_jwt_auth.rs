//! `axum-jwt-auth`: an extractor, keys loaded at the start and every hour. No memory of tokens.

use std::sync::Arc;

use axum::{Router, routing::get};
use axum_jwt_auth::{Claims, Decoder, RemoteJwksDecoder};
use jsonwebtoken10::{Algorithm as Jsonwebtoken, Validation};
use serde::Deserialize;
use tower_introspect::jose::Algorithm;

use super::{Built, Contender, reason};
use crate::{
    authority::{AUDIENCE, Authority},
    backend::Backend,
};

pub const AWS_LC: &str = "axum-jwt-auth, aws-lc-rs";
pub const RUST_CRYPTO: &str = "axum-jwt-auth, rust-crypto";

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "sub")]
    _sub: String,
    #[serde(rename = "scope")]
    _scope: Option<String>,
}

pub async fn build(authority: &Authority, algorithm: Algorithm, backend: Backend) -> Built {
    let algorithm: Jsonwebtoken = algorithm.as_str().parse().map_err(reason)?;
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[authority.issuer()]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let decoder = RemoteJwksDecoder::builder()
        .jwks_url(authority.jwks_url())
        .validation(validation)
        .build()
        .map_err(reason)?;
    // It refreshes as long as the process lives.
    let _stop = decoder.initialize().await.map_err(reason)?;
    let decoder: Decoder<Wanted> = Arc::new(decoder);
    let handler = async |_: Claims<Wanted>| "done";
    let router = Router::new().route("/", get(handler)).with_state(decoder);
    let name = if backend == Backend::AwsLc { AWS_LC } else { RUST_CRYPTO };
    Ok(Contender::router(name, router).with(backend))
}
