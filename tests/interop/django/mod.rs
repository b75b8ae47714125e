//! Against django-oauth-toolkit, whose tokens are opaque, whose answers are bare, and which is slow.

use std::time::Duration;
use testing::host::PATIENCE;

use tower_introspect::{
    ClientAuth, IntrospectLayer, Policy,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder},
    transport::HttpTransport,
};

use crate::api::Api;
use testing::django::Django;
use testing::oidc_provider::API;

fn verifier(server: &Django, auth: ClientAuth) -> IntrospectionVerifierBuilder {
    IntrospectionVerifier::builder(server.issuer(), auth)
        .transport(HttpTransport::reqwest().expect("a client can be built"))
        .timeout(PATIENCE)
        .danger_allow_http_loopback()
}

fn basic() -> ClientAuth {
    ClientAuth::basic("rs", "rs-secret")
}

async fn serve(builder: IntrospectionVerifierBuilder) -> Api {
    let verifier = builder.build().expect("valid");
    Api::serve(IntrospectLayer::new(verifier, Policy::new(API))).await
}

#[tokio::test]
async fn opaque_tokens_with_an_array_for_an_audience_are_admitted() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    for auth in
        [basic(), ClientAuth::post("rs", "rs-secret"), ClientAuth::secret("rs", "rs-secret")]
    {
        let api = serve(verifier(&server, auth)).await;
        // It closes each connection.
        api.get(&token).await.is_admission();
        api.get(&token).await.is_admission();
        api.get("unheard-of").await.is_invalid_token();
    }
    let elsewhere = server.token_for("https://other.example.com").await;
    serve(verifier(&server, basic())).await.get(&elsewhere).await.is_invalid_token();
}

#[tokio::test]
async fn rfc9700_2_3_an_absent_audience_is_ours_only_where_that_was_said() {
    let Some(server) = Django::start().await else { return };
    let bare = server.token().await;
    let elsewhere = server.token_for("https://other.example.com").await;
    serve(verifier(&server, basic())).await.get(&bare).await.is_invalid_token();
    let api = serve(verifier(&server, basic()).danger_default_audience(API)).await;
    api.get(&bare).await.is_admission();
    api.get(&elsewhere).await.is_invalid_token();
}

/// It answers 403, `text/html`, without a body.
#[tokio::test]
async fn a_secret_it_rejects_is_not_the_clients_fault() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    for auth in [ClientAuth::basic("rs", "wrong"), ClientAuth::post("rs", "wrong")] {
        let api = serve(verifier(&server, auth)).await;
        api.get(&token).await.is_not_the_clients_fault(500);
    }
}

#[tokio::test]
async fn rfc7009_a_revoked_token_is_refused_on_the_next_request_and_a_refresh_token_always() {
    let Some(server) = Django::start().await else { return };
    let api = serve(verifier(&server, basic()).danger_default_audience(API)).await;
    let token = server.token().await;
    api.get(&token).await.is_admission();
    server.revoke(&token).await;
    api.get(&token).await.is_invalid_token();

    let granted = server.tokens_of_a_user().await;
    assert_eq!(api.get(&granted.access).await.body, "web may read");
    api.get(&granted.refresh).await.is_invalid_token();
}

/// Each answer costs it a million rounds of a hash.
#[tokio::test]
async fn a_slow_server_is_waited_for_within_the_timeout() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    let patient = serve(verifier(&server, basic())).await;
    let answers = (0..8).map(|_| patient.get(&token));
    for answer in futures_util::future::join_all(answers).await {
        answer.is_admission();
    }
    // That it is slow is no reason to give up on it for certain: it stands still.
    let endpoint = format!("{}/introspect/", server.issuer());
    let impatient =
        verifier(&server, basic()).endpoint(endpoint).timeout(Duration::from_millis(10));
    let impatient = serve(impatient).await;
    let hanging = server.hang();
    impatient.get(&token).await.is_not_the_clients_fault(503);
    drop(hanging);
    patient.get(&token).await.is_admission();
}

#[tokio::test]
async fn a_server_that_is_down_is_not_the_clients_fault_and_is_found_again() {
    let Some(mut server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    let api = serve(verifier(&server, basic())).await;
    api.get(&token).await.is_admission();
    server.stop();
    api.get(&token).await.is_not_the_clients_fault(503);
    server.run().await;
    api.get(&token).await.is_admission();
}
