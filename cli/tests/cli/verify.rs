//! `introspect verify`.

use serde_json::json;
use tower_introspect::{
    clock::UnixTime,
    jose::{Algorithm, SigningKey},
    test_util::{AuthorizationServer, Endpoint, Fault},
};

use crate::run::{
    AUDIENCE, ISSUER, NOW, Ran, at, claims, good, header, id_claims, jwks, run, run_in, sign, with,
};

/// Verifies a token with the keys in a file and further options.
async fn verify_with(token: &str, more: &[&str]) -> Ran {
    let (at, jwks) = (at(), jwks());
    let known = ["verify", "--at", &at, "--issuer", ISSUER, "--jwks", &jwks];
    run(&[&known, more].concat(), token).await
}

async fn verify(token: &str) -> Ran {
    verify_with(token, &["--audience", AUDIENCE]).await
}

#[tokio::test]
async fn screens() {
    verify(&good()).await.shows("verify-accepted");
    let id = sign(&with(header(), json!({"typ": "JWT"})), &id_claims());
    verify(&id).await.shows("verify-id-token");
    let expired = sign(&header(), &with(claims(), json!({"exp": NOW - 240})));
    verify(&expired).await.shows("verify-expired");
    let other =
        sign(&header(), &with(claims(), json!({"aud": ["https://other.example.com", "x"]})));
    verify(&other).await.shows("verify-wrong-audience");
    let rotated = sign(&with(header(), json!({"kid": "2029-11"})), &claims());
    verify(&rotated).await.shows("verify-key-rotated");
    let slash = sign(&header(), &with(claims(), json!({"iss": "https://as.example.com/"})));
    verify(&slash).await.shows("verify-wrong-issuer");
    let scope = ["--audience", AUDIENCE, "--scope", "admin"];
    verify_with(&good(), &scope).await.shows("verify-scope");
    verify("gho_16C7e42F292c6912E7710c838347Ae178B4a").await.shows("verify-opaque");
    verify(&format!("Bearer \"{}\"", good().replace('.', ".\n"))).await.shows("verify-pasted");
    let at = at();
    let open = ["verify", "--at", &at, "--any-audience", "--jwks", &jwks()];
    run(&open, good()).await.shows("verify-open");
    let coloured = [&open[..], &["--color", "always"]].concat();
    run(&coloured, &expired).await.shows("verify-colour");
    let machine = [&open[..], &["--json"]].concat();
    run(&machine, &expired).await.shows("verify-json");
}

#[tokio::test]
async fn profile_that_is_proposed_is_one_of_the_option() {
    let unmarked = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "service", "exp": NOW + 60});
    let unmarked = sign(&with(header(), json!({"typ": "JWT"})), &unmarked);
    let proposal = ["--profile", "service_identity"];
    let refused = verify(&unmarked).await;
    assert!(refused.out.contains(&proposal.join(" ")), "{}", refused.screen());
    let again = verify_with(&unmarked, &[&["--audience", AUDIENCE], &proposal[..]].concat()).await;
    assert_eq!(again.code, 0, "{}", again.screen());
}

#[tokio::test]
async fn every_refusal_has_the_reason_of_the_library() {
    let tampered = {
        let other = sign(&header(), &with(claims(), json!({"sub": "mallory"})));
        let (head, _) = other.rsplit_once('.').unwrap();
        format!("{head}.{}", good().rsplit_once('.').unwrap().1)
    };
    let claim = |changes| sign(&header(), &with(claims(), changes));
    let head = |changes| sign(&with(header(), changes), &claims());
    for (token, check, reason) in [
        (tampered, "signature", "bad_signature"),
        (head(json!({"kid": "x"})), "key", "unknown_key"),
        (head(json!({"alg": "RS256"})), "algorithm", "unsupported_algorithm"),
        (head(json!({"alg": "HS256"})), "algorithm", "unsupported_algorithm"),
        (head(json!({"crit": ["b64"]})), "extension", "unsupported_extension"),
        (head(json!({"typ": "dpop+jwt"})), "type", "wrong_token_kind"),
        (claim(json!({"iss": null})), "issuer", "missing_claim"),
        (claim(json!({"aud": null})), "complete", "missing_claim"),
        (claim(json!({"exp": "never"})), "claims", "invalid_claim"),
        (claim(json!({"typ": "ID"})), "kind", "wrong_token_kind"),
        (claim(json!({"nbf": NOW + 31})), "start", "not_yet_valid"),
        (claim(json!({"exp": NOW - 30})), "expiry", "expired"),
        (claim(json!({"cnf": {"jkt": "x"}})), "possession", "unproven_possession"),
        (claim(json!({"token_use": "refresh"})), "kind", "wrong_token_kind"),
        ("a.b".to_owned(), "form", "malformed_token"),
        ("ab\u{e9}".to_owned(), "credentials", "malformed_credentials"),
    ] {
        let ran = verify_with(&token, &["--audience", AUDIENCE, "--json"]).await;
        let json = ran.json();
        assert_eq!(ran.code, 1, "{json:#}");
        assert_eq!(json["reason"], reason, "{token}");
        let checks = json["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check["state"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{json:#}");
        assert_eq!((&failed[0]["check"], &failed[0]["reason"]), (&check.into(), &reason.into()));
        // No later check was reached.
        let at = checks.iter().position(|check| check["state"] == "failed").unwrap();
        assert!(checks[at + 1..].iter().all(|check| check["state"] == "not_reached"), "{json:#}");
    }
}

#[tokio::test]
async fn a_public_key_in_pem_is_never_used_as_a_secret() {
    let pem = crate::run::file("key.pem", include_bytes!("../../../tests/it/keys/ed25519.pub.pem"));
    let at = at();
    let arguments = ["verify", "--at", &at, "--pem", &pem, "--audience", AUDIENCE];
    assert_eq!(run(&arguments, good()).await.code, 0);
    let secret = SigningKey::from_secret(
        Algorithm::HS256,
        include_bytes!("../../../tests/it/keys/ed25519.pub.pem"),
    );
    let forged = secret.unwrap().sign(&with(header(), json!({"alg": "HS256"})), &claims()).unwrap();
    let ran = run(&arguments, &forged).await;
    assert_ne!(ran.code, 0, "{}", ran.out);
}

async fn server() -> (AuthorizationServer, tower_introspect::test_util::Listening) {
    AuthorizationServer::on_loopback().await.unwrap()
}

/// Verifies a token with discovered keys.
async fn discover(server: &AuthorizationServer, token: &str, more: &[&str]) -> Ran {
    let at = at();
    let known = [
        "verify",
        "--at",
        &at,
        "--issuer",
        server.issuer(),
        "--audience",
        AUDIENCE,
        "--danger-allow-http-loopback",
    ];
    run(&[&known, more].concat(), token).await
}

fn minted(server: &AuthorizationServer) -> String {
    let jwt = server.jwt().subject("alice").audience(AUDIENCE).scope("read");
    jwt.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 300)).mint()
}

#[tokio::test]
async fn keys_are_discovered() {
    let (server, _listening) = server().await;
    let token = minted(&server);
    let ran = discover(&server, &token, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    assert_eq!(server.calls(Endpoint::Introspection), 0);
    let url = server.url(Endpoint::Jwks);
    let at = at();
    let by_url = [
        "verify",
        "--at",
        &at,
        "--jwks",
        &url,
        "--audience",
        AUDIENCE,
        "--danger-allow-http-loopback",
    ];
    assert_eq!(run(&by_url, &token).await.code, 0);
}

#[tokio::test]
async fn without_keys_the_outcome_is_not_known() {
    let (server, listening) = server().await;
    let token = minted(&server);
    let issuer = server.issuer().to_owned();
    server.inject(Endpoint::Jwks, Fault::html());
    let ran = discover(&server, &token, &[]).await;
    ran.shows_with("verify-bad-keys", &[(&issuer, ISSUER)]);
    server.clear(Endpoint::Jwks);
    server.inject(Endpoint::Jwks, Fault::hang());
    let ran = discover(&server, &token, &["--timeout", "1"]).await;
    ran.shows_with("verify-hanging", &[(&issuer, ISSUER)]);
    drop(listening);
    let ran = discover(&server, &token, &[]).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains("NOT KNOWN"), "{}", ran.out);
    assert!(ran.out.contains("Nothing listens there"), "{}", ran.out);
    // A malformed token is refused without fetching keys.
    let ran = discover(&server, "a.b.c", &[]).await;
    assert_eq!(ran.code, 1, "{}", ran.screen());
}

#[tokio::test]
async fn problems_with_tls_are_explained() {
    let (server, listening) = server().await;
    let token = minted(&server);
    let url = format!("https://{}/jwks", listening.address());
    let at = at();
    let arguments = ["verify", "--at", &at, "--jwks", &url, "--audience", AUDIENCE];
    let ran = run(&arguments, &token).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains("The server does not speak TLS on this port"), "{}", ran.out);
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_and_reported() {
    let (server, listening) = server().await;
    let token = minted(&server);
    let proxy = format!("http://user:s3cret@{}", listening.address());
    let at = at();
    let arguments = [
        "verify",
        "--at",
        &at,
        "--issuer",
        "http://127.0.0.1:1",
        "--audience",
        AUDIENCE,
        "--danger-allow-http-loopback",
    ];
    let ran = run_in(&[("HTTP_PROXY", &proxy)], &arguments, &token).await;
    let through = format!("is reached through http://{}, named in", listening.address());
    assert!(ran.out.contains(&through), "{}", ran.screen());
    assert!(!ran.screen().contains("s3cret"));
    let around = [("http_proxy", &*proxy), ("NO_PROXY", "127.0.0.1")];
    let ran = run_in(&around, &arguments, &token).await;
    assert!(ran.out.contains("http_proxy is set, but is not used for 127.0.0.1"), "{}", ran.out);
}
