//! Key rotation, and unavailable keys.

use std::time::Duration;

use tower_introspect::{Issuer, ResourceServer};

use crate::{api::Api, clock::Ahead};
use testing::oidc_provider::{API, OidcProvider};

async fn local(server: &OidcProvider) -> (Api, Ahead) {
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
async fn new_key_is_fetched_and_withdrawn_key_dropped() {
    let Some(server) = OidcProvider::start().await else { return };
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
    assert_eq!(server.requests("jwks").await, 4, "it is not among the current keys either");
}

#[tokio::test]
async fn withdrawn_key_is_dropped_when_the_keys_are_refreshed() {
    let Some(server) = OidcProvider::start().await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token("RS256").await;
    api.get(&first).await.is_admission();
    server.add_keys().await;
    server.drop_old_keys().await;

    // The request that finds stale keys starts a fetch in the background.
    clock.by(Duration::from_secs(11 * 60));
    api.refuses_eventually(&first).await;
    api.get(&server.token("RS256").await).await.is_admission();
}

#[tokio::test]
async fn tokens_are_admitted_during_a_rotation() {
    let Some(server) = OidcProvider::start().await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token("ES256").await;
    api.get(&first).await.is_admission();

    let busy = api.keep_sending(first.clone());
    server.add_keys().await;
    let second = server.token("ES256").await;
    api.get(&second).await.is_admission();
    busy.was_always_admitted().await;

    let busy = api.keep_sending(second);
    server.drop_old_keys().await;
    clock.by(Duration::from_secs(11 * 60));
    api.refuses_eventually(&first).await;
    busy.was_always_admitted().await;
}

#[tokio::test]
async fn unavailable_keys_are_not_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let (api, clock) = local(&server).await;
    let token = server.token("ES256").await;
    for mode in ["500", "hang"] {
        server.fault("jwks", mode).await;
        api.get(&token).await.is_not_blamed_on_the_client(503);
        clock.by(Duration::from_secs(60));
    }
    server.fault("jwks", "none").await;
    api.get(&token).await.is_admission();

    server.fault("jwks", "500").await;
    clock.by(Duration::from_secs(11 * 60));
    api.get(&token).await.is_admission();
}

#[tokio::test]
async fn random_kids_cause_few_fetches_and_are_never_admitted() {
    let Some(server) = OidcProvider::start().await else { return };
    let (api, _clock) = local(&server).await;
    let token = server.token("ES256").await;
    api.get(&token).await.is_admission();

    let (_, rest) = token.split_once('.').expect("a JWT");
    for kid in 0..5 {
        let header = serde_json::json!({"alg": "ES256", "typ": "at+jwt", "kid": kid.to_string()});
        let forged = format!("{}.{rest}", base64_url(header.to_string().as_bytes()));
        // The second while the pause until the next fetch is longer than a request waits.
        let answer = api.get(&forged).await;
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    }
    let fetches = server.requests("jwks").await;
    assert!(fetches <= 6, "{fetches} fetches");
    api.get(&token).await.is_admission();
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}
