//! `introspect doctor`.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tower_introspect::{
    clock::UnixTime,
    test_util::{AuthorizationServer, Endpoint, Fault},
};

use crate::{
    front::{self, CA, Front},
    run::{AUDIENCE, NOW, Ran, at, command, file, run, run_in},
};

async fn doctor(config: &str, more: &[&str]) -> Ran {
    let at = at();
    let known = ["doctor", "--at", &at, config];
    let ran = run(&[&known, more].concat(), "").await;
    assert!(!ran.screen().contains("s3cret"), "{}", ran.screen());
    ran
}

fn codes(ran: &Ran) -> Vec<(String, String)> {
    let json = ran.json();
    let sections = json["sections"].as_array().unwrap();
    let all = sections.iter().flat_map(|section| section["findings"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|finding| (text(&finding["code"]), text(&finding["level"]))).collect()
}

#[track_caller]
fn has(ran: &Ran, code: &str, level: &str) {
    let all = codes(ran);
    let wanted = (code.to_owned(), level.to_owned());
    assert!(all.contains(&wanted), "no {wanted:?}: {}", ran.screen());
}

/// Returns the text of a finding.
#[track_caller]
fn text_of(ran: &Ran, code: &str) -> String {
    let json = ran.json();
    let sections = json["sections"].as_array().unwrap();
    let mut all = sections.iter().flat_map(|section| section["findings"].as_array().unwrap());
    let found = all.find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {}", ran.screen()))["text"].to_string()
}

/// Returns a token that is valid for this many seconds from [`NOW`] on.
fn opaque(server: &AuthorizationServer, seconds: i64) -> String {
    let token = server.opaque().audience(AUDIENCE).scope("read");
    let token = token.issued_at(UnixTime::from_secs(NOW));
    token.expires_at(UnixTime::from_secs(NOW + seconds)).mint()
}

#[tokio::test]
async fn screens() {
    let front = Front::start("good").await;
    let server = &front.server;
    front::without_known_keys(server);
    let config = front::config("doctor", server.issuer(), "mode = \"hybrid\"\n");
    let token = file("doctor.token", opaque(server, 600));
    let healthy = ["--ca", CA, "--probe", "--token-file", &token];
    doctor(&config, &healthy).await.steady(server).shows("doctor-ready");
    let markdown = [&healthy[..], &["--markdown"]].concat();
    doctor(&config, &markdown).await.steady(server).shows("doctor-markdown");
    doctor(&config, &[]).await.steady(server).shows("doctor-untrusted");

    let wrong = front::config("doctor-wrong", server.issuer(), "mode = \"introspect\"\n");
    file("doctor-wrong.secret", "another");
    doctor(&wrong, &["--ca", CA]).await.steady(server).shows("doctor-credentials");

    server.inject(Endpoint::Discovery, Fault::hang());
    let hangs = ["--ca", CA, "--timeout", "1"];
    doctor(&config, &hangs).await.steady(server).shows("doctor-hanging");
}

#[tokio::test]
async fn all_mistakes_of_a_configuration_are_reported() {
    let config = file(
        "doctor-mistakes.toml",
        "audience = \"\"\nleeway = 3\n\n[[issuer]]\nissuer = \"https://as.example.com\"\nmode = \"jwtt\"\n\n\
         [[issuer]]\nissuer = \"http://x\"\nmode = \"introspect\"\nclient = { method = \"basic\" }\n",
    );
    doctor(&config, &[]).await.shows("doctor-mistakes");
    let unset = front::config("doctor-unset", "https://as.example.com", "mode = \"introspect\"\n");
    let _ = std::fs::remove_file(crate::run::scratch().join("doctor-unset.secret"));
    let ran = doctor(&unset, &[]).await;
    assert!(ran.code == 2 && ran.err.contains("client.secret"), "{}", ran.screen());
    for garbage in [&b"\x00\xff\x80"[..], b"", b"[[issuer]\n"] {
        assert_eq!(doctor(&file("doctor-garbage.toml", garbage), &[]).await.code, 2);
    }
    assert_eq!(doctor("/nowhere.toml", &[]).await.code, 2);
}

/// The configuration of `forward-auth` has this form.
#[tokio::test]
async fn the_settings_may_be_a_table_in_a_larger_file() {
    let (server, _listening) = front::plain().await;
    front::without_known_keys(&server);
    let nested = format!(
        "listen = \"127.0.0.1:4180\"\n[resource_server]\naudience = \"{AUDIENCE}\"\n\
         danger_allow_http_loopback = true\n[[resource_server.issuer]]\nissuer = \"{}\"\nmode = \"jwt\"\n",
        server.issuer()
    );
    let ran = doctor(&file("doctor-nested.toml", nested), &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    assert!(!ran.screen().contains("miss_budget"), "nothing is introspected: {}", ran.screen());
}

#[tokio::test]
async fn expiry_is_reported_in_advance() {
    let front = Front::start("good").await;
    front::without_known_keys(&front.server);
    let config = front::config("doctor-ends", front.server.issuer(), "mode = \"jwt\"\n");
    let config = {
        let text = std::fs::read_to_string(&config).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("client")).collect();
        file("doctor-ends.toml", lines.join("\n"))
    };
    // The certificate is valid until 2100-01-01. `--at` changes the clock of the checks only; the
    // connection uses the real time.
    for (at, level) in [
        ("2099-11-30T00:00:00Z", "good"),
        ("2099-12-20T00:00:00Z", "warning"),
        ("2100-01-02T00:00:00Z", "bad"),
    ] {
        let arguments = ["doctor", "--json", "--at", at, "--ca", CA, &config];
        let ran = run(&arguments, "").await;
        has(&ran, "tls_certificate_expires", level);
        assert_eq!(ran.code, i32::from(level == "bad"), "{}", ran.screen());
        let runbook = &ran.json()["runbook"]["expires"][0];
        assert_eq!(runbook["at"], "2100-01-01T00:00:00Z", "{}", ran.screen());
    }
    for certificate in ["expired", "future", "other-name"] {
        let front = Front::start(certificate).await;
        let config = front::config("doctor-tls", front.server.issuer(), "mode = \"hybrid\"\n");
        let ran = doctor(&config, &["--ca", CA, "--json"]).await;
        has(&ran, "tls", "bad");
        assert_eq!(ran.code, 1, "{}", ran.screen());
    }
}

#[tokio::test]
async fn wrong_metadata_keys_and_responses_are_reported() {
    let (server, _listening) = front::plain().await;
    front::without_known_keys(&server);
    let config = front::config("doctor-faults", server.issuer(), "mode = \"hybrid\"\n");
    let check = async || doctor(&config, &["--json"]).await;
    assert_eq!(check().await.code, 0);
    for (endpoint, fault, code, level, exit) in [
        (Endpoint::Jwks, Fault::html(), "keys_html", "bad", 1),
        (Endpoint::Jwks, Fault::redirect("https://other.example.com/"), "keys_redirect", "bad", 1),
        (Endpoint::Jwks, Fault::oversize(1 << 20), "keys_too_large", "bad", 1),
        (Endpoint::Jwks, Fault::hang(), "unreachable", "unknown", 3),
        (Endpoint::Discovery, Fault::html(), "metadata_no_json", "bad", 1),
        (
            Endpoint::Discovery,
            Fault::redirect("https://other.example.com/"),
            "metadata_redirect",
            "bad",
            1,
        ),
        (Endpoint::Introspection, Fault::html(), "introspection_out_of_protocol", "bad", 1),
        (Endpoint::Introspection, Fault::close(), "introspection_unreachable", "unknown", 3),
        (Endpoint::Introspection, Fault::hang(), "timeout", "unknown", 3),
        (
            Endpoint::Introspection,
            Fault::delay(Duration::from_millis(300)),
            "introspection_slow",
            "warning",
            0,
        ),
    ] {
        // What hangs is given up, with whatever else would have come by then.
        let hangs = ["unreachable", "timeout"].contains(&code);
        server.inject(endpoint, fault);
        let ran = if hangs {
            doctor(&config, &["--json", "--timeout", "2"]).await
        } else {
            check().await
        };
        server.clear(endpoint);
        has(&ran, code, level);
        assert_eq!(ran.code, exit, "{code}: {}", ran.screen());
    }
    server.set_metadata("introspection_endpoint", Value::Null);
    has(&check().await, "no_introspection_endpoint", "bad");
    server.set_metadata("introspection_endpoint", server.url(Endpoint::Introspection));
    server
        .set_metadata("introspection_endpoint_auth_methods_supported", serde_json::json!(["none"]));
    has(&check().await, "auth_method_not_offered", "warning");
    server.set_metadata("issuer", format!("{}/", server.issuer()));
    let ran = check().await;
    has(&ran, "issuer_mismatch", "bad");
    assert!(ran.out.contains("only the final slash differs"), "{}", ran.out);
    assert!(server.unmatched_requests().is_empty());
}

#[tokio::test]
async fn two_reports_show_a_rotation() {
    let (server, _listening) = front::plain().await;
    let config = front::config("doctor-since", server.issuer(), "mode = \"hybrid\"\n");
    let since = async |name: &str, before: &str| {
        let mut arguments = vec!["--json"];
        if !before.is_empty() {
            arguments.extend(["--since", before]);
        }
        let ran = doctor(&config, &arguments).await;
        let path = file(name, &ran.out);
        (ran, path)
    };
    let (_, first) = since("doctor-first.json", "").await;
    has(&since("doctor-same.json", &first).await.0, "keys_unchanged", "good");
    server.rotate_keys();
    let (ran, second) = since("doctor-second.json", &first).await;
    has(&ran, "key_new", "note");
    has(&ran, "rotation_under_way", "note");
    server.remove_old_keys();
    let (ran, _) = since("doctor-third.json", &second).await;
    has(&ran, "key_withdrawn", "warning");
    assert_eq!(since("doctor-none.json", &config).await.0.code, 2, "not a report");
}

#[tokio::test]
async fn a_server_that_accepts_anything_is_not_ready() {
    let (server, _listening) = front::plain().await;
    let config = front::config("doctor-lax", server.issuer(), "mode = \"introspect\"\n");
    let answer = |body: &'static str| {
        let mut answer = http::Response::new(bytes::Bytes::from_static(body.as_bytes()));
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
        Fault::respond(answer)
    };
    server.inject(Endpoint::Introspection, answer("{\"active\":true}"));
    let ran = doctor(&config, &["--json"]).await;
    has(&ran, "active_to_nonsense", "bad");
    assert_eq!(ran.code, 1);
    server.clear(Endpoint::Introspection);
    server.inject(Endpoint::Introspection, answer("{\"active\":false}"));
    let ran = doctor(&config, &["--json", "--probe"]).await;
    has(&ran, "no_credentials_needed", "warning");
}

#[tokio::test]
async fn error_of_a_server_that_refuses_to_introspect_is_named() {
    let (server, _listening) = front::plain().await;
    let config = front::config("doctor-refused", server.issuer(), "mode = \"introspect\"\n");
    // A disabled realm of Keycloak, and its response to an unknown hint.
    for (status, code) in
        [(StatusCode::FORBIDDEN, "access_denied"), (StatusCode::BAD_REQUEST, "invalid_request")]
    {
        let body = json!({ "error": code, "error_description": "no" }).to_string();
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        server.inject(Endpoint::Introspection, Fault::respond(response));
        let ran = doctor(&config, &["--json"]).await;
        server.clear(Endpoint::Introspection);
        let found = text_of(&ran, "introspection_refused");
        assert!(found.contains(&format!("`{code}`: \\\"no\\\"")), "{found}");
        assert!(ran.out.contains("the realm may be disabled"), "{}", ran.screen());
        assert_eq!(ran.code, 1);
    }
}

#[tokio::test]
async fn the_cache_is_checked_against_the_lifetimes_of_tokens() {
    let (server, _listening) = front::plain().await;
    let more = "mode = \"introspect\"\n";
    let short = file("doctor-short", opaque(&server, 20));
    let config = front::config("doctor-cache", server.issuer(), more);
    let ran = doctor(&config, &["--json", "--token-file", &short]).await;
    has(&ran, "max_age_longer_than_tokens", "warning");
    has(&ran, "leeway_longer_than_tokens", "warning");
    let text = std::fs::read_to_string(&config).unwrap();
    let config = file(
        "doctor-stale.toml",
        format!("max_age_seconds = 0\nstale_if_error_seconds = 60\n{text}"),
    );
    has(&doctor(&config, &["--json"]).await, "stale_if_error", "warning");
    // Without a token, the lifetimes are not known, nor are they by an inactive one.
    let ran = doctor(&config, &["--json"]).await;
    text_of(&ran, "no_lifetimes");
    let inactive = file("doctor-inactive", "inactive");
    let ran = doctor(&config, &["--json", "--token-file", &inactive]).await;
    text_of(&ran, "no_lifetimes");
}

#[tokio::test]
async fn kinds_of_tokens_are_reported_as_the_library_judges_them() {
    let (server, _listening) = front::plain().await;
    let config = front::config("doctor-kinds", server.issuer(), "mode = \"introspect\"\n");
    let report = async |response: Value| {
        let token = server.opaque().introspected_as(response).mint();
        let token = file("doctor-kinds.token", token);
        doctor(&config, &["--json", "--token-file", &token]).await
    };
    let answer = |members: Value| {
        let mut all = json!({"active": true, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW});
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        all
    };
    let ran = report(answer(json!({"scope": "read", "token_type": "Bearer"}))).await;
    has(&ran, "admitted", "good");
    for other in
        [json!({"token_type": "Refresh"}), json!({"typ": "ID"}), json!({"nonce": "n", "sub": "a"})]
    {
        has(&report(answer(other)).await, "response_other_kind", "warning");
    }
    has(&report(answer(json!({"token_type": "mac"}))).await, "not_admitted", "bad");
    has(&report(answer(json!({"sub": "a"}))).await, "response_no_kind", "warning");
    // What some servers say of refresh tokens and unused codes.
    let ran =
        report(json!({"active": true, "client_id": "web", "exp": NOW + 600, "iat": NOW})).await;
    has(&ran, "response_other_kind", "warning");
    assert!(ran.screen().contains("a refresh token or an authorization code"), "{}", ran.screen());
    let ran = report(answer(json!({"aud": [], "sub": "a"}))).await;
    assert!(text_of(&ran, "response").contains("`aud` is empty"), "{}", ran.screen());
    has(&ran, "not_admitted", "bad");
}

#[tokio::test]
async fn strict_profile_is_proposed_for_tokens_that_fit_it() {
    let (server, _listening) = front::plain().await;
    front::without_known_keys(&server);
    let doctor_of = async |mode: &str, typ: &str| {
        let config = front::config("doctor-profile", server.issuer(), mode);
        let text = std::fs::read_to_string(&config).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("client")).collect();
        let config = file("doctor-profile.toml", lines.join("\n"));
        let token = server.jwt().typ(typ).audience(AUDIENCE);
        let token = token.issued_at(UnixTime::from_secs(NOW));
        let token = token.expires_at(UnixTime::from_secs(NOW + 600)).mint();
        let token = file("doctor-profile.token", token);
        let ran = doctor(&config, &["--json", "--token-file", &token]).await;
        codes(&ran).iter().any(|(code, _)| code == "profile_rfc9068")
    };
    assert!(doctor_of("mode = \"jwt\"\n", "at+jwt").await);
    assert!(!doctor_of("mode = \"jwt\"\n", "JWT").await);
    assert!(!doctor_of("mode = \"jwt\"\nprofile = \"rfc9068\"\n", "at+jwt").await);
}

#[tokio::test]
async fn credentials_of_a_proxy_are_hidden_and_a_closed_pipe_is_not_an_error() {
    let (server, _listening) = front::plain().await;
    let config = front::config("doctor-proxy", server.issuer(), "mode = \"introspect\"\n");
    let proxy = [("HTTP_PROXY", "http://user:s3cret@127.0.0.1:1")];
    let ran = run_in(&proxy, &["doctor", &config], "").await;
    assert!(ran.out.contains("is reached through http://127.0.0.1:1"), "{}", ran.screen());
    assert!(ran.code == 3 && !ran.screen().contains("s3cret"), "{}", ran.screen());
    // A reader may close the pipe early; the exit code stays.
    let mut child = command(&["doctor", &config]);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// With other certificates, the report would describe another service.
#[tokio::test]
async fn certificates_of_the_configuration_are_required_on_the_command_line() {
    let (server, _listening) = front::plain().await;
    front::without_known_keys(&server);
    server.register(tower_introspect::test_util::Client::mtls("tls"));
    let made = rcgen::generate_simple_self_signed(["tls".to_owned()]).unwrap();
    let own = made.cert.pem() + &made.signing_key.serialize_pem();
    let own = file("doctor-own.pem", own);
    let text = format!(
        "audience = \"{AUDIENCE}\"\ndanger_allow_http_loopback = true\nrequire_binding = true\n\
         [[issuer]]\nissuer = \"{}\"\nmode = \"introspect\"\ntimeout_seconds = 120\nCA\n[issuer.client]\nmethod = \"mtls\"\n\
         id = \"tls\"\ncertificate_file = '{own}'\nkey_file = '{own}'\n\
         [mtls]\nfield = \"client_cert\"\nproxies = \"10.1.2.3\"\n",
        server.issuer()
    );
    let config = file("doctor-mtls.toml", text.replace("CA\n", "\n"));
    let ran = doctor(&config, &[]).await;
    assert!(ran.code == 2 && ran.err.contains("give --identity"), "{}", ran.screen());
    let ran = doctor(&config, &["--identity", &own, "--json"]).await;
    has(&ran, "credentials", "good");
    let config = file("doctor-mtls.toml", text.replace("CA\n", &format!("ca_file = '{CA}'\n")));
    let ran = doctor(&config, &["--identity", &own]).await;
    assert!(ran.code == 2 && ran.err.contains(&format!("give --ca {CA}")), "{}", ran.screen());
    assert_eq!(doctor(&config, &["--identity", &own, "--ca", CA]).await.code, 0);
}
