//! Discovery by a verifier that needs it.

use serde_json::{Value, json};
use tower_introspect::{ErrorKind, jwt::JwtVerifier};

use crate::jwks::{ISSUER, JWKS, METADATA, Reply, Server, jwk, token, verify};

const OPENID: &str = "https://as.example.com/.well-known/openid-configuration";

fn metadata() -> Value {
    json!({"issuer": ISSUER, "jwks_uri": JWKS})
}

/// The outcome with valid keys and this response at the URL of RFC 8414.
async fn with_metadata(reply: Reply) -> (Result<(), ErrorKind>, Server) {
    let server = Server::with_keys(&[jwk("a")]);
    server.on(METADATA, reply);
    let outcome = verify(&server.verifier(), &token("a")).await;
    (outcome.map_err(|error| error.kind()), server)
}

#[tokio::test(start_paused = true)]
async fn d2_openid_configuration_is_tried_second() {
    let server = Server::with_keys(&[jwk("a")]);
    server.on(METADATA, Reply::text(404, ""));
    server.on(OPENID, Reply::json(&metadata()));
    verify(&server.verifier(), &token("a")).await.unwrap();
    assert_eq!(server.urls(), [METADATA, OPENID, JWKS]);
}

#[tokio::test(start_paused = true)]
async fn d1_d7_metadata_of_another_issuer_is_not_used() {
    for issuer in ["https://as.example.com/", "https://AS.example.com", "https://evil.example.com"]
    {
        let mut other = metadata();
        other["issuer"] = json!(issuer);
        let (outcome, server) = with_metadata(Reply::json(&other)).await;
        assert_eq!(outcome, Err(ErrorKind::BadResponse), "{issuer}");
        assert_eq!(server.urls(), [METADATA, OPENID], "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn d3_metadata_is_200_application_json() {
    let body = metadata().to_string();
    for (reply, usable) in [
        (Reply::json(&metadata()).with("content-type", "application/json; charset=utf-8"), true),
        (Reply::json(&metadata()).with("content-type", "text/html"), false),
        (Reply::text(200, body.clone()), false),
        (Reply::text(201, body.clone()).with("content-type", "application/json"), false),
        (Reply::text(302, body).with("location", OPENID), false),
        (Reply::text(200, "[]").with("content-type", "application/json"), false),
    ] {
        let (outcome, _) = with_metadata(reply).await;
        assert_eq!(outcome, if usable { Ok(()) } else { Err(ErrorKind::BadResponse) });
    }
}

#[tokio::test(start_paused = true)]
async fn d4_keys_are_fetched_over_tls_only() {
    let local = "http://127.0.0.1:9000/jwks";
    for uri in
        [json!("http://as.example.com/jwks"), json!(local), json!(7), json!(null), json!("/jwks")]
    {
        let mut other = metadata();
        other["jwks_uri"] = uri;
        let (outcome, server) = with_metadata(Reply::json(&other)).await;
        assert_eq!(outcome, Err(ErrorKind::BadResponse));
        assert_eq!(server.urls(), [METADATA]);
    }
    let (outcome, _) = with_metadata(Reply::json(&json!({"issuer": ISSUER}))).await;
    assert_eq!(outcome, Err(ErrorKind::BadResponse), "without jwks_uri");

    let builder = |url: &str| JwtVerifier::builder(ISSUER).jwks_uri(url);
    assert!(builder(local).build().is_err());
    assert!(builder(local).danger_allow_http_loopback().build().is_ok());
    assert!(builder("http://as.example.com/").danger_allow_http_loopback().build().is_err());
}

#[tokio::test(start_paused = true)]
async fn d5_metadata_does_not_allow_further_algorithms() {
    let mut other = metadata();
    for list in ["id_token_signing_alg_values_supported", "token_signing_alg_values_supported"] {
        other[list] = json!(["none", "HS256"]);
    }
    let server = Server::with_keys(&[jwk("a")]);
    server.on(METADATA, Reply::json(&other));
    let verifier = server.verifier();
    verify(&verifier, &token("a")).await.unwrap();
    // {"alg":"none","typ":"at+jwt"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.e30.";
    verify(&verifier, none).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn d8_unknown_metadata_is_ignored() {
    let mut other = metadata();
    other["x"] = json!({"y": [1, 2.5, null, {"issuer": "https://evil.example.com"}]});
    other["introspection_endpoint"] = json!("http://not-tls.example.com/");
    assert_eq!(with_metadata(Reply::json(&other)).await.0, Ok(()));
}

#[test]
fn rfc8414_2_issuer_for_discovery_is_an_https_url_without_query() {
    for issuer in ["", "as", "http://as.example.com", "https://as.example.com/?a", "https://a/#b"] {
        assert!(JwtVerifier::builder(issuer).build().is_err(), "{issuer}");
    }
}
