//! Runs `introspect doctor` and `introspect introspect` against real servers.

use std::{path::Path, process::Output};

use serde_json::Value;
use tokio::process::Command;

use testing::{
    django::Django,
    glewlwyd::Glewlwyd,
    host::ScratchDir,
    oidc_provider::{API, OidcProvider},
};

/// Writes a configuration for one issuer, with its secret in a file.
fn configured(dir: &ScratchDir, issuer: &str, mode: &str, client: &str, secret: &[u8]) -> String {
    let secret_file = write(dir, "secret", secret);
    let file = if client.contains("private_key_jwt") { "key_file" } else { "secret_file" };
    let text = format!(
        "audience = \"{API}\"\ndanger_allow_http_loopback = true\n\
         [[issuer]]\nissuer = \"{issuer}\"\nmode = \"{mode}\"\n\
         client = {{ {client}, {file} = \"{secret_file}\" }}\n{}",
        // Other tests use the same machine.
        if mode == "jwt" { "" } else { "timeout_seconds = 120\n" },
    );
    write(dir, "api.toml", text)
}

/// Writes a file and returns its path.
fn write(dir: &ScratchDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, contents).expect("the directory is writable");
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

    /// Returns the details of a finding, as JSON.
    #[track_caller]
    fn details(&self, code: &str) -> String {
        let found = self.all().find(|finding| finding["code"] == code);
        found.map(|finding| finding["details"].to_string()).unwrap_or_default()
    }

    #[track_caller]
    fn has(&self, codes: &[&str]) {
        for code in codes {
            self.text(code);
        }
    }

    /// Checks the exit code.
    #[track_caller]
    fn exits_with(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{:#}", self.report);
    }

    #[track_caller]
    fn has_none(&self, codes: &[&str]) {
        for code in codes {
            assert!(!self.all().any(|one| one["code"] == *code), "{code} in {:#}", self.report);
        }
    }
}

#[tokio::test]
async fn oidc_provider_refuses_to_introspect_jwts_and_decodes_basic_credentials() {
    let Some(server) = OidcProvider::start().await else { return };
    let dir = ScratchDir::new("doctor");
    let secret = server.secret().as_bytes();
    let client = "method = \"basic\", id = \"rs-basic\"";
    let opaque = write(&dir, "opaque", &server.token("opaque").await);
    let jwt = write(&dir, "jwt", &server.token("ES256").await);

    let config = configured(&dir, server.issuer(), "hybrid", client, secret);
    let found = Found::by_doctor(&config, &[&opaque, &jwt]).await;
    found.has(&["metadata", "clock", "keys_no_cache_headers", "basic_decoded"]);
    found.has(&["admitted", "wrong_hint_ignored"]);
    let credentials = found.text("credentials");
    for refused in [
        "without credentials: 400 Bad Request, `invalid_request`",
        "with a wrong secret: 401 Unauthorized, `invalid_client`",
    ] {
        assert!(credentials.contains(refused), "{credentials}");
    }
    let members = "`aud` is a string, `exp` is an integer, `token_type` is Bearer; without `sub`";
    assert!(found.text("response").contains(members), "{}", found.text("response"));
    found.has_none(&["not_admitted", "wrong_hint_inactive"]);
    found.exits_with(0);

    // A service that only introspects refuses all of its JWTs.
    let config = configured(&dir, server.issuer(), "introspect", client, secret);
    let found = Found::by_doctor(&config, &[&jwt]).await;
    assert!(found.text("not_admitted").contains("can't be introspected"));
    let details = found.details("not_admitted");
    assert!(details.contains("unsupported_token_type") && details.contains("mode"), "{details}");
    found.exits_with(1);

    // The secret has characters that must be encoded for it, and the response does not name the
    // credentials.
    let raw = "method = \"basic_raw\", id = \"rs-basic\"";
    let config = configured(&dir, server.issuer(), "introspect", raw, secret);
    let found = Found::by_doctor(&config, &[]).await;
    assert!(found.text("introspection_refused").contains("400"));
    found.exits_with(1);

    // The server accepts each assertion once, and the program sends none twice.
    let key = "method = \"private_key_jwt\", id = \"rs-private-key\", algorithm = \"ES256\", kid = \"rs\"";
    let config = configured(&dir, server.issuer(), "introspect", key, server.client_key());
    let found = Found::by_doctor(&config, &[&opaque]).await;
    found.has(&["credentials", "admitted"]);
    found.exits_with(0);
}

#[tokio::test]
async fn glewlwyd_does_not_decode_basic_credentials_and_treats_wrongly_hinted_tokens_as_inactive() {
    let Some(server) = Glewlwyd::start(&["es-1"]).await else { return };
    let dir = ScratchDir::new("doctor");
    let client = "method = \"basic\", id = \"rs\"";
    let config = configured(&dir, &server.issuer(), "introspect", client, b"rs-secret");
    let good = write(&dir, "good", &server.token().await);
    let bare = write(&dir, "bare", &server.token_of_scope("svc", "read write").await);
    let refresh = write(&dir, "refresh", &server.tokens_of_a_user().await.refresh);

    let found = Found::by_doctor(&config, &[&good]).await;
    found.has(&["admitted", "basic_not_decoded", "wrong_hint_inactive"]);
    let refused = "with a wrong secret: 401 Unauthorized without content";
    assert!(found.text("credentials").contains(refused), "{}", found.text("credentials"));
    let response = found.text("response");
    assert!(response.contains("`token_type` is bearer; without `iss`"), "{response}");
    found.has_none(&["not_admitted", "basic_decoded"]);
    found.exits_with(0);

    let found = Found::by_doctor(&config, &[&bare]).await;
    found.has(&["not_admitted"]);
    assert!(found.text("response").contains("list in one string (\"read write\")"));
    found.exits_with(1);

    // The service is right to refuse it.
    let found = Found::by_doctor(&config, &[&refresh]).await;
    let flagged = found.text("response_other_kind");
    assert!(flagged.contains("`token_type` is \"refresh_token\""), "{flagged}");
    found.exits_with(0);
}

#[tokio::test]
async fn django_reports_a_requested_audience_only_and_responds_403_to_a_wrong_secret() {
    let Some(server) = Django::start().await else { return };
    let dir = ScratchDir::new("doctor");
    let client = "method = \"basic\", id = \"rs\"";
    let config = configured(&dir, &server.issuer(), "introspect", client, b"rs-secret");
    let bare = write(&dir, "bare", &server.token().await);
    let good = write(&dir, "good", &server.token_for(API).await);

    let found = Found::by_doctor(&config, &[&bare]).await;
    found.has(&["not_admitted", "basic_decoded"]);
    let response = found.text("response");
    assert!(response.contains("without `aud`, `token_type`, `iss`, `sub`"), "{response}");
    assert!(found.text("credentials").contains("with a wrong secret: 403 Forbidden"));
    found.exits_with(1);

    let found = Found::by_doctor(&config, &[&good]).await;
    found.has(&["admitted"]);
    assert!(
        found.text("response").contains("`aud` is an array of 1"),
        "{}",
        found.text("response")
    );
    found.exits_with(0);

    let config = configured(&dir, &server.issuer(), "introspect", client, b"wrong");
    let found = Found::by_doctor(&config, &[]).await;
    assert!(found.text("introspection_refused").contains("403 Forbidden"));
    found.exits_with(1);
}

#[tokio::test]
async fn all_authentication_methods_and_signed_responses_work() {
    let Some(server) = OidcProvider::start().await else { return };
    let dir = ScratchDir::new("doctor");
    let token = write(&dir, "opaque", &server.token("opaque").await);
    let secret = &*write(&dir, "secret", server.secret());
    let key = &*write(&dir, "key", server.client_key());
    let run = async |client: &str, file: &str, more: &[&str]| {
        let issuer = ["introspect", "--danger-allow-http-loopback", "--issuer", server.issuer()];
        let client = ["--token-file", &token, "--client-id", client, "--secret-file", file];
        introspect(&[&issuer[..], &client, more].concat()).await
    };
    let private_key = ["--auth", "private-key-jwt", "--algorithm", "ES256", "--kid", "rs"];
    for (client, file, more) in [
        ("rs-basic", secret, &["--auth", "secret"][..]),
        ("rs-basic", secret, &["--auth", "basic"]),
        ("rs-post", secret, &["--auth", "post"]),
        ("rs-private-key", key, &private_key),
        ("rs-signed-es256", secret, &["--signed"]),
        ("rs-signed-rs256", secret, &["--signed"]),
    ] {
        let output = run(client, file, more).await;
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(0), "{more:?}: {report:#}");
        assert_eq!(report["claims"]["scope"], "read", "{more:?}: {report:#}");
        let all = String::from_utf8_lossy(&output.stdout);
        assert!(!all.contains(server.secret()), "{all}");
    }
    let raw = run("rs-basic", secret, &["--auth", "basic-raw"]).await;
    assert_eq!(raw.status.code(), Some(3), "the response does not name the credentials");
}
