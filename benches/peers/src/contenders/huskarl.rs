//! `huskarl-axum`: a layer, for JWTs with keys loaded at the start and kept for an hour, or asking
//! the authorization server about each token. No memory of tokens.

use huskarl_axum::{
    layers::ValidatorLayer,
    resource_server::{
        core::{
            client_auth::ClientSecret,
            secrets::{ProvidedSecret, SecretString},
            server_metadata::AuthorizationServerMetadata,
        },
        validator::{introspection::IntrospectionValidator, rfc9068::Rfc9068Validator},
    },
};
use huskarl_reqwest::ReqwestClient;
use tower_introspect::jose::Algorithm;

use super::{Built, Contender, plain, reason};
use crate::authority::{AUDIENCE, Authority, CLIENT, SECRET};

pub const NAME: &str = "huskarl-axum";
pub const INTROSPECTION: &str = "huskarl-axum, opaque";

pub async fn jwt(authority: &Authority, algorithm: Algorithm) -> Built {
    let (client, metadata) = discover(authority).await?;
    let validator = Rfc9068Validator::builder_from_metadata(&metadata)
        .audience(AUDIENCE)
        .allowed_signing_algorithms(vec![algorithm.as_str().to_owned()])
        .jwks_source(client)
        .build()
        .await
        .map_err(reason)?;
    let layer = ValidatorLayer::builder().validator(validator).build();
    Ok(Contender::router(NAME, plain().layer(layer.authenticated())))
}

pub async fn introspection(authority: &Authority) -> Built {
    let (client, metadata) = discover(authority).await?;
    let secret = ProvidedSecret::new(SecretString::new(SECRET));
    let validator = IntrospectionValidator::builder_from_metadata(&metadata)
        .map_err(reason)?
        .client_id(CLIENT)
        .client_auth(ClientSecret::new(secret))
        .aud(AUDIENCE)
        .http_client(client)
        .build()
        .await
        .map_err(reason)?;
    let layer = ValidatorLayer::builder().validator(validator).build();
    Ok(Contender::router(INTROSPECTION, plain().layer(layer.authenticated())))
}

async fn discover(
    authority: &Authority,
) -> Result<(ReqwestClient, AuthorizationServerMetadata), String> {
    let client = ReqwestClient::builder().build().await.map_err(reason)?;
    let metadata = AuthorizationServerMetadata::fetch()
        .http_client(&client)
        .issuer(authority.issuer())
        .call()
        .await
        .map_err(reason)?;
    Ok((client, metadata))
}
