//! Client authentication and response formats of introspection.

use std::time::Duration;
use testing::host::PATIENCE;

use tower_introspect::{
    ClientAuth, IntrospectLayer, Policy,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder, SignedResponse},
    jose::{Algorithm, SigningKey},
    transport::HttpTransport,
};

use crate::api::Api;
use testing::oidc_provider::{API, OidcProvider};

fn verifier(server: &OidcProvider, auth: ClientAuth) -> IntrospectionVerifierBuilder {
    IntrospectionVerifier::builder(server.issuer(), auth)
        .transport(HttpTransport::reqwest().expect("a client can be built"))
        .timeout(PATIENCE)
        .danger_allow_http_loopback()
}

async fn serve(builder: IntrospectionVerifierBuilder) -> Api {
    let verifier = builder.build().expect("valid");
    Api::serve(IntrospectLayer::new(verifier, Policy::new(API))).await
}

async fn basic(server: &OidcProvider) -> Api {
    serve(verifier(server, ClientAuth::basic("rs-basic", server.secret()))).await
}

async fn admits_and_refuses(server: &OidcProvider, api: &Api) {
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    api.get("unheard-of").await.is_invalid_token();
}

#[tokio::test]
async fn rfc6749_2_3_1_client_secret_basic_works() {
    let Some(server) = OidcProvider::start().await else { return };
    admits_and_refuses(&server, &basic(&server).await).await;
}

#[tokio::test]
async fn rfc6749_2_3_1_client_secret_post_works() {
    let Some(server) = OidcProvider::start().await else { return };
    let auth = ClientAuth::post("rs-post", server.secret());
    admits_and_refuses(&server, &serve(verifier(&server, auth)).await).await;
}

/// The server accepts no assertion twice, so that each request must have its own.
#[tokio::test]
async fn rfc7523_private_key_jwt_works() {
    let Some(server) = OidcProvider::start().await else { return };
    let key = SigningKey::from_pem(Algorithm::ES256, server.client_key()).expect("PKCS#8");
    let auth = ClientAuth::private_key_jwt("rs-private-key", key.with_kid("rs"));
    admits_and_refuses(&server, &serve(verifier(&server, auth)).await).await;
}

#[tokio::test]
async fn rfc9701_signed_responses_are_verified() {
    let Some(server) = OidcProvider::start().await else { return };
    for client in ["rs-signed-rs256", "rs-signed-es256"] {
        let auth = ClientAuth::basic(client, server.secret());
        let api =
            serve(verifier(&server, auth).require_signed_response(SignedResponse::new())).await;
        admits_and_refuses(&server, &api).await;
    }
}

#[tokio::test]
async fn rfc9701_5_unsigned_response_is_refused_if_a_signed_one_is_required() {
    let Some(server) = OidcProvider::start().await else { return };
    let auth = ClientAuth::basic("rs-signed-es256", server.secret());
    let api = serve(verifier(&server, auth).require_signed_response(SignedResponse::new())).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    server.fault("introspection", "plain").await;
    api.get(&token).await.is_not_blamed_on_the_client(502);
}

/// The server responds 400 `unsupported_token_type`.
#[tokio::test]
async fn jwt_that_cannot_be_introspected_is_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = basic(&server).await;
    let token = server.token("RS256").await;
    api.get(&token).await.is_invalid_token();
    assert_eq!(server.requests("introspection").await, 1, "not introspected");
}

#[tokio::test]
async fn rejected_credentials_of_the_service_are_not_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = serve(verifier(&server, ClientAuth::basic("rs-basic", "wrong"))).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_not_blamed_on_the_client(500);
}

#[tokio::test]
async fn hanging_server_is_waited_for_until_the_timeout() {
    let Some(server) = OidcProvider::start().await else { return };
    let auth = ClientAuth::basic("rs-basic", server.secret());
    let api = serve(verifier(&server, auth).timeout(Duration::from_millis(500))).await;
    let token = server.token("opaque").await;
    api.admits_eventually(&token).await;

    server.fault("introspection", "hang").await;
    let answer = tokio::time::timeout(PATIENCE, api.get(&token)).await;
    let answer = answer.expect("no response while the server hangs");
    answer.is_not_blamed_on_the_client(503);
    assert!(answer.retry_after.is_some(), "{answer:?}");

    server.fault("introspection", "none").await;
    api.admits_eventually(&token).await;
}

#[tokio::test]
async fn failing_server_is_not_blamed_on_the_client() {
    let Some(server) = OidcProvider::start().await else { return };
    let api = basic(&server).await;
    let token = server.token("opaque").await;
    server.fault("introspection", "500").await;
    api.get(&token).await.is_not_blamed_on_the_client(503);
}
