//! Key rotation by the administrator, and outages.

use std::time::Duration;

use tower_introspect::{Issuer, ResourceServer};

use crate::{api::Api, clock::Ahead};
use testing::glewlwyd::Glewlwyd;
use testing::oidc_provider::API;

async fn local(server: &Glewlwyd) -> (Api, Ahead) {
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
async fn tokens_are_admitted_during_a_rotation() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let (api, clock) = local(&server).await;
    let first = server.token().await;
    api.get(&first).await.is_admission();

    let busy = api.keep_sending(first.clone());
    server.publish(&["es-2", "es-1"]).await;
    let second = server.token().await;
    api.get(&second).await.is_admission();
    busy.was_always_admitted().await;

    let busy = api.keep_sending(second);
    server.publish(&["es-3", "es-2"]).await;
    clock.by(Duration::from_secs(11 * 60));
    api.refuses_eventually(&first).await;
    busy.was_always_admitted().await;
    api.get(&server.token().await).await.is_admission();
}

#[tokio::test]
async fn known_keys_are_used_during_an_outage() {
    let Some(mut server) = Glewlwyd::start(&["es-1"]).await else { return };
    let (api, clock) = local(&server).await;
    let token = server.token().await;
    api.get(&token).await.is_admission();

    server.stop();
    clock.by(Duration::from_secs(11 * 60));
    api.get(&token).await.is_admission();
    let busy = api.keep_sending(token);
    clock.by(Duration::from_secs(11 * 60));
    server.run().await;
    busy.was_always_admitted().await;
}

#[tokio::test]
async fn cold_start_during_an_outage_recovers() {
    let Some(mut server) = Glewlwyd::start(&["es-1"]).await else { return };
    let (api, clock) = local(&server).await;
    let token = server.token().await;
    server.stop();
    let answer = api.get(&token).await;
    answer.is_not_blamed_on_the_client(503);
    assert!(answer.retry_after.is_some(), "{answer:?}");

    server.run().await;
    clock.by(Duration::from_secs(60));
    api.get(&token).await.is_admission();
}
