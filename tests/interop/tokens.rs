//! Tokens of every format, through an axum router.

use std::time::Duration;
use testing::host::PATIENCE;

use tower_introspect::{ClientAuth, Issuer, ResourceServer};

use crate::api::Api;
use testing::oidc_provider::{API, OidcProvider};

/// A resource server that verifies JWTs locally and introspects all other tokens.
async fn hybrid(server: &OidcProvider) -> Api {
    serve(Issuer::hybrid(server.issuer(), auth(server))).await
}

fn auth(server: &OidcProvider) -> ClientAuth {
    ClientAuth::basic("rs-basic", server.secret())
}

/// Serves an API without a cache.
async fn serve(issuer: Issuer) -> Api {
    let resource_server = ResourceServer::builder(API)
        .issuer(issuer.configure_introspection(|remote| remote.timeout(PATIENCE)))
        .max_age(Duration::ZERO)
        .danger_allow_http_loopback()
        .build()
        .expect("valid");
    Api::serve(resource_server.layer()).await
}

#[tokio::test]
async fn jwts_of_every_algorithm_are_verified_locally() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = hybrid(&server).await;
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = server.token(algorithm).await;
        api.get(&token).await.is_admission();
    }
    assert_eq!(server.requests("introspection").await, 0);
    assert_eq!(server.requests("jwks").await, 1, "the keys are fetched once");
}

#[tokio::test]
async fn opaque_tokens_are_introspected() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = hybrid(&server).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    assert_introspected_once(&server).await;
}

/// A random token by which the health of the server is judged may have come, too.
async fn assert_introspected_once(server: &OidcProvider) {
    let requests = server.requests("introspection").await;
    assert!((1..=2).contains(&requests), "{requests} introspections");
}

#[tokio::test]
async fn rfc9700_2_3_tokens_for_another_audience_are_refused() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = hybrid(&server).await;
    for format in ["opaque", "RS256"] {
        let token = server.token_for(&format!("https://other.example.com/{format}")).await;
        api.get(&token).await.is_invalid_token();
    }
}

#[tokio::test]
async fn a_token_with_a_changed_signature_is_refused() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = hybrid(&server).await;
    let token = server.token("ES256").await;
    let (signed, signature) = token.rsplit_once('.').expect("a JWT");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{signed}.{first}{}", &signature[1..]);
    api.get(&changed).await.is_invalid_token();
    api.get(&token).await.is_admission();
}

#[tokio::test]
async fn rfc7009_a_revoked_token_is_refused_on_the_next_request() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = hybrid(&server).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    server.revoke(&token).await;
    api.get(&token).await.is_invalid_token();
}

/// The server introspects no JWTs, for which the client is not to blame.
#[tokio::test]
async fn jwts_that_the_server_cannot_confirm_are_not_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let max_age = Duration::from_secs(10);
    let issuer = Issuer::jwt_and_introspect(server.issuer(), auth(&server), max_age);
    let api = serve(issuer).await;
    api.get(&server.token("ES256").await).await.is_not_blamed_on_the_client(500);
    api.get(&server.token("opaque").await).await.is_admission();
}

#[tokio::test]
async fn without_keys_jwts_that_the_server_cannot_introspect_are_not_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let issuer = Issuer::hybrid(server.issuer(), auth(&server)).fall_back_to_introspection();
    let api = serve(issuer).await;
    let token = server.token("ES256").await;
    server.fault("jwks", "500").await;
    api.get(&token).await.is_not_blamed_on_the_client(503);
    assert_introspected_once(&server).await;
}
