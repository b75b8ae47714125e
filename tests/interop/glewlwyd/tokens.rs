//! Tokens of the server, in each mode of verification.

use std::time::Duration;
use testing::host::PATIENCE;

use tower_introspect::{ClientAuth, Issuer, ResourceServer};

use crate::api::Api;
use testing::glewlwyd::Glewlwyd;
use testing::oidc_provider::API;

fn auth() -> ClientAuth {
    ClientAuth::basic("rs", "rs-secret")
}

async fn serve_for(audience: &str, issuer: Issuer) -> Api {
    let resource_server = ResourceServer::builder(audience)
        .issuer(issuer.configure_introspection(|remote| remote.timeout(PATIENCE)))
        .max_age(Duration::ZERO)
        .danger_allow_http_loopback()
        .build()
        .expect("valid");
    Api::serve(resource_server.layer()).await
}

async fn serve(issuer: Issuer) -> Api {
    serve_for(API, issuer).await
}

/// Returns an issuer of each mode.
fn every_mode(server: &Glewlwyd) -> [Issuer; 4] {
    let issuer = server.issuer();
    [
        Issuer::jwt(&issuer),
        Issuer::introspect(&issuer, auth()),
        Issuer::hybrid(&issuer, auth()),
        Issuer::jwt_and_introspect(&issuer, auth(), Duration::from_secs(10)),
    ]
}

#[tokio::test]
async fn access_tokens_are_admitted_in_every_mode() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    for issuer in every_mode(&server) {
        let api = serve(issuer).await;
        api.get(&token).await.is_admission();
        api.get("unheard-of").await.is_invalid_token();
    }
}

#[tokio::test]
async fn jwts_are_verified_without_introspection() {
    for key in ["rs-1", "es-1", "ed-1"] {
        let Some(mut server) = Glewlwyd::start(&[key]).await else { return };
        let api = serve(Issuer::hybrid(server.issuer(), auth())).await;
        let tokens = [server.token().await, server.token().await];
        api.get(&tokens[0]).await.is_admission();
        server.stop();
        api.get(&tokens[1]).await.is_admission();
    }
}

#[tokio::test]
async fn rfc9700_2_3_tokens_for_another_audience_are_refused_in_every_mode() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token_for("https://other.example.com").await;
    for issuer in every_mode(&server) {
        serve(issuer).await.get(&token).await.is_invalid_token();
    }
}

/// Without a resource, `aud` is the scope as one string: "read write".
#[tokio::test]
async fn rfc7519_4_1_3_aud_with_a_space_is_one_audience() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token_of_scope("svc", "read write").await;
    for audience in ["read", "write", API] {
        for issuer in every_mode(&server) {
            serve_for(audience, issuer).await.get(&token).await.is_invalid_token();
        }
    }
    for issuer in every_mode(&server) {
        let answer = serve_for("read write", issuer).await.get(&token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The audience of both is the client, so that a service with the client's id must distinguish them
/// by their kind.
#[tokio::test]
async fn refresh_and_id_tokens_are_refused_in_every_mode() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let granted = server.tokens_of_a_user().await;
    for issuer in every_mode(&server) {
        let resource_server = ResourceServer::builder("web")
            .issuer(issuer.configure_introspection(|remote| remote.timeout(PATIENCE)))
            .policy(|policy| policy.or_audience("openid read"))
            .danger_allow_http_loopback()
            .build()
            .expect("valid");
        let api = Api::serve(resource_server.layer()).await;
        api.get(&granted.refresh).await.is_invalid_token();
        api.get(&granted.id).await.is_invalid_token();
        assert_eq!(api.get(&granted.access).await.body, "web may openid read");
    }
}

#[tokio::test]
async fn rfc7009_revoked_jwt_is_refused_on_the_next_request_if_introspected() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let asking = [
        Issuer::introspect(server.issuer(), auth()),
        Issuer::jwt_and_introspect(server.issuer(), auth(), Duration::from_secs(10)),
    ];
    let token = server.token().await;
    let mut apis = Vec::new();
    for issuer in asking {
        let api = serve(issuer).await;
        api.get(&token).await.is_admission();
        apis.push(api);
    }
    let local = serve(Issuer::jwt(server.issuer())).await;

    server.revoke(&token).await;
    for api in apis {
        api.get(&token).await.is_invalid_token();
    }
    local.get(&token).await.is_admission();
}

/// The server reports tokens of a withdrawn key as active. Their signature cannot be verified.
#[tokio::test]
async fn active_token_of_a_withdrawn_key_is_refused() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    server.publish(&["es-2"]).await;
    let [local, asking, hybrid, both] = every_mode(&server);
    serve(asking).await.get(&token).await.is_admission();
    for issuer in [local, hybrid, both] {
        serve(issuer).await.get(&token).await.is_invalid_token();
    }
}
