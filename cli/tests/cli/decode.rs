//! `introspect decode`.

use serde_json::json;

use crate::run::{NOW, Ran, at, claims, good, header, id_claims, run, run_in, sign, with};

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
    let jwe = "eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2R0NNIn0.AA.AA.AA.AA";
    decode(jwe).await.shows("decode-jwe");
    let good = good();
    decode(&good[..good.len() / 2]).await.shows("decode-cut");
    let odd = with(claims(), json!({"exp": (NOW + 3600) * 1000, "aud": null, "cnf": {"jkt": "x"}}));
    let header =
        with(header(), json!({"typ": null, "jku": "https://evil.example.com", "crit": ["x"]}));
    decode(&sign(&header, &odd)).await.shows("decode-odd");
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
    let claim = |changes| sign(&with(header(), json!({"typ": "JWT"})), &with(claims(), changes));
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
