//! Situations that people meet with real servers. The first ten lines of a terminal name the verdict,
//! the cause and the line to change.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use tower_introspect::{
    clock::UnixTime,
    jose::{Algorithm, SigningKey},
    test_util::{Endpoint, Fault, Jwt, TokenBuilder},
};

use crate::{
    front,
    run::{
        AUDIENCE, ISSUER, NOW, Ran, at, claims, file, good, header, id_claims, jwks, run_in, sign,
        with,
    },
};

/// Runs the program as on a terminal of 80 columns.
async fn on_terminal(arguments: &[&str], token: &str) -> Ran {
    let at = at();
    let more = ["--brief", "--at", &at];
    let ran = run_in(&[("COLUMNS", "80")], &[arguments, &more].concat(), token).await;
    let screen = ran.screen();
    assert!(screen.lines().count() <= 24, "it does not fit a terminal:\n{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "a line is too long:\n{screen}");
    ran
}

async fn explain(config: &str, token: &str) -> Ran {
    on_terminal(&["explain", "--config", config], token).await
}

/// Verifies a token with the issuer's keys in a file.
async fn verify(token: &str, more: &[&str]) -> Ran {
    let jwks = jwks();
    let known = ["verify", "--issuer", ISSUER, "--jwks", &jwks, "--audience", AUDIENCE];
    on_terminal(&[&known, more].concat(), token).await
}

/// Writes the configuration of a service that verifies JWTs with the keys in a file.
fn local(name: &str, of_service: &str, of_issuer: &str) -> String {
    let text = format!(
        "audience = \"{AUDIENCE}\"\n{of_service}\n[[issuer]]\nissuer = \"{ISSUER}\"\nmode = \"jwt\"\n\
         jwks_file = \"{}\"\n{of_issuer}",
        jwks()
    );
    file(name, text)
}

fn valid(token: TokenBuilder<Jwt>) -> String {
    token.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 300)).mint()
}

#[tokio::test]
async fn a_token_that_is_too_long() {
    let token = sign(&header(), &with(claims(), json!({"roles": "x".repeat(9_800)})));
    let length = format!("{} bytes", token.len());
    let explained = explain(&local("long.toml", "", ""), &token).await;
    let change = "max_token_bytes = 16384";
    explained.tells_at_once(&["REFUSED", &length, "at most 8192", "in long.toml", change]);
    explained.shows("brief-too-long");
    let change = "--max-token-bytes 16384";
    verify(&token, &[]).await.tells_at_once(&["REFUSED", &length, "at most 8192", change]);
}

#[tokio::test]
async fn a_token_that_keycloak_calls_inactive_for_its_audience() {
    let (server, _listening) = front::plain().await;
    let config = front::config("keycloak", server.issuer(), "mode = \"introspect\"\n");
    let words = [(server.issuer(), ISSUER)];
    let token = valid(server.jwt().audience(json!(["account", AUDIENCE])));
    server.revoke(&token);
    let ran = explain(&config, &token).await;
    ran.tells_at_once(&[
        "REFUSED: the token is not active",
        "account, https://api.example.com",
        "likely",
        "lacks the client `api`",
        "the settings of the authorization server",
        "add `api` to the audience",
    ]);
    ran.shows_with("brief-inactive-audience", &words);
    // Its `aud` is right: it was revoked.
    let token = valid(server.jwt().audience(json!(["api", AUDIENCE])));
    server.revoke(&token);
    let ran = explain(&config, &token).await;
    ran.tells_at_once(&["the client", "Get a new token"]);
    assert!(!ran.out.contains("likely"), "{}", ran.out);
    let expired = server.jwt().expires_at(UnixTime::from_secs(NOW - 60)).mint();
    server.revoke(&expired);
    let ran = explain(&config, &expired).await;
    ran.tells_at_once(&["it expired 1 min ago", "Get a new token"]);
}

#[tokio::test]
async fn scopes_at_another_place() {
    let scopes = |scopes: Value| sign(&header(), &with(claims(), scopes));
    let config = local("scopes.toml", "required_scopes = [\"read\"]\n", "profile = \"rfc9068\"\n");
    for (token, found, change) in [
        (json!({"scope": null, "scp": ["read"]}), "`scp` is [\"read\"]", "scope_claim = \"scp\""),
        (json!({"scope": ["read", "x"]}), "`scope` is [\"read\",\"x\"]", "scope_claim = \"scope\""),
    ] {
        let ran = explain(&config, &scopes(token)).await;
        ran.tells_at_once(&["REFUSED", found, "this service", "in scopes.toml", change]);
    }
    let token = scopes(json!({"scope": "openid", "permissions": ["read"]}));
    let ran = verify(&token, &["--scope", "read"]).await;
    ran.tells_at_once(&["`permissions` is [\"read\"]", "--scope-claim permissions"]);
    ran.shows("brief-scope-claim");
    let ran = verify(&token, &["--scope", "read", "--scope-claim", "permissions"]).await;
    ran.tells_at_once(&["ACCEPTED", "read"]);
    // Of a scope that is nowhere, the found ones are shown.
    let ran = verify(&scopes(json!({"scope": null, "scp": ["write"]})), &["--scope", "read"]).await;
    ran.tells_at_once(&["scope write", "scope read", "the client"]);
}

#[tokio::test]
async fn an_id_token_that_the_service_admits() {
    let claims = with(id_claims(), json!({"nonce": null, "aud": AUDIENCE}));
    let token = sign(&with(header(), json!({"typ": "JWT"})), &claims);
    let config = local("unmarked.toml", "", "danger_accept_unmarked_jwts = true\n");
    let ran = explain(&config, &token).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    let setting = "`danger_accept_unmarked_jwts` in unmarked.toml";
    ran.tells_at_once(&["ACCEPTED, although it may be no access token", "an ID token", setting]);
    ran.shows("brief-id-token-admitted");
    // Without the setting, nobody is advised to set it.
    let ran = explain(&local("marked.toml", "", ""), &token).await;
    ran.tells_at_once(&["REFUSED", "perhaps an ID token", "not the `id_token`"]);
    assert!(!ran.out.contains("danger"), "{}", ran.out);
}

#[tokio::test]
async fn a_refresh_token() {
    // As Keycloak signs them.
    let secret = SigningKey::from_secret(Algorithm::HS512, &[7; 64]).unwrap();
    let refresh = with(claims(), json!({"typ": "Refresh", "aud": ISSUER, "scope": null}));
    let refresh = secret.sign(&json!({"alg": "HS512", "typ": "JWT"}), &refresh).unwrap();
    let config = local("refresh.toml", "", "");
    let ran = explain(&config, &refresh).await;
    let change = "not the `refresh_token`";
    ran.tells_at_once(&["REFUSED", "HS512", "\"Refresh\"", "the client", change]);
    ran.shows("brief-refresh-token");
    for weaker in ["algorithms =", "audience =", "danger"] {
        assert!(!ran.out.contains(weaker), "{weaker}: {}", ran.out);
    }
    // The word that decides is shown, not the type of the credentials.
    let (server, _listening) = front::plain().await;
    let config = front::config("refresh-opaque", server.issuer(), "mode = \"introspect\"\n");
    let token = server.opaque().audience(AUDIENCE).introspected_as(json!({
        "active": true, "token_type": "Bearer", "token_use": "refresh_token", "scope": "read",
        "aud": AUDIENCE, "exp": NOW + 300,
    }));
    let ran = explain(&config, &token.mint()).await;
    ran.tells_at_once(&["REFUSED", "token_use \"refresh_token\"", "an access token", change]);
    assert!(!ran.out.contains("Bearer"), "{}", ran.out);
}

#[tokio::test]
async fn a_token_that_is_refused_before_keys_are_fetched() {
    let (server, _listening) = front::plain().await;
    let config = front::config("no-keys", server.issuer(), "mode = \"jwt\"\n");
    let config = std::fs::read_to_string(config).unwrap();
    let config = config.lines().filter(|line| !line.starts_with("client"));
    let config = file("no-keys.toml", config.collect::<Vec<_>>().join("\n"));
    let token = valid(server.jwt().audience(AUDIENCE).claim("typ", "ID"));
    let at = at();
    let ran = run_in(&[], &["explain", "--config", &config, "--at", &at], &token).await;
    ran.tells_at_once(&["REFUSED: the token is an ID token", "typ \"ID\""]);
    let keys = ran.out.lines().find(|line| line.contains("the issuer's keys are available"));
    assert!(keys.is_some_and(|line| line.starts_with("  -")), "{}", ran.out);
    assert!(!ran.out.contains("  pass"), "nothing is verified: {}", ran.out);
    assert!(ran.out.contains("Anyone could have written it"), "{}", ran.out);
    assert_eq!(server.calls(Endpoint::Jwks), 0);
}

#[tokio::test]
async fn an_issuer_that_differs_from_the_settings() {
    let of = |issuer: &str| sign(&header(), &with(claims(), json!({ "iss": issuer })));
    let config = local("issuer.toml", "", "");
    let ran = explain(&config, &of("https://as.example.com/")).await;
    let line = "issuer = \"https://as.example.com/\"";
    ran.tells_at_once(&[
        "REFUSED",
        "`issuer` in issuer.toml",
        "the last slash",
        "this service",
        line,
    ]);
    assert!(!ran.out.contains("the client"), "{}", ran.out);
    ran.shows("brief-issuer-slash");
    let ran = explain(&config, &of("https://test.example.com")).await;
    ran.tells_at_once(&["https://test.example.com", "the client", "from https://as.example.com."]);
    // With several issuers, none is expected.
    let two = format!(
        "{}\n[[issuer]]\nissuer = \"https://b.example.com/\"\nmode = \"jwt\"\njwks_file = \"{}\"\n",
        std::fs::read_to_string(&config).unwrap(),
        jwks()
    );
    let ran = explain(&file("two.toml", two), &of("https://b.example.com")).await;
    let line = "issuer = \"https://b.example.com\"";
    ran.tells_at_once(&["REFUSED", "https://b.example.com/", "the last slash", line]);
    let ran = verify(&of("https://as.example.com/"), &[]).await;
    ran.tells_at_once(&["`--issuer` differs from it by the last slash", "--issuer https://as.ex"]);
    // What the server says of itself.
    let (server, _listening) = front::plain().await;
    let wrong = format!("{}/", server.issuer());
    let config = front::config("metadata", &wrong, "mode = \"introspect\"\n");
    let ran = explain(&config, &valid(server.jwt().audience(AUDIENCE))).await;
    let line = format!("issuer = \"{}\"", server.issuer());
    ran.tells_at_once(&["`issuer` in metadata.toml", "the last slash", "this service", &line]);
    // With a fixed endpoint, the response names the issuer.
    let endpoint = server.url(Endpoint::Introspection);
    let more = format!("mode = \"introspect\"\nintrospection_endpoint = \"{endpoint}\"\n");
    let config = front::config("endpoint", &wrong, &more);
    let ran = explain(&config, &valid(server.jwt().audience(AUDIENCE))).await;
    ran.tells_at_once(&["`issuer` in endpoint.toml", "the last slash", "this service", &line]);
}

#[tokio::test]
async fn http_is_allowed_by_an_option() {
    let more = ["verify", "--issuer", "http://127.0.0.1:1", "--audience", AUDIENCE];
    let ran = on_terminal(&more, &good()).await;
    assert_eq!(ran.code, 2);
    ran.tells_at_once(&["not an https URL", "`--danger-allow-http-loopback` allows"]);
}

#[tokio::test]
async fn an_error_of_the_server_is_shown() {
    let (server, _listening) = front::plain().await;
    let config = front::config("error", server.issuer(), "mode = \"introspect\"\n");
    let token = valid(server.jwt().audience(AUDIENCE));
    let respond = |status: StatusCode, error: Value| {
        let response = Response::builder().status(status);
        let response = response.header(header::CONTENT_TYPE, "application/json");
        Fault::respond(response.body(Bytes::from(error.to_string())).unwrap())
    };
    let words = [(server.issuer(), ISSUER)];
    let error = json!({"error": "invalid_client", "error_description": "client api is disabled"});
    server.inject(Endpoint::Introspection, respond(StatusCode::UNAUTHORIZED, error));
    let ran = explain(&config, &token).await;
    let (cause, setting) = ("\"client api is disabled\"", "`client` in error.toml");
    ran.tells_at_once(&["MISCONFIGURED", "401", "\"invalid_client\"", cause, setting]);
    ran.shows_with("brief-server-error", &words);
    server.clear(Endpoint::Introspection);
    let moved = "https://new.example.com/introspect";
    server.inject(Endpoint::Introspection, Fault::redirect(moved));
    let ran = explain(&config, &token).await;
    ran.tells_at_once(&["NOT KNOWN", "307", &format!("to {moved}"), "the authorization server"]);
    ran.shows_with("brief-redirect", &words);
    server.clear(Endpoint::Introspection);
    // The keys are fetched elsewhere.
    server.inject(Endpoint::Jwks, Fault::redirect(moved));
    let known = ["verify", "--issuer", server.issuer(), "--audience", AUDIENCE];
    let arguments = [&known[..], &["--danger-allow-http-loopback"]].concat();
    on_terminal(&arguments, &token).await.tells_at_once(&[
        "NOT KNOWN",
        "307",
        &format!("to {moved}"),
    ]);
}

#[tokio::test]
async fn a_bound_token_without_a_proof() {
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let claims = with(claims(), json!({"cnf": {"jkt": thumbprint}}));
    let token = sign(&header(), &claims);
    let config = local("dpop.toml", "[dpop]\nurl = \"https://api.example.com\"\n", "");
    let ran = explain(&config, &token).await;
    let header = "--header 'DPoP: PROOF'";
    ran.tells_at_once(&["REFUSED", "the token itself passes", "without a proof", header]);
    ran.shows("brief-bound-token");
    let ran = on_terminal(&["explain", "--config", &config, "--scheme", "DPoP"], &token).await;
    ran.tells_at_once(&["REFUSED", "there is no proof", header]);
    verify(&token, &[]).await.tells_at_once(&["the token itself passes", "`[dpop]`"]);
}

#[tokio::test]
async fn tokens_that_only_introspection_can_judge() {
    let opaque = "gho_16C7e42F292c6912E7710c838347Ae178B4a";
    let ran = explain(&local("opaque.toml", "", ""), opaque).await;
    ran.tells_at_once(&["REFUSED", "1 part", "`mode` in opaque.toml", "mode = \"hybrid\""]);
    verify(opaque, &[]).await.tells_at_once(&["REFUSED", "1 part", "`introspect introspect`"]);
    let jwe = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aaaa.bbbb.cccc";
    let ran = explain(&local("jwe.toml", "", ""), jwe).await;
    ran.tells_at_once(&["REFUSED", "`mode` in jwe.toml", "mode = \"introspect\""]);
}

#[tokio::test]
async fn acceptance_says_by_whom_and_for_how_long() {
    let ran = explain(&local("accepted.toml", "", ""), &good()).await;
    ran.tells_at_once(&["ACCEPTED", ISSUER, "alice", "app", "read write", "in 1 h", "300 s"]);
    ran.shows("brief-accepted");
    let other = sign(&header(), &with(claims(), json!({"aud": ["https://other.example.com"]})));
    let ran = verify(&other, &[]).await;
    let line = "--audience https://other.example.com";
    ran.tells_at_once(&["REFUSED", "https://other.example.com", AUDIENCE, "the client", line]);
    ran.shows("brief-wrong-audience");
}

/// No screen is wider than the terminal, whatever it shows.
#[tokio::test]
async fn lines_end_at_the_width_of_the_terminal() {
    let (at, jwks) = (at(), jwks());
    let long = sign(&header(), &with(claims(), json!({"aud": "\u{1b}é".repeat(200)})));
    let config = local("width.toml", "", "");
    for width in ["80", "60"] {
        for arguments in [
            &["verify", "--at", &at, "--issuer", ISSUER, "--jwks", &jwks, "--audience", AUDIENCE][..],
            &["explain", "--at", &at, "--config", &config],
            &["decode", "--at", &at],
            &["help"],
            &["verify", "--help"],
            &["explain", "-h"],
            &["doctor", "--help"],
            &["introspect", "--help"],
            &["explain", "--config", "/nonexistent/and/so/long/that/it/does/not/fit/a/line.toml"],
        ] {
            let ran = run_in(&[("COLUMNS", width)], arguments, &long).await;
            let width: usize = width.parse().unwrap();
            let longest = ran.screen().lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{arguments:?}\n{}", ran.screen());
        }
    }
}
