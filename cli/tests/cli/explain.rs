//! `introspect explain`.

use serde_json::json;
use tower_introspect::{
    clock::UnixTime,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
};

use crate::{
    front::{self, CA, Front},
    run::{
        AUDIENCE, ISSUER, NOW, Ran, at, claims, file, good, header, id_claims, jwks, run, run_in,
        sign, with,
    },
};

/// Writes the configuration of a service that verifies JWTs with the keys in a file.
fn config() -> String {
    file(
        "service.toml",
        format!(
            "audience = \"{AUDIENCE}\"\nrequired_scopes = [\"read\"]\n\n[[issuer]]\n\
             issuer = \"{ISSUER}\"\nmode = \"jwt\"\njwks_file = \"{}\"\n",
            jwks()
        ),
    )
}

async fn explain(config: &str, token: &str, more: &[&str]) -> Ran {
    let at = at();
    run(&[&["explain", "--at", &at, "--config", config], more].concat(), token).await
}

#[tokio::test]
async fn screens() {
    let config = config();
    let request = ["--method", "POST", "--path", "/payments?x=1"];
    explain(&config, &good(), &request).await.shows("explain-accepted");
    let id = sign(&with(header(), json!({"typ": "JWT"})), &id_claims());
    explain(&config, &id, &[]).await.shows("explain-id-token");
    explain(&config, "", &["--no-token"]).await.shows("explain-no-token");
    let scope = sign(&header(), &with(claims(), json!({"scope": "write"})));
    explain(&config, &scope, &[]).await.shows("explain-scope");
    explain(&config, &good(), &["--header", "Authorization: Basic dTpw"])
        .await
        .shows("explain-twice");
    explain(&config, &good(), &["--json"]).await.shows("explain-json");
}

#[tokio::test]
async fn the_settings_may_be_a_table_in_a_larger_file() {
    let flat = std::fs::read_to_string(config()).unwrap();
    let text = format!(
        "listen = \"127.0.0.1:1\"\n[resource_server]\n{}",
        flat.replace("[[issuer]]", "[[resource_server.issuer]]")
    );
    let nested = file("forward.toml", text);
    let ran = explain(&nested, &good(), &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
}

#[tokio::test]
async fn every_mistake_is_reported_with_its_position() {
    let wrong = file(
        "wrong.toml",
        "audience = 7\nleeway_second = 3\n\n[[issuer]]\nissuer = \"https://as.example.com\"\n\
         mode = \"jwts\"\nclient = { method = \"basic\", danger_secret = \"s3cret\", secret_env = \"X\" }\n",
    );
    let ran = explain(&wrong, &good(), &[]).await;
    ran.shows("explain-mistakes");
    assert!(!ran.screen().contains("s3cret"));
    let syntax = file("syntax.toml", "audience = \n[[issuer]\nmode = = \"s3cret\"\n");
    let ran = explain(&syntax, &good(), &[]).await;
    ran.shows("explain-syntax");
    assert!(!ran.screen().contains("s3cret"));
    let missing = file(
        "missing.toml",
        "audience = \"a\"\n[[issuer]]\nissuer = \"https://as.example.com\"\nmode = \"introspect\"\n\
         client = { method = \"basic\", id = \"api\", secret_file = \"/nonexistent/secret\" }\n\
         [[issuer]]\nissuer = \"http://as.example.com\"\nmode = \"jwt\"\n",
    );
    explain(&missing, &good(), &[]).await.shows("explain-missing");
    let ran = explain("/nonexistent.toml", &good(), &[]).await;
    assert_eq!((ran.code, ran.err.contains("No such file")), (2, true), "{}", ran.screen());
}

/// Writes the configuration of a service that introspects.
fn introspecting(server: &AuthorizationServer) -> String {
    file(
        "introspecting.toml",
        format!(
            "audience = \"{AUDIENCE}\"\ndanger_allow_http_loopback = true\n[[issuer]]\n\
             issuer = \"{}\"\nmode = \"introspect\"\ntimeout_seconds = 120\n\
             client = {{ method = \"basic\", id = \"api\", danger_secret = \"s3cret\" }}\n",
            server.issuer()
        ),
    )
}

#[tokio::test]
async fn the_token_is_introspected_as_in_the_service() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.register(Client::new("api", "s3cret"));
    let issuer = server.issuer().to_owned();
    let config = introspecting(&server);
    let token = server.opaque().subject("alice").audience(AUDIENCE).text("opaque-token");
    let token =
        token.expires_at(UnixTime::from_secs(NOW + 300)).issued_at(UnixTime::from_secs(NOW)).mint();
    let words = [(&*issuer, ISSUER)];
    explain(&config, &token, &[]).await.shows_with("explain-introspected", &words);
    server.revoke(&token);
    explain(&config, &token, &[]).await.shows_with("explain-revoked", &words);
    server.register(Client::new("api", "another"));
    let ran = explain(&config, &token, &[]).await;
    ran.shows_with("explain-credentials", &words);
    assert!(!ran.screen().contains("s3cret"));
    server.inject(Endpoint::Introspection, Fault::status(http::StatusCode::SERVICE_UNAVAILABLE));
    explain(&config, &token, &[]).await.shows_with("explain-unavailable", &words);
}

/// A long JWT that has to be confirmed by introspection.
#[tokio::test]
async fn modes_and_limits_of_the_settings_are_those_of_the_service() {
    let (server, _listening) = front::plain().await;
    let token = server.jwt().audience(AUDIENCE).claim("roles", "x".repeat(9_700));
    let token = token.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 9));
    let token = token.mint();
    let limit = "max_token_bytes = 16384\n";
    let config = front::config("long", server.issuer(), "mode = \"jwt_and_introspect\"\n");
    let short = std::fs::read_to_string(&config).unwrap();
    let long = file("longer.toml", format!("{limit}{short}"));
    let ran = explain(&config, &token, &[]).await;
    assert!(ran.code == 1 && ran.out.contains("token_too_long"), "{}", ran.screen());
    let ran = explain(&long, &token, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    server.revoke(&token);
    let ran = explain(&long, &token, &[]).await;
    assert!(ran.code == 1 && ran.out.contains("(inactive)"), "{}", ran.screen());
    let keys = file("long.jwks", server.jwks().to_string());
    let at = at();
    let verify = ["verify", "--at", &at, "--jwks", &keys, "--audience", AUDIENCE];
    let ran = run(&verify, &token).await;
    assert!(ran.code == 1 && ran.out.contains("token_too_long"), "{}", ran.screen());
    let ran = run(&[&verify[..], &["--max-token-bytes", "16384"]].concat(), &token).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    let ran = run(&["doctor", "--at", &at, &long], "").await;
    assert!(ran.out.contains("(jwt_and_introspect)"), "{}", ran.screen());
    assert!(!ran.out.contains("revoked or not"), "{}", ran.screen());
}

/// As in a container image.
#[tokio::test]
async fn a_machine_without_certificates_of_authorities_needs_none_that_the_settings_do_not() {
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    let explain_there = async |config: &str, token: &str| {
        let at = at();
        run_in(&nowhere, &["explain", "--at", &at, "--config", config], token).await
    };
    let ran = explain_there(&config(), &good()).await;
    assert_eq!(ran.code, 0, "a key set in a file: {}", ran.screen());

    let front = Front::start("good").await;
    let token = front.server.opaque().audience(AUDIENCE);
    let token = token.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 9));
    let token = token.mint();
    let issuer = front.server.issuer();
    let own = format!("mode = \"introspect\"\nca_file = \"{CA}\"\n");
    let ran = explain_there(&front::config("no-ca-own", issuer, &own), &token).await;
    assert_eq!(ran.code, 0, "authorities of its own: {}", ran.screen());
    let system = front::config("no-ca-system", issuer, "mode = \"introspect\"\n");
    let ran = explain_there(&system, &token).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains("has no certificates of authorities"), "{}", ran.out);
    let at = at();
    let ran = run_in(&nowhere, &["doctor", "--at", &at, &system], "").await;
    assert!(ran.out.contains("has no certificates of authorities"), "{}", ran.screen());
    let ran = run_in(&nowhere, &["doctor", "--at", &at, "--ca", CA, &system], "").await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
}

#[tokio::test]
async fn reason_of_a_refusal_names_what_the_kind_of_error_does_not() {
    // Nothing marks it as an access token.
    let unmarked = sign(
        &with(header(), json!({"typ": "JWT"})),
        &with(claims(), json!({"scope": null, "client_id": null})),
    );
    let ran = explain(&config(), &unmarked, &[]).await;
    assert_eq!(ran.code, 1, "{}", ran.screen());
    assert!(ran.out.contains("danger_accept_unmarked_jwts"), "{}", ran.screen());
    let nobody = sign(&header(), &with(claims(), json!({"aud": []})));
    let ran = explain(&config(), &nobody, &[]).await;
    assert!(ran.out.contains("the token is for nobody"), "{}", ran.screen());
}
