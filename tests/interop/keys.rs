//! Keys that come, go, and can't be had.

use std::time::Duration;

use tower_introspect::{Issuer, ResourceServer};

use crate::{api::Api, clock::Ahead};
use testing::oidc_provider::{API, Server};

async fn local(server: &Server) -> (Api, Ahead) {
    let clock = Ahead::default();
    let resource_server = ResourceServer::builder(API)
        .issuer(Issuer::jwt(server.issuer()))
        .clock(clock.clone())
        .danger_allow_http_loopback()
        .build()
        .expect("valid");
    (Api::serve(resource_server.layer()).await, clock)
}

#[tokio::test]
async fn a_new_key_is_picked_up_and_a_withdrawn_one_dropped() {
    let Some(server) = Server::start().await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token("ES256").await;
    api.get(&first).await.is_admission();

    server.add_keys().await;
    let second = server.token("ES256").await;
    api.get(&second).await.is_admission();
    assert_eq!(server.requests("jwks").await, 2);
    api.get(&first).await.is_admission();

    server.drop_old_keys().await;
    server.add_keys().await;
    clock.by(Duration::from_secs(60));
    let third = server.token("ES256").await;
    api.get(&third).await.is_admission();
    assert_eq!(server.requests("jwks").await, 3);
    api.get(&second).await.is_admission();
    api.get(&first).await.is_invalid_token();
    assert_eq!(server.requests("jwks").await, 3, "one look for a key is enough for a while");
}

#[tokio::test]
async fn a_withdrawn_key_is_dropped_when_the_keys_are_no_longer_fresh() {
    let Some(server) = Server::start().await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token("RS256").await;
    api.get(&first).await.is_admission();
    server.add_keys().await;
    server.drop_old_keys().await;

    // The request that finds the keys stale has them fetched in the background.
    clock.by(Duration::from_secs(11 * 60));
    api.refuses_in_the_end(&first).await;
    api.get(&server.token("RS256").await).await.is_admission();
}

#[tokio::test]
async fn rotation_while_requests_run() {
    let Some(server) = Server::start().await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token("ES256").await;
    api.get(&first).await.is_admission();

    let busy = api.keep_asking(first.clone());
    server.add_keys().await;
    let second = server.token("ES256").await;
    api.get(&second).await.is_admission();
    busy.was_always_admitted().await;

    let busy = api.keep_asking(second);
    server.drop_old_keys().await;
    clock.by(Duration::from_secs(11 * 60));
    api.refuses_in_the_end(&first).await;
    busy.was_always_admitted().await;
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_not_the_clients_fault() {
    let Some(server) = Server::start().await else { return };
    let (api, clock) = local(&server).await;
    let token = server.token("ES256").await;
    for mode in ["500", "hang"] {
        server.fault("jwks", mode).await;
        api.get(&token).await.is_not_the_clients_fault(503);
        clock.by(Duration::from_secs(60));
    }
    server.fault("jwks", "none").await;
    api.get(&token).await.is_admission();

    server.fault("jwks", "500").await;
    clock.by(Duration::from_secs(11 * 60));
    api.get(&token).await.is_admission();
}

#[tokio::test]
async fn random_keys_cause_one_fetch() {
    let Some(server) = Server::start().await else { return };
    let (api, _clock) = local(&server).await;
    let token = server.token("ES256").await;
    api.get(&token).await.is_admission();

    let (_, rest) = token.split_once('.').expect("a JWT");
    for kid in 0..20 {
        let header = serde_json::json!({"alg": "ES256", "typ": "at+jwt", "kid": kid.to_string()});
        let forged = format!("{}.{rest}", base64_url(header.to_string().as_bytes()));
        api.get(&forged).await.is_invalid_token();
    }
    assert_eq!(server.requests("jwks").await, 2);
    api.get(&token).await.is_admission();
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}
