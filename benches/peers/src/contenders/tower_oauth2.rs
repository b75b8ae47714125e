//! `tower-oauth2-resource-server`: a layer, keys loaded at the start and every minute. No memory of
//! tokens.

use axum::body::Body;
use jsonwebtoken11::Algorithm as Jsonwebtoken;
use tower_introspect::jose::Algorithm;
use tower_oauth2_resource_server::{
    claims::DefaultClaims, server::OAuth2ResourceServer, tenant::TenantConfiguration,
};

use super::{Built, Contender, plain, reason};
use crate::{
    authority::{AUDIENCE, Authority},
    backend::Backend,
};

pub const AWS_LC: &str = "tower-oauth2-resource-server, aws-lc-rs";
pub const RUST_CRYPTO: &str = "tower-oauth2-resource-server, rust-crypto";

pub async fn build(authority: &Authority, algorithm: Algorithm, backend: Backend) -> Built {
    let algorithm: Jsonwebtoken = algorithm.as_str().parse().map_err(reason)?;
    let tenant = TenantConfiguration::builder(authority.issuer())
        .audiences(&[AUDIENCE])
        .allowed_algorithms(&[algorithm])
        .build()
        .await
        .map_err(reason)?;
    let builder = OAuth2ResourceServer::<DefaultClaims>::builder();
    let server = builder.add_tenant(tenant).build().await.map_err(reason)?;
    let name = if backend == Backend::AwsLc { AWS_LC } else { RUST_CRYPTO };
    Ok(Contender::router(name, plain().layer(server.into_layer::<Body>())).with(backend))
}
