//! Runs `introspect doctor` and `introspect introspect` against real servers.

use std::{path::Path, process::Output};

use serde_json::Value;
use tokio::process::Command;

use testing::{
    django::Django,
    glewlwyd::Glewlwyd,
    host::Home,
    oidc_provider::{API, Server},
};

/// Writes a configuration for one issuer, with its secret in a file.
fn configured(home: &Home, issuer: &str, mode: &str, client: &str, secret: &[u8]) -> String {
    let secret_file = home.path().join("secret");
    std::fs::write(&secret_file, secret).expect("the directory is writable");
    let path = home.path().join("api.toml");
    let file = if client.contains("private_key_jwt") { "key_file" } else { "secret_file" };
    let text = format!(
        "audience = \"{API}\"\ndanger_allow_http_loopback = true\n\
         [[issuer]]\nissuer = \"{issuer}\"\nmode = \"{mode}\"\n\
         client = {{ {client}, {file} = \"{}\" }}\n{}",
        secret_file.display(),
        // Other tests use the same machine.
        if mode == "jwt" { "" } else { "timeout_seconds = 120\n" },
    );
    std::fs::write(&path, text).expect("the directory is writable");
    path.to_str().expect("UTF-8").to_owned()
}

fn token(home: &Home, name: &str, token: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, token).expect("the directory is writable");
    path.to_str().expect("UTF-8").to_owned()
}

async fn introspect(arguments: &[&str]) -> Output {
    let mut program = Command::new(Path::new(env!("CARGO_BIN_EXE_introspect")));
    let run = program.args(["--timeout", "120", "--json"]).args(arguments).env_clear();
    run.kill_on_drop(true).output().await.expect("the program runs")
}

/// The report of the program and its exit code.
struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    async fn by_doctor(config: &str, tokens: &[&str]) -> Self {
        let mut arguments = vec!["doctor", config, "--probe"];
        for token in tokens {
            arguments.extend(["--token-file", token]);
        }
        Self::of(&introspect(&arguments).await)
    }

    fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Self { code: output.status.code(), report }
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        let sections = self.report["sections"].as_array().into_iter().flatten();
        sections.flat_map(|section| section["findings"].as_array().into_iter().flatten())
    }

    /// Returns the text of a finding.
    #[track_caller]
    fn text(&self, code: &str) -> &str {
        let found = self.all().find(|finding| finding["code"] == code);
        let text = found.and_then(|finding| finding["text"].as_str());
        text.unwrap_or_else(|| panic!("no {code} in {:#}", self.report))
    }

    #[track_caller]
    fn has(&self, codes: &[&str]) {
        for code in codes {
            self.text(code);
        }
    }

    #[track_caller]
    fn has_none(&self, codes: &[&str]) {
        for code in codes {
            assert!(!self.all().any(|one| one["code"] == *code), "{code} in {:#}", self.report);
        }
    }
}

#[tokio::test]
async fn oidc_provider_introspects_no_jwts_and_decodes_basic_credentials() {
    let Some(server) = Server::start().await else { return };
    let home = Home::new("doctor");
    let secret = server.secret().as_bytes();
    let client = "method = \"basic\", id = \"rs-basic\"";
    let opaque = token(&home, "opaque", &server.token("opaque").await);
    let jwt = token(&home, "jwt", &server.token("ES256").await);

    let config = configured(&home, server.issuer(), "hybrid", client, secret);
    let found = Found::by_doctor(&config, &[&opaque, &jwt]).await;
    found.has(&["metadata", "credentials", "clock", "keys_no_cache_headers", "basic_decoded"]);
    found.has(&["no_sub", "aud_string", "exp_integer", "wrong_hint_ignored"]);
    assert!(found.text("not_introspectable").contains("400 Bad Request"));
    assert!(found.text("no_credentials").contains("400 Bad Request, invalid_request"));
    assert!(found.text("wrong_secret").contains("401 Unauthorized, invalid_client"));
    assert!(found.text("token_type").ends_with("Bearer"));
    found.has_none(&["no_aud", "no_iss", "not_admitted", "wrong_hint_inactive"]);
    assert_eq!(found.code, Some(0), "{:#}", found.report);

    // A service that only introspects refuses all of its JWTs.
    let config = configured(&home, server.issuer(), "introspect", client, secret);
    let found = Found::by_doctor(&config, &[&jwt]).await;
    found.has(&["not_introspectable", "not_admitted"]);
    assert_eq!(found.code, Some(1), "{:#}", found.report);

    // The secret has characters that must be encoded for it.
    let raw = "method = \"basic_raw\", id = \"rs-basic\"";
    let config = configured(&home, server.issuer(), "introspect", raw, secret);
    let found = Found::by_doctor(&config, &[]).await;
    assert!(found.text("credentials_rejected").contains("400"));
    assert_eq!(found.code, Some(1), "{:#}", found.report);

    // The server accepts each assertion once, and the program sends none twice.
    let key = "method = \"private_key_jwt\", id = \"rs-private-key\", algorithm = \"ES256\", kid = \"rs\"";
    let config = configured(&home, server.issuer(), "introspect", key, server.client_key());
    let found = Found::by_doctor(&config, &[&opaque]).await;
    found.has(&["credentials", "admitted"]);
    assert_eq!(found.code, Some(0), "{:#}", found.report);
}

#[tokio::test]
async fn glewlwyd_decodes_no_basic_credentials_and_a_wrong_hint_makes_tokens_inactive() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let home = Home::new("doctor");
    let client = "method = \"basic\", id = \"rs\"";
    let config = configured(&home, &server.issuer(), "introspect", client, b"rs-secret");
    let good = token(&home, "good", &server.token().await);
    let bare = token(&home, "bare", &server.token_of_scope("svc", "read write").await);
    let refresh = token(&home, "refresh", &server.tokens_of_a_user().await.refresh);

    let found = Found::by_doctor(&config, &[&good]).await;
    found.has(&["credentials", "admitted", "basic_not_decoded", "wrong_hint_inactive", "no_iss"]);
    assert!(found.text("token_type_spelling").contains("\"bearer\""));
    assert_eq!(
        found.text("wrong_secret"),
        "with a wrong secret, the response is 401 Unauthorized without content"
    );
    found.has_none(&["no_aud", "aud_list", "basic_decoded"]);
    assert_eq!(found.code, Some(0), "{:#}", found.report);

    let found = Found::by_doctor(&config, &[&bare, &refresh]).await;
    found.has(&["aud_list", "not_admitted", "introspection_other_kind"]);
    assert_eq!(found.code, Some(1), "{:#}", found.report);
}

#[tokio::test]
async fn django_names_an_audience_on_request_only_and_responds_403_to_a_wrong_secret() {
    let Some(server) = Django::start().await else { return };
    let home = Home::new("doctor");
    let client = "method = \"basic\", id = \"rs\"";
    let config = configured(&home, &server.issuer(), "introspect", client, b"rs-secret");
    let bare = token(&home, "bare", &server.token().await);
    let good = token(&home, "good", &server.token_for(API).await);

    let found = Found::by_doctor(&config, &[&bare]).await;
    found.has(&["credentials", "no_aud", "no_iss", "no_sub", "no_token_type", "not_admitted"]);
    found.has(&["basic_decoded"]);
    assert!(found.text("wrong_secret").contains("403 Forbidden"));
    assert_eq!(found.code, Some(1), "{:#}", found.report);

    let found = Found::by_doctor(&config, &[&good]).await;
    found.has(&["aud_array", "admitted"]);
    assert_eq!(found.code, Some(0), "{:#}", found.report);

    let config = configured(&home, &server.issuer(), "introspect", client, b"wrong");
    let found = Found::by_doctor(&config, &[]).await;
    assert!(found.text("credentials_rejected").contains("403 Forbidden, text/html"));
    assert_eq!(found.code, Some(1), "{:#}", found.report);
}

#[tokio::test]
async fn all_authentication_methods_and_signed_responses_work() {
    let Some(server) = Server::start().await else { return };
    let home = Home::new("doctor");
    let token = token(&home, "opaque", &server.token("opaque").await);
    let secret = home.path().join("secret");
    std::fs::write(&secret, server.secret()).expect("the directory is writable");
    let key = home.path().join("key");
    std::fs::write(&key, server.client_key()).expect("the directory is writable");
    let (secret, key) = (secret.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    for (client, file, more) in [
        ("rs-basic", secret, &["--auth", "secret"][..]),
        ("rs-basic", secret, &["--auth", "basic"]),
        ("rs-post", secret, &["--auth", "post"]),
        (
            "rs-private-key",
            key,
            &["--auth", "private-key-jwt", "--algorithm", "ES256", "--kid", "rs"],
        ),
        ("rs-signed-es256", secret, &["--signed"]),
        ("rs-signed-rs256", secret, &["--signed"]),
    ] {
        let known = [
            "introspect",
            "--danger-allow-http-loopback",
            "--issuer",
            server.issuer(),
            "--token-file",
            &token,
            "--client-id",
            client,
            "--secret-file",
            file,
        ];
        let output = introspect(&[&known, more].concat()).await;
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(0), "{more:?}: {report:#}");
        assert_eq!(report["claims"]["scope"], "read", "{more:?}: {report:#}");
        let all = String::from_utf8_lossy(&output.stdout);
        assert!(!all.contains(server.secret()), "{all}");
    }
    let raw = [
        "introspect",
        "--danger-allow-http-loopback",
        "--issuer",
        server.issuer(),
        "--token-file",
        &token,
        "--client-id",
        "rs-basic",
        "--secret-file",
        secret,
        "--auth",
        "basic-raw",
    ];
    assert_eq!(introspect(&raw).await.status.code(), Some(2), "the credentials are wrong");
}
