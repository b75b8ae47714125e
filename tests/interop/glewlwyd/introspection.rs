//! Introspection requests and responses.

use testing::host::PATIENCE;
use tower_introspect::{
    ClientAuth, ErrorKind, IntrospectLayer, Policy, TokenKind,
    credentials::Token,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder, SignedResponse},
    transport::HttpTransport,
    verify::{Verifier, VerifyRequest},
};

use crate::api::Api;
use testing::glewlwyd::{Glewlwyd, ODD_SECRET};
use testing::oidc_provider::API;

fn verifier(server: &Glewlwyd, auth: ClientAuth) -> IntrospectionVerifierBuilder {
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
async fn every_supported_client_authentication_works() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    let own = server.token_of_scope("rs", "introspect").await;
    for auth in [
        basic(),
        ClientAuth::post("rs", "rs-secret"),
        // The server lists `client_secret_basic` and `bearer`.
        ClientAuth::secret("rs", "rs-secret"),
        ClientAuth::bearer(own),
        ClientAuth::basic_raw("rs-odd", ODD_SECRET),
        ClientAuth::post("rs-odd", ODD_SECRET),
    ] {
        let api = serve(verifier(&server, auth)).await;
        api.get(&token).await.is_admission();
        api.get("unheard-of").await.is_invalid_token();
    }
}

/// The server does not decode Basic credentials, so that credentials encoded by RFC 6749 §2.3.1 are
/// rejected. The response has no body.
#[tokio::test]
async fn rejected_credentials_are_not_blamed_on_the_client() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    let without_scope = server.token_of_scope("svc", "read").await;
    for auth in [
        ClientAuth::basic("rs-odd", ODD_SECRET),
        ClientAuth::basic("rs", "wrong"),
        ClientAuth::post("rs", "wrong"),
        ClientAuth::bearer(without_scope),
    ] {
        let api = serve(verifier(&server, auth)).await;
        // Its response does not name the credentials, as one to an odd token would not.
        api.get(&token).await.is_not_blamed_on_the_client(502);
    }
}

#[tokio::test]
async fn rfc7662_2_1_wrong_hint_makes_a_token_inactive() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    let hinted = |hint: &str| serve(verifier(&server, basic()).token_type_hint(hint));
    hinted("access_token").await.get(&token).await.is_admission();
    hinted("refresh_token").await.get(&token).await.is_invalid_token();
}

#[tokio::test]
async fn active_refresh_and_id_tokens_are_refused() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let granted = server.tokens_of_a_user().await;
    let verifier = verifier(&server, basic()).build().expect("valid");
    let ask = |token: &str| {
        verifier.verify(VerifyRequest::new(Token::bearer(token).expect("a b64token")))
    };
    for (token, kind) in [(&granted.refresh, TokenKind::Refresh), (&granted.id, TokenKind::Id)] {
        let refused = ask(token).await.expect_err("no access token");
        assert_eq!(refused.kind(), ErrorKind::WrongTokenKind(kind));
    }
    let access = ask(&granted.access).await.expect("an access token");
    assert_eq!(access.claims().string("username").as_deref(), Some("alice"));
}

/// `aud` of its responses is the audience of the token, not the client.
#[tokio::test]
async fn rfc9701_5_signed_responses_with_the_audience_of_the_token_are_accepted_if_configured() {
    for key in ["rs-1", "es-1", "ed-1"] {
        let Some(server) = Glewlwyd::start(&[key]).await else { return };
        let token = server.token().await;
        let signed = |settings| serve(verifier(&server, basic()).require_signed_response(settings));
        signed(SignedResponse::new()).await.get(&token).await.is_not_blamed_on_the_client(502);
        let api = signed(SignedResponse::new().danger_audience_of_token()).await;
        api.get(&token).await.is_admission();
        signed(SignedResponse::new().audience(API)).await.get(&token).await.is_admission();
    }
}

#[tokio::test]
async fn outage_is_not_blamed_on_the_client_and_ends_with_recovery() {
    let Some(mut server) = Glewlwyd::start(&["es-1"]).await else { return };
    let token = server.token().await;
    let api = serve(verifier(&server, basic())).await;
    api.get(&token).await.is_admission();
    server.stop();
    api.get(&token).await.is_not_blamed_on_the_client(503);
    server.run().await;
    api.get(&token).await.is_admission();
}
