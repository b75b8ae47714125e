//! Every way to ask, and to be answered.

use std::time::Duration;
use testing::host::PATIENCE;

use tower_introspect::{
    ClientAuth, IntrospectLayer, Policy,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder, SignedResponse},
    jose::{Algorithm, SigningKey},
    transport::HttpTransport,
};

use crate::api::Api;
use testing::oidc_provider::{API, Server};

fn verifier(server: &Server, auth: ClientAuth) -> IntrospectionVerifierBuilder {
    IntrospectionVerifier::builder(server.issuer(), auth)
        .transport(HttpTransport::reqwest().expect("a client can be built"))
        .timeout(PATIENCE)
        .danger_allow_http_loopback()
}

async fn serve(builder: IntrospectionVerifierBuilder) -> Api {
    let verifier = builder.build().expect("valid");
    Api::serve(IntrospectLayer::new(verifier, Policy::new(API))).await
}

async fn basic(server: &Server) -> Api {
    serve(verifier(server, ClientAuth::basic("rs-basic", server.secret()))).await
}

async fn admits_and_refuses(server: &Server, api: &Api) {
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    api.get("unheard-of").await.is_invalid_token();
}

#[tokio::test]
async fn rfc6749_2_3_1_client_secret_basic() {
    let Some(server) = Server::start().await else { return };
    admits_and_refuses(&server, &basic(&server).await).await;
}

#[tokio::test]
async fn rfc6749_2_3_1_client_secret_post() {
    let Some(server) = Server::start().await else { return };
    let auth = ClientAuth::post("rs-post", server.secret());
    admits_and_refuses(&server, &serve(verifier(&server, auth)).await).await;
}

/// The server takes no assertion twice, so this also shows that each request has its own.
#[tokio::test]
async fn rfc7523_private_key_jwt() {
    let Some(server) = Server::start().await else { return };
    let key = SigningKey::from_pem(Algorithm::ES256, server.client_key()).expect("PKCS#8");
    let auth = ClientAuth::private_key_jwt("rs-private-key", key.with_kid("rs"));
    admits_and_refuses(&server, &serve(verifier(&server, auth)).await).await;
}

#[tokio::test]
async fn rfc9701_signed_answers() {
    let Some(server) = Server::start().await else { return };
    for client in ["rs-signed-rs256", "rs-signed-es256"] {
        let auth = ClientAuth::basic(client, server.secret());
        let api =
            serve(verifier(&server, auth).require_signed_response(SignedResponse::new())).await;
        admits_and_refuses(&server, &api).await;
    }
}

#[tokio::test]
async fn rfc9701_5_a_plain_answer_is_no_substitute_for_a_signed_one() {
    let Some(server) = Server::start().await else { return };
    let auth = ClientAuth::basic("rs-signed-es256", server.secret());
    let api = serve(verifier(&server, auth).require_signed_response(SignedResponse::new())).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_admission();
    server.fault("introspection", "plain").await;
    api.get(&token).await.is_not_the_clients_fault(502);
}

/// The server answers 400 `unsupported_token_type`.
#[tokio::test]
async fn a_jwt_that_cannot_be_introspected_is_the_clients_fault() {
    let Some(server) = Server::start().await else { return };
    let api = basic(&server).await;
    let token = server.token("RS256").await;
    api.get(&token).await.is_invalid_token();
    assert_eq!(server.requests("introspection").await, 1, "the server was asked");
}

#[tokio::test]
async fn wrong_credentials_of_ours_are_not_the_clients_fault() {
    let Some(server) = Server::start().await else { return };
    let api = serve(verifier(&server, ClientAuth::basic("rs-basic", "wrong"))).await;
    let token = server.token("opaque").await;
    api.get(&token).await.is_not_the_clients_fault(500);
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_within_the_timeout() {
    let Some(server) = Server::start().await else { return };
    let auth = ClientAuth::basic("rs-basic", server.secret());
    let api = serve(verifier(&server, auth).timeout(Duration::from_millis(500))).await;
    let token = server.token("opaque").await;
    api.admits_in_the_end(&token).await;

    server.fault("introspection", "hang").await;
    let answer = tokio::time::timeout(PATIENCE, api.get(&token)).await;
    let answer = answer.expect("answered while the server still hangs");
    answer.is_not_the_clients_fault(503);
    assert!(answer.retry_after.is_some(), "{answer:?}");

    server.fault("introspection", "none").await;
    api.admits_in_the_end(&token).await;
}

#[tokio::test]
async fn a_server_that_fails_is_not_the_clients_fault() {
    let Some(server) = Server::start().await else { return };
    let api = basic(&server).await;
    let token = server.token("opaque").await;
    server.fault("introspection", "500").await;
    api.get(&token).await.is_not_the_clients_fault(503);
}
