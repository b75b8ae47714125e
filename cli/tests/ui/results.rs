//! The page shows the results of the program.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testing::proxy::until;
use tower_introspect::{
    clock::UnixTime,
    test_util::{AuthorizationServer, Endpoint, Fault},
};

use crate::{
    program::{Ui, refused, texts},
    run::{
        AUDIENCE, ISSUER, NOW, at, claims, file, good, header, id_claims, jwks, run, sign, with,
    },
};

/// Writes the configuration of a service that verifies JWTs with the keys in a file.
pub(crate) fn config() -> String {
    file(
        "ui.toml",
        format!(
            "audience = \"{AUDIENCE}\"\nrequired_scopes = [\"read\"]\n\n[[issuer]]\n\
             issuer = \"{ISSUER}\"\nmode = \"jwt\"\njwks_file = \"{}\"\n",
            jwks()
        ),
    )
}

/// Returns an access token that expires this many seconds after now.
pub(crate) fn minted(server: &AuthorizationServer, expires: i64) -> String {
    let token = server.jwt().subject("alice").audience(AUDIENCE).scope("read");
    let token = token.issued_at(UnixTime::from_secs(NOW - 600));
    token.expires_at(UnixTime::from_secs(NOW + expires)).mint()
}

/// Checks that the screen of the same command has every text that the page shows.
#[track_caller]
fn assert_same(shown: &Value, screen: &str) {
    let texts = texts(shown);
    assert!(!texts.trim().is_empty());
    let screen: Vec<_> = screen.split_whitespace().collect();
    let screen = screen.join(" ");
    for line in texts.lines() {
        let line: Vec<_> = line.split_whitespace().collect();
        assert!(screen.contains(&line.join(" ")), "{line:?} is not in {screen}");
    }
}

#[tokio::test]
async fn results_are_those_of_the_command_line() {
    let config = config();
    let ui = Ui::start(&["--config", &config]).await;
    let (at, good) = (at(), good());
    let id = sign(&with(header(), json!({"typ": "JWT"})), &id_claims());
    let pasted = format!("curl -H 'Authorization: Bearer {good}' https://api.example.com/");
    for token in [&*good, &id, &pasted, "opaque", "", "Basic dTpw", "{}", "\"", "-", "a\u{1}b"] {
        let shown = ui.call("decode", token, json!({})).await;
        let ran = run(&["decode", "--at", &at], token).await;
        assert_same(&shown, &ran.screen().replace("standard input: ", "the token: "));

        let shown = ui.call("explain", token, json!({"method": ["POST"], "path": ["/a?b"]})).await;
        let explain = ["explain", "--at", &at, "--config", &config, "--method=POST", "--path=/a?b"];
        let ran = run(&explain, token).await;
        assert_same(&shown, &ran.screen().replace("standard input: ", "the token: "));
    }
    let shown = ui.call("explain", "", json!({"no-token": []})).await;
    assert_same(
        &shown,
        &run(&["explain", "--config", &config, "--no-token", "--at", &at], "").await.screen(),
    );
    assert_eq!(shown["outcome"], "refused");
}

#[tokio::test]
async fn tokens_are_verified_with_the_keys_of_the_issuer() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let ui = Ui::start(&[]).await;
    let issuer = server.issuer();
    let (good, expired) = (minted(&server, 60), minted(&server, -31));
    let options = json!({
        "issuer": [issuer], "audience": ["https://other.example.com", AUDIENCE],
        "scope": ["read"], "profile": ["generic"], "danger-allow-http-loopback": [],
    });
    let at = at();
    let arguments = [
        "verify",
        "--at",
        &at,
        "--issuer",
        issuer,
        "--audience",
        "https://other.example.com",
        "--audience",
        AUDIENCE,
        "--scope",
        "read",
        "--danger-allow-http-loopback",
    ];
    for (token, outcome) in [(&good, "accepted"), (&expired, "refused")] {
        let shown = ui.call("verify", token, options.clone()).await;
        assert_eq!(shown["outcome"], outcome, "{shown}");
        assert_same(&shown, &run(&arguments, token).await.screen());
    }
    let mut without = options;
    without.as_object_mut().unwrap().remove("danger-allow-http-loopback");
    let shown = ui.call("verify", &good, without).await;
    assert_eq!(shown["outcome"], "usage", "{shown}");
}

#[tokio::test]
async fn options_are_validated_as_on_the_command_line() {
    let ui = Ui::start(&[]).await;
    for (options, text) in [
        (json!({}), "--audience <AUDIENCE>"),
        (json!({"issuer": [ISSUER], "audience": ["a"], "alg": ["none"]}), "none"),
        (json!({"issuer": [ISSUER], "audience": ["a"], "leeway": ["soon"]}), "soon"),
        (json!({"issuer": [ISSUER], "audience": ["a"], "any-audience": []}), "cannot be used with"),
        (json!({"issuer": [ISSUER], "audience": ["a"], "profile": ["other"]}), "rfc9068"),
    ] {
        let shown = ui.call("verify", &good(), options).await;
        assert_eq!(shown["outcome"], "usage");
        let texts = texts(&shown);
        assert!(texts.contains(text) && !texts.contains("Usage:"), "{texts}");
    }
    let shown = ui.call("explain", &good(), json!({})).await;
    assert!(texts(&shown).contains("has no `--config`"), "{shown}");
}

#[tokio::test]
async fn page_runs_three_commands_only() {
    let ui = Ui::start(&[]).await;
    for command in
        ["", "doctor", "mint", "serve-as", "ui", "introspect", "Decode", "--help", "help"]
    {
        let shown = ui.call(command, &good(), json!({})).await;
        assert!(shown["outcome"] == "usage" && texts(&shown).contains("can't run this command"));
    }
}

#[tokio::test]
async fn page_can_not_read_files_or_variables() {
    let keys = jwks();
    let config = config();
    let ui = Ui::start(&["--config", &config]).await;
    let token = file("ui-token.txt", good());
    for (name, value) in [
        ("jwks", &*keys),
        ("pem", &keys),
        ("token-file", &token),
        ("token-env", "PATH"),
        ("at", "0"),
        ("timeout", "600"),
        ("json", "true"),
        ("help", "true"),
        ("config", &config),
        ("issuer=a --pem", &keys),
        ("", &keys),
    ] {
        for (command, base) in [
            ("verify", json!({"any-audience": [], "issuer": [ISSUER]})),
            ("explain", json!({})),
            ("decode", json!({})),
        ] {
            let shown = ui.call(command, "opaque", with(base, json!({name: [value]}))).await;
            assert_eq!(shown["outcome"], "usage", "{shown}");
            let texts = texts(&shown);
            assert!(texts.contains("the page"), "{command} {name}: {texts}");
        }
    }
    // A value never becomes an option.
    let inside = json!({"any-audience": [], "issuer": ["x"], "leeway": [format!("--pem={keys}")]});
    let shown = texts(&ui.call("verify", &good(), inside).await);
    assert!(shown.contains(&format!("invalid value '--pem={keys}'")), "{shown}");
    let shown = texts(&ui.call("explain", &good(), json!({"path": ["--config=/etc"]})).await);
    assert!(shown.contains("invalid value '--config=/etc'"), "{shown}");
}

#[tokio::test]
async fn text_of_a_token_stays_text() {
    let ui = Ui::start(&[]).await;
    let evil = "<img src=x onerror=alert(1)>\u{1b}[2J\u{202e}\r\n\u{0}</script>";
    let token = sign(&header(), &with(claims(), json!({"sub": evil, (evil): evil})));
    let shown = ui.call("decode", &token, json!({})).await;
    let texts = texts(&shown);
    assert!(texts.contains(r"<img src=x onerror=alert(1)>\u{1b}[2J\u{202e}\r\n\u{0}</script>"));
    assert!(!texts.contains(['\u{1b}', '\u{202e}', '\r', '\0']), "{texts:?}");
    assert!(texts.starts_with("NOT VERIFIED"), "{texts}");
}

#[tokio::test]
async fn verifications_that_hang_do_not_block_decoding() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.inject(Endpoint::Discovery, Fault::hang());
    let ui = Ui::start(&["--timeout", "600"]).await;
    let call = json!({
        "command": "verify", "token": minted(&server, 60), "options": {
            "issuer": [server.issuer()], "any-audience": [], "danger-allow-http-loopback": [],
        },
    })
    .to_string();
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..8 {
        hanging.spawn(ui.post(call.clone()).send());
    }
    until(async || server.calls(Endpoint::Discovery) == 8, || "not all ask".to_owned()).await;
    refused(ui.post(call), StatusCode::SERVICE_UNAVAILABLE).await;
    let shown = ui.call("decode", &good(), json!({})).await;
    assert_eq!(shown["outcome"], "accepted");
    assert!(hanging.try_join_next().is_none());
}
