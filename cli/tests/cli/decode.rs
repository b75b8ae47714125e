//! `introspect decode`.

use serde_json::{Value, json};
use tower_introspect::test_util::{AuthorizationServer, Client};

use crate::run::{
    AUDIENCE, NOW, Ran, at, claims, file, good, header, id_claims, run, run_in, sign, with,
};

/// An opaque token of the library inside of ZITADEL: a JWE, which only the server decrypts.
const LIKE_A_JWE: &str = "eyJhbGciOiJBMjU2R0NNS1ciLCJlbmMiOiJBMjU2R0NNIiwiaXYiOiJhWFpwZG1sMmFYWnBkZyIsImtpZCI6IjEiLCJ0YWciOiJkR0ZuZEdGbmRHRm4ifQ.a2V5a2V5.aXZpdml2.Y2lwaGVydGV4dA.dGFn";

/// Returns a token without a type, with claims of an access token and these.
fn plain(changes: Value) -> String {
    sign(&with(header(), json!({"typ": "JWT"})), &with(claims(), changes))
}

async fn decode(token: &str) -> Ran {
    run(&["decode", "--at", &at()], token).await
}

async fn kind(token: &str) -> String {
    let ran = run(&["decode", "--at", &at(), "--json"], token).await;
    ran.json()["kind"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn screens() {
    decode(&good()).await.shows("decode-access-token");
    let id = sign(&with(header(), json!({"typ": "JWT"})), &id_claims());
    decode(&id).await.shows("decode-id-token");
    let expired = sign(&header(), &with(claims(), json!({"exp": NOW - 240})));
    decode(&expired).await.shows("decode-expired");
    decode("gho_16C7e42F292c6912E7710c838347Ae178B4a").await.shows("decode-opaque");
    decode(LIKE_A_JWE).await.shows("decode-jwe");
    let good = good();
    decode(&good[..good.len() / 2]).await.shows("decode-cut");
    let odd = with(claims(), json!({"exp": (NOW + 3600) * 1000, "aud": null, "cnf": {"jkt": "x"}}));
    let header =
        with(header(), json!({"typ": null, "jku": "https://evil.example.com", "crit": ["x"]}));
    decode(&sign(&header, &odd)).await.shows("decode-odd");
    decode(&plain(json!({}))).await.shows("decode-plain");
    let registration = plain(json!({"typ": "RegistrationAccessToken", "scope": null}));
    decode(&registration).await.shows("decode-registration");
    let curl = format!("curl -H 'Authorization: Bearer {good}' https://api.example.com");
    decode(&curl).await.shows("decode-curl");
}

#[tokio::test]
async fn other_tokens_of_servers_are_named_with_the_evidence() {
    const OTHER: &str = "Next: have the client send an access token instead.";
    const REFRESH: &str = "Next: have the client send the access token that came with it.";
    for (claim, word, kind, next) in [
        (
            "typ",
            "RegistrationAccessToken",
            "a token called \"RegistrationAccessToken\", not an access token",
            OTHER,
        ),
        (
            "typ",
            "InitialAccessToken",
            "a token called \"InitialAccessToken\", not an access token",
            OTHER,
        ),
        ("token_use", "device", "a token called \"device\", not an access token", OTHER),
        (
            "token_type",
            "authorization_code",
            "a token called \"authorization_code\", not an access token",
            OTHER,
        ),
        ("typ", "Serialized-ID", "this is an ID token", OTHER),
        ("token_use", "id", "this is an ID token", OTHER),
        ("typ", "Logout", "this is a logout token", OTHER),
        ("typ", "Offline", "this is a refresh token", REFRESH),
        ("typ", "Refresh", "this is a refresh token", REFRESH),
        ("token_use", "refresh", "this is a refresh token", REFRESH),
        ("token_type", "refresh_token", "this is a refresh token", REFRESH),
    ] {
        // Servers put scopes and clients into these as well.
        for more in [json!({}), json!({"scope": null, "client_id": null})] {
            let ran = decode(&plain(with(more, json!({claim: word})))).await;
            let evidence = format!("the claim {claim} is \"{word}\"");
            ran.tells_at_once(&["NOT VERIFIED", kind, &evidence, next]);
            assert!(!ran.out.contains("it has scope"), "{}", ran.out);
        }
    }
    // However long such a word is.
    let long = decode(&plain(json!({"token_use": "x".repeat(5000)}))).await;
    assert!(long.out.lines().take(4).all(|line| line.len() < 120), "{}", long.out);
}

#[tokio::test]
async fn a_plain_typ_comes_with_the_profiles_that_accept_it_and_the_mark_that_counts() {
    let profiles = "which any kind of token may have: the profile `generic` (the default) accepts it, `rfc9068` (the one of `fapi2`) refuses it";
    for (changes, mark) in [
        (json!({}), "it has client_id and scope, as access tokens do"),
        (json!({"client_id": null, "scope": null, "azpacr": "0"}), "it has azpacr, as access"),
        (json!({"client_id": null, "scope": null, "typ": "Bearer"}), "the claim typ is \"Bearer\""),
    ] {
        for typ in [json!("JWT"), json!(null)] {
            let ran = decode(&sign(
                &with(header(), json!({"typ": typ})),
                &with(claims(), changes.clone()),
            ))
            .await;
            ran.tells_at_once(&[
                "an access token, by its claims",
                profiles,
                mark,
                "`introspect verify`",
            ]);
        }
    }
}

/// The modes do what `decode` says of such a token.
#[tokio::test]
async fn a_token_like_a_jwe_is_admitted_by_introspection() {
    decode(LIKE_A_JWE).await.tells_at_once(&[
        "NOT VERIFIED",
        "This is an encrypted token (JWE), or an opaque one like it",
        "The modes `introspect`, `hybrid` and `jwt_and_introspect` do so too, and can admit it",
        "mode `jwt` refuses it",
    ]);
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.register(Client::new("api", "s3cret"));
    let token = server.opaque().audience(AUDIENCE).text(LIKE_A_JWE).mint();
    for (mode, code) in [("introspect", 0), ("hybrid", 0), ("jwt_and_introspect", 0), ("jwt", 1)] {
        let client = "client = { method = \"basic\", id = \"api\", danger_secret = \"s3cret\" }";
        let config = file(
            &format!("like-a-jwe-{mode}.toml"),
            format!(
                "audience = \"{AUDIENCE}\"\ndanger_allow_http_loopback = true\n[[issuer]]\n\
                 issuer = \"{}\"\nmode = \"{mode}\"\n{}\n",
                server.issuer(),
                if mode == "jwt" { "" } else { client },
            ),
        );
        let ran = run(&["explain", "--config", &config], &token).await;
        assert_eq!(ran.code, code, "{mode}: {}", ran.screen());
    }
}

#[tokio::test]
async fn every_screen_states_that_the_token_is_not_verified() {
    for token in ["opaque", "e30.e30.", &good(), "eyJhbGciOiJub25lIn0.e30.", "v4.public.AAAA"] {
        let ran = decode(token).await;
        assert_eq!(ran.out.matches("NOT VERIFIED").count(), 2, "{}", ran.out);
        assert_eq!(ran.code, 0);
        let ran = run(&["decode", "--json"], token).await;
        assert_eq!(ran.json()["verified"], false);
    }
}

#[tokio::test]
async fn kinds_of_tokens_are_recognised() {
    let typ = |typ: &str| sign(&with(header(), json!({"typ": typ})), &claims());
    let claim = plain;
    for (token, expected) in [
        (good(), "access_token"),
        (typ("application/at+jwt"), "access_token"),
        (typ("dpop+jwt"), "dpop_proof"),
        (typ("logout+jwt"), "logout_token"),
        (typ("secevent+jwt"), "security_event"),
        (typ("rt+jwt"), "refresh_token"),
        (typ("client-authentication+jwt"), "client_assertion"),
        (typ("token-introspection+jwt"), "introspection_response"),
        (typ("oauth-authz-req+jwt"), "other"),
        (claim(json!({})), "access_token"),
        (claim(json!({"at_hash": "x"})), "id_token"),
        (claim(json!({"token_use": "id"})), "id_token"),
        (claim(json!({"typ": "Refresh"})), "refresh_token"),
        (claim(json!({"events": {"https://example.com/x": {}}})), "security_event"),
        (
            claim(json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}})),
            "logout_token",
        ),
        // Without a mark, the kind is guessed.
        (claim(json!({"scope": null, "client_id": null, "email": "a@example.com"})), "id_token"),
        (
            claim(json!({"scope": null, "client_id": null, "sub": "https://as.example.com"})),
            "client_assertion",
        ),
        ("2YotnFZFEjr1zCsicMWpAA".to_owned(), "opaque"),
        ("a.b.c".to_owned(), "opaque"),
        ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AA.AA.AA".to_owned(), "jwe"),
        ("v4.local.AAAA".to_owned(), "paseto"),
        ("PHNhbWw6QXNzZXJ0aW9u".to_owned(), "saml"),
    ] {
        assert_eq!(kind(&token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn tokens_are_read_from_files_variables_and_standard_input() {
    let good = good();
    let path = crate::run::file("token.txt", format!("{good}\n"));
    let expected = decode(&good).await;
    let at = at();
    let from_file = run(&["decode", "--at", &at, "--token-file", &path], "").await;
    assert_eq!((&from_file.out, &*from_file.err), (&expected.out, ""));
    let arguments = ["decode", "--at", &at, "--token-env", "TOKEN"];
    let from_variable = run_in(&[("TOKEN", &good)], &arguments, "").await;
    assert_eq!((&from_variable.out, &*from_variable.err), (&expected.out, ""));
    let dash = run(&["decode", "--at", &at, "-"], &good).await;
    assert_eq!((&dash.out, &*dash.err), (&expected.out, ""));
    let argument = run(&["decode", "--at", &at, &good], "").await;
    assert_eq!(argument.out, expected.out);
    assert!(argument.err.contains("visible in the list of processes"), "{}", argument.err);
}
