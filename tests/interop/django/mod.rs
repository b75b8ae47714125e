//! Tests with django-oauth-toolkit, which issues opaque tokens, sends minimal introspection
//! responses, and is slow.

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
async fn opaque_tokens_with_an_array_as_audience_are_admitted() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    for auth in
        [basic(), ClientAuth::post("rs", "rs-secret"), ClientAuth::secret("rs", "rs-secret")]
    {
        let api = serve(verifier(&server, auth)).await;
        // The server closes each connection.
        api.get(&token).await.is_admission();
        api.get(&token).await.is_admission();
        api.get("unheard-of").await.is_invalid_token();
    }
    let elsewhere = server.token_for("https://other.example.com").await;
    serve(verifier(&server, basic())).await.get(&elsewhere).await.is_invalid_token();
}

#[tokio::test]
async fn rfc9700_2_3_absent_audience_is_accepted_only_if_configured() {
    let Some(server) = Django::start().await else { return };
    let bare = server.token().await;
    let elsewhere = server.token_for("https://other.example.com").await;
    serve(verifier(&server, basic())).await.get(&bare).await.is_invalid_token();
    let api = serve(verifier(&server, basic()).danger_default_audience(API)).await;
    api.get(&bare).await.is_admission();
    api.get(&elsewhere).await.is_invalid_token();
}

/// The server responds 403 with `text/html` and without a body.
#[tokio::test]
async fn rejected_secret_is_not_blamed_on_the_client() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    for auth in [ClientAuth::basic("rs", "wrong"), ClientAuth::post("rs", "wrong")] {
        let api = serve(verifier(&server, auth)).await;
        // Its response does not name the credentials, as one to an odd token would not.
        api.get(&token).await.is_not_blamed_on_the_client(502);
    }
}

#[tokio::test]
async fn rfc7009_revoked_token_is_refused_on_the_next_request_and_refresh_token_always() {
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

/// Each response costs the server a million rounds of a hash.
#[tokio::test]
async fn slow_server_is_waited_for_until_the_timeout() {
    let Some(server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    let patient = serve(verifier(&server, basic())).await;
    let answers = (0..8).map(|_| patient.get(&token));
    for answer in futures_util::future::join_all(answers).await {
        answer.is_admission();
    }
    // Slowness would not reach the timeout for certain, so the process is stopped.
    let endpoint = format!("{}/introspect/", server.issuer());
    let impatient =
        verifier(&server, basic()).endpoint(endpoint).timeout(Duration::from_millis(10));
    let impatient = serve(impatient).await;
    let hanging = server.hang();
    impatient.get(&token).await.is_not_blamed_on_the_client(503);
    drop(hanging);
    patient.get(&token).await.is_admission();
}

#[tokio::test]
async fn outage_is_not_blamed_on_the_client_and_ends_with_recovery() {
    let Some(mut server) = Django::start().await else { return };
    let token = server.token_for(API).await;
    let api = serve(verifier(&server, basic())).await;
    api.get(&token).await.is_admission();
    server.stop();
    api.get(&token).await.is_not_blamed_on_the_client(503);
    server.run().await;
    api.get(&token).await.is_admission();
}
